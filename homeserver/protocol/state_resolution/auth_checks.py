"""The authorization rules as state resolution asks them: against a state in the making."""

from collections.abc import Container, Mapping
from typing import Final, Generic

from homeserver.protocol.auth_rules.check import check_in_context
from homeserver.protocol.auth_rules.context import AuthContext, auth_context
from homeserver.protocol.auth_rules.selection import select_auth_events
from homeserver.protocol.create import room_creation
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event, StateKey, StateMap
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.power_levels import PowerLevels, parse_power_levels
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.protocol.state_resolution.auth_graph import AuthGraph
from homeserver.protocol.state_resolution.plan import EventKey, Plan

CREATE: Final[StateKey] = ("m.room.create", "")
POWER_LEVELS: Final[StateKey] = ("m.room.power_levels", "")


class AuthChecks(Generic[EventKey]):
    """Judges events by a state map of event keys and, for what it lacks, by their auth events.

    With `graph` None nothing but the state counts. Rejected auth events do not count.
    """

    def __init__(
        self,
        plan: Plan[EventKey],
        rules: RoomVersionRules,
        events: Mapping[EventKey, Event],
        graph: AuthGraph[EventKey] | None = None,
        rejected: Container[EventKey] = frozenset(),
    ) -> None:
        self._rules = rules
        self._events = events
        self._graph = graph
        self._rejected = rejected
        self._implied_create = _implied_create(plan, rules, events)
        self._levels: dict[tuple[EventID, EventID | None], PowerLevels] = {}

    def allows(self, key: EventKey, state: StateMap[EventKey]) -> bool:
        """Whether the rules let the event into a room in this state."""
        try:
            check_in_context(self._events[key], self._context(key, state))
        except AuthRefusal:
            return False
        return True

    def sender_level(self, key: EventKey) -> int:
        """Return the power level of an event's sender by the event's own auth events.

        0 where they name no create event, as no accepted event does.
        """
        cited = self._cited_state(key)
        create = cited.get(CREATE, self._implied_create)
        if create is None:
            return 0
        levels = self._levels_of(create, cited.get(POWER_LEVELS))
        return levels.of_user(self._events[key].sender)

    def _context(self, key: EventKey, state: StateMap[EventKey]) -> AuthContext:
        event = self._events[key]
        required = required_state(event, self._rules)
        cited = self._cited_state(key, without=self._rejected)
        found: dict[StateKey, Event] = {}
        if self._implied_create is not None:
            found[CREATE] = self._implied_create
        for state_key in required:
            current = state.get(state_key)
            # "If a (event_type, state_key) key that is required for checking the authorisation
            # rules is not present in the state, then the appropriate state event from the
            # event's auth_events is used if the auth event is not rejected."
            used = cited.get(state_key) if current is None else self._events.get(current)
            if used is not None:
                found[state_key] = used
        return auth_context(found, self._rules)

    def _cited_state(
        self, key: EventKey, *, without: Container[EventKey] = ()
    ) -> dict[StateKey, Event]:
        cited: dict[StateKey, Event] = {}
        for auth_key in self._graph.auth_events.get(key, ()) if self._graph else ():
            event = self._events.get(auth_key)
            if event is not None and event.state_key is not None and auth_key not in without:
                cited.setdefault((event.type, event.state_key), event)
        return cited

    def _levels_of(self, create: Event, power_levels: Event | None) -> PowerLevels:
        identity = (create.event_id, None if power_levels is None else power_levels.event_id)
        levels = self._levels.get(identity)
        if levels is None:
            creation = room_creation(create, self._rules)
            content = None if power_levels is None else power_levels.content
            levels = parse_power_levels(creation, content, self._rules)
            self._levels[identity] = levels
        return levels


def required_state(event: Event, rules: RoomVersionRules) -> list[StateKey]:
    """Return the state keys whose events decide about an event.

    Raises AuthRefusal: a member event has no state key.
    """
    return select_auth_events(event.type, event.sender, event.state_key, event.content, rules)


def create_events(plan: Plan[EventKey]) -> frozenset[EventKey]:
    """Return the create events of the states: one, unless a state is broken."""
    create = plan.unconflicted.get(CREATE)
    return plan.conflicted.get(CREATE, frozenset()) if create is None else frozenset((create,))


def _implied_create(
    plan: Plan[EventKey], rules: RoomVersionRules, events: Mapping[EventKey, Event]
) -> Event | None:
    """Return the create event that the room ID names, where `auth_events` do not name it."""
    if not rules.room_id_is_create_hash:
        return None
    known = (events.get(key) for key in create_events(plan))
    return next(
        (event for event in known if event and event.event_id[1:] == event.room_id[1:]), None
    )
