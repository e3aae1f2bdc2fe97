"""Destinations in shards: each shard is sent to by the one node that holds its lease."""

from typing import Final
from zlib import crc32

from federation.sending.outbox import Outbox
from homeserver.protocol.identifiers import ServerName

# So many nodes can share the work. Stored with cursors: it can never be changed.
SHARDS: Final = 8


def shard_of(destination: ServerName) -> int:
    """Return the shard of a destination, the same on every node."""
    return crc32(destination.encode()) % SHARDS


def lease_name(shard: int) -> str:
    """Return what the shard is called among the followers of the log."""
    return f"federation {shard}"


class Shard:
    """A shard whose lease this node holds.

    Whatever is at or before `position` is sent, or there is a cursor in the database.
    """

    def __init__(self, number: int, position: int, held_until: float) -> None:
        self.number: Final = number
        self.name: Final = lease_name(number)
        self.position = position
        self.held_until = held_until
        # Until it is known who lacks what, nothing is sent.
        self.is_ready = False
        # It is being handed over: nothing more is sent.
        self.is_leaving = False
        self.outboxes: dict[ServerName, Outbox] = {}
        # How far the log was routed into the outboxes when the shard was stored last.
        self.routed = position

    def outbox(self, destination: ServerName) -> Outbox:
        """Return the outbox of a destination."""
        found = self.outboxes.get(destination)
        if found is None:
            found = self.outboxes[destination] = Outbox(destination)
        return found
