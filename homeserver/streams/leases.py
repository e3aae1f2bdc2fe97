"""The leases of a node: a follower of the log runs on the one node that holds its lease.

Leases only keep nodes from doing the same work twice. That nothing in the database happens twice
is held by storing the position with the effects, so clocks that disagree cost work, not data.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

from homeserver.storage import followers
from homeserver.storage.database import Database, Transaction
from homeserver.storage.followers import Lease
from homeserver.telemetry.clock import Clock

# How long the followers of a node that has died stand still; several renewals fit in.
LEASE_SECONDS: Final = 10.0


class LeaseLost(Exception):
    """Another node has taken the follower over: what is in the transaction does not count."""


class Grant(NamedTuple):
    """A lease that the node holds until `held_until` (monotonic), and the follower's position."""

    position: int
    held_until: float


class Leases:
    """Takes, renews, uses and gives up the leases of followers in the name of this node."""

    def __init__(self, database: Database, clock: Clock, node_id: str) -> None:
        """`node_id`: of this run of the process; no other run may ever have it."""
        self._database = database
        self._clock = clock
        self._node_id = node_id

    async def add(self, name: str, *, at_head: bool) -> None:
        """Make a follower that begins at the log's head, or before its first entry; once."""
        async with self._database.connection("followers") as connection:
            await followers.add(connection, name, at_head=at_head)

    async def renew(self, positions: Mapping[str, int]) -> dict[str, Grant]:
        """Take or renew what can be had of the followers, given with how far they have come.

        What is absent from the answer is held by another node, or was not asked for in vain: a
        lease that is not renewed stays valid until it runs out.
        """
        held_until = self._clock.monotonic() + LEASE_SECONDS
        async with self._database.connection("followers") as connection:
            renewed = await followers.renew(
                connection, positions, self._lease(), self._clock.now_ms()
            )
        return {name: Grant(position, held_until) for name, position in renewed.items()}

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
        """Give the leases up, with how far the followers have come. Raises DatabaseUnavailable."""
        async with self._database.connection("followers") as connection:
            await followers.release(connection, positions, self._node_id)

    def _lease(self) -> Lease:
        return Lease(self._node_id, self._clock.now_ms() + round(LEASE_SECONDS * 1000))
