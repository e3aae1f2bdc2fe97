"""What the fields of a profile may be named and hold.

Spec: client-server-api/#put_matrixclientv3profileuseridkeyname
"""

import re
from typing import Final

from homeserver.errors import BadJson, InvalidParam, KeyTooLarge
from homeserver.protocol.canonical_json import encode_canonical_lenient
from homeserver.protocol.errors import InvalidIdentifier, InvalidJson
from homeserver.protocol.identifiers import parse_server_name
from homeserver.protocol.json_types import JsonValue

DISPLAY_NAME: Final = "displayname"
AVATAR_URL: Final = "avatar_url"
TIME_ZONE: Final = "m.tz"
# What membership events repeat. They are small, so these are: "servers MAY impose size limits on
# individual fields". Custom fields share 64 KiB as they like.
MEMBER_FIELDS: Final = (DISPLAY_NAME, AVATAR_URL)
MAX_DISPLAY_NAME_LENGTH: Final = 256
MAX_AVATAR_URL_LENGTH: Final = 1_000
MAX_TIME_ZONE_LENGTH: Final = 255
MAX_PROFILE_BYTES: Final = 64 * 1024
MAX_NAME_BYTES: Final = 255

# appendices/#common-namespaced-identifier-grammar
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]*")
_MEDIA: Final = re.compile(r"mxc://([^/]+)/[A-Za-z0-9_-]+")
_MAX_LENGTHS: Final = {
    DISPLAY_NAME: MAX_DISPLAY_NAME_LENGTH,
    AVATAR_URL: MAX_AVATAR_URL_LENGTH,
    TIME_ZONE: MAX_TIME_ZONE_LENGTH,
}


def check_name(name: str) -> None:
    """Raises KeyTooLarge, InvalidParam: no profile can have a field of that name."""
    if len(name.encode()) > MAX_NAME_BYTES:
        raise KeyTooLarge
    if not _NAME.fullmatch(name):
        raise InvalidParam(
            "The name of a field begins with a-z and has only a-z, 0-9, '.', '_' and '-'"
        )


def encoded_value(name: str, value: JsonValue) -> bytes | None:
    """Return a value as it is stored, in Canonical JSON; None: the field is to be removed.

    Clients remove names and avatars by setting them to "". Raises InvalidParam, BadJson.
    """
    if name in _MAX_LENGTHS:
        _check_text(name, value)
    if name in MEMBER_FIELDS and value == "":
        return None
    if name == AVATAR_URL:
        _check_media(value)
    try:
        return encode_canonical_lenient(value)
    except InvalidJson as error:
        raise BadJson(f"{name}: {error}") from error


def _check_text(name: str, value: JsonValue) -> None:
    if not isinstance(value, str):
        raise InvalidParam(f"{name} must be a string")
    if len(value) > _MAX_LENGTHS[name]:
        raise InvalidParam(f"{name} is longer than {_MAX_LENGTHS[name]} characters")


def _check_media(value: str) -> None:
    # "For `avatar_url`, the value MUST be an MXC URI string."
    media = _MEDIA.fullmatch(value)
    if media is None:
        raise InvalidParam(f"{AVATAR_URL} must be an mxc:// URI")
    try:
        parse_server_name(media[1])
    except InvalidIdentifier as error:
        raise InvalidParam(f"{AVATAR_URL}: {error}") from error
