"""Getting the keys of servers: from themselves, or from servers that are trusted to know them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from federation.transport.client import MIB, FederationClient, path_of
from homeserver.errors import RemoteError
from homeserver.protocol.errors import BadSignature, InvalidIdentifier
from homeserver.protocol.identifiers import KeyID, ServerName, parse_server_name
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.server_keys import KeyDocument, read_key_document
from homeserver.protocol.signing import verify_json
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.web.paths import KEY_V2

log = get_logger(__name__)

_DIRECT_TIMEOUT_MS: Final = 10_000
_DIRECT_MAX_BYTES: Final = 64 * 1024
_NOTARY_TIMEOUT_MS: Final = 20_000
# Servers that a notary is asked about at once.
_NOTARY_BATCH: Final = 200
# Direct requests at a time: a room of thousands of servers must not take all connections.
_AT_ONCE: Final = 200

# For each key ID, until when the key should be valid, in milliseconds since 1970; 0: any time.
Wanted = Mapping[KeyID, int]


class TrustedServer(msgspec.Struct, frozen=True):
    """A notary; without `keys`, its own keys are fetched from it."""

    server_name: ServerName
    keys: Mapping[str, str]


class KeySource(Protocol):
    """Gets checked documents from other servers; failures are logged and give nothing."""

    async def from_server(self, server: ServerName, *, ignore_backoff: bool) -> KeyDocument | None:
        """Ask a server for its own keys."""
        ...

    async def from_notaries(self, wanted: Mapping[ServerName, Wanted]) -> list[KeyDocument]:
        """Ask the notaries for keys of other servers."""
        ...


class KeyFetcher:
    """Asks over the network."""

    def __init__(
        self, client: FederationClient, clock: Clock, notaries: Sequence[TrustedServer]
    ) -> None:
        self._client = client
        self._clock = clock
        self._notaries = notaries
        self._slots = asyncio.Semaphore(_AT_ONCE)
        # Who speaks does not wait behind the servers of a large room.
        self._slots_of_speakers = asyncio.Semaphore(_AT_ONCE)

    @property
    def has_notaries(self) -> bool:
        """Whether there is anybody to ask but the servers themselves."""
        return bool(self._notaries)

    async def from_server(self, server: ServerName, *, ignore_backoff: bool) -> KeyDocument | None:
        """Ask a server for its own keys. Spec: server-server-api/#get_matrixkeyv2server"""
        try:
            async with self._slots_of_speakers if ignore_backoff else self._slots:
                answer = await self._client.get(
                    server,
                    path_of(KEY_V2, "server"),
                    timeout_ms=_DIRECT_TIMEOUT_MS,
                    max_bytes=_DIRECT_MAX_BYTES,
                    ignore_backoff=ignore_backoff,
                )
            return read_key_document(answer, server, self._clock.now_ms())
        except (RemoteError, BadSignature) as error:
            log.info("server gave no keys", server=server, reason=str(error))
            return None

    async def from_notaries(self, wanted: Mapping[ServerName, Wanted]) -> list[KeyDocument]:
        """Ask one notary after the other for what is still missing.

        Spec: server-server-api/#post_matrixkeyv2query
        """
        found: list[KeyDocument] = []
        missing = dict(wanted)
        for notary in self._notaries:
            # A notary says nothing about itself that it would not say directly.
            missing.pop(notary.server_name, None)
            if not missing:
                break
            documents = await self._ask_notary(notary, missing)
            found += documents
            for each in documents:
                missing.pop(each.server_name, None)
        return found

    async def _ask_notary(
        self, notary: TrustedServer, wanted: Mapping[ServerName, Wanted]
    ) -> list[KeyDocument]:
        keys = await self._keys_of(notary)
        servers = list(wanted)
        documents: list[KeyDocument] = []
        for start in range(0, len(servers) if keys else 0, _NOTARY_BATCH):
            batch = {server: wanted[server] for server in servers[start : start + _NOTARY_BATCH]}
            try:
                answer = await self._client.post(
                    notary.server_name,
                    path_of(KEY_V2, "query"),
                    body={"server_keys": _criteria(batch)},
                    timeout_ms=_NOTARY_TIMEOUT_MS,
                    max_bytes=8 * MIB,
                )
            except RemoteError as error:
                log.warning("notary did not answer", server=notary.server_name, reason=str(error))
                break
            documents += self._read_notarized(answer, notary.server_name, keys, batch)
        return documents

    async def _keys_of(self, notary: TrustedServer) -> Mapping[str, str]:
        if notary.keys:
            return notary.keys
        document = await self.from_server(notary.server_name, ignore_backoff=False)
        if document is None:
            return {}
        now_ms = self._clock.now_ms()
        return {each.key_id: each.key for each in document.keys if each.may_sign_requests(now_ms)}

    def _read_notarized(
        self,
        answer: JsonObject,
        notary: ServerName,
        keys: Mapping[str, str],
        wanted: Mapping[ServerName, Wanted],
    ) -> list[KeyDocument]:
        told = answer.get("server_keys")
        documents: list[KeyDocument] = []
        for each in told if isinstance(told, list) else ():
            server = _server_of(each)
            if server is None or server not in wanted:
                continue
            try:
                _check_notary(each, notary, keys)
                documents.append(read_key_document(each, server, self._clock.now_ms()))
            except BadSignature as error:
                log.warning(
                    "notary handed on bad keys", notary=notary, server=server, reason=str(error)
                )
        return documents


def _criteria(wanted: Mapping[ServerName, Wanted]) -> JsonObject:
    return {
        server: {
            # Absent means now, which is too strict for old events.
            key_id: {"minimum_valid_until_ts": minimum_ts}
            for key_id, minimum_ts in of_server.items()
        }
        for server, of_server in wanted.items()
    }


def _server_of(document: JsonValue) -> ServerName | None:
    name = document.get("server_name") if isinstance(document, dict) else None
    try:
        return parse_server_name(name) if isinstance(name, str) else None
    except InvalidIdentifier:
        return None


def _check_notary(document: JsonObject, notary: ServerName, keys: Mapping[str, str]) -> None:
    """Raise BadSignature unless one of the notary's keys has signed, and none wrongly."""
    signatures = document.get("signatures")
    of_notary = signatures.get(notary) if isinstance(signatures, dict) else None
    signed_with = [each for each in keys if isinstance(of_notary, dict) and each in of_notary]
    if not signed_with:
        raise BadSignature("the notary has not signed with a key that is known")
    for key_id in signed_with:
        verify_json(document, notary, key_id, keys[key_id])
