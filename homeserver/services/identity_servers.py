"""Talking to identity servers in the name of users.

Spec: identity-service-api/
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

import msgspec

from homeserver.errors import InvalidParam, MatrixError, RemoteError, ServerNotTrusted
from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.glob import compile_globs
from homeserver.protocol.identifiers import ServerName, UserID, parse_server_name, parse_user_id
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import SigningKey
from homeserver.protocol.third_party_ids import canonical_address, is_opaque
from homeserver.protocol.unpadded_base64 import encode_base64
from homeserver.web.outgoing_http import JsonAnswer, OutgoingHttp

_API: Final = "/_matrix/identity/v2"
_MAX_TEXT: Final = 1024


class RequestSigner(Protocol):
    """Makes the `Authorization` header of a request that this server signs."""

    def __call__(
        self,
        *,
        method: str,
        uri: str,
        origin: ServerName,
        destination: ServerName,
        body: bytes | None,
        key: SigningKey,
    ) -> str:
        """Spec: server-server-api/#request-authentication"""
        ...


class IdentityServer(msgspec.Struct, frozen=True):
    """An identity server, and the token with which a user has access to it."""

    name: str
    access_token: str


class BoundAddress(msgspec.Struct, frozen=True):
    """An address as an identity server tells of it; the time in milliseconds since 1970."""

    medium: str
    address: str
    validated_ts: int


class InviteKey(msgspec.Struct, frozen=True):
    """A key that an identity server signs invites with."""

    public_key: str
    key_validity_url: str


class StoredInvite(msgspec.Struct, frozen=True):
    """What an identity server keeps of an invite."""

    token: str
    public_keys: Sequence[InviteKey]
    display_name: str


class _ErrorAnswer(msgspec.Struct, frozen=True):
    errcode: str
    error: str = "The identity server refuses"


class IdentityServers:
    """A client of the identity servers that this server lets its users use.

    Every question raises ServerNotTrusted; MatrixError: what the identity server refuses with;
    RemoteError: it does not answer as it should.
    """

    def __init__(
        self,
        http: OutgoingHttp,
        allowed: Sequence[str],
        server_name: ServerName,
        signing_key: SigningKey,
        signer: RequestSigner,
    ) -> None:
        """`allowed`: patterns of the names of identity servers."""
        self._http = http
        self._allowed: Final = compile_globs(allowed)
        self._server_name = server_name
        self._signing_key = signing_key
        self._signer = signer

    def check_trusted(self, name: str) -> None:
        """Raises ServerNotTrusted; InvalidParam: it is no server name."""
        try:
            parse_server_name(name)
        except InvalidIdentifier as error:
            raise InvalidParam("id_server is not the name of a server") from error
        if not self._allowed.matches(name):
            raise ServerNotTrusted("This server does not work with this identity server")

    async def lookup(self, server: IdentityServer, medium: str, address: str) -> UserID | None:
        """Return who has bound an address; the identity server sees only a hash of it.

        Spec: identity-service-api/#association-lookup
        """
        details = await self._ask("GET", server, "/hash_details")
        pepper, algorithms = details.get("lookup_pepper"), details.get("algorithms")
        if not isinstance(pepper, str) or not isinstance(algorithms, list):
            raise RemoteError(server.name, "malformed hash details")
        if "sha256" not in algorithms:
            raise RemoteError(server.name, "does not support sha256, which it must")
        digest = hashlib.sha256(f"{address} {medium} {pepper}".encode()).digest()
        hashed = encode_base64(digest).replace("+", "-").replace("/", "_")
        body = {"algorithm": "sha256", "pepper": pepper, "addresses": [hashed]}
        mappings = (await self._ask("POST", server, "/lookup", body)).get("mappings")
        found = mappings.get(hashed) if isinstance(mappings, dict) else None
        if not isinstance(found, str):
            return None
        try:
            return parse_user_id(found)
        except InvalidIdentifier as error:
            raise RemoteError(server.name, "maps an address to no user ID") from error

    async def store_invite(self, server: IdentityServer, invite: JsonObject) -> StoredInvite:
        """Have an invite kept for whoever binds the address.

        Spec: identity-service-api/#post_matrixidentityv2store-invite
        """
        answer = await self._ask("POST", server, "/store-invite", invite)
        try:
            stored = msgspec.convert(answer, StoredInvite)
        except msgspec.ValidationError as error:
            raise RemoteError(server.name, "malformed stored invite") from error
        is_sound = is_opaque(stored.token) and 0 < len(stored.public_keys) <= 10
        if not is_sound or len(stored.display_name) > _MAX_TEXT:
            raise RemoteError(server.name, "malformed stored invite")
        return stored

    async def bind(
        self, server: IdentityServer, sid: str, client_secret: str, user_id: UserID
    ) -> BoundAddress:
        """Publish that the address of a session of the identity server is a user's.

        Spec: identity-service-api/#post_matrixidentityv23pidbind
        """
        body = {"sid": sid, "client_secret": client_secret, "mxid": user_id}
        answer = await self._ask("POST", server, "/3pid/bind", body)
        return _address_in(server, answer, "ts")

    async def validated(self, server: IdentityServer, sid: str, client_secret: str) -> BoundAddress:
        """Return the address that a session of the identity server has verified.

        Spec: identity-service-api/#get_matrixidentityv23pidgetvalidated3pid
        """
        query = urlencode({"sid": sid, "client_secret": client_secret})
        answer = await self._ask("GET", server, f"/3pid/getValidated3pid?{query}")
        return _address_in(server, answer, "validated_at")

    async def unbind(self, name: str, medium: str, address: str, user_id: UserID) -> bool:
        """End the publication of an address; False: the identity server does not support that.

        The request is signed by this server: no token of the user is needed.
        Spec: identity-service-api/#post_matrixidentityv23pidunbind
        """
        self.check_trusted(name)
        uri = f"{_API}/3pid/unbind"
        threepid = {"medium": medium, "address": address}
        body = encode_canonical({"mxid": user_id, "threepid": threepid})
        authorization = self._signer(
            method="POST",
            uri=uri,
            origin=self._server_name,
            destination=ServerName(name),
            body=body,
            key=self._signing_key,
        )
        headers = {"Authorization": authorization}
        answer = await self._http.request_json("POST", _url(name, uri), body=body, headers=headers)
        refusal = _refusal_in(answer)
        # "If the response body is not a JSON Matrix error, the identity server does not support
        # unbinds."
        if answer.status in (400, 404, 501) and refusal is None:
            return False
        # 403 is "also returned if the identity server does not support the chosen
        # authentication method".
        if answer.status == 403:
            return False
        _raise_for(name, answer)
        return True

    async def is_key_valid(self, url: str, public_key: str) -> bool:
        """Ask whether a key is still good, at the address that an event names.

        Raises RemoteError. Spec: identity-service-api/#get_matrixidentityv2pubkeyisvalid
        """
        if not url.startswith("https://"):
            return False
        separator = "&" if "?" in url else "?"
        full = (
            f"{quote(url, safe=_URL_CHARACTERS)}{separator}{urlencode({'public_key': public_key})}"
        )
        answer = await self._http.request_json("GET", full)
        content = answer.content
        return answer.status == 200 and isinstance(content, dict) and content.get("valid") is True

    async def _ask(
        self, method: str, server: IdentityServer, path: str, body: JsonObject | None = None
    ) -> dict[str, Any]:
        self.check_trusted(server.name)
        answer = await self._http.request_json(
            method,
            _url(server.name, f"{_API}{path}"),
            body=None if body is None else encode_canonical(body),
            headers={"Authorization": f"Bearer {_header_safe(server.access_token)}"},
        )
        _raise_for(server.name, answer)
        if not isinstance(answer.content, dict):
            raise RemoteError(server.name, "the answer is no JSON object")
        return answer.content


# RFC 3986: what a URL consists of; the percent sign, because the URL is encoded already.
_URL_CHARACTERS: Final = "%:/?#[]@!$&'()*+,;=-._~"


def _url(name: str, uri: str) -> str:
    return f"https://{name}{uri}"


def _header_safe(token: str) -> str:
    if not token.isascii() or not token.isprintable():
        raise InvalidParam("id_access_token has characters that no token has")
    return token


def _refusal_in(answer: JsonAnswer) -> _ErrorAnswer | None:
    try:
        return msgspec.convert(answer.content, _ErrorAnswer)
    except msgspec.ValidationError:
        return None


def _raise_for(name: str, answer: JsonAnswer) -> None:
    """Pass on what an identity server refuses with: "simply proxy any errors received"."""
    if answer.status == 200:
        return
    refusal = _refusal_in(answer)
    if refusal is None or not 400 <= answer.status < 600:
        raise RemoteError(name, "unexpected answer", status=answer.status)
    # The token that it does not know is not the one of this server: a client that saw 401
    # would log the user out.
    status = 403 if answer.status == 401 else answer.status
    errcode = "M_FORBIDDEN" if refusal.errcode == "M_UNKNOWN_TOKEN" else refusal.errcode
    raise MatrixError(status, errcode[:_MAX_TEXT], refusal.error[:_MAX_TEXT])


def _address_in(server: IdentityServer, answer: Mapping[str, Any], time: str) -> BoundAddress:
    medium, address, timestamp = answer.get("medium"), answer.get("address"), answer.get(time)
    if not isinstance(medium, str) or not isinstance(address, str):
        raise RemoteError(server.name, "names no address")
    try:
        address = canonical_address(medium, address)
    except InvalidIdentifier as error:
        raise RemoteError(server.name, "names an address that is none") from error
    return BoundAddress(medium, address, timestamp if isinstance(timestamp, int) else 0)
