"""The log: its writer, its bus, its followers and its recent tail."""
