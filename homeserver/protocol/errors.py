"""What pure protocol code raises: refusals, never HTTP answers."""


class ProtocolError(Exception):
    """Base of every refusal that `homeserver.protocol` raises."""


class InvalidIdentifier(ProtocolError):
    """A string is not an identifier of the expected kind. Spec: appendices/#identifier-grammar"""


class InvalidJson(ProtocolError):
    """A value is not JSON as the specification limits it. Spec: appendices/#canonical-json"""


class InvalidToken(ProtocolError):
    """A text is not a sync or pagination token that this server made."""


class InvalidBase64(ProtocolError):
    """A text is not base64. Spec: appendices/#unpadded-base64"""


class InvalidSigningKey(ProtocolError):
    """The text or the bytes of a signing key do not make one."""


class InvalidEvent(ProtocolError):
    """An event breaks the format of its room version. Spec: server-server-api/#pdus"""


class EventTooLarge(InvalidEvent):
    """An event or one of its keys is over a size limit. Spec: client-server-api/#size-limits"""


class UnsupportedRoomVersion(ProtocolError):
    """The room version is not one that this server knows."""

    def __init__(self, room_version: str) -> None:
        super().__init__(f"unsupported room version: {room_version!r}")
        self.room_version = room_version


class BadSignature(ProtocolError):
    """A signature is missing, malformed, or does not match.

    Spec: appendices/#checking-for-a-signature
    """


class AuthRefusal(ProtocolError):
    """The authorization rules refuse an event.

    `rule` is a stable name such as `member.join.banned`, for tests and metrics; `reason` is
    a sentence that a client may see. Spec: server-server-api/#authorization-rules
    """

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{rule}: {reason}")
        self.rule = rule
        self.reason = reason
