"""CPU time of merging two states of 10,000 events, 100 of them in conflict.

Budget: 100 ms. Run with `python benchmarks/state_resolution.py [repetitions]`.
The two sides of a fork each changed fifty things: profiles, departures, kicks, power levels,
widgets. "cited" is the usual case, in which the auth chains of the conflicted events settle
everything; "walked" makes the whole auth graph of the room necessary.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable

import msgspec

from homeserver.protocol.auth_rules.selection import select_auth_events
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules, StateResolution, rules_of
from homeserver.protocol.state_resolution.auth_graph import (
    AuthGraph,
    graph_of,
    shared_events,
    undecided_events,
)
from homeserver.protocol.state_resolution.plan import plan
from homeserver.protocol.state_resolution.resolve import (
    events_to_replay,
    resolve,
    supporting_events,
)

STATE_EVENTS = 10_000
CONFLICTED_PER_SIDE = 50
EARLIER_POWER_LEVELS = 200
ROOM_ID = RoomID("!room:example.org")
ADMIN = UserID("@admin:example.org")


class Room:
    """A room in the making; every event cites what its state selects."""

    def __init__(self, rules: RoomVersionRules) -> None:
        self.rules = rules
        self.events: dict[EventID, Event] = {}
        self.state: dict[StateKey, EventID] = {}

    def add(self, event_type: str, sender: UserID, state_key: str, content: JsonObject) -> EventID:
        number = len(self.events)
        selected = select_auth_events(event_type, sender, state_key, content, self.rules)
        event = Event(
            event_id=EventID(f"${number:043}"),
            room_id=ROOM_ID,
            room_version=self.rules.version,
            type=event_type,
            sender=sender,
            content=content,
            origin_server_ts=1_700_000_000_000 + number,
            depth=number + 1,
            prev_events=(EventID(f"${number - 1:043}"),) if number else (),
            auth_events=tuple(self.state[key] for key in selected if key in self.state),
            pdu={},
            state_key=state_key,
        )
        self.events[event.event_id] = event
        self.state[(event_type, state_key)] = event.event_id
        return event.event_id

    def join(self, user_id: UserID, name: str) -> None:
        content = {"membership": "join", "displayname": name}
        self.add("m.room.member", user_id, user_id, content)

    def set_levels(self, moderators: int) -> None:
        users = {ADMIN: 100} | {user(number): 50 for number in range(moderators)}
        self.add("m.room.power_levels", ADMIN, "", {"users": users})


def user(number: int) -> UserID:
    return UserID(f"@user{number}:server{number % 500}.example.org")


def build_fork(
    rules: RoomVersionRules,
) -> tuple[dict[EventID, Event], list[dict[StateKey, EventID]]]:
    room = Room(rules)
    room.add("m.room.create", ADMIN, "", {"room_version": rules.version})
    room.join(ADMIN, "admin")
    room.set_levels(0)
    room.add("m.room.join_rules", ADMIN, "", {"join_rule": "public"})
    members = STATE_EVENTS - len(room.state)
    for number in range(members):
        if number % (members // EARLIER_POWER_LEVELS) == 0:
            room.set_levels(min(number, 20))
        room.join(user(number), f"user {number}")
    before = dict(room.state)
    sides = []
    for side in range(2):
        room.state = dict(before)
        change_side(room, side)
        sides.append(room.state)
    return room.events, sides


def change_side(room: Room, side: int) -> None:
    room.set_levels(30 + side)
    room.add("m.room.join_rules", user(side), "", {"join_rule": "public", "side": side})
    for index in range(2, CONFLICTED_PER_SIDE):
        target = user(1_000 + index)
        if index % 5 == 0:
            kick = {"membership": "leave", "reason": f"side {side}"}
            room.add("m.room.member", user(index % 20), target, kick)
        elif index % 5 == 1:
            room.add(
                "im.vector.modular.widgets", user(index % 20), f"widget{index}", {"side": side}
            )
        else:
            room.join(target, f"name of side {side}")


def merge(
    events: dict[EventID, Event],
    graph: AuthGraph[EventID],
    sides: list[dict[StateKey, EventID]],
    rules: RoomVersionRules,
    *,
    is_walked: bool,
) -> tuple[int, int]:
    conflict = plan(sides, rules)
    undecided = undecided_events(conflict, graph)
    if is_walked:
        difference = undecided - graph.reach(conflict.unconflicted.values())
    else:
        difference = undecided - shared_events(conflict, graph, undecided)
    replayed = events_to_replay(conflict, graph, rules, difference)
    supporting_events(conflict, graph, rules, {key: events[key] for key in replayed})
    resolve(conflict, replayed, graph=graph, events=events, rules=rules)
    return len(conflict.conflicted_events), len(replayed)


def cpu_ms(work: Callable[[], object], repetitions: int) -> list[float]:
    work()
    figures = []
    for _ in range(repetitions):
        gc.collect()
        start = time.process_time()
        work()
        figures.append((time.process_time() - start) * 1_000)
    return sorted(figures)


def main(repetitions: int) -> None:
    for algorithm in (StateResolution.V1, StateResolution.V2, StateResolution.V2_1):
        rules = msgspec.structs.replace(rules_of("11"), state_resolution=algorithm)
        events, sides = build_fork(rules)
        graph = graph_of(events.values())
        for name, is_walked in (("cited", False), ("walked", True)):
            conflicted, replayed = merge(events, graph, sides, rules, is_walked=is_walked)
            figures = cpu_ms(
                lambda: merge(events, graph, sides, rules, is_walked=is_walked),  # noqa: B023
                repetitions,
            )
            print(
                f"{algorithm.value:5} {name:7} state {len(sides[0])}, {conflicted} conflicted, "
                f"{replayed} replayed: median {statistics.median(figures):6.1f} ms CPU, "
                f"{figures[0]:.1f} to {figures[-1]:.1f}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
