import pytest

from homeserver.protocol.auth_rules.auth_events import check_room_of_create
from homeserver.protocol.auth_rules.check import check_auth, check_state_independent
from homeserver.protocol.errors import AuthRefusal

ALL = [str(number) for number in range(1, 13)]
BEFORE_12 = ALL[:11]
ALICE, BOB = "@alice:one", "@bob:two"


def usual(room):
    """The auth events of a message by Alice."""
    alice = room.state["m.room.member", ALICE]
    return [alice] if room.rules.version == "12" else [room.create, alice]


@pytest.mark.parametrize("version", ALL)
def test_the_selected_auth_events_are_accepted(make_room, version):
    room = make_room(version)
    cited = [*usual(room), room.levels(users={ALICE: 100})]
    assert room.refusal_without_state(room.citing(*cited), *cited) is None
    assert room.refusal_by_auth_events(room.citing(*cited), *cited) is None


@pytest.mark.parametrize("version", ALL)
def test_an_event_refused_by_its_auth_events_state_is_refused(make_room, version):
    room = make_room(version)
    cited = [] if version == "12" else [room.create]
    assert room.refusal_by_auth_events(room.citing(*cited), *cited) == "sender.not_joined"


@pytest.mark.parametrize("version", ALL)
def test_judging_by_auth_events_includes_which_ones_they_are(make_room, version):
    room = make_room(version)
    cited = [*usual(room), room.put("m.room.topic")]
    event = room.citing(*cited)
    assert room.refusal_by_auth_events(event, *cited) == "auth_events.extraneous"


@pytest.mark.parametrize("version", ALL)
def test_two_events_for_one_state_key_are_refused(make_room, version):
    room = make_room(version)
    cited = [*usual(room), room.has(ALICE, "join")]
    event = room.citing(*cited)
    assert room.refusal_without_state(event, *cited) == "auth_events.duplicate"


@pytest.mark.parametrize("version", ALL)
def test_an_event_cited_twice_is_refused_even_if_handed_over_once(make_room, version):
    room = make_room(version)
    cited = usual(room)
    event = room.citing(*cited, cited[-1])
    assert room.refusal_without_state(event, *cited) == "auth_events.duplicate"


@pytest.mark.parametrize("version", ALL)
def test_an_auth_event_that_is_not_at_hand_is_refused(make_room, version):
    room = make_room(version)
    cited = usual(room)
    event = room.citing(*cited, room.levels())
    assert room.refusal_without_state(event, *cited) == "auth_events.unknown"


@pytest.mark.parametrize("version", ALL)
def test_an_event_that_is_not_cited_cannot_help(make_room, version):
    room = make_room(version)
    cited = usual(room)
    event = room.citing(*cited)
    assert room.refusal_without_state(event, *cited, room.levels()) == "auth_events.unknown"


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("state_key", ["", None])
def test_an_event_outside_the_selection_is_refused(make_room, version, state_key):
    room = make_room(version)
    cited = [*usual(room), room.event("m.room.topic", state_key=state_key)]
    event = room.citing(*cited)
    assert room.refusal_without_state(event, *cited) == "auth_events.extraneous"


@pytest.mark.parametrize("version", ALL)
def test_the_member_event_of_a_stranger_is_refused(make_room, version):
    room = make_room(version)
    cited = [*usual(room), room.has(BOB, "join")]
    event = room.citing(*cited)
    assert room.refusal_without_state(event, *cited) == "auth_events.extraneous"


def test_version_12_refuses_to_cite_the_create_event(make_room):
    room = make_room("12")
    cited = [room.create, *usual(room)]
    event = room.citing(*cited)
    assert room.refusal_without_state(event, *cited) == "auth_events.extraneous"


@pytest.mark.parametrize("version", ALL)
def test_a_rejected_auth_event_is_refused(make_room, version):
    room = make_room(version)
    cited = usual(room)
    rejected = {cited[-1].event_id}
    event = room.citing(*cited)
    assert room.refusal_without_state(event, *cited, rejected=rejected) == "auth_events.rejected"


@pytest.mark.parametrize("version", BEFORE_12)
def test_the_create_event_must_be_cited_before_version_12(make_room, version):
    room = make_room(version)
    alice = room.state["m.room.member", ALICE]
    assert room.refusal_without_state(room.citing(alice), alice) == "auth_events.no_create"


@pytest.mark.parametrize("version", ALL)
def test_an_auth_event_of_another_room_is_refused(make_room, version):
    room = make_room(version)
    foreign = room.event(
        "m.room.power_levels", state_key="", room_id="!elsewhere:one", event_id="$foreign:one"
    )
    cited = [*usual(room), foreign]
    event = room.citing(*cited)
    assert room.refusal_without_state(event, *cited) == "auth_events.other_room"


def test_version_12_refuses_an_event_whose_room_has_no_known_create_event(make_room):
    room = make_room("12")
    cited = usual(room)
    for check in (check_state_independent, check_auth):
        with pytest.raises(AuthRefusal) as caught:
            check(room.citing(*cited), cited, room.rules, signed_by=bool)
        assert caught.value.rule == "room.create"


def test_version_12_refuses_an_event_whose_create_event_was_rejected(make_room):
    room = make_room("12")
    cited = usual(room)
    event = room.citing(*cited)
    rejected = {room.create.event_id}
    assert room.refusal_without_state(event, *cited, rejected=rejected) == "room.create"


def test_version_12_refuses_a_room_id_that_names_another_kind_of_event(make_room):
    room = make_room("12")
    topic = room.event("m.room.topic", state_key="", event_id=room.create.event_id)
    with pytest.raises(AuthRefusal) as caught:
        check_room_of_create(room.event("m.room.message"), topic, frozenset())
    assert caught.value.rule == "room.create"


def test_version_12_refuses_the_create_event_of_another_room(make_room):
    room = make_room("12")
    cited = usual(room)
    event = room.citing(*cited, room_id="!" + "9" * 43)
    assert room.refusal_without_state(event, *cited) == "room.create"


@pytest.mark.parametrize("version", BEFORE_12)
def test_versions_before_12_do_not_look_for_the_create_event_elsewhere(make_room, version):
    room = make_room(version)
    cited = usual(room)
    event = room.citing(*cited)
    check_state_independent(event, cited, room.rules, signed_by=bool)
    check_auth(event, cited, room.rules, signed_by=bool)
