"""The log of a node and nothing above it; several nodes may share one database."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from homeserver.storage.database import Connection, Database
from homeserver.storage.log import append_user_change, take_positions
from homeserver.streams.bus import Bus, LocalBus
from homeserver.streams.entries import LogEntry, UserEntry
from homeserver.streams.followers import Followers
from homeserver.streams.log_reader import LogReader
from homeserver.streams.log_writer import LogWriter, Outcome
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import SystemClock
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks
from tests.support.clock import FakeClock

KIND = "test_change"


class StreamNode:
    """A tail, a writer and followers over one database; only the clock is not real."""

    def __init__(
        self, database: Database, clock: FakeClock, name: str, *, bus: Bus | None = None
    ) -> None:
        self.database = database
        self.metrics = Metrics()
        self.tasks = Tasks(clock, self.metrics)
        self.reader = LogReader(database)
        self.tail = Tail(self.reader, self.tasks)
        self.bus = bus or LocalBus()
        self.writer = LogWriter(database, self.tail, self.bus, self.tasks, self.metrics)
        self.followers = Followers(
            database, self.tail, self.tasks, clock, self.metrics, node_id=name
        )

    async def changes(self, *user_ids: str) -> int:
        """Append a change for each user, and have this node hear of it; the last position."""
        position = 0
        for user_id in user_ids:
            position = await self.changes_silently(user_id)
        self.tail.heard(position)
        await self.tail.reach(position)
        return position

    async def changes_silently(self, user_id: str) -> int:
        """Append a change that no tail hears of."""
        async with self.database.transaction() as tx:
            return await append_user_change(tx, user_id, KIND)


@contextlib.asynccontextmanager
async def stream_node(
    dsn: str, clock: FakeClock, name: str = "node", *, bus: Bus | None = None
) -> AsyncIterator[StreamNode]:
    """Start a node; it stops at the end of the block."""
    async with Database(dsn, clock=SystemClock()) as database:
        node = StreamNode(database, clock, name, bus=bus)
        await node.tail.start()
        try:
            yield node
        finally:
            await node.followers.stop()
            await node.tasks.stop()


class UserChanges:
    """Appends changes of users, a user ID each; "lost …" loses, "bad …" fails the batch."""

    locks_rooms = False

    async def append(self, connection: Connection, writes: Sequence[str]) -> Outcome:
        lost = frozenset(n for n, user_id in enumerate(writes) if user_id.startswith("lost"))
        winners = [user_id for n, user_id in enumerate(writes) if n not in lost]
        if any(user_id.startswith("bad") for user_id in writes):
            raise ValueError("a bad change")
        if not winners:
            head: int = await connection.fetchval("SELECT pos FROM log_head")
            return Outcome(head, head, [], lost)
        async with connection.transaction():
            base_pos = await take_positions(connection, len(winners))
            entries: list[LogEntry] = []
            for pos, user_id in enumerate(winners, start=base_pos + 1):
                await connection.execute(
                    "INSERT INTO user_changes (pos, user_id, kind) VALUES ($1, $2, $3)",
                    pos,
                    user_id,
                    KIND,
                )
                entries.append(UserEntry(pos, user_id, KIND, None, None))
        return Outcome(base_pos, base_pos + len(winners), entries, lost)
