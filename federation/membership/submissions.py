"""Taking the events of users of other servers into rooms here, and telling of the rooms.

Spec: server-server-api/#joining-rooms, #knocking-rooms, #leaving-rooms-rejecting-invites
"""

from federation.membership.residence import RoomsHere, SubmittedEvents, check_known, check_whole
from federation.membership.room_previews import described_by
from homeserver.errors import Forbidden
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.receive.accept import AcceptEvent
from homeserver.rooms.state_at_join import StateAtJoin, StatesAtJoin
from homeserver.rooms.stripped_state import shown_outside


class Submissions:
    """Takes in joins, knocks and leaves. All raise InvalidParam, NotFound, Forbidden."""

    def __init__(
        self,
        rooms: RoomsHere,
        events: SubmittedEvents,
        accept: AcceptEvent,
        states: StatesAtJoin,
        cache: EventCache,
    ) -> None:
        self._rooms = rooms
        self._events = events
        self._accept = accept
        self._states = states
        self._cache = cache

    async def join(
        self,
        origin: ServerName,
        room_id: RoomID,
        event_id: EventID,
        pdu: JsonObject,
        *,
        omit_members: bool,
    ) -> tuple[Event, StateAtJoin]:
        """Take a join in; return it as it is in the room, and the room before it."""
        head = await self._rooms.room(origin, room_id)
        check_whole(head)
        event = await self._events.read(origin, head, event_id, pdu, kind="join")
        facts = await self._accept.accept(event, origin)
        # With the signature of a policy server, if the room has one.
        stored = (await self._cache.get([facts.event_nid])).get(facts.event_nid, event)
        if omit_members:
            return stored, await self._states.without_members(facts, head)
        return stored, await self._states.whole(facts, head)

    async def knock(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, pdu: JsonObject
    ) -> list[JsonObject]:
        """Take a knock in; return state events that describe the room."""
        head = await self._rooms.room(origin, room_id)
        if not head.rules.knocking:
            raise Forbidden("This room does not support knocking")
        check_whole(head)
        event = await self._events.read(origin, head, event_id, pdu, kind="knock")
        await self._accept.accept(event, origin)
        return described_by(await shown_outside(head, self._cache))

    async def leave(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, pdu: JsonObject
    ) -> None:
        """Take a leave in: an invite is rejected, a knock retracted, or a room left."""
        head = await self._rooms.room(origin, room_id)
        event = await self._events.read(origin, head, event_id, pdu, kind="leave")
        check_known(head, event.sender)
        await self._accept.accept(event, origin)
