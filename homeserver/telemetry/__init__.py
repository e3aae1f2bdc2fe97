"""Log, metrics, traces, clock and background tasks."""
