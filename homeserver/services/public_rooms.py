"""The published room directory: of this server, and through it those of others.

Spec: client-server-api/#published-room-directory
"""

import base64
import re
import unicodedata
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from homeserver.errors import InvalidParam, RemoteError
from homeserver.ports import RemoteDirectories
from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.services.room_facts import KnownRooms, RoomFacts
from homeserver.services.room_summary import PublicRoom, public_room
from homeserver.storage import public_rooms
from homeserver.storage.database import Database

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 500

_TOKEN: Final = re.compile(r"([np])([0-9]{1,12})(!.{1,255})", re.DOTALL)


class DirectoryQuery(NamedTuple):
    """What part of a directory; `room_types` has None for rooms without a type."""

    limit: int | None = None
    since: str | None = None
    search_term: str | None = None
    room_types: tuple[str | None, ...] | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class PublicRoomsPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a directory; a token is absent where there is nothing more."""

    chunk: list[PublicRoom]
    next_batch: str | UnsetType = UNSET
    prev_batch: str | UnsetType = UNSET
    total_room_count_estimate: int | UnsetType = UNSET


class _Place(NamedTuple):
    """A place in the directory, between a room and its neighbor.

    The largest rooms come first, those of the same size by their IDs.
    """

    fewer: int
    room_id: RoomID


class PublicRooms:
    """Reads directories."""

    def __init__(
        self,
        database: Database,
        known: KnownRooms,
        directories: RemoteDirectories,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._known = known
        self._directories = directories
        self._server_name = server_name

    async def page(self, query: DirectoryQuery, server: str | None = None) -> PublicRoomsPage:
        """Return a page of the directory of a server, of this one without a name.

        Raises InvalidParam: no token of this server; what the other server answers, RemoteError.
        """
        if server is not None and server != self._server_name:
            return await self._remote_page(ServerName(server), query)
        return await self.own_page(query)

    async def own_page(
        self, query: DirectoryQuery, *, for_servers: bool = False
    ) -> PublicRoomsPage:
        """Return a page of the directory of this server. Raises InvalidParam.

        `for_servers`: without rooms that users of other servers cannot join.
        """
        direction, place = _parsed(query.since) if query.since else ("n", None)
        limit = min(query.limit or DEFAULT_LIMIT, MAX_LIMIT)
        rooms = sorted(await self._matching(query), key=_place_of)
        if for_servers:
            rooms = [room for room in rooms if room.is_federatable]
        if direction == "p" and place is not None:
            upto = next((i for i, room in enumerate(rooms) if _place_of(room) >= place), len(rooms))
            start = max(0, upto - limit)
        else:
            start = 0
            if place is not None:
                start = next(
                    (i for i, room in enumerate(rooms) if _place_of(room) > place), len(rooms)
                )
            upto = min(len(rooms), start + limit)
        chunk = rooms[start:upto]
        return PublicRoomsPage(
            chunk=[public_room(facts) for facts in chunk],
            next_batch=_token("n", chunk[-1]) if chunk and upto < len(rooms) else UNSET,
            prev_batch=_token("p", chunk[0]) if chunk and start > 0 else UNSET,
            total_room_count_estimate=len(rooms),
        )

    async def _matching(self, query: DirectoryQuery) -> list[RoomFacts]:
        # No room of this directory belongs to the network of an application service.
        if query.third_party_instance_id and not query.include_all_networks:
            return []
        async with self._database.connection("public_rooms") as connection:
            published = await public_rooms.published_rooms(connection)
        facts = await self._known.facts(published)
        # Nobody could be let into a room that nobody here is in.
        rooms: Iterable[RoomFacts] = (each for each in facts.values() if each.is_joined_here)
        if query.room_types is not None:
            wanted = set(query.room_types)
            rooms = (each for each in rooms if each.room_type in wanted)
        term = _folded(query.search_term or "").strip()
        if term:
            rooms = (each for each in rooms if _matches(each, term))
        return list(rooms)

    async def _remote_page(self, server: ServerName, query: DirectoryQuery) -> PublicRoomsPage:
        answer = await self._directories.public_rooms(server, _body_of(query))
        chunk = answer.get("chunk")
        if not isinstance(chunk, list):
            raise RemoteError(server, "its room directory has no chunk")
        estimate = answer.get("total_room_count_estimate")
        return PublicRoomsPage(
            chunk=[room for each in chunk if (room := _checked(each)) is not None],
            next_batch=_text(answer.get("next_batch")),
            prev_batch=_text(answer.get("prev_batch")),
            total_room_count_estimate=estimate if type(estimate) is int else UNSET,
        )


def _matches(facts: RoomFacts, term: str) -> bool:
    texts = (facts.name, facts.topic, facts.canonical_alias)
    return any(text is not None and term in _folded(text) for text in texts)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _place_of(facts: RoomFacts) -> _Place:
    return _Place(-facts.joined, facts.room_id)


def _token(direction: str, facts: RoomFacts) -> str:
    text = f"{direction}{facts.joined}{facts.room_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parsed(token: str) -> tuple[str, _Place]:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError as error:
        raise InvalidParam("since is not a token of this server") from error
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise InvalidParam("since is not a token of this server")
    return match[1], _Place(-int(match[2]), RoomID(match[3]))


def _body_of(query: DirectoryQuery) -> JsonObject:
    body: JsonObject = {"limit": min(query.limit or DEFAULT_LIMIT, MAX_LIMIT)}
    if query.since:
        body["since"] = query.since
    filters: JsonObject = {}
    if query.search_term:
        filters["generic_search_term"] = query.search_term
    if query.room_types is not None:
        filters["room_types"] = list(query.room_types)
    if filters:
        body["filter"] = filters
    if query.include_all_networks:
        body["include_all_networks"] = True
    elif query.third_party_instance_id:
        body["third_party_instance_id"] = query.third_party_instance_id
    return body


def _checked(room: object) -> PublicRoom | None:
    """Return a room of another server's list; null stands for absent there."""
    if not isinstance(room, dict):
        return None
    stated = {key: value for key, value in room.items() if value is not None}
    try:
        return msgspec.convert(stated, PublicRoom)
    except msgspec.ValidationError:
        return None


def _text(value: object) -> str | UnsetType:
    return value if isinstance(value, str) and value else UNSET
