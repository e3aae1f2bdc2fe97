import pytest

from homeserver.protocol.auth_rules.check import check_in_context
from homeserver.protocol.auth_rules.context import auth_context
from homeserver.protocol.errors import AuthRefusal

ALL = [str(number) for number in range(1, 13)]
BEFORE_6 = ALL[:5]
FROM_6 = ALL[5:]
BEFORE_12 = ALL[:11]
ALICE, BOB, CAROL = "@alice:one", "@bob:two", "@carol:one"


@pytest.fixture(params=ALL)
def room(request, make_room):
    """A room of every version with Alice at 100, and Bob of another server."""
    room = make_room(request.param)
    room.has(BOB, "join")
    users = {} if request.param == "12" else {ALICE: 100}
    room.levels(users=users)
    return room


def test_a_member_may_send_a_message(room):
    assert room.refusal(room.event("m.room.message", sender=BOB)) is None


@pytest.mark.parametrize("membership", ["invite", "knock", "leave", "ban"])
def test_only_joined_users_may_send(room, membership):
    room.has(BOB, membership)
    assert room.refusal(room.event("m.room.message", sender=BOB)) == "sender.not_joined"


def test_a_stranger_may_not_send(room):
    assert room.refusal(room.event("m.room.message", sender=CAROL)) == "sender.not_joined"


def test_a_malformed_membership_in_the_state_is_no_join(room):
    room.put("m.room.member", {"membership": ["join"]}, sender=BOB, state_key=BOB)
    assert room.refusal(room.event("m.room.message", sender=BOB)) == "sender.not_joined"


def test_a_state_without_create_event_refuses_all_but_create_events(room):
    del room.state["m.room.create", ""]
    assert room.refusal(room.event("m.room.message")) == "room.create"
    assert room.refusal(room.event("m.room.create", state_key="")) is None


def test_the_state_of_another_room_refuses(room):
    event = room.event("m.room.message", room_id="!elsewhere:one")
    assert room.refusal(event) == "room.create"


def test_a_parsed_context_judges_as_the_state_does(room):
    context = auth_context(room.state, room.rules)
    check_in_context(room.event("m.room.message", sender=BOB), context)
    with pytest.raises(AuthRefusal) as caught:
        check_in_context(room.event("m.room.topic", sender=BOB, state_key=""), context)
    assert caught.value.rule == "event.level"


def test_a_create_event_is_not_judged_by_a_state(room):
    del room.state["m.room.member", ALICE]
    check_in_context(room.create, auth_context(room.state, room.rules))


@pytest.mark.parametrize("version", ALL)
def test_a_room_that_does_not_federate_refuses_other_servers(make_room, version):
    room = make_room(version, {"m.federate": False})
    for user_id in (BOB, CAROL):
        room.has(user_id, "join")
    room.join_rule("public")
    assert room.refusal(room.event("m.room.message", sender=CAROL)) is None
    assert room.refusal(room.event("m.room.message", sender=BOB)) == "federate"
    assert room.refusal(room.member(BOB, "join")) == "federate"


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("value", [True, None, 0, "false"])
def test_only_false_closes_a_room_to_other_servers(make_room, version, value):
    room = make_room(version, {"m.federate": value})
    room.has(BOB, "join")
    assert room.refusal(room.event("m.room.message", sender=BOB)) is None


@pytest.mark.parametrize("version", BEFORE_6)
def test_a_server_may_list_its_own_aliases_without_any_other_right(make_room, version):
    room = make_room(version)
    assert room.refusal(room.event("m.room.aliases", sender=BOB, state_key="two")) is None


@pytest.mark.parametrize("version", BEFORE_6)
def test_an_aliases_event_needs_a_state_key(make_room, version):
    room = make_room(version)
    assert room.refusal(room.event("m.room.aliases")) == "aliases.state_key"


@pytest.mark.parametrize("version", BEFORE_6)
@pytest.mark.parametrize("state_key", ["one", "", "two:8448"])
def test_a_server_may_not_list_the_aliases_of_another(make_room, version, state_key):
    room = make_room(version)
    event = room.event("m.room.aliases", sender=BOB, state_key=state_key)
    assert room.refusal(event) == "aliases.domain"


@pytest.mark.parametrize("version", FROM_6)
def test_aliases_are_ordinary_state_from_version_6_on(make_room, version):
    room = make_room(version)
    aliases = {"sender": BOB, "state_key": "two"}
    assert room.refusal(room.event("m.room.aliases", **aliases)) == "sender.not_joined"
    room.has(BOB, "join")
    assert room.refusal(room.event("m.room.aliases", **aliases)) == "event.level"
    assert room.refusal(room.event("m.room.aliases", state_key="two")) is None


def test_a_third_party_invite_needs_the_invite_level_only(room):
    room.levels(users={BOB: 30}, invite=30, state_default=50)
    event = room.event("m.room.third_party_invite", sender=BOB, state_key="token")
    assert room.refusal(event) is None


def test_a_third_party_invite_below_the_invite_level_is_refused(room):
    room.levels(users={BOB: 30}, invite=31, state_default=0)
    event = room.event("m.room.third_party_invite", sender=BOB, state_key="token")
    assert room.refusal(event) == "third_party_invite.level"


def test_a_third_party_invite_of_a_stranger_is_refused(room):
    event = room.event("m.room.third_party_invite", sender=CAROL, state_key="token")
    assert room.refusal(event) == "sender.not_joined"


def test_state_needs_the_state_level(room):
    topic = room.event("m.room.topic", sender=BOB, state_key="")
    assert room.refusal(topic) == "event.level"
    room.levels(users={BOB: 50})
    assert room.refusal(topic) is None


def test_a_message_needs_the_events_level(room):
    message = room.event("m.room.message", sender=BOB)
    room.levels(users={BOB: 9}, events_default=10)
    assert room.refusal(message) == "event.level"
    room.levels(users={BOB: 10}, events_default=10)
    assert room.refusal(message) is None


def test_the_level_of_the_event_type_goes_before_the_default(room):
    room.levels(users={BOB: 20}, events={"m.room.topic": 20, "m.room.name": 21}, state_default=5)
    assert room.refusal(room.event("m.room.topic", sender=BOB, state_key="")) is None
    assert room.refusal(room.event("m.room.name", sender=BOB, state_key="")) == "event.level"


def test_a_state_key_of_another_user_is_refused(room):
    room.levels(users={BOB: 100})
    event = room.event("org.example.status", sender=BOB, state_key=CAROL)
    assert room.refusal(event) == "event.state_key"


@pytest.mark.parametrize("state_key", [BOB, "", "bob", "_" + CAROL])
def test_a_state_key_of_oneself_or_of_no_user_is_accepted(room, state_key):
    room.levels(users={BOB: 100})
    assert room.refusal(room.event("org.example.status", sender=BOB, state_key=state_key)) is None


@pytest.mark.parametrize("version", BEFORE_12)
def test_without_power_levels_the_creator_has_100_and_others_0(make_room, version):
    room = make_room(version)
    room.has(BOB, "join")
    assert room.refusal(room.event("m.room.topic", state_key="")) is None
    assert room.refusal(room.event("m.room.topic", sender=BOB, state_key="")) == "event.level"


def test_creators_of_version_12_are_above_every_level(make_room):
    room = make_room("12", {"additional_creators": [BOB]})
    room.has(BOB, "join")
    room.has(CAROL, "join")
    room.levels(events={"m.room.topic": 2**53 - 1}, users={CAROL: 2**53 - 2})
    for creator in (ALICE, BOB):
        assert room.refusal(room.event("m.room.topic", sender=creator, state_key="")) is None
    assert room.refusal(room.event("m.room.topic", sender=CAROL, state_key="")) == "event.level"


@pytest.mark.parametrize("version", BEFORE_12)
def test_creators_of_earlier_versions_have_only_the_level_they_are_given(make_room, version):
    room = make_room(version, {"additional_creators": [BOB]})
    room.has(BOB, "join")
    room.levels(users={})
    for user_id in (ALICE, BOB):
        topic = room.event("m.room.topic", sender=user_id, state_key="")
        assert room.refusal(topic) == "event.level"


@pytest.mark.parametrize("version", ALL[2:])
def test_redactions_are_ordinary_events_from_version_3_on(make_room, version):
    room = make_room(version)
    room.has(BOB, "join")
    room.levels(redact=100)
    redaction = room.event("m.room.redaction", sender=BOB, redacts=room.create.event_id)
    assert room.refusal(redaction) is None
    room.levels(events={"m.room.redaction": 1})
    assert room.refusal(redaction) == "event.level"
