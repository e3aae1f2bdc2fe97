"""Every metric of the server, with its unit and its bounded labels.

Labels take values from a list that the code fixes (operations, task names, outcomes), never
what a request sends: user IDs, rooms and server names would make a time series each.
"""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.gc_collector import GCCollector

# Up to the 30 s of a long poll, and finest where most requests are.
_REQUEST_BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_STATEMENT_BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """All metrics of one node, in a registry of their own; made once and handed on."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._make_request_metrics()
        self._make_background_metrics()
        self._make_storage_metrics()
        self._make_federation_metrics()

    def exposition(self) -> bytes:
        """Return the text exposition format for `GET /metrics`."""
        return generate_latest(self.registry)

    def _make_request_metrics(self) -> None:
        self.request_seconds = Histogram(
            "homeserver_request_duration_seconds",
            "Time from the headers of a request to its answer, streamed bodies included.",
            ("operation", "status"),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.requests_in_flight = Gauge(
            "homeserver_requests_in_flight",
            "Requests being answered, waiting long polls included.",
            registry=self.registry,
        )
        self.rate_limited = Counter(
            "homeserver_rate_limited_requests",
            "Requests refused with 429, by group of rate limits.",
            ("group",),
            registry=self.registry,
        )

        self.reports = Counter(
            "homeserver_reports",
            "Reports of inappropriate content, by what was reported: event, room or user.",
            ("kind",),
            registry=self.registry,
        )

    def _make_background_metrics(self) -> None:
        self.tasks_running = Gauge(
            "homeserver_background_tasks",
            "Background tasks that are running.",
            ("name",),
            registry=self.registry,
        )
        self.task_ends = Counter(
            "homeserver_background_task_ends",
            "Ends of background tasks and of the rounds of periodic ones.",
            ("name", "outcome"),
            registry=self.registry,
        )

    def _make_storage_metrics(self) -> None:
        self.statement_seconds = Histogram(
            "homeserver_database_duration_seconds",
            "Time of a database operation, by the function that runs it.",
            ("operation",),
            buckets=_STATEMENT_BUCKETS,
            registry=self.registry,
        )
        self.log_batch_size = Histogram(
            "homeserver_log_batch_entries",
            "Changes committed together by the log writer.",
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self.follower_lag = Gauge(
            "homeserver_follower_lag_positions",
            "Positions of the log that a follower has not handled yet.",
            ("follower",),
            registry=self.registry,
        )
        self.outgoing_seconds = Histogram(
            "homeserver_outgoing_request_duration_seconds",
            "Time of an HTTP request to another server, by purpose.",
            ("purpose", "outcome"),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.push_seconds = Histogram(
            "homeserver_push_duration_seconds",
            "Time of one attempt to send a notification, by kind of pusher and outcome.",
            ("kind", "outcome"),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.push_delay_seconds = Histogram(
            "homeserver_push_delay_seconds",
            "Time from the queueing of a notification to its delivery.",
            ("kind",),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )

    def _make_federation_metrics(self) -> None:
        self.federation_transaction_seconds = Histogram(
            "homeserver_federation_transaction_duration_seconds",
            "Time of one attempt to send a transaction to another server.",
            ("outcome",),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.federation_sent = Counter(
            "homeserver_federation_items_sent",
            "PDUs, and EDUs by their type, in transactions that have arrived.",
            ("type",),
            registry=self.registry,
        )
        self.federation_refused = Counter(
            "homeserver_federation_items_refused",
            "PDUs that other servers did not take, and transactions that they never will.",
            ("type",),
            registry=self.registry,
        )
        self.federation_destinations = Gauge(
            "homeserver_federation_destinations",
            "Other servers for which something waits on this node, by what is done about it.",
            ("state",),
            registry=self.registry,
        )
        self.federation_oldest_seconds = Gauge(
            "homeserver_federation_oldest_waiting_seconds",
            "Age of the oldest event that waits for another server, by state of the server.",
            ("state",),
            registry=self.registry,
        )
