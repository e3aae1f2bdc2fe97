"""What a client is told when other servers do not let its user in.

Spec: server-server-api/#joining-rooms: "The error should be passed through to clients"
"""

from collections.abc import Sequence
from typing import Final

from federation.transport.failures import RemoteRefusal
from homeserver.errors import MatrixError, NotFound, RemoteError
from homeserver.protocol.json_types import JsonObject

_MAX_TEXT: Final = 500
# What says most about why it cannot be done comes first. Another code is no help to a client:
# `M_MISSING_PARAM` and `M_INVALID_PARAM` in particular "SHOULD fail with a 5xx error".
_PASSED_ON: Final = (
    "M_INCOMPATIBLE_ROOM_VERSION",
    "M_INVITE_BLOCKED",
    "M_FORBIDDEN",
    "M_UNABLE_TO_AUTHORISE_JOIN",
    "M_UNABLE_TO_GRANT_JOIN",
)
# Of servers that do not have an operation at all.
_UNKNOWN_ENDPOINT: Final = (400, 404, 405)


def passed_on(refusal: RemoteError) -> MatrixError | None:
    """Return another server's refusal as that of a request here; None: it is the server's fault."""
    if not isinstance(refusal, RemoteRefusal) or refusal.errcode not in _PASSED_ON:
        return None
    if refusal.status is None or not 400 <= refusal.status < 500:
        return None
    text = refusal.answer.get("error")
    more: JsonObject = {}
    if isinstance(version := refusal.answer.get("room_version"), str):
        more["room_version"] = version[:_MAX_TEXT]
    error = text[:_MAX_TEXT] if isinstance(text, str) else "Another server refuses"
    return MatrixError(refusal.status, refusal.errcode, error, **more)


def most_telling(failures: Sequence[RemoteError]) -> MatrixError | RemoteError:
    """Choose what to tell of the failures of several servers."""
    refusals = [each for failure in failures if (each := passed_on(failure)) is not None]
    if refusals:
        return min(refusals, key=lambda each: _PASSED_ON.index(each.errcode))
    others = [each for each in failures if each.errcode != "M_NOT_FOUND"]
    return others[0] if others else NotFound("No server that could be asked knows the room")


def lacks_endpoint(refusal: RemoteRefusal) -> bool:
    """Whether a server seems to be too old for an operation."""
    return refusal.status in _UNKNOWN_ENDPOINT and refusal.errcode in (None, "M_UNRECOGNIZED")
