"""Steps 4 to 6 of the checks on receipt: authorization by three different states.

Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from homeserver.protocol.auth_rules.check import (
    check_auth,
    check_in_context,
    check_state_dependent,
    check_state_independent,
)
from homeserver.protocol.auth_rules.selection import select_auth_events
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import CREATE, JOIN_RULES, POWER_LEVELS, RoomHead, StateEntry
from homeserver.rooms.receive.known import KnownEvents, is_rejected


class Cited(NamedTuple):
    """The auth events that an event names, all of them."""

    events: list[Event]
    nids: list[int]
    rejected: frozenset[EventID]


class Judge:
    """Judges received events. Signatures were verified when the events came in."""

    def __init__(self, known: KnownEvents, cache: EventCache) -> None:
        self._known = known
        self._cache = cache

    async def cited(self, event: Event) -> Cited | None:
        """Load the auth events of an event; None: not all of them are stored."""
        facts = await self._known.facts(event.auth_events)
        if len(facts) < len(set(event.auth_events)):
            return None
        events = await self._known.events(facts.values())
        return Cited(
            [events[each] for each in facts if each in events],
            [each.event_nid for each in facts.values()],
            frozenset(each.event_id for each in facts.values() if is_rejected(each)),
        )

    async def fits_head(self, event: Event, head: RoomHead) -> list[int] | None:
        """Judge an event that is built on the head and cites the current state.

        Returns the numbers of its auth events. None: it is not of this simple kind, or refused.
        """
        try:
            chosen = select_auth_events(
                event.type, event.sender, event.state_key, event.content, head.rules
            )
            keys = dict.fromkeys([CREATE, POWER_LEVELS, JOIN_RULES, *chosen])
            entries = {key: head.state[key] for key in keys if key in head.state}
            by_id = {entry.event_id: key for key, entry in entries.items()}
            if not all(each in by_id for each in event.auth_events):
                return None
            state = await self._events(entries)
            cited = [state[by_id[each]] for each in event.auth_events]
            create = state[CREATE]
            check_state_independent(
                event, cited, head.rules, signed_by=_has_signed, create_event=create
            )
            check_in_context(event, head.auth_context(state.get))
            # With all of them cited, their state says the same as that of the head.
            if {by_id[each] for each in event.auth_events} != entries.keys() & set(chosen):
                check_auth(event, cited, head.rules, signed_by=_has_signed, create_event=create)
        except AuthRefusal:
            return None
        return [entries[by_id[each]].event_nid for each in event.auth_events]

    async def by_auth_events(
        self, event: Event, cited: Cited, head: RoomHead
    ) -> AuthRefusal | None:
        """Step 4. Passes authorization rules based on the event's auth events, otherwise reject."""
        create = await self._events({CREATE: head.state[CREATE]})
        try:
            check_auth(
                event,
                cited.events,
                head.rules,
                signed_by=_has_signed,
                rejected=cited.rejected,
                create_event=create[CREATE],
            )
        except AuthRefusal as refusal:
            return refusal
        return None

    async def by_state(
        self,
        event: Event,
        state: Mapping[StateKey, StateEntry],
        head: RoomHead,
        supplement: Iterable[Event] = (),
    ) -> AuthRefusal | None:
        """Steps 5 and 6. Passes authorization rules based on a state of the room.

        `supplement` stands in for what a partial state lacks.
        """
        try:
            keys = _deciding_keys(event, head)
            events = {(each.type, each.state_key or ""): each for each in supplement}
            events |= await self._events({key: state[key] for key in keys if key in state})
            check_state_dependent(event, events, head.rules)
        except AuthRefusal as refusal:
            return refusal
        return None

    async def _events(self, entries: Mapping[StateKey, StateEntry]) -> dict[StateKey, Event]:
        found = await self._cache.get(entry.event_nid for entry in entries.values())
        return {
            key: found[entry.event_nid]
            for key, entry in entries.items()
            if entry.event_nid in found
        }


def _deciding_keys(event: Event, head: RoomHead) -> list[StateKey]:
    """Return every key that the rules may look at. Raises AuthRefusal."""
    chosen = select_auth_events(
        event.type, event.sender, event.state_key, event.content, head.rules
    )
    return list(dict.fromkeys([CREATE, POWER_LEVELS, JOIN_RULES, *chosen]))


def _has_signed(_server: ServerName) -> bool:
    # An event without a signature that it must have is dropped before it is judged.
    return True
