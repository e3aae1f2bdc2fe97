"""Notifying users where they want to be notified."""
