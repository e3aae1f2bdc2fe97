import pytest

from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.uia import (
    DUMMY,
    EMAIL_IDENTITY,
    RECAPTCHA,
    UiaSession,
    is_satisfied,
    next_stages,
    parse_auth,
)

FOO, BAR, BAZ = "example.type.foo", "example.type.bar", "example.type.baz"
SESSION = UiaSession(
    session_id="xxxxxx",
    flows=((FOO, BAR), (FOO, BAZ)),
    params={BAZ: {"example_key": "foobar"}, "unused": {}},
)


def test_the_first_challenge_is_that_of_the_specification():
    assert SESSION.challenge() == {
        "flows": [{"stages": [FOO, BAR]}, {"stages": [FOO, BAZ]}],
        "params": {BAZ: {"example_key": "foobar"}},
        "session": "xxxxxx",
    }


def test_a_later_challenge_tells_what_is_completed():
    assert SESSION.with_completed(FOO).challenge() == SESSION.challenge() | {"completed": [FOO]}


def test_a_failed_attempt_is_told_with_its_reason():
    body = SESSION.challenge("M_FORBIDDEN", "Invalid password")
    assert body["errcode"] == "M_FORBIDDEN"
    assert body["error"] == "Invalid password"
    assert SESSION.challenge("M_FORBIDDEN")["error"] == ""


def test_stages_are_attempted_in_the_order_of_a_flow():
    assert SESSION.may_attempt(FOO)
    assert not SESSION.may_attempt(BAR)
    later = SESSION.with_completed(FOO)
    assert later.may_attempt(BAR)
    assert later.may_attempt(BAZ)
    assert not later.may_attempt(FOO)
    assert not later.with_completed(BAR).may_attempt(BAZ)


def test_all_stages_of_one_flow_satisfy():
    assert not SESSION.is_satisfied
    assert not SESSION.with_completed(FOO).is_satisfied
    assert SESSION.with_completed(FOO).with_completed(BAZ).is_satisfied


@pytest.mark.parametrize(
    ("flows", "completed", "satisfied"),
    [
        ((), (), False),
        (((),), (), False),
        (((DUMMY,),), (), False),
        (((DUMMY,),), (DUMMY,), True),
        (((RECAPTCHA,), (RECAPTCHA, EMAIL_IDENTITY)), (RECAPTCHA,), True),
        (((RECAPTCHA, DUMMY), (RECAPTCHA, EMAIL_IDENTITY)), (RECAPTCHA,), False),
        (((FOO, BAR),), (BAR, FOO), False),
    ],
)
def test_a_flow_is_satisfied_in_its_order_and_never_without_a_stage(flows, completed, satisfied):
    assert is_satisfied(flows, completed) is satisfied


def test_nothing_comes_next_when_the_flows_are_at_their_end():
    assert next_stages(((FOO,),), (FOO,)) == frozenset()


def test_auth_is_read_with_all_its_members():
    auth = {"type": FOO, "session": "s", "credential": "secret"}
    attempt = parse_auth(auth)
    assert (attempt.type, attempt.session) == (FOO, "s")
    assert attempt.members == auth
    assert parse_auth({"session": "s"}).type is None


@pytest.mark.parametrize("auth", [None, [], "x", {"type": 1}, {"session": ["s"]}])
def test_auth_against_the_schema_is_refused(auth):
    with pytest.raises(InvalidJson):
        parse_auth(auth)
