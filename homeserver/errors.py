"""The refusals that reach a client or another server, by their specified error codes.

Any layer above `protocol` may raise them; only `homeserver.web.dispatch` turns them into
answers. Texts tell the caller what to change, never our insides.
Spec: client-server-api/#standard-error-response
"""

from collections.abc import Mapping
from typing import ClassVar

from homeserver.protocol.json_types import JsonObject, JsonValue


class MatrixError(Exception):
    """A request is refused with `status` and a standard error response."""

    def __init__(self, status: int, errcode: str, error: str, **extra: JsonValue) -> None:
        super().__init__(f"{status} {errcode}: {error}")
        self.status = status
        self.errcode = errcode
        self.error = error
        self.extra = extra

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that belong to the answer."""
        return {}

    def body(self) -> JsonObject:
        """Return the standard error response; `extra` never replaces its two members."""
        return {**self.extra, "errcode": self.errcode, "error": self.error}


class NamedError(MatrixError):
    """A refusal whose class fixes its code, its usual status and a text to fall back on."""

    STATUS: ClassVar[int] = 400
    ERRCODE: ClassVar[str] = "M_UNKNOWN"
    TEXT: ClassVar[str] = "The request cannot be served"

    def __init__(
        self, error: str | None = None, *, status: int | None = None, **extra: JsonValue
    ) -> None:
        super().__init__(status or self.STATUS, self.ERRCODE, error or self.TEXT, **extra)


class RemoteError(Exception):
    """Another server is unreachable or broke the rules; never our bug, never a 500.

    `status` and `errcode` are what the server answered, when it answered an error.
    """

    def __init__(
        self, server: str, reason: str, *, status: int | None = None, errcode: str | None = None
    ) -> None:
        super().__init__(f"{server}: {reason}")
        self.server = server
        self.reason = reason
        self.status = status
        self.errcode = errcode


class UiaRequired(MatrixError):
    """User-interactive authentication is not complete: `challenge` is the 401 body.

    Spec: client-server-api/#user-interactive-api-in-the-rest-api
    """

    def __init__(self, challenge: JsonObject) -> None:
        errcode = challenge.get("errcode", "M_UNAUTHORIZED")
        super().__init__(401, errcode, challenge.get("error", "More authentication is needed"))
        self.challenge = challenge

    def body(self) -> JsonObject:
        """Return the challenge as it is: it has an `errcode` only after a failed stage."""
        return self.challenge


class LimitExceeded(NamedError):
    """Too many requests. Spec: client-server-api/#rate-limiting"""

    STATUS = 429
    ERRCODE = "M_LIMIT_EXCEEDED"
    TEXT = "Too many requests"

    def __init__(self, retry_after_ms: int, error: str | None = None) -> None:
        super().__init__(error, retry_after_ms=retry_after_ms)
        self.retry_after_ms = retry_after_ms

    @property
    def headers(self) -> Mapping[str, str]:
        """Whole seconds, rounded up: a client that obeys is not refused again."""
        return {"Retry-After": str(-(-self.retry_after_ms // 1000))}


# Tokens and accounts


class MissingToken(NamedError):
    """The request carries no access token."""

    STATUS, ERRCODE, TEXT = 401, "M_MISSING_TOKEN", "Missing access token"


class UnknownToken(NamedError):
    """The token is not known, or no longer. Spec: client-server-api/#soft-logout"""

    STATUS, ERRCODE, TEXT = 401, "M_UNKNOWN_TOKEN", "Unrecognised access token"

    def __init__(self, error: str | None = None, *, soft_logout: bool = False) -> None:
        # Absent means false: an ordinary unknown token needs no member.
        super().__init__(error, **({"soft_logout": True} if soft_logout else {}))


class Unauthorized(NamedError):
    """A proof of identity other than an access token is missing or wrong."""

    STATUS, ERRCODE, TEXT = 401, "M_UNAUTHORIZED", "The request is not authenticated"


class UserLocked(NamedError):
    """The account is locked. Spec: client-server-api/#account-locking"""

    STATUS, ERRCODE, TEXT = 401, "M_USER_LOCKED", "This account has been locked"

    def __init__(self, error: str | None = None) -> None:
        super().__init__(error, soft_logout=True)


class UserSuspended(NamedError):
    """The account is suspended. Spec: client-server-api/#account-suspension"""

    STATUS, ERRCODE = 403, "M_USER_SUSPENDED"
    TEXT = "You cannot perform this action while suspended"


class UserDeactivated(NamedError):
    """The account has been deactivated."""

    STATUS, ERRCODE, TEXT = 403, "M_USER_DEACTIVATED", "This account has been deactivated"


class UserInUse(NamedError):
    """The user ID is taken."""

    ERRCODE, TEXT = "M_USER_IN_USE", "User ID already taken"


class InvalidUsername(NamedError):
    """The localpart cannot be registered. Spec: appendices/#user-identifiers"""

    ERRCODE, TEXT = "M_INVALID_USERNAME", "User ID is not valid"


class Exclusive(NamedError):
    """The name is in the exclusive namespace of an application service, or outside its own."""

    ERRCODE, TEXT = "M_EXCLUSIVE", "This name is reserved by an application service"


class WeakPassword(NamedError):
    """The password does not meet the policy of this server."""

    ERRCODE, TEXT = "M_WEAK_PASSWORD", "The password is too weak"


class AppserviceLoginUnsupported(NamedError):
    """The application service must inhibit login: the legacy login API is not available."""

    ERRCODE, TEXT = "M_APPSERVICE_LOGIN_UNSUPPORTED", "Set inhibit_login"


class UnknownDevice(NamedError):
    """The device does not belong to the user that an application service acts as."""

    ERRCODE, TEXT = "M_UNKNOWN_DEVICE", "The user has no such device"


class ThreepidNotFound(NamedError):
    """No account has the third-party identifier."""

    ERRCODE, TEXT = "M_THREEPID_NOT_FOUND", "No account has this address"


class ThreepidInUse(NamedError):
    """The third-party identifier belongs to an account already."""

    ERRCODE, TEXT = "M_THREEPID_IN_USE", "This address is already in use"


class ThreepidDenied(NamedError):
    """The policy of this server does not permit the third-party identifier."""

    STATUS, ERRCODE, TEXT = 403, "M_THREEPID_DENIED", "This address is not permitted here"


class ThreepidAuthFailed(NamedError):
    """The third-party identifier has not been verified."""

    ERRCODE, TEXT = "M_THREEPID_AUTH_FAILED", "This address has not been verified"


class ThreepidMediumNotSupported(NamedError):
    """The homeserver does not take addresses of the medium."""

    ERRCODE, TEXT = "M_THREEPID_MEDIUM_NOT_SUPPORTED", "Addresses of this kind are not supported"


class ServerNotTrusted(NamedError):
    """The request names a third-party server that this server does not trust."""

    STATUS, ERRCODE, TEXT = 403, "M_SERVER_NOT_TRUSTED", "This server is not trusted"


class ResourceLimitExceeded(NamedError):
    """The homeserver has reached a limit that its administrator set."""

    STATUS, ERRCODE = 403, "M_RESOURCE_LIMIT_EXCEEDED"
    TEXT = "This server has reached a limit on its resources"

    def __init__(self, admin_contact: str, error: str | None = None) -> None:
        super().__init__(error, admin_contact=admin_contact)


# The request itself


class NotJson(NamedError):
    """The body is not JSON."""

    ERRCODE, TEXT = "M_NOT_JSON", "Content not JSON"


class BadJson(NamedError):
    """The body is JSON of the wrong shape."""

    ERRCODE, TEXT = "M_BAD_JSON", "Content must be a JSON object of the specified shape"


class MissingParam(NamedError):
    """A required parameter is absent."""

    ERRCODE, TEXT = "M_MISSING_PARAM", "A required parameter is missing"


class InvalidParam(NamedError):
    """A parameter has a value that it cannot have."""

    ERRCODE, TEXT = "M_INVALID_PARAM", "A parameter is invalid"


class TooLarge(NamedError):
    """The request, or what it would make, is too large."""

    STATUS, ERRCODE, TEXT = 413, "M_TOO_LARGE", "The request is too large"


class Unrecognized(NamedError):
    """No such endpoint (404), or not with this method (405)."""

    STATUS, ERRCODE, TEXT = 404, "M_UNRECOGNIZED", "Unrecognized request"


class NotFound(NamedError):
    """There is no such thing, or the caller may not learn of it."""

    STATUS, ERRCODE, TEXT = 404, "M_NOT_FOUND", "Not found"


class Forbidden(NamedError):
    """The caller may not do this."""

    STATUS, ERRCODE, TEXT = 403, "M_FORBIDDEN", "Forbidden"


# Rooms
class NotJoined(Forbidden):
    """The caller is not a joined member of the room."""

    def __init__(self, room_id: str) -> None:
        super().__init__(f"You are not joined to {room_id}")


class GuestAccessForbidden(NamedError):
    """Guests may not do this, or not here. Spec: client-server-api/#guest-access"""

    STATUS, ERRCODE, TEXT = 403, "M_GUEST_ACCESS_FORBIDDEN", "Guest access not allowed"


class InviteBlocked(NamedError):
    """The invited user does not take invites. Spec: client-server-api/#invite-permission"""

    STATUS, ERRCODE, TEXT = 403, "M_INVITE_BLOCKED", "The user has blocked invites"


class UnsupportedRoomVersion(NamedError):
    """The homeserver cannot create rooms of the version."""

    ERRCODE, TEXT = "M_UNSUPPORTED_ROOM_VERSION", "This room version is not supported"


class IncompatibleRoomVersion(NamedError):
    """The room has a version that the joining side does not support."""

    ERRCODE = "M_INCOMPATIBLE_ROOM_VERSION"

    def __init__(self, room_version: str) -> None:
        super().__init__(f"The room has version {room_version}", room_version=room_version)


class UnableToAuthoriseJoin(NamedError):
    """The homeserver cannot see whether a condition of a restricted join holds."""

    ERRCODE, TEXT = "M_UNABLE_TO_AUTHORISE_JOIN", "This server cannot check the join conditions"


class UnableToGrantJoin(NamedError):
    """No user of this server may authorize a restricted join; another server could."""

    ERRCODE, TEXT = "M_UNABLE_TO_GRANT_JOIN", "No local user may invite to this room"


class RoomInUse(NamedError):
    """The room alias is taken."""

    ERRCODE, TEXT = "M_ROOM_IN_USE", "Room alias already taken"


class InvalidRoomState(NamedError):
    """The initial state of a room is not acceptable."""

    ERRCODE, TEXT = "M_INVALID_ROOM_STATE", "The initial state is not valid"


class BadState(NamedError):
    """The change does not fit the present state, such as unbanning who is not banned."""

    STATUS, ERRCODE, TEXT = 403, "M_BAD_STATE", "This cannot be done in the present state"


class BadAlias(NamedError):
    """An alias of `m.room.canonical_alias` does not point to the room."""

    ERRCODE, TEXT = "M_BAD_ALIAS", "The alias does not point to this room"


class CannotLeaveServerNoticeRoom(NamedError):
    """The invite to a server notices room cannot be rejected."""

    STATUS, ERRCODE = 403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
    TEXT = "You cannot reject this invite"


class DuplicateAnnotation(NamedError):
    """The user has annotated the event with this key already."""

    ERRCODE, TEXT = "M_DUPLICATE_ANNOTATION", "You have reacted like this already"


# Profiles, keys, media
class ProfileTooLarge(NamedError):
    """The profile would grow beyond its limit."""

    ERRCODE, TEXT = "M_PROFILE_TOO_LARGE", "The profile would be larger than 64 KiB"


class KeyTooLarge(NamedError):
    """The name of a profile field is too long."""

    ERRCODE, TEXT = "M_KEY_TOO_LARGE", "The name of the field is longer than 255 bytes"


class InvalidSignature(NamedError):
    """An uploaded key is not signed as it must be."""

    ERRCODE, TEXT = "M_INVALID_SIGNATURE", "A signature is missing or wrong"


class WrongRoomKeysVersion(NamedError):
    """The backup version of the request is not the current one."""

    STATUS, ERRCODE, TEXT = 403, "M_WRONG_ROOM_KEYS_VERSION", "Wrong backup version"

    def __init__(self, current_version: str) -> None:
        super().__init__(current_version=current_version)
