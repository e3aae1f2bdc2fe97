"""Which refusal a client sees for what an endpoint raised: one table."""

from collections.abc import Callable
from typing import Any, Final

from homeserver.errors import (
    BadJson,
    Forbidden,
    InvalidParam,
    MatrixError,
    RemoteError,
    TooLarge,
    UnsupportedRoomVersion,
)
from homeserver.protocol import errors as protocol_errors
from homeserver.storage.database import DatabaseUnavailable

# The first class that fits decides: subclasses stand before their bases. Pure code raises
# these; where another code suits an endpoint better, its service raises that itself.
_TABLE: Final[tuple[tuple[type[Exception], Callable[[Any], MatrixError]], ...]] = (
    (protocol_errors.AuthRefusal, lambda error: Forbidden(error.reason)),
    (protocol_errors.EventTooLarge, lambda error: TooLarge(str(error))),
    (protocol_errors.InvalidEvent, lambda error: BadJson(str(error))),
    (protocol_errors.InvalidJson, lambda error: BadJson(str(error))),
    (protocol_errors.BadSignature, lambda error: Forbidden(str(error))),
    (
        protocol_errors.UnsupportedRoomVersion,
        lambda error: UnsupportedRoomVersion(f"Room version {error.room_version} is not supported"),
    ),
    # InvalidIdentifier, InvalidToken, and what else pure code refuses.
    (protocol_errors.ProtocolError, lambda error: InvalidParam(str(error))),
    (
        DatabaseUnavailable,
        lambda _error: MatrixError(503, "M_UNKNOWN", "The database is out of reach, try again"),
    ),
    # The reason may tell our insides; it stands in the log.
    (
        RemoteError,
        lambda error: MatrixError(502, "M_UNKNOWN", f"{error.server} did not answer as it should"),
    ),
)


def refusal_of(error: Exception) -> MatrixError | None:
    """Return what the client is told; None for a bug."""
    if isinstance(error, MatrixError):
        return error
    for kind, refuse in _TABLE:
        if isinstance(error, kind):
            return refuse(error)
    return None


def internal_error(request_id: str) -> MatrixError:
    """Return the refusal for a bug: nothing but what finds the log entry again."""
    return MatrixError(500, "M_UNKNOWN", f"Internal server error in request {request_id}")
