"""Reading a stretch of the log back from PostgreSQL, as the entries that its writers made."""

from collections import defaultdict
from collections.abc import Sequence

from homeserver.storage import (
    events,
    judged_anew,
    log,
    presence,
    receipts,
    rooms,
    to_device,
    unread,
)
from homeserver.storage.database import Connection, Database
from homeserver.streams.entries import (
    EventEntry,
    LogEntry,
    PresenceEntry,
    ReceiptEntry,
    Redacted,
    StateChange,
    ToDeviceEntry,
    UserCount,
    UserEntry,
)


class LogReader:
    """Reads entries of every kind. A new kind of change is one more reader here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self) -> int:
        """Return the position of the newest durable change."""
        async with self._database.connection() as connection:
            return await log.head(connection)

    async def read(self, after: int, upto: int) -> list[LogEntry]:
        """Return the entries at positions in (after, upto], in order.

        One of several changes of a user in one place may have replaced an earlier one: then the
        earlier position has no entry.
        """
        async with self._database.connection("log_reader") as connection:
            entries: list[LogEntry] = []
            entries.extend(await _read_events(connection, after, upto))
            users = await log.user_changes_after(connection, after, upto)
            entries.extend(UserEntry(*row) for row in users)
            read = await receipts.receipts_after(connection, after, upto)
            entries.extend(ReceiptEntry(*row) for row in read)
            messages = await to_device.to_device_after(connection, after, upto)
            entries.extend(ToDeviceEntry.of(*row) for row in messages)
            changes = await presence.changes_after(connection, after, upto)
            entries.extend(PresenceEntry.of(*row) for row in changes)
        entries.sort(key=lambda entry: entry.pos)
        return entries

    async def undone_of(self, event_nids: Sequence[int]) -> set[int]:
        """Return those events that were shown, and are not any more."""
        async with self._database.connection("log_reader") as connection:
            return await judged_anew.undone_of(connection, event_nids)


async def _read_events(connection: Connection, after: int, upto: int) -> list[EventEntry]:
    records = await events.events_after(connection, after, upto)
    if not records:
        return []
    changes: dict[int, list[StateChange]] = defaultdict(list)
    room_nids = list({record.room_nid for record in records})
    for row in await log.state_changes_after(connection, room_nids, after, upto):
        key = (row.type, row.state_key)
        changes[row.pos].append(
            StateChange(row.key_nid, key, row.event_nid, row.event_id, row.membership)
        )
    counts: dict[int, list[UserCount]] = defaultdict(list)
    for count in await unread.notifications_after(connection, room_nids, after, upto):
        counts[count.pos].append(UserCount(*count[1:]))
    redacted = await events.redacted_by(
        connection,
        [record.event_nid for record in records if record.type == "m.room.redaction"],
    )
    room_ids = await rooms.room_ids_of(connection, room_nids)
    return [
        EventEntry(
            record,
            room_ids[record.room_nid],
            tuple(changes[record.pos or 0]),
            redaction=Redacted(*redacted[record.event_nid])
            if record.event_nid in redacted
            else None,
            notifications=tuple(counts[record.pos or 0]),
        )
        for record in records
    ]
