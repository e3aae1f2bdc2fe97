"""The keys of this server, and those of others as a notary.

Spec: server-server-api/#retrieving-server-keys
"""

from typing import Final

import msgspec

from federation.keys.notary import Notary
from federation.keys.own_keys import OwnKeys
from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.telemetry.clock import Clock
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params, Query
from homeserver.web.paths import KEY_V2

# Far more than a server asks about at once; a query of anybody must not cost more than this.
_MAX_SERVERS: Final = 500
_MAX_KEYS: Final = 50


class OwnKeyPath(Params, frozen=True):
    """COMPAT(servers before v1.6): the key ID, which says nothing. All keys are answered."""

    key_id: str


class QueryPath(Params, frozen=True):
    """Whose keys are wanted."""

    server_name: ServerName


class QueryFields(Query, frozen=True):
    """Until when the keys should be valid; absent is now."""

    minimum_valid_until_ts: int | msgspec.UnsetType = msgspec.UNSET


class Criteria(msgspec.Struct, frozen=True):
    """Until when a key should be valid; absent is now."""

    minimum_valid_until_ts: int | msgspec.UnsetType = msgspec.UNSET


class BulkQuery(Body, frozen=True):
    """Wanted keys by server name and key ID; no key IDs mean all keys."""

    server_keys: dict[ServerName, dict[KeyID, Criteria]]


class FoundKeys(msgspec.Struct, frozen=True):
    """Documents of servers, each signed by its server and by this one."""

    server_keys: list[JsonObject]


class KeyRoutes:
    """The endpoints under `/_matrix/key/v2`."""

    def __init__(self, own_keys: OwnKeys, notary: Notary, clock: Clock) -> None:
        self._own_keys = own_keys
        self._notary = notary
        self._clock = clock

    @endpoint(
        "GET",
        KEY_V2 / "server",
        auth=Auth.NONE,
        rate_limit=None,
        spec="server-server-api/#get_matrixkeyv2server",
    )
    async def get_server(self) -> JsonObject:
        """Get the homeserver's public keys."""
        return self._own_keys.document()

    @endpoint(
        "GET",
        KEY_V2 / "server/{key_id}",
        auth=Auth.NONE,
        rate_limit=None,
        spec="server-server-api/#get_matrixkeyv2server",
        deprecated=True,
    )
    async def get_server_by_key_id(self, path: OwnKeyPath) -> JsonObject:
        """Get the homeserver's public keys, as before v1.6."""
        return self._own_keys.document()

    @endpoint(
        "GET",
        KEY_V2 / "query/{server_name}",
        auth=Auth.NONE,
        rate_limit=RateLimit.KEYS,
        spec="server-server-api/#get_matrixkeyv2queryservername",
    )
    async def get_query(self, path: QueryPath, query: QueryFields) -> FoundKeys:
        """Query for another server's keys."""
        minimum_ts = self._time(query.minimum_valid_until_ts)
        return FoundKeys(
            await self._notary.keys_of({path.server_name: {}}, minimum_valid_until_ts=minimum_ts)
        )

    @endpoint(
        "POST",
        KEY_V2 / "query",
        auth=Auth.NONE,
        rate_limit=RateLimit.KEYS,
        spec="server-server-api/#post_matrixkeyv2query",
    )
    async def post_query(self, body: BulkQuery) -> FoundKeys:
        """Query for the keys of several servers."""
        too_many = len(body.server_keys) > _MAX_SERVERS or any(
            len(each) > _MAX_KEYS for each in body.server_keys.values()
        )
        if too_many:
            raise InvalidParam(f"At most {_MAX_SERVERS} servers and {_MAX_KEYS} keys of each")
        wanted = {
            server: {
                key_id: self._time(each.minimum_valid_until_ts)
                for key_id, each in of_server.items()
            }
            for server, of_server in body.server_keys.items()
        }
        return FoundKeys(await self._notary.keys_of(wanted))

    def _time(self, minimum_ts: int | msgspec.UnsetType) -> int:
        # "If not supplied, the notary server MUST use the current time."
        return self._clock.now_ms() if minimum_ts is msgspec.UNSET else minimum_ts
