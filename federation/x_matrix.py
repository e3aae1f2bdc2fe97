"""The `X-Matrix` scheme: what is signed of a request, and the header that carries it.

Spec: server-server-api/#request-authentication
"""

import re
from typing import Final

import msgspec

from homeserver.protocol.canonical_json import encode_canonical_lenient
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import KeyID, ServerName, parse_key_id, parse_server_name
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.signing import SigningKey

_SCHEME: Final = "x-matrix"
# RFC 9110 section 11.4 and 5.6.2. "For compatibility with older servers, the recipient should
# allow colons to be included in values without requiring the value to be enclosed in quotes";
# unquoted base64 has "/" and "=" as well. No alternative can eat what another begins with, so a
# match never backtracks.
_PARAMETER: Final = re.compile(
    r"""[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*"""
    r"""(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+\-.^_`|~0-9A-Za-z:/=\[\]]*))[ \t]*(?:,|\Z)"""
)
_ESCAPED: Final = re.compile(r"\\(.)")
# Four parameters are known and others are ignored.
_MAX_PARAMETERS: Final = 20


class InvalidAuthorization(Exception):
    """An `Authorization` header of the scheme cannot be understood."""


class XMatrix(msgspec.Struct, frozen=True, kw_only=True):
    """What the header says: claims, before anything is verified."""

    origin: ServerName
    key_id: KeyID
    signature: str
    # None: sent by a server older than v1.3.
    destination: str | None = None


def authorization_header(
    *,
    method: str,
    uri: str,
    origin: ServerName,
    destination: ServerName,
    body: bytes | None,
    key: SigningKey,
) -> str:
    """Sign a request; `uri` is path and query as sent, `body` the Canonical JSON that is sent."""
    # The members in their canonical order, so that a large body is encoded only once.
    content = b"" if body is None else b'"content":' + body + b","
    rest = encode_canonical_lenient(
        {"destination": destination, "method": method, "origin": origin, "uri": uri}
    )
    signature = key.sign(b"{" + content + rest[1:])
    return (
        f'X-Matrix origin="{origin}",destination="{destination}",'
        f'key="{key.key_id}",sig="{signature}"'
    )


def signed_object(
    claims: XMatrix, *, method: str, uri: str, content: JsonValue | msgspec.UnsetType
) -> JsonObject:
    """Return the object that the header's signature is claimed to cover, with the signature."""
    signed: JsonObject = {"method": method, "uri": uri, "origin": claims.origin}
    # Who leaves it out of the header has left it out of what is signed.
    if claims.destination is not None:
        signed["destination"] = claims.destination
    if content is not msgspec.UNSET:
        signed["content"] = content
    signed["signatures"] = {claims.origin: {claims.key_id: claims.signature}}
    return signed


def is_x_matrix(header: str) -> bool:
    """Whether an `Authorization` header is of this scheme."""
    return header.partition(" ")[0].lower() == _SCHEME


def read_authorization(header: str) -> XMatrix:
    """Read a header for which `is_x_matrix` holds. Raises InvalidAuthorization."""
    values = _read_parameters(header.partition(" ")[2])
    # The text of the specification says `signature`, its example and everybody's code `sig`.
    signature = values.get("sig", values.get("signature"))
    if "origin" not in values or "key" not in values or signature is None:
        raise InvalidAuthorization("origin, key or sig is missing")
    try:
        return XMatrix(
            origin=parse_server_name(values["origin"]),
            key_id=parse_key_id(values["key"]),
            signature=signature,
            destination=values.get("destination"),
        )
    except InvalidIdentifier as error:
        raise InvalidAuthorization(str(error)) from None


def _read_parameters(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    place = 0
    while place < len(text):
        match = _PARAMETER.match(text, place)
        if match is None or len(values) == _MAX_PARAMETERS:
            raise InvalidAuthorization("not a list of parameters")
        name, quoted, token = match.groups()
        if name.lower() in values:
            raise InvalidAuthorization("a parameter stands twice")
        values[name.lower()] = token if quoted is None else _ESCAPED.sub(r"\1", quoted)
        place = match.end()
    return values
