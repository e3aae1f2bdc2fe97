"""Asking other servers for rooms: the port `RemoteDirectories`."""

from collections.abc import Sequence
from typing import Final

from federation.answer_shapes import list_in
from federation.transport.client import MIB, FederationClient, path_of
from federation.transport.failures import RemoteBadAnswer, RemoteRefusal
from homeserver.errors import Forbidden, InvalidParam, RemoteError
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import (
    RoomAlias,
    RoomID,
    ServerName,
    parse_room_id,
    parse_server_name,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject
from homeserver.telemetry.log import get_logger
from homeserver.web.paths import FEDERATION_V1

log = get_logger(__name__)

# Servers of a room that an alias may name, and how many of them are worth keeping.
_MAX_NAMED: Final = 10_000
_MAX_KEPT: Final = 50
_TIMEOUT_MS: Final = 15_000
_MAX_SPACE_BYTES: Final = 16 * MIB


class FederationDirectories:
    """Asks servers for aliases, directories and space trees."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def room_of_alias(self, alias: RoomAlias) -> tuple[RoomID, list[ServerName]] | None:
        """Resolve an alias of another server; None: it has none such. Raises RemoteError.

        Spec: server-server-api/#get_matrixfederationv1querydirectory
        """
        server = server_name_of(alias)
        try:
            answer = await self._client.get(
                server,
                path_of(FEDERATION_V1, "query", "directory"),
                query={"room_alias": alias},
                timeout_ms=_TIMEOUT_MS,
            )
        except RemoteRefusal as refusal:
            if refusal.status == 404:
                return None
            raise
        room_id = answer.get("room_id")
        servers = _server_names(list_in(answer, "servers", server, at_most=_MAX_NAMED))
        try:
            if not isinstance(room_id, str):
                raise InvalidIdentifier("room_id is no string")
            # "This list may or may not include the server answering the query."
            return parse_room_id(room_id), list(dict.fromkeys([*servers, server]))
        except InvalidIdentifier as error:
            raise RemoteBadAnswer(server, "the alias leads to no room") from error

    async def public_rooms(self, server: ServerName, query: JsonObject) -> JsonObject:
        """Return the answer of another server to `POST /publicRooms` with a body.

        Raises Forbidden: it does not show its directory; InvalidParam: it does not know the token;
        RemoteError. Spec: server-server-api/#post_matrixfederationv1publicrooms
        """
        try:
            return await self._client.post(
                server,
                path_of(FEDERATION_V1, "publicRooms"),
                body=query,
                timeout_ms=_TIMEOUT_MS,
            )
        except RemoteRefusal as refusal:
            if refusal.status == 403:
                raise Forbidden("The server does not show its room directory") from refusal
            if refusal.status == 400:
                raise InvalidParam("The server does not understand the query") from refusal
            raise

    async def space_hierarchy(
        self, room_id: RoomID, servers: Sequence[ServerName]
    ) -> JsonObject | None:
        """Return the first answer of some servers to `GET /hierarchy`; None: nobody answers well.

        Spec: server-server-api/#get_matrixfederationv1hierarchyroomid
        """
        for server in servers:
            try:
                answer = await self._client.get(
                    server,
                    path_of(FEDERATION_V1, "hierarchy", room_id),
                    query={"suggested_only": "false"},
                    max_bytes=_MAX_SPACE_BYTES,
                    timeout_ms=_TIMEOUT_MS,
                )
            except RemoteError as error:
                log.info("space not had", server=server, room_id=room_id, reason=error.reason)
                continue
            if isinstance(answer.get("room"), dict):
                return answer
        return None


def _server_names(values: Sequence[object]) -> list[ServerName]:
    names: dict[ServerName, None] = {}
    for value in values:
        if not isinstance(value, str) or len(names) == _MAX_KEPT:
            continue
        try:
            names[parse_server_name(value)] = None
        except InvalidIdentifier:
            continue
    return list(names)
