"""One file for each section of homeserver.yaml, named like it."""
