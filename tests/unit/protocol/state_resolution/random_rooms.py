"""Random forked rooms, played by the rules: each fork accepts what its own state allows."""

from typing import Any

import msgspec
from hypothesis import strategies as st

from homeserver.protocol.auth_rules.selection import select_auth_events
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules
from tests.unit.protocol.state_resolution import model

USERS = [UserID(f"@{name}:example.org") for name in ("alice", "bob", "carol", "dan")]
FORKS = 3
JOIN_RULES = ("public", "invite", "knock")
LEVELS = (0, 50, 100)


class Step(msgspec.Struct, frozen=True):
    """Someone does something on a fork; what it is depends on `action`, how on the others."""

    fork: int
    sender: int
    action: str
    target: int
    variant: int
    ts: int


ACTIONS = ("join", "leave", "kick", "ban", "invite", "levels", "rules", "topic", "merge", "stale")
# Few distinct times, so that ties occur.
steps = st.lists(
    st.builds(
        Step,
        fork=st.integers(0, FORKS - 1),
        sender=st.integers(0, len(USERS) - 1),
        action=st.sampled_from(ACTIONS),
        target=st.integers(0, len(USERS) - 1),
        variant=st.integers(0, 2),
        ts=st.integers(0, 4),
    ),
    min_size=5,
    max_size=40,
)


class RandomRoom:
    """A room whose forks share nothing but their beginning, unless steps merge them.

    The stale step gives a fork an older event of one state key, as a server that was behind
    does when it answers a request for the state.
    """

    def __init__(self, rules: RoomVersionRules) -> None:
        self.rules = rules
        self.events: dict[EventID, Event] = {}
        alice = USERS[0]
        start: model.State = {}
        self._create(start, alice)
        self._add(start, alice, "m.room.member", alice, {"membership": "join"}, 0)
        self._add(start, alice, "m.room.power_levels", "", self._levels(1, 50), 0)
        self._add(start, alice, "m.room.join_rules", "", {"join_rule": "public"}, 0)
        self._add(start, USERS[1], "m.room.member", USERS[1], {"membership": "join"}, 0)
        self.forks = [dict(start) for _ in range(FORKS)]

    def play(self, played: list[Step]) -> None:
        for step in played:
            if step.action == "merge":
                merged = [self.forks[step.fork], self.forks[step.target % FORKS]]
                self.forks[step.fork] = model.resolve(merged, self.events, self.rules)
            elif step.action == "stale":
                self._make_stale(self.forks[step.fork], step)
            else:
                event_type, state_key, content = self._meaning(step)
                state = self.forks[step.fork]
                self._add(state, USERS[step.sender], event_type, state_key, content, step.ts)

    def _meaning(self, step: Step) -> tuple[str, str, JsonObject]:
        sender, target = USERS[step.sender], USERS[step.target]
        match step.action:
            case "join":
                return "m.room.member", sender, {"membership": "join", "n": step.variant}
            case "leave":
                return "m.room.member", sender, {"membership": "leave"}
            case "kick":
                return "m.room.member", target, {"membership": "leave"}
            case "ban":
                return "m.room.member", target, {"membership": "ban"}
            case "invite":
                return "m.room.member", target, {"membership": "invite"}
            case "levels":
                return "m.room.power_levels", "", self._levels(step.target, LEVELS[step.variant])
            case "rules":
                return "m.room.join_rules", "", {"join_rule": JOIN_RULES[step.variant]}
        return "m.room.topic", str(step.variant), {"topic": step.action}

    def _levels(self, target: int, level: int) -> JsonObject:
        users: dict[str, Any] = {USERS[0]: 100, USERS[target]: level}
        if self.rules.privileged_creators:
            users.pop(USERS[0])
        return {"users": users, "invite": 0}

    def _make_stale(self, state: model.State, step: Step) -> None:
        keys = sorted(key for key in state if key[0] != "m.room.create")
        key = keys[(step.target * 3 + step.variant) % len(keys)]
        older = [event_id for event_id, event in self.events.items() if model.key_of(event) == key]
        state[key] = older[step.sender % len(older)]

    def _create(self, state: model.State, creator: UserID) -> None:
        content = {"creator": creator, "room_version": self.rules.version}
        self._store(state, creator, "m.room.create", "", content, 0)

    def _add(
        self,
        state: model.State,
        sender: UserID,
        event_type: str,
        state_key: str,
        content: JsonObject,
        ts: int,
    ) -> None:
        """Add an event to a fork if the fork's state allows it."""
        event = self._build(state, sender, event_type, state_key, content, ts)
        if model.is_allowed(event, {k: self.events[v] for k, v in state.items()}, self.rules):
            self._store(state, sender, event_type, state_key, content, ts)

    def _store(self, state: model.State, *described: Any) -> None:
        event = self._build(state, *described)
        self.events[event.event_id] = event
        state[model.key_of(event)] = event.event_id

    def _build(
        self,
        state: model.State,
        sender: UserID,
        event_type: str,
        state_key: str,
        content: JsonObject,
        ts: int,
    ) -> Event:
        number = len(self.events)
        selected = select_auth_events(event_type, sender, state_key, content, self.rules)
        return Event(
            # Not in the order of time, so that ties by event ID do not follow it.
            event_id=EventID(f"${number * 37 % 100:02}.{number}" if number else "$create"),
            room_id=RoomID("!create"),
            room_version=self.rules.version,
            type=event_type,
            sender=sender,
            content=content,
            origin_server_ts=ts,
            depth=number % 7,
            prev_events=(EventID("$create"),) if number == 1 else (EventID("$other"),),
            auth_events=tuple(state[key] for key in selected if key in state),
            pdu={},
            state_key=state_key,
        )
