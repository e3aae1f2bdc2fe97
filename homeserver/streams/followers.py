"""All followers of a node: their leases, their start and their stop."""

import asyncio
from collections.abc import Sequence
from typing import Final

from homeserver.storage.database import Database, DatabaseUnavailable
from homeserver.streams.entries import LogEntry
from homeserver.streams.follower import Follower, FollowerWork
from homeserver.streams.leases import Leases
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# Three tries before a lease runs out; one statement for all followers of a node.
RENEW_SECONDS: Final = 3.0


class Followers:
    """Runs the followers of this node.

    Of all nodes that have a follower of a name, the one with the lease works: each has its share.
    Its death hands the follower to another node within `LEASE_SECONDS` and one renewal, its stop
    within a renewal. What belongs to another node is handed over when the stretch in hand is done.
    """

    def __init__(
        self,
        database: Database,
        tail: Tail,
        tasks: Tasks,
        clock: Clock,
        metrics: Metrics,
        *,
        node_id: str,
    ) -> None:
        """`node_id`: of this run of the process; no other run may ever have it."""
        self._leases = Leases(database, clock, node_id)
        # So that a lease that is given up is not taken for one that was renewed.
        self._leasing = asyncio.Lock()
        self._tail = tail
        self._tasks = tasks
        self._clock = clock
        self._metrics = metrics
        self._followers: dict[str, Follower] = {}
        self._begins_at_head: dict[str, bool] = {}
        self._renewing: asyncio.Task[None] | None = None
        # Where the tail was after the entries that were taken last; -1: they are not known.
        self._seen = -1
        # The work that the followers do asks caches whether an entry concerns it.
        tail.follow_behind_caches(self._advanced, on_gap=self._skipped)

    def add(self, name: str, work: FollowerWork, *, begins_at_head: bool = False) -> Follower:
        """Have this node follow; before `start`.

        `name`, the same on all nodes, says whose position it is. A follower that is new begins
        before the first entry of the log, or at its head.
        """
        assert name not in self._followers, f"two followers have the name {name}"
        follower = Follower(
            name, work, self._tail, self._leases, self._tasks, self._clock, self._metrics
        )
        self._followers[name] = follower
        self._begins_at_head[name] = begins_at_head
        return follower

    async def start(self) -> None:
        """Begin, once the tail has started. Raises DatabaseUnavailable."""
        await self._leases.forget_dead()
        for name, at_head in self._begins_at_head.items():
            # One after the other, because it is at the start and there are few.
            await self._leases.add(name, at_head=at_head)
        for follower in self._followers.values():
            follower.start()
        await self.renew()
        self._renewing = self._tasks.spawn("follower leases", self._keep_renewing())

    async def renew(self) -> None:
        """Take or renew the leases that can be had; begin to hand over what belongs elsewhere.

        Raises DatabaseUnavailable.
        """
        async with self._leasing:
            grants = await self._leases.renew(self._positions())
            for name, grant in grants.items():
                self._followers[name].granted(grant)
        for follower in self._followers.values():
            follower.report_lag()
        for name in self._leases.choose_handovers(grants):
            self._tasks.spawn("follower handover", self._hand_over(self._followers[name]))

    async def stop(self) -> None:
        """Finish what is in hand and hand the followers over; before the database closes."""
        if self._renewing is None:
            return
        self._renewing.cancel()
        await asyncio.wait([self._renewing])
        await asyncio.gather(*(follower.stop() for follower in self._followers.values()))
        try:
            async with self._leasing:
                await self._leases.leave(self._positions())
        except DatabaseUnavailable as error:
            log.warning("leases could not be given up and run out", error=str(error))

    async def _keep_renewing(self) -> None:
        while True:
            await self._clock.sleep(RENEW_SECONDS)
            # As a task of its own, so that a failure is not the last renewal.
            await self._tasks.spawn("follower lease renewal", self.renew())

    async def _hand_over(self, follower: Follower) -> None:
        try:
            # Its lease is renewed meanwhile.
            await follower.pause()
            async with self._leasing:
                await self._leases.release({follower.name: follower.position})
                follower.released()
        finally:
            follower.resume()
        log.info("follower handed over", follower=follower.name)

    def _positions(self) -> dict[str, int]:
        # Only whoever holds the lease knows more than what is stored.
        return {
            follower.name: follower.position if follower.holds_lease else 0
            for follower in self._followers.values()
        }

    def _advanced(self, entries: Sequence[LogEntry]) -> None:
        before, self._seen = self._seen, self._tail.position
        for follower in self._followers.values():
            follower.advanced(before, entries)

    def _skipped(self) -> None:
        self._seen = -1
