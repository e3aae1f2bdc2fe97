"""Metrics are declared once and shown together."""

from homeserver.telemetry.metrics import Metrics


def test_two_nodes_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.rate_limited.labels("login").inc()
    labels = {"group": "login"}
    name = "homeserver_rate_limited_requests_total"
    assert one.registry.get_sample_value(name, labels) == 1
    assert two.registry.get_sample_value(name, labels) is None


def test_the_exposition_names_every_metric_with_its_help() -> None:
    text = Metrics().exposition().decode()
    for name in (
        "homeserver_request_duration_seconds",
        "homeserver_requests_in_flight",
        "homeserver_background_tasks",
        "homeserver_database_duration_seconds",
        "homeserver_log_batch_entries",
        "homeserver_follower_lag_positions",
        "process_resident_memory_bytes",
    ):
        assert f"# HELP {name} " in text
