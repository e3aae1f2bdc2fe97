import pytest

from homeserver.protocol.event import Event

ALL = [str(number) for number in range(1, 13)]
BEFORE_11 = ALL[:10]
BEFORE_12 = ALL[:11]


def create_event(room, *, without=(), **changes):
    content = {**room.create.content, **changes.pop("content", {})}
    content = {key: value for key, value in content.items() if key not in without}
    fields = {"state_key": "", "prev_events": (), "event_id": room.create.event_id, **changes}
    return room.event("m.room.create", content, **fields)


@pytest.mark.parametrize("version", ALL)
def test_a_create_event_is_accepted(make_room, version):
    room = make_room(version)
    assert room.refusal_without_state(create_event(room)) is None
    assert room.refusal(create_event(room)) is None


@pytest.mark.parametrize("version", ALL)
def test_a_create_event_needs_no_state(make_room, version):
    room = make_room(version)
    room.state.clear()
    assert room.refusal_by_auth_events(create_event(room)) is None


@pytest.mark.parametrize("version", ALL)
def test_a_create_event_with_previous_events_is_refused(make_room, version):
    room = make_room(version)
    event = create_event(room, prev_events=("$earlier:one",))
    assert room.refusal_without_state(event) == "create.prev_events"


@pytest.mark.parametrize("version", BEFORE_12)
@pytest.mark.parametrize("room_id", ["!room:two", "!room", "!" + "0" * 43])
def test_the_room_id_must_have_the_domain_of_the_sender(make_room, version, room_id):
    room = make_room(version)
    event = create_event(room, room_id=room_id)
    assert room.refusal_without_state(event) == "create.room_id_domain"


def test_a_create_event_of_version_12_must_not_have_a_room_id(make_room):
    room = make_room("12")
    event = create_event(room)
    with_room_id = Event(
        **{
            **{name: getattr(event, name) for name in event.__struct_fields__},
            "pdu": {**event.pdu, "room_id": event.room_id},
        }
    )
    assert room.refusal_without_state(with_room_id) == "create.room_id_present"


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("stated", ["13", "org.example.unknown", "", None, 1, [], {}])
def test_an_unrecognised_room_version_is_refused(make_room, version, stated):
    room = make_room(version)
    event = create_event(room, content={"room_version": stated})
    assert room.refusal_without_state(event) == "create.room_version"


def test_a_version_other_than_the_one_judged_by_is_refused(make_room):
    room = make_room("6")
    event = create_event(room, content={"room_version": "7"})
    assert room.refusal_without_state(event) == "create.room_version"


def test_a_missing_room_version_means_version_1(make_room):
    of_version_1, of_version_2 = make_room("1"), make_room("2")
    event = create_event(of_version_1, without=("room_version",))
    assert of_version_1.refusal_without_state(event) is None
    event = create_event(of_version_2, without=("room_version",))
    assert of_version_2.refusal_without_state(event) == "create.room_version"


@pytest.mark.parametrize("version", BEFORE_11)
def test_a_creator_is_required_before_version_11(make_room, version):
    room = make_room(version)
    event = create_event(room, without=("creator",))
    assert room.refusal_without_state(event) == "create.creator"


@pytest.mark.parametrize("version", ["11", "12"])
def test_no_creator_is_required_from_version_11_on(make_room, version):
    room = make_room(version)
    assert "creator" not in create_event(room).content
    assert room.refusal_without_state(create_event(room)) is None


BAD_ADDITIONAL_CREATORS = [
    "@bob:two",
    {"@bob:two": True},
    None,
    7,
    [None],
    [["@bob:two"]],
    ["bob"],
    ["@bob"],
    ["@bob:two", "@carol:"],
    ["@" + "x" * 300 + ":two"],
]


@pytest.mark.parametrize("listed", BAD_ADDITIONAL_CREATORS)
def test_additional_creators_must_be_a_list_of_user_ids_in_version_12(make_room, listed):
    room = make_room("12")
    event = create_event(room, content={"additional_creators": listed})
    assert room.refusal_without_state(event) == "create.additional_creators"


@pytest.mark.parametrize("listed", [[], ["@bob:two"], ["@bob:two", "@Ünusual !:[::1]:8448"]])
def test_user_ids_are_accepted_as_additional_creators(make_room, listed):
    room = make_room("12")
    event = create_event(room, content={"additional_creators": listed})
    assert room.refusal_without_state(event) is None


@pytest.mark.parametrize("version", BEFORE_12)
def test_additional_creators_mean_nothing_before_version_12(make_room, version):
    room = make_room(version)
    event = create_event(room, content={"additional_creators": "anything"})
    assert room.refusal_without_state(event) is None
