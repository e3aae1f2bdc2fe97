"""Taking in single events at once, for which somebody waits: those of handshakes.

Spec: server-server-api/#joining-rooms
"""

from homeserver.errors import Forbidden, InvalidParam
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.known import (
    KnownEvents,
    has_state,
    is_extremity_material,
    is_outlier,
)
from homeserver.rooms.receive.take import Incoming, TakeEvents
from homeserver.storage.received_events import EventFacts


class AcceptEvent:
    """Takes an event into a room that this server is in, or says why not."""

    def __init__(self, heads: Heads, known: KnownEvents, take_events: TakeEvents) -> None:
        self._heads = heads
        self._known = known
        self._take_events = take_events

    async def accept(self, event: Event, origin: ServerName) -> EventFacts:
        """Take an event that is well-formed and signed, and whose template was made here.

        This server passes it on to the others in the room, whoever has sent it. Raises
        InvalidParam: it does not stand where a template would; Forbidden: the rules refuse it.
        """
        await self._check_place(event)
        incoming = Incoming(event, origin, is_passed_on=True)
        unjudged = await self._take_events.take(event.room_id, [incoming], may_ask=False)
        facts = (await self._known.facts([event.event_id])).get(event.event_id)
        if unjudged or facts is None or is_outlier(facts):
            raise InvalidParam("The event cannot be judged here")
        if not is_extremity_material(facts):
            raise Forbidden("The rules of the room do not allow it")
        return facts

    async def _check_place(self, event: Event) -> None:
        """Refuse an event that cites anything but events of the room that are here.

        Whoever sends it is not in the room and could not be asked for them.
        """
        head = await self._heads.head(event.room_id)
        if head is None or not head.local_joined:
            raise Forbidden("This server is not in the room")
        facts = await self._known.facts([*event.prev_events, *event.auth_events])
        # After filled-in history the state would have to be asked for.
        is_placed = all(has_state(facts.get(each)) for each in event.prev_events)
        if not event.prev_events or not is_placed:
            raise InvalidParam("prev_events are not those of the template")
        if any(each not in facts for each in event.auth_events):
            raise InvalidParam("auth_events are not those of the template")
        if any(each.room_nid != head.room_nid for each in facts.values()):
            raise InvalidParam("The event cites events of another room")
