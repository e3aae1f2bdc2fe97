"""homeserver.yaml as typed, frozen sections."""
