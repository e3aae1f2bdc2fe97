"""The Matrix specification as pure functions and frozen data: no waiting, no clock, no log."""
