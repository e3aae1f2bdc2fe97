"""Refusals carry exactly what the specification says."""

import inspect

import pytest

from homeserver import errors
from homeserver.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    LimitExceeded,
    MatrixError,
    NamedError,
    NotJoined,
    RemoteError,
    ResourceLimitExceeded,
    UiaRequired,
    UnknownToken,
    Unrecognized,
    UserLocked,
    WrongRoomKeysVersion,
)

NAMED = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, NamedError) and kind is not NamedError
]


@pytest.mark.parametrize("kind", NAMED)
def test_every_kind_has_a_code_a_status_and_a_text(kind: type[NamedError]) -> None:
    assert kind.ERRCODE.startswith("M_")
    assert kind.ERRCODE != "M_UNKNOWN"
    assert 400 <= kind.STATUS < 600
    assert kind.TEXT


def test_a_body_has_code_text_and_extra_members() -> None:
    error = Forbidden("No entry", reason_code=7)
    assert error.body() == {"errcode": "M_FORBIDDEN", "error": "No entry", "reason_code": 7}
    assert error.status == 403
    assert error.headers == {}


def test_extra_members_never_replace_the_two_that_every_error_has() -> None:
    error = MatrixError(400, "M_A", "a")
    error.extra["errcode"] = "M_B"
    assert error.body() == {"errcode": "M_A", "error": "a"}


def test_a_status_may_be_chosen_where_an_endpoint_has_its_own() -> None:
    assert Unrecognized(status=405).status == 405
    assert Unrecognized().status == 404


def test_soft_logout_is_told_only_when_it_is_one() -> None:
    assert UnknownToken(soft_logout=True).body()["soft_logout"] is True
    assert "soft_logout" not in UnknownToken().body()
    assert UserLocked().body()["soft_logout"] is True


@pytest.mark.parametrize(("wait_ms", "seconds"), [(1, "1"), (1000, "1"), (1001, "2"), (0, "0")])
def test_a_limit_tells_whole_seconds_rounded_up(wait_ms: int, seconds: str) -> None:
    error = LimitExceeded(wait_ms)
    assert error.body()["retry_after_ms"] == wait_ms
    assert error.headers == {"Retry-After": seconds}


def test_a_challenge_is_sent_as_it_is() -> None:
    challenge = {"flows": [], "session": "x"}
    assert UiaRequired(challenge).body() == challenge
    assert UiaRequired(challenge).status == 401


def test_a_challenge_after_a_failed_stage_names_the_failure() -> None:
    error = UiaRequired({"errcode": "M_FORBIDDEN", "error": "Invalid password", "flows": []})
    assert (error.errcode, error.error) == ("M_FORBIDDEN", "Invalid password")


def test_members_that_a_code_requires_are_there() -> None:
    assert IncompatibleRoomVersion("9").body()["room_version"] == "9"
    assert WrongRoomKeysVersion("3").body()["current_version"] == "3"
    contact = ResourceLimitExceeded("mailto:admin@a.test").body()["admin_contact"]
    assert contact == "mailto:admin@a.test"


def test_who_is_not_joined_is_forbidden() -> None:
    error = NotJoined("!a:b")
    assert isinstance(error, Forbidden)
    assert "!a:b" in error.error


def test_a_remote_error_keeps_what_the_server_answered() -> None:
    error = RemoteError("a.test", "refused", status=403, errcode="M_FORBIDDEN")
    assert (error.server, error.status, error.errcode) == ("a.test", 403, "M_FORBIDDEN")
    assert str(error) == "a.test: refused"
