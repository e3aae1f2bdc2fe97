"""Claims of one-time keys as a kind of the log: what waits is served in one statement."""

from collections.abc import Sequence

from homeserver.storage.database import Connection
from homeserver.storage.one_time_keys import ClaimedKey, ClaimRow, claim
from homeserver.streams.entries import ONE_TIME_KEYS_CHANGED, UserEntry
from homeserver.streams.log_writer import Outcome


class KeyClaim:
    """One claim; `claimed` is there when the log's writer is done with it and a key was found."""

    __slots__ = ("claimed", "row")

    def __init__(self, row: ClaimRow) -> None:
        self.row = row
        self.claimed: ClaimedKey | None = None


class KeyClaimAppender:
    """Serves batches of claims; only those that leave a device less to give take a position."""

    locks_rooms = False

    async def append(self, connection: Connection, writes: Sequence[KeyClaim]) -> Outcome:
        """Give each claim its key."""
        served = await claim(connection, [write.row for write in writes])
        for claimed in served.claimed:
            writes[claimed.place].claimed = claimed
        entries = [
            UserEntry(served.base_pos + place, user_id, ONE_TIME_KEYS_CHANGED, None, device_id)
            for place, (user_id, device_id) in enumerate(served.devices, start=1)
        ]
        return Outcome(served.base_pos, served.upto, entries, frozenset())
