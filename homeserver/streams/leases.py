"""The leases of a node: a follower of the log runs on the one node that holds its lease.

Followers are spread by rendezvous hashing: each belongs to one of the live nodes that can run it,
and when a node comes or goes, only those move that belong to it.

Leases only keep nodes from doing the same work twice. That nothing in the database happens twice
is held by storing the position with the effects, so clocks that disagree cost work, not data.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

from homeserver.storage import follower_nodes, followers
from homeserver.storage.database import Database, Transaction
from homeserver.storage.followers import Lease
from homeserver.telemetry.clock import Clock

# How long the followers of a node that has died stand still; several renewals fit in.
LEASE_SECONDS: Final = 10.0
# Whoever should take a free lease renews three times in this; if it does not, any other node may.
GRACE_SECONDS: Final = 10.0
# At a time, so that a node that comes does not bring everything to a halt.
MAX_HANDOVERS: Final = 4
# A follower that comes back, because its node died or did not take it, stays for so long.
KEEP_SECONDS: Final = 60.0
# Rows of nodes that crashed are of use to nobody, but to who looks after them.
_FORGET_SECONDS: Final = 3_600.0


class LeaseLost(Exception):
    """Another node has taken the follower over: what is in the transaction does not count."""


class Grant(NamedTuple):
    """A lease that the node holds until `held_until` (monotonic), and the follower's position."""

    position: int
    held_until: float
    # Another live node should have it.
    belongs_elsewhere: bool = False


class Leases:
    """Takes, renews, uses and gives up the leases of followers in the name of this node."""

    def __init__(
        self, database: Database, clock: Clock, node_id: str, *, part: str = "followers"
    ) -> None:
        """`node_id`: of this run of the process; no other run may ever have it.

        `part`: which of those in the node that renew leases, each of other followers.
        """
        self._database = database
        self._clock = clock
        self._node_id = node_id
        self._part = part
        # Which followers are not handed over before when (monotonic).
        self._kept_until: dict[str, float] = {}
        self._held: set[str] = set()

    async def add(self, name: str, *, at_head: bool) -> None:
        """Make a follower that begins at the log's head, or before its first entry; once."""
        async with self._database.connection("followers") as connection:
            await followers.add(connection, name, at_head=at_head)

    async def renew(self, positions: Mapping[str, int]) -> dict[str, Grant]:
        """Take or renew what can be had of the followers, given with how far they have come.

        Says also that the node is alive, and can run these and no others. What is absent from the
        answer is held by another node or belongs to it, or was just in use: a lease that is not
        renewed stays valid until it runs out.
        """
        held_until = self._clock.monotonic() + LEASE_SECONDS
        async with self._database.connection("followers") as connection:
            renewed = await followers.renew(
                connection,
                positions,
                self._lease(),
                self._clock.now_ms(),
                part=self._part,
                grace_ms=round(GRACE_SECONDS * 1000),
            )
        for name, (_, belongs_here) in renewed.items():
            if name not in self._held and not belongs_here:
                # It was left lying by the node that should have it.
                self._keep(name)
        self._held.update(renewed)
        return {
            name: Grant(position, held_until, belongs_elsewhere=not belongs_here)
            for name, (position, belongs_here) in renewed.items()
        }

    def choose_handovers(self, grants: Mapping[str, Grant]) -> list[str]:
        """Choose what to hand over of what was renewed: few, and each at most once a minute."""
        now = self._clock.monotonic()
        chosen = [
            name
            for name, grant in grants.items()
            if grant.belongs_elsewhere and self._kept_until.get(name, now) <= now
        ][:MAX_HANDOVERS]
        for name in chosen:
            self._keep(name)
        return chosen

    @contextlib.asynccontextmanager
    async def storing(self, name: str, after: int, upto: int) -> AsyncIterator[Transaction]:
        """Open a transaction that ends by storing that the follower has handled (after, upto].

        Raises LeaseLost, which rolls it back; DatabaseUnavailable.
        """
        async with self._database.transaction("follower") as tx:
            yield tx
            if not await followers.advance(tx, name, after, upto, self._lease()):
                raise LeaseLost

    async def release(self, positions: Mapping[str, int]) -> None:
        """Give leases up, with how far the followers have come. Raises DatabaseUnavailable."""
        async with self._database.connection("followers") as connection:
            await followers.release(connection, positions, self._node_id, self._clock.now_ms())
        self._held.difference_update(positions)

    async def leave(self, positions: Mapping[str, int]) -> None:
        """Give all leases up and take no more. Raises DatabaseUnavailable."""
        async with self._database.transaction("followers") as tx:
            await follower_nodes.leave(tx, self._node_id, self._part)
            await followers.release(tx, positions, self._node_id, self._clock.now_ms())
        self._held.clear()

    async def forget_dead(self) -> None:
        """Delete what is left of nodes that crashed long ago. Raises DatabaseUnavailable."""
        before_ms = self._clock.now_ms() - round(_FORGET_SECONDS * 1000)
        async with self._database.connection("followers") as connection:
            await follower_nodes.forget_dead(connection, before_ms)

    def _keep(self, name: str) -> None:
        self._kept_until[name] = self._clock.monotonic() + KEEP_SECONDS

    def _lease(self) -> Lease:
        return Lease(self._node_id, self._clock.now_ms() + round(LEASE_SECONDS * 1000))
