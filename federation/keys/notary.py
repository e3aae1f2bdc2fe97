"""Vouching for the keys of other servers.

Spec: server-server-api/#querying-keys-through-another-server
"""

from collections.abc import Mapping, Sequence
from typing import Final

from federation.keys.fetch import Wanted
from federation.keys.key_ring import KeyRing
from federation.keys.own_keys import OwnKeys
from homeserver.protocol.canonical_json import decode_json
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import sign_json
from homeserver.storage import server_keys
from homeserver.storage.database import Database
from homeserver.storage.server_keys import KnownDocument
from homeserver.telemetry.clock import Clock

# Servers that are asked for one query, which anybody may send.
_MAX_ASKED: Final = 50


class Notary:
    """Answers what the keys of servers are, as far as they are known or can be asked for."""

    def __init__(
        self, *, own_keys: OwnKeys, ring: KeyRing, database: Database, clock: Clock
    ) -> None:
        self._own = own_keys
        self._ring = ring
        self._database = database
        self._clock = clock

    async def keys_of(
        self, wanted: Mapping[ServerName, Wanted], *, minimum_valid_until_ts: int = 0
    ) -> list[JsonObject]:
        """Return documents with our signature added; no key IDs mean all keys of a server.

        A server is asked again if no key of it is valid until `minimum_valid_until_ts`, or one
        that is wanted not for as long as it should be.
        "Servers which are offline and have no cached keys will not be included".
        """
        others = [server for server in wanted if server != self._own.server_name]
        found = await self._documents(others)
        due = [
            each
            for each in others
            if self._is_due(found.get(each, ()), wanted[each], minimum_valid_until_ts)
        ]
        if due:
            await self._ring.refresh(due[:_MAX_ASKED])
            found.update(await self._documents(due[:_MAX_ASKED]))
        answer = [
            self._signed(each)
            for server in others
            for each in _chosen(found.get(server, ()), wanted[server])
        ]
        if self._own.server_name in wanted:
            answer.append(self._own.document())
        return answer

    async def _documents(
        self, servers: Sequence[ServerName]
    ) -> dict[ServerName, list[KnownDocument]]:
        async with self._database.connection("notary.documents") as connection:
            documents = await server_keys.documents(connection, servers)
        by_server: dict[ServerName, list[KnownDocument]] = {}
        for each in documents:
            by_server.setdefault(each.server_name, []).append(each)
        return by_server

    def _is_due(self, documents: Sequence[KnownDocument], wanted: Wanted, minimum_ts: int) -> bool:
        """Whether a server should be asked again."""
        if not documents:
            return True
        newest = documents[0]
        # "Intermediate notary servers should cache a response for half of its lifetime to avoid
        # serving a stale response."
        half_ts = (newest.fetched_ts + newest.valid_until_ts) // 2
        if self._clock.now_ms() >= half_ts or minimum_ts > newest.valid_until_ts:
            return True
        known = {key_id for each in documents for key_id in each.key_ids}
        return any(
            key_id not in known or minimum_ts > newest.valid_until_ts
            for key_id, minimum_ts in wanted.items()
        )

    def _signed(self, document: KnownDocument) -> JsonObject:
        return sign_json(
            decode_json(document.document), self._own.server_name, self._own.signing_key
        )


def _chosen(documents: Sequence[KnownDocument], wanted: Wanted) -> Sequence[KnownDocument]:
    """Choose the newest document, and older ones that have a key that is wanted."""
    if not wanted:
        return documents
    return [
        each
        for place, each in enumerate(documents)
        if place == 0 or not wanted.keys().isdisjoint(each.key_ids)
    ]
