"""The room server: create, authorize, resolve, persist and read events."""
