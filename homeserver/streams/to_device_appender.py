"""Messages to devices as a kind of the log: what waits is written in one statement."""

from collections.abc import Sequence

from homeserver.storage.database import Connection
from homeserver.storage.to_device import ToDeviceWrite, append_to_device
from homeserver.streams.entries import ToDeviceEntry
from homeserver.streams.log_writer import Outcome


class ToDeviceAppender:
    """Writes batches of requests.

    One that was done before changes nothing; one that another node is writing at the moment is
    lost, and to be tried again.
    """

    locks_rooms = False

    async def append(self, connection: Connection, writes: Sequence[ToDeviceWrite]) -> Outcome:
        """Write those requests that are new."""
        appended = await append_to_device(connection, writes)
        entries = [
            ToDeviceEntry.of(
                position,
                {target.user_id for target in write.targets},
                [edu.destination for edu in write.outbound],
            )
            for write, position in zip(writes, appended.positions, strict=True)
            if position is not None
        ]
        return Outcome(appended.base_pos, appended.upto, entries, appended.busy)
