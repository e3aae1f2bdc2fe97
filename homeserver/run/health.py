"""What operators and orchestrators ask a node: is it alive, is it ready, what are its figures."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.shutdown import Shutdown
from homeserver.web.answers import Answer
from homeserver.web.endpoint import Auth, endpoint

log = get_logger(__name__)

# True when the part of the server is ready; checks raise nothing.
ReadinessCheck: TypeAlias = Callable[[], Awaitable[bool]]

# A check that takes longer has failed: whoever asks has a timeout of its own.
CHECK_SECONDS: Final = 2.0
_JSON: Final = {"Content-Type": "application/json"}


class HealthStatus(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: str = "ok"


class HealthRoutes:
    """`/health`, `/ready` and `/metrics`."""

    def __init__(
        self,
        metrics: Metrics,
        checks: Mapping[str, ReadinessCheck],
        shutdown: Shutdown,
        *,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        """`checks` by the name that answers show: `database`, `migrations`."""
        self._check_seconds = check_seconds
        self._metrics = metrics
        self._checks = checks
        self._shutdown = shutdown

    @endpoint("GET", "/health", auth=Auth.NONE, rate_limit=None, spec="ours/#health")
    async def get_health(self) -> HealthStatus:
        """Say that the process is alive and its event loop turns."""
        return HealthStatus()

    @endpoint("GET", "/ready", auth=Auth.NONE, rate_limit=None, spec="ours/#ready")
    async def get_ready(self) -> Answer:
        """Say whether the node can serve: 200 when it can, 503 with what is missing."""
        names = list(self._checks)
        results = await asyncio.gather(*(self._passes(name) for name in names))
        checks = dict(zip(names, results, strict=True))
        checks["running"] = not self._shutdown.has_begun
        is_ready = all(checks.values())
        body = msgspec.json.encode({"ready": is_ready, "checks": checks})
        return Answer(200 if is_ready else 503, _JSON, body)

    @endpoint("GET", "/metrics", auth=Auth.NONE, rate_limit=None, spec="ours/#metrics")
    async def get_metrics(self) -> Answer:
        """Return the metrics of this node in the Prometheus text format."""
        return Answer(
            200,
            {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
            self._metrics.exposition(),
        )

    async def _passes(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._check_seconds):
                return await self._checks[name]()
        except TimeoutError:
            log.warning("readiness check timed out", check=name)
            return False
