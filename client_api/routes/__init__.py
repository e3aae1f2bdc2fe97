"""Client-server endpoints, one file per noun."""
