"""The server-server API, both sides."""
