"""The operations of the media repository."""
