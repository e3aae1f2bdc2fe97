"""What a client is told of what was raised."""

import pytest

from homeserver.errors import MatrixError, NotFound, RemoteError
from homeserver.protocol import errors as protocol_errors
from homeserver.storage.database import DatabaseUnavailable
from homeserver.web.refusals import refusal_of


@pytest.mark.parametrize(
    ("error", "status", "errcode"),
    [
        (NotFound(), 404, "M_NOT_FOUND"),
        (MatrixError(418, "M_TEA", "Tea"), 418, "M_TEA"),
        (protocol_errors.AuthRefusal("rule", "reason"), 403, "M_FORBIDDEN"),
        (protocol_errors.InvalidEvent("x"), 400, "M_BAD_JSON"),
        (protocol_errors.EventTooLarge("x"), 413, "M_TOO_LARGE"),
        (protocol_errors.InvalidJson("x"), 400, "M_BAD_JSON"),
        (protocol_errors.InvalidIdentifier("x"), 400, "M_INVALID_PARAM"),
        (protocol_errors.InvalidToken("x"), 400, "M_INVALID_PARAM"),
        (protocol_errors.BadSignature("x"), 403, "M_FORBIDDEN"),
        (protocol_errors.UnsupportedRoomVersion("99"), 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (RemoteError("a.test", "x"), 502, "M_UNKNOWN"),
        (DatabaseUnavailable("x"), 503, "M_UNKNOWN"),
    ],
)
def test_each_refusal_has_its_status_and_code(error: Exception, status: int, errcode: str) -> None:
    refusal = refusal_of(error)
    assert refusal is not None
    assert (refusal.status, refusal.errcode) == (status, errcode)


def test_every_refusal_of_the_protocol_is_known() -> None:
    subclasses = protocol_errors.ProtocolError.__subclasses__()
    assert subclasses
    for kind in subclasses:
        error = kind("rule", "reason") if kind is protocol_errors.AuthRefusal else kind("x")
        assert refusal_of(error) is not None


@pytest.mark.parametrize("error", [KeyError("x"), TimeoutError(), OSError(), AssertionError()])
def test_anything_else_is_a_bug(error: Exception) -> None:
    assert refusal_of(error) is None
