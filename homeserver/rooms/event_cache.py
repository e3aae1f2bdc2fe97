"""Events in memory. They never change, except by redaction, which replaces them."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from homeserver.protocol.client_event import decode_pdu
from homeserver.protocol.event import Event
from homeserver.protocol.event_format import redacts_of
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.room_versions import rules_of
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.events import PduRecord
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.tail import Tail

# About 3 kB each: 60 MB. More than can be on their way at once.
MAX_EVENTS = 20_000


class EventCache:
    """Whole events by number, read from PostgreSQL when they are not in memory."""

    def __init__(self, database: Database, tail: Tail, *, max_events: int = MAX_EVENTS) -> None:
        self._database = database
        self._max_events = max_events
        self._events: OrderedDict[int, Event] = OrderedDict()
        # Counts redactions: what was read before one of them may be what it took away.
        self._redactions = 0
        tail.follow(self._take, on_gap=self._forget_all)

    async def get(self, event_nids: Iterable[int]) -> dict[int, Event]:
        """Return events by their numbers; those that are not stored are absent."""
        found: dict[int, Event] = {}
        missing: list[int] = []
        for nid in event_nids:
            event = self._events.get(nid)
            if event is None:
                missing.append(nid)
            else:
                self._events.move_to_end(nid)
                found[nid] = event
        if missing:
            redactions = self._redactions
            async with self._database.connection("events") as connection:
                records = await events.pdus_by_nid(connection, missing)
            for nid, record in records.items():
                found[nid] = event_of(record)
                if redactions == self._redactions:
                    self.put(nid, found[nid])
        return found

    def put(self, event_nid: int, event: Event) -> None:
        """Keep an event that is stored, or about to be."""
        self._events[event_nid] = event
        if len(self._events) > self._max_events:
            self._events.popitem(last=False)

    def drop(self, event_nid: int) -> None:
        """Forget an event that is redacted, or about to be."""
        self._redactions += 1
        self._events.pop(event_nid, None)

    def _forget_all(self) -> None:
        self._redactions += 1
        self._events.clear()

    def _take(self, entries: Sequence[LogEntry]) -> None:
        # Only the redacted event goes: others may be of writes that are still on their way, and
        # cannot be read back.
        for entry in entries:
            if isinstance(entry, EventEntry) and entry.redaction is not None:
                self.drop(entry.redaction.event_nid)


def event_of(record: PduRecord) -> Event:
    """Make the event of a stored PDU, whose format was checked when it was stored."""
    rules = rules_of(record.room_version)
    pdu = decode_pdu(
        record.core,
        record.rest,
        room_id=RoomID(record.room_id),
        event_id=record.event_id,
        rules=rules,
    )
    return Event(
        event_id=record.event_id,
        room_id=RoomID(record.room_id),
        room_version=record.room_version,
        type=pdu["type"],
        sender=UserID(pdu["sender"]),
        content=pdu["content"],
        origin_server_ts=pdu["origin_server_ts"],
        depth=pdu["depth"],
        prev_events=_referenced(pdu["prev_events"]),
        auth_events=_referenced(pdu["auth_events"]),
        pdu=pdu,
        state_key=pdu.get("state_key"),
        redacts=redacts_of(pdu, rules),
    )


def _referenced(references: list[object]) -> tuple[EventID, ...]:
    # Versions 1 and 2 cite events as [event ID, {"sha256": …}].
    return tuple(
        EventID(str(reference[0] if isinstance(reference, list) else reference))
        for reference in references
    )
