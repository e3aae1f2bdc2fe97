"""What a client may set a pusher to, by its kind.

Spec: client-server-api/#post_matrixclientv3pushersset, MSC4174
"""

import base64
import binascii
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from homeserver.errors import InvalidParam, MissingParam
from homeserver.protocol.json_types import JsonObject, JsonValue

HTTP: Final = "http"
EMAIL: Final = "email"
WEB_PUSH: Final = "webpush"
# COMPAT(clients that know MSC4174, until it is in the specification)
UNSTABLE_WEB_PUSH: Final = "org.matrix.msc4174.webpush"
WEB_PUSH_KINDS: Final = frozenset({WEB_PUSH, UNSTABLE_WEB_PUSH})
EMAIL_APP_ID: Final = "m.email"

_NOTIFY_PATH: Final = "/_matrix/push/v1/notify"
_MAX_URL: Final = 2_048
_AUTH_BYTES: Final = 16
_POINT_BYTES: Final = 65


def check_http(content: JsonObject) -> None:
    """Check the data of an `http` pusher. Raises MissingParam, InvalidParam."""
    url = _url_of(content)
    if urlsplit(url).path != _NOTIFY_PATH:
        raise InvalidParam(f"data.url must have the path {_NOTIFY_PATH}")
    if not isinstance(content.get("format", ""), str):
        raise InvalidParam("data.format must be a string")


def check_web_push(pushkey: str, content: JsonObject) -> None:
    """Check the key and the data of a `webpush` pusher. Raises MissingParam, InvalidParam."""
    _url_of(content)
    if "auth" not in content:
        raise MissingParam("data.auth is missing")
    if len(decode_base64(content["auth"])) != _AUTH_BYTES:
        raise InvalidParam(f"data.auth must be {_AUTH_BYTES} bytes in URL-safe Base64")
    point = decode_base64(pushkey)
    if len(point) != _POINT_BYTES:
        raise InvalidParam("pushkey must be an uncompressed P-256 point in URL-safe Base64")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise InvalidParam("pushkey is no point of P-256") from error


def decode_base64(text: JsonValue) -> bytes:
    """Decode URL-safe Base64 without padding; empty for anything else."""
    if not isinstance(text, str) or not text.isascii() or "=" in text:
        return b""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _url_of(content: JsonObject) -> str:
    url = content.get("url")
    if url is None:
        raise MissingParam("data.url is missing")
    if not isinstance(url, str) or len(url) > _MAX_URL or not _is_https(url):
        raise InvalidParam("data.url must be an HTTPS URL")
    return url


def _is_https(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        return False
    # Whoever writes a name and a password into a URL wants to fool somebody who reads it.
    return parts.scheme == "https" and bool(parts.hostname) and has_port and "@" not in parts.netloc
