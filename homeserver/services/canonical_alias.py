"""The aliases that a room publishes of itself. Spec: client-server-api/#mroomcanonical_alias"""

import asyncio
from typing import Final

from homeserver.errors import BadAlias, Forbidden, InvalidParam, NotFound
from homeserver.protocol.errors import AuthRefusal, InvalidIdentifier
from homeserver.protocol.event import StateKey
from homeserver.protocol.identifiers import RoomAlias, RoomID, parse_room_alias
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.send import SendEvent
from homeserver.web.requester import Requester

CANONICAL_ALIAS: Final[StateKey] = ("m.room.canonical_alias", "")
# Each new alias may cost a request to another server.
MAX_NEW_ALIASES: Final = 50


class CanonicalAlias:
    """Keeps `m.room.canonical_alias` true."""

    def __init__(
        self, aliases: RoomAliases, heads: Heads, cache: EventCache, send: SendEvent
    ) -> None:
        self._aliases = aliases
        self._heads = heads
        self._cache = cache
        self._send = send

    async def check(self, room_id: RoomID, content: JsonObject) -> None:
        """Check that the aliases which the content adds are well-formed and of this room.

        Raises InvalidParam, BadAlias; RemoteError: the server of an alias does not answer.
        """
        before = _stated(await self.content(room_id) or {})
        added = [alias for alias in dict.fromkeys(_listed(content)) if alias not in before]
        if len(added) > MAX_NEW_ALIASES:
            raise InvalidParam(f"More than {MAX_NEW_ALIASES} new aliases at once")
        parsed = [_parsed(alias) for alias in added]
        await asyncio.gather(*(self._check_points_to(room_id, alias) for alias in parsed))

    async def content(self, room_id: RoomID) -> JsonObject | None:
        """Return the present content of the event."""
        head = await self._heads.head(room_id)
        entry = head.state.get(CANONICAL_ALIAS) if head is not None else None
        if entry is None:
            return None
        event = (await self._cache.get([entry.event_nid])).get(entry.event_nid)
        return event.content if event is not None else None

    async def withdraw(self, requester: Requester, room_id: RoomID, alias: RoomAlias) -> None:
        """Take a deleted alias out of the event, if the requester may change it."""
        content = await self.content(room_id)
        if content is None or alias not in _stated(content):
            return
        changed = {key: value for key, value in content.items() if (key, value) != ("alias", alias)}
        alternatives = content.get("alt_aliases")
        if isinstance(alternatives, list):
            changed["alt_aliases"] = [each for each in alternatives if each != alias]
        try:
            await self._send.state(requester, room_id, *CANONICAL_ALIAS, changed)
        except (AuthRefusal, Forbidden):
            # "…return a successful response even if the user does not have permission".
            return

    async def _check_points_to(self, room_id: RoomID, alias: RoomAlias) -> None:
        try:
            found, _ = await self._aliases.resolve(alias)
        except NotFound as error:
            raise BadAlias(f"The alias {alias} does not exist") from error
        if found != room_id:
            raise BadAlias(f"The alias {alias} does not point to this room")


def _listed(content: JsonObject) -> list[str]:
    """Return the aliases that content sets. Raises InvalidParam: it is not of the right shape."""
    alias, alternatives = content.get("alias"), content.get("alt_aliases")
    # "If not present, null, or empty the room should be considered to have no canonical alias."
    main = [] if alias is None or alias == "" else [alias]
    listed = [*main, *(alternatives if isinstance(alternatives, list) else [])]
    if alternatives is not None and not isinstance(alternatives, list):
        raise InvalidParam("alt_aliases must be a list of room aliases")
    if not all(isinstance(each, str) for each in listed):
        raise InvalidParam("Room aliases must be strings")
    return listed


def _stated(content: JsonObject) -> set[str]:
    """Return the aliases of a stored event, which may have any shape."""
    alternatives = content.get("alt_aliases")
    stated = [content.get("alias"), *(alternatives if isinstance(alternatives, list) else [])]
    return {each for each in stated if isinstance(each, str)}


def _parsed(alias: str) -> RoomAlias:
    try:
        return parse_room_alias(alias)
    except InvalidIdentifier as error:
        raise InvalidParam(f"{alias[:255]!r} is not a room alias") from error
