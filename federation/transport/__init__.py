"""Requests to other servers: where they are, whether they may be asked, and the asking."""
