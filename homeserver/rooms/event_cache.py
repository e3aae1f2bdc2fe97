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

# About 3 kB each: 30 MB.
MAX_EVENTS = 10_000


class EventCache:
    """Whole events by number, read from PostgreSQL when they are not in memory."""

    def __init__(self, database: Database, tail: Tail, *, max_events: int = MAX_EVENTS) -> None:
        self._database = database
        self._max_events = max_events
        self._events: OrderedDict[int, Event] = OrderedDict()
        tail.follow(self._take)

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
            async with self._database.connection("events") as connection:
                records = await events.pdus_by_nid(connection, missing)
            for nid, record in records.items():
                found[nid] = event_of(record)
                self.put(nid, found[nid])
        return found

    def put(self, event_nid: int, event: Event) -> None:
        """Keep an event that is stored, or about to be."""
        self._events[event_nid] = event
        if len(self._events) > self._max_events:
            self._events.popitem(last=False)

    def drop(self, event_nid: int) -> None:
        """Forget an event that was redacted."""
        self._events.pop(event_nid, None)

    def _take(self, entries: Sequence[LogEntry]) -> None:
        if any(
            isinstance(entry, EventEntry) and entry.record.type == "m.room.redaction"
            for entry in entries
        ):
            # Which event it was is not worth a look-up: redactions are rare.
            self._events.clear()


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
