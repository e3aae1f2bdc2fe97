import msgspec
import pytest

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, UserID

EVENT = Event(
    event_id=EventID("$e"),
    room_id=RoomID("!r:example.org"),
    room_version="10",
    type="m.room.member",
    sender=UserID("@alice:example.org"),
    content={"membership": "join"},
    origin_server_ts=1,
    depth=1,
    prev_events=(),
    auth_events=(),
    pdu={},
)


def test_a_state_key_makes_a_state_event_even_when_it_is_empty():
    assert msgspec.structs.replace(EVENT, state_key="").is_state
    assert not msgspec.structs.replace(EVENT, state_key=None).is_state


def test_a_member_event_has_a_membership():
    assert EVENT.membership == "join"


@pytest.mark.parametrize(
    "content", [{}, {"membership": None}, {"membership": 1}, {"membership": ["join"]}]
)
def test_a_membership_that_is_no_string_is_none(content):
    assert msgspec.structs.replace(EVENT, content=content).membership is None


def test_other_events_have_no_membership():
    assert msgspec.structs.replace(EVENT, type="m.room.message").membership is None


def test_events_are_frozen():
    with pytest.raises(AttributeError):
        EVENT.depth = 2
