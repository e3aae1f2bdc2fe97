"""How a request to another server can fail: variants of RemoteError."""

from typing import Final

from homeserver.errors import RemoteError
from homeserver.protocol.json_types import JsonObject

# Said with 502 or 504 about one content by a server that is well.
_ABOUT_CONTENT: Final = ("M_NOT_YET_UPLOADED", "M_TOO_LARGE")


class RemoteNotAllowed(RemoteError):
    """The configuration forbids talking to the server; nothing was sent."""

    def __init__(self, server: str) -> None:
        super().__init__(server, "this server does not talk to it")


class RemoteBackingOff(RemoteError):
    """The server has failed before and is left alone until `retry_ts`; nothing was sent."""

    def __init__(self, server: str, retry_ts: int) -> None:
        super().__init__(server, "it is left alone after failures")
        self.retry_ts = retry_ts


class RemoteUnreachable(RemoteError):
    """No connection, no acceptable certificate, or no whole answer in time."""


class RemoteBadAnswer(RemoteError):
    """The answer is too large, no JSON object, or a redirect where none is followed."""


class RemoteRefusal(RemoteError):
    """The server answered an error: `status`, its `errcode` if it named one, and `answer`.

    `answer` is the standard error response, {} where the body was something else.
    """

    def __init__(
        self, server: str, status: int, answer: JsonObject, retry_after_ms: int | None = None
    ) -> None:
        code = answer.get("errcode")
        errcode = code if isinstance(code, str) else None
        super().__init__(server, f"answered {status} {errcode}", status=status, errcode=errcode)
        self.answer = answer
        self.retry_after_ms = retry_after_ms

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later: the server is busy or broken."""
        if self.errcode in _ABOUT_CONTENT:
            return False
        return self.status is not None and (self.status >= 500 or self.status == 429)
