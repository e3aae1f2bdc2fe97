"""Accepting the PDUs of a transaction: what can be said of them at once, and durably kept.

Spec: server-server-api/#put_matrixfederationv1sendtxnid
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.ports import EventSignatures
from homeserver.protocol.errors import InvalidEvent, InvalidIdentifier, InvalidJson
from homeserver.protocol.event import Event
from homeserver.protocol.hashing import event_id_of
from homeserver.protocol.identifiers import EventID, RoomID, ServerName, parse_room_id
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.protocol.server_acl import ServerAcl, parse_server_acl
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.ended_invites import EndedInvites
from homeserver.rooms.receive.inbox import Inbox
from homeserver.rooms.receive.known import KnownEvents, is_outlier
from homeserver.rooms.receive.pdus import received_event, stored_pdu
from homeserver.storage import inbound_pdus
from homeserver.storage.database import Database
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# Parsed access control lists: rarely more than some kB each.
_MAX_ACLS: Final = 1_000


class Refused(NamedTuple):
    """Why a PDU is not accepted."""

    reason: str


class ServerAcls:
    """Applies the access control lists of rooms to servers."""

    def __init__(self, cache: EventCache) -> None:
        self._cache = cache
        self._acls: OrderedDict[EventID, ServerAcl] = OrderedDict()

    async def allows(self, head: RoomHead, server: ServerName) -> bool:
        """Whether a server may take part in a room.

        Spec: client-server-api/#server-access-control-lists-acls-for-rooms
        """
        entry = head.state.get(("m.room.server_acl", ""))
        if entry is None:
            return True
        acl = self._acls.get(entry.event_id)
        if acl is None:
            found = await self._cache.get([entry.event_nid])
            acl = parse_server_acl(found[entry.event_nid].content)
            self._acls[entry.event_id] = acl
            if len(self._acls) > _MAX_ACLS:
                self._acls.popitem(last=False)
        return acl.allows(server)


class ReceiveEvents:
    """The entrance for events of other servers."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        known: KnownEvents,
        acls: ServerAcls,
        signatures: EventSignatures,
        inbox: Inbox,
        ended_invites: EndedInvites,
        clock: Clock,
    ) -> None:
        self._database = database
        self._heads = heads
        self._known = known
        self._acls = acls
        self._signatures = signatures
        self._inbox = inbox
        self._ended_invites = ended_invites
        self._clock = clock

    async def stage(
        self, origin: ServerName, pdus: Sequence[JsonValue]
    ) -> dict[EventID, JsonObject]:
        """Accept PDUs durably; they get into their rooms afterwards.

        Returns by event ID `{}` or `{"error": …}`, as the answer to the transaction wants it. A
        PDU so wrong that it has no event ID is not in it.
        Raises DatabaseUnavailable: nothing is accepted.
        """
        outcome: dict[EventID, JsonObject] = {}
        accepted: list[Event] = []
        for pdu in pdus:
            event_id, read = await self._read(origin, pdu)
            if isinstance(read, Refused):
                log.warning("pdu refused", origin=origin, event_id=event_id, reason=read.reason)
                if event_id is not None:
                    outcome[event_id] = {"error": read.reason}
            elif read is None:
                assert event_id is not None
                outcome[event_id] = {}
            else:
                outcome[read.event_id] = {}
                accepted.append(read)
        facts = await self._known.facts(event.event_id for event in accepted)
        new = [event for event in accepted if is_outlier(facts.get(event.event_id))]
        # Step 2. Passes signature checks, otherwise it is dropped.
        verified = await self._signatures.verify_events(new) if new else frozenset[EventID]()
        for event in new:
            if event.event_id not in verified:
                log.warning("pdu with wrong signature", origin=origin, event_id=event.event_id)
                outcome[event.event_id] = {"error": "A signature is missing or wrong"}
        await self._stage(origin, [event for event in new if event.event_id in verified])
        return outcome

    async def _stage(self, origin: ServerName, events: Sequence[Event]) -> None:
        if not events:
            return
        async with self._database.connection("stage_pdus") as connection:
            await inbound_pdus.stage(
                connection,
                origin,
                self._clock.now_ms(),
                [(event.room_id, event.event_id, stored_pdu(event)) for event in events],
            )
        for event in events:
            self._inbox.expect(event)
        self._inbox.wake({event.room_id for event in events})

    async def _read(
        self, origin: ServerName, pdu: JsonValue
    ) -> tuple[EventID | None, Event | Refused | None]:
        """Return a PDU's event; None: it is dealt with."""
        room_id = _room_id(pdu)
        if not isinstance(pdu, dict) or room_id is None:
            return None, Refused("The event names no room")
        head = await self._heads.head(room_id)
        if head is None or not head.local_joined:
            ended = await self._ended_invites.take(origin, RoomID(room_id), pdu)
            if ended is not None:
                return ended.event_id, None
            # Without the room there is no room version, and so no event ID to speak of.
            return None, Refused("This server is not in the room")
        try:
            event = received_event(pdu, head.rules)
        except InvalidEvent as error:
            return _event_id(pdu, head.rules), Refused(str(error))
        if not await self._acls.allows(head, origin):
            return event.event_id, Refused("The server is banned from the room")
        return event.event_id, event


def _room_id(pdu: JsonValue) -> RoomID | None:
    room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
    try:
        return parse_room_id(room_id) if isinstance(room_id, str) else None
    except InvalidIdentifier:
        return None


def _event_id(pdu: JsonObject, rules: RoomVersionRules) -> EventID | None:
    try:
        return event_id_of(pdu, rules)
    except (InvalidEvent, InvalidJson):
        return None
