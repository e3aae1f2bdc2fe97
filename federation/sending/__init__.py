"""Sending events and EDUs to other servers."""
