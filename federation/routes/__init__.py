"""The endpoints of the server-server API, one file for each noun."""
