"""What waits for other servers, in figures: how many lack something, and since when."""

from collections.abc import Callable, Iterable
from typing import Final

from federation.sending.outbox import Outbox
from federation.sending.router import Router
from federation.sending.shards import Shard
from homeserver.protocol.identifiers import ServerName
from homeserver.storage import outbound
from homeserver.storage.database import Database
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.metrics import Metrics

# As often as Prometheus asks, by its usual configuration.
LOOK_SECONDS: Final = 15.0
# Of destinations: what waits is in memory, or in the log, or they fail.
STATES: Final = ("sending", "catching_up", "down")
_FOLLOWER: Final = "federation routing"


class Backlog:
    """Counts the destinations of the shards that this node holds."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        router: Router,
        shards: Callable[[], Iterable[Shard]],
        clock: Clock,
        metrics: Metrics,
        own_name: ServerName,
    ) -> None:
        self._database = database
        self._tail = tail
        self._router = router
        self._shards = shards
        self._clock = clock
        self._metrics = metrics
        self._own_name = own_name

    async def look(self) -> None:
        """Bring the figures up to date."""
        counts = dict.fromkeys(STATES, 0)
        oldest: dict[str, int] = {}
        for shard in self._shards():
            for outbox in shard.outboxes.values():
                if not outbox.has_work:
                    continue
                state = state_of(outbox)
                counts[state] += 1
                lacks_after = outbox.lacks_after
                if lacks_after is not None:
                    oldest[state] = min(lacks_after, oldest.get(state, lacks_after))
        for state in STATES:
            self._metrics.federation_destinations.labels(state).set(counts[state])
            seconds = await self._seconds_since(oldest[state]) if state in oldest else 0.0
            self._metrics.federation_oldest_seconds.labels(state).set(seconds)
        lag = max(0, self._tail.position - self._router.position)
        self._metrics.follower_lag.labels(_FOLLOWER).set(lag)

    async def _seconds_since(self, position: int) -> float:
        """Return how long ago this server made what comes after a position, 0 if it is unknown."""
        async with self._database.connection("federation_backlog") as connection:
            made_ts = await outbound.next_made_ts(connection, self._own_name, position)
        return 0.0 if made_ts is None else max(0, self._clock.now_ms() - made_ts) / 1000


def state_of(outbox: Outbox) -> str:
    """Return which of the states a destination is in for which something waits."""
    if outbox.has_failed:
        return "down"
    return "sending" if outbox.cursor is None else "catching_up"
