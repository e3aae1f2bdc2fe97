"""The media repository."""
