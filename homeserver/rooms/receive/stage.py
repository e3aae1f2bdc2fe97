"""Accepting the PDUs of a transaction: what can be said of them at once, and durably kept.

Spec: server-server-api/#put_matrixfederationv1sendtxnid
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from homeserver.errors import LimitExceeded
from homeserver.ports import EventSignatures
from homeserver.protocol.errors import InvalidEvent, InvalidIdentifier, InvalidJson
from homeserver.protocol.event import Event
from homeserver.protocol.hashing import event_id_of
from homeserver.protocol.identifiers import EventID, RoomID, ServerName, parse_room_id
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.ended_invites import EndedInvites
from homeserver.rooms.receive.inbox import Inbox
from homeserver.rooms.receive.known import KnownEvents, is_outlier
from homeserver.rooms.receive.pdus import received_event
from homeserver.rooms.receive.server_acls import ServerAcls
from homeserver.storage import room_servers
from homeserver.storage.database import Database
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# To an origin of which too much waits: some thousand events take about so long.
_RETRY_AFTER_MS: Final = 10_000


class Refused(NamedTuple):
    """Why a PDU is not accepted."""

    reason: str


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
    ) -> None:
        self._database = database
        self._heads = heads
        self._known = known
        self._acls = acls
        self._signatures = signatures
        self._inbox = inbox
        self._ended_invites = ended_invites

    async def stage(
        self, origin: ServerName, pdus: Sequence[JsonValue]
    ) -> dict[EventID, JsonObject]:
        """Accept PDUs durably; they get into their rooms afterwards.

        Returns by event ID `{}` or `{"error": …}`, as the answer to the transaction wants it. A
        PDU so wrong that it has no event ID is not in it.
        Raises DatabaseUnavailable, LimitExceeded: nothing is accepted, and to be sent again.
        """
        outcome: dict[EventID, JsonObject] = {}
        accepted: list[Event] = []
        rooms = await self._known_rooms(pdus)
        for pdu in pdus:
            event_id, read = await self._read(origin, pdu, rooms)
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
        good = [event for event in new if event.event_id in verified]
        if good and not await self._inbox.stage(origin, good):
            log.warning("too many staged pdus", origin=origin)
            raise LimitExceeded(_RETRY_AFTER_MS, "Too many events of the server wait")
        return outcome

    async def _known_rooms(self, pdus: Sequence[JsonValue]) -> set[RoomID]:
        """Return those rooms of PDUs that this server knows.

        Names that somebody has made up must not drive the heads of real rooms out of memory.
        """
        named = {room_id for room_id in map(_room_id, pdus) if room_id is not None}
        loaded = {room_id for room_id in named if self._heads.is_loaded(room_id)}
        if loaded == named:
            return loaded
        async with self._database.connection("stage_pdus") as connection:
            known = await room_servers.known_rooms(connection, list(named - loaded))
        return loaded | {RoomID(each) for each in known}

    async def _read(
        self, origin: ServerName, pdu: JsonValue, rooms: set[RoomID]
    ) -> tuple[EventID | None, Event | Refused | None]:
        """Return a PDU's event; None: it is dealt with."""
        room_id = _room_id(pdu)
        if not isinstance(pdu, dict) or room_id is None:
            return None, Refused("The event names no room")
        head = await self._heads.head(room_id) if room_id in rooms else None
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
