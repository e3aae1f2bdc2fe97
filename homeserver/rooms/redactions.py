"""What a redaction does to the event it names."""

from homeserver.protocol.auth_rules.redaction import may_apply_redaction
from homeserver.protocol.client_event import split_pdu
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.redaction import redact
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import RedactionWrite


class Redactions:
    """Finds the event that a redaction names and makes its redacted form."""

    def __init__(self, database: Database, cache: EventCache) -> None:
        self._database = database
        self._cache = cache

    async def target(self, head: RoomHead, event_id: EventID) -> tuple[int, Event] | None:
        """Return a stored event of the room with its number."""
        async with self._database.connection("redactions") as connection:
            nids = await events.nids_of(connection, [event_id])
        if event_id not in nids:
            return None
        nid = nids[event_id]
        event = (await self._cache.get([nid])).get(nid)
        return (nid, event) if event is not None and event.room_id == head.room_id else None

    async def of(self, head: RoomHead, event: Event, event_nid: int) -> RedactionWrite | None:
        """Return what to write when `event` is a redaction that takes effect, else None."""
        if event.type != "m.room.redaction" or event.redacts is None:
            return None
        found = await self.target(head, event.redacts)
        if found is None:
            return None
        target_nid, target = found
        if not may_apply_redaction(event, target, head.power_levels):
            return None
        core, rest = split_pdu(redact(target.pdu, head.rules), head.rules)
        return RedactionWrite(0, head.room_nid, target_nid, event_nid, core, rest)
