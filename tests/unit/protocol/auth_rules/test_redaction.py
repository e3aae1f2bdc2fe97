import pytest

from homeserver.protocol.auth_rules.context import auth_context
from homeserver.protocol.auth_rules.redaction import may_apply_redaction

FROM_3 = [str(number) for number in range(3, 13)]
BEFORE_3 = ["1", "2"]
ALICE, BOB, CAROL = "@alice:one", "@bob:two", "@carol:two"


@pytest.fixture(params=BEFORE_3)
def old_room(request, make_room):
    room = make_room(request.param)
    room.has(BOB, "join")
    room.levels(users={BOB: 10}, redact=11)
    return room


def redaction(room, redacts, **fields):
    return room.event("m.room.redaction", sender=BOB, redacts=redacts, **fields)


def test_the_redact_level_suffices_to_redact_anything(old_room):
    old_room.levels(users={BOB: 11}, redact=11)
    assert old_room.refusal(redaction(old_room, "$event:one")) is None


def test_below_the_redact_level_events_of_another_server_are_refused(old_room):
    assert old_room.refusal(redaction(old_room, "$event:one")) == "redaction.domain"


def test_below_the_redact_level_events_of_the_same_server_are_accepted(old_room):
    assert old_room.refusal(redaction(old_room, "$event:two")) is None


@pytest.mark.parametrize("redacts", [None, "$event"])
def test_a_redaction_of_nothing_is_refused(old_room, redacts):
    assert old_room.refusal(redaction(old_room, redacts)) == "redaction.domain"


def test_the_domain_is_that_of_the_event_id_not_of_the_sender(old_room):
    event = redaction(old_room, "$event:two", event_id="$redaction:one")
    assert old_room.refusal(event) == "redaction.domain"


def applies(room, event, redacted):
    return may_apply_redaction(event, redacted, auth_context(room.state, room.rules).power_levels)


@pytest.mark.parametrize("version", FROM_3)
def test_a_redaction_applies_to_events_of_the_same_server(make_room, version):
    room = make_room(version)
    redacted = room.event("m.room.message", sender=CAROL)
    assert applies(room, redaction(room, redacted.event_id), redacted)


@pytest.mark.parametrize("version", FROM_3)
def test_a_redaction_applies_to_others_from_the_redact_level_on(make_room, version):
    room = make_room(version)
    redacted = room.event("m.room.message", sender=ALICE)
    event = redaction(room, redacted.event_id)
    room.levels(users={BOB: 49})
    assert not applies(room, event, redacted)
    room.levels(users={BOB: 50})
    assert applies(room, event, redacted)


@pytest.mark.parametrize("version", BEFORE_3)
def test_an_accepted_redaction_of_an_old_version_applies(make_room, version):
    room = make_room(version)
    redacted = room.event("m.room.message", sender=ALICE)
    assert applies(room, redaction(room, redacted.event_id), redacted)


@pytest.mark.parametrize("version", ["1", "3", "12"])
def test_a_redaction_applies_to_the_event_it_names_only(make_room, version):
    room = make_room(version)
    redacted = room.event("m.room.message", sender=BOB)
    assert not applies(room, redaction(room, room.create.event_id), redacted)
    assert not applies(room, redaction(room, None), redacted)


@pytest.mark.parametrize("version", ["1", "3", "12"])
def test_a_redaction_does_not_reach_into_another_room(make_room, version):
    room = make_room(version)
    redacted = room.event("m.room.message", sender=BOB)
    event = redaction(room, redacted.event_id, room_id="!elsewhere:one")
    assert not applies(room, event, redacted)
