import pytest

from homeserver.protocol.create import RoomCreation
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.power_levels import parse_power_levels
from homeserver.protocol.push_rules.conditions import PushEvent, RoomFacts
from homeserver.protocol.room_versions import rules_of

BOB = UserID("@bob:example.org")
ROOM = RoomID("!room:example.org")


@pytest.fixture(scope="session")
def push_event():
    """Makes an event, by default a message of Bob's."""

    def make(content=None, event_type="m.room.message", sender=BOB, state_key=None, redacts=None):
        content = {"msgtype": "m.text", "body": "hello"} if content is None else content
        event = Event(
            event_id=EventID("$event"),
            room_id=ROOM,
            room_version="10",
            type=event_type,
            sender=sender,
            content=content,
            origin_server_ts=1_700_000_000_000,
            depth=3,
            prev_events=(),
            auth_events=(),
            pdu={},
            state_key=state_key,
            redacts=redacts,
        )
        return PushEvent(event)

    return make


@pytest.fixture(scope="session")
def room_facts():
    """Makes a room, by default of ten members of whom Bob is none of the powerful."""

    def make(member_count=10, power_levels=None, version="10"):
        creation = RoomCreation(
            event_id=EventID("$create"),
            room_id=ROOM,
            room_version=version,
            sender=BOB,
            creator=BOB,
            creators=frozenset({BOB}),
            is_federatable=True,
            type=None,
            predecessor=None,
        )
        levels = parse_power_levels(creation, power_levels or {}, rules_of(version))
        return RoomFacts(member_count, levels)

    return make
