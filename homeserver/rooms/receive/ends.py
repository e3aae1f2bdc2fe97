"""Where a room ends when an event was taken in: its forward extremities, and the state there."""

from collections.abc import Sequence
from typing import Final

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID
from homeserver.rooms.head import RoomHead
from homeserver.rooms.receive.known import Around, KnownEvents, is_extremity_material
from homeserver.rooms.receive.states import (
    RoomState,
    RoomStates,
    changes_between,
    state_of_head,
)
from homeserver.storage import received_events
from homeserver.storage.database import Database
from homeserver.storage.received_events import AuthEdge

# Rejected events on the way from an event to the extremities that it covers.
_MAX_COVERED: Final = 100


class Ends:
    """Finds the forward extremities after an accepted event, and the current state."""

    def __init__(self, database: Database, known: KnownEvents, states: RoomStates) -> None:
        self._database = database
        self._known = known
        self._states = states

    async def after(
        self, head: RoomHead, event: Event, event_nid: int, stored: Around
    ) -> tuple[tuple[int, EventID], ...]:
        """Return the forward extremities with an event, in the order of their numbers."""
        covered = await self._covered(head, event, stored)
        left = [entry for entry in head.extremities if entry[1] not in covered]
        async with self._database.connection("named_as_prev") as connection:
            named = await received_events.named_as_prev(connection, head.room_nid, [event.event_id])
        # An event that others follow already is no end of the room.
        return tuple(left) if named and left else (*left, (event_nid, event.event_id))

    async def _covered(self, head: RoomHead, event: Event, stored: Around) -> set[EventID]:
        """Return the prev events, and what comes before those that are no extremities."""
        covered = set(event.prev_events)
        ends = {event_id for _, event_id in head.extremities}
        pending = [each for each in stored.prevs.values() if not is_extremity_material(each)]
        while pending and not ends <= covered and len(covered) < _MAX_COVERED:
            events = await self._known.events(pending)
            prevs = {each for event in events.values() for each in event.prev_events} - covered
            covered |= prevs
            facts = await self._known.facts(prevs)
            pending = [each for each in facts.values() if not is_extremity_material(each)]
        return covered

    async def state(
        self,
        head: RoomHead,
        edge: AuthEdge,
        after: RoomState,
        extremities: Sequence[tuple[int, EventID]],
    ) -> RoomState:
        """Return the resolved state of the extremities, the present one where it stays."""
        others = [event_id for nid, event_id in extremities if nid != edge.event_nid]
        facts = await self._known.facts(others)
        if len(head.extremities) == 1 and len(others) == 1 and not head.is_partial_state:
            # The usual fork: the state of the head is that after its one extremity.
            self._states.remember_after(head.extremities[0][0], state_of_head(head))
        states = [await self._states.after(facts[each]) for each in others]
        if len(others) < len(extremities):
            states.append(after)
        current = await self._states.merged(states, head.room_nid, head.rules, edge)
        if changes_between(head.state, current.entries):
            return current
        return state_of_head(head)
