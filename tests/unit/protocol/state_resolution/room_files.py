"""Hand-written rooms: JSON files with events, states and the state they resolve to."""

import json
from pathlib import Path
from typing import Any

import msgspec

from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.room_versions import RoomVersionRules, StateResolution, rules_of

_ROOMS = Path(__file__).parent / "rooms"

# Which room version each algorithm is tried with: its own, and v2.1 also with the rules and the
# event format of version 11, so that both are seen to differ in the algorithm alone.
VERSIONS = {"v1": ("1",), "v2": ("2", "6", "11"), "v2.1": ("11", "12")}


class RoomFile(msgspec.Struct, frozen=True):
    name: str
    events: dict[str, dict[str, Any]]
    states: list[list[str]]
    resolved: dict[str, list[str]]


def load_rooms() -> list[RoomFile]:
    return [_load(path) for path in sorted(_ROOMS.glob("*.json"))]


def cases() -> list[tuple[RoomFile, str, str]]:
    """Each room with each algorithm that it has a result for, and each version of that."""
    return [
        (room, algorithm, version)
        for room in load_rooms()
        for algorithm in room.resolved
        for version in VERSIONS[algorithm]
    ]


def rules_for(algorithm: str, version: str) -> RoomVersionRules:
    return msgspec.structs.replace(rules_of(version), state_resolution=StateResolution(algorithm))


def build_events(room: RoomFile, rules: RoomVersionRules) -> dict[EventID, Event]:
    """Make the events; the files are written for versions before 12 and adapted to it.

    There the create event is not cited, and its sender is not in the power levels.
    """
    events: dict[EventID, Event] = {}
    for number, (name, written) in enumerate(room.events.items()):
        content = dict(written["content"])
        auth = [f"${cited}" for cited in written["auth"]]
        if rules.room_id_is_create_hash:
            auth = [cited for cited in auth if cited != "$create"]
        if rules.privileged_creators and isinstance(content.get("users"), dict):
            creator = room.events["create"]["sender"]
            content["users"] = {k: v for k, v in content["users"].items() if k != creator}
        events[EventID(f"${name}")] = Event(
            event_id=EventID(f"${name}"),
            room_id=RoomID("!create" if rules.room_id_is_create_hash else "!room:example.org"),
            room_version=rules.version,
            type=written["type"],
            sender=UserID(written["sender"]),
            content=content,
            origin_server_ts=written.get("ts", number * 1_000),
            depth=written.get("depth", number + 1),
            prev_events=tuple(list(events)[-1:]),
            auth_events=tuple(EventID(cited) for cited in auth),
            pdu={},
            state_key=written["state_key"],
        )
    return events


def state_of(names: list[str], events: dict[EventID, Event]) -> dict[StateKey, EventID]:
    state: dict[StateKey, EventID] = {}
    for name in names:
        event = events[EventID(f"${name}")]
        assert event.state_key is not None
        assert (event.type, event.state_key) not in state
        state[(event.type, event.state_key)] = event.event_id
    return state


def _load(path: Path) -> RoomFile:
    written = json.loads(path.read_text())
    listed = list(written["events"])
    if "base" in written:
        base = json.loads((_ROOMS / "bases" / f"{written['base']}.json").read_text())
        listed = base["events"] + listed
    events = {event["id"]: event for event in listed}
    assert len(events) == len(listed)
    return RoomFile(path.stem, events, written["states"], written["resolved"])
