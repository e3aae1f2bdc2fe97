"""The tree of a space, as far as somebody may see it, page by page.

Spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
"""

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from homeserver.errors import Forbidden, InvalidParam
from homeserver.protocol.identifiers import RoomID, has_domain, server_name_of
from homeserver.services.remote_spaces import RemoteSpace, RemoteSpaces
from homeserver.services.room_facts import KnownRooms, RoomFacts, SpaceChild
from homeserver.services.room_summary import Viewer, viewer_of
from homeserver.streams.user_rooms import UserRooms
from homeserver.web.requester import Requester

# "Servers should apply a default value, and impose a maximum value".
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100
MAX_DEPTH: Final = 50
# A page of any tree ends: so many rooms are looked at, and so many other servers asked, for one.
MAX_ROOMS: Final = 20_000
MAX_REMOTE_REQUESTS: Final = 30
# How many rooms are read at once, those that come next in the walk.
_AHEAD: Final = 64

_TOKEN: Final = re.compile(r"h([1-9][0-9]{0,5})_([0-9]{1,2})_([01])_([0-9a-f]{16})")


class HierarchyQuery(NamedTuple):
    """What part of the tree; None: as before, or the default."""

    suggested_only: bool | None = None
    max_depth: int | None = None
    limit: int | None = None
    start: str | None = None


class TreeRoom(NamedTuple):
    """A room of the tree and those of its children that are to be shown."""

    facts: RoomFacts
    children: Sequence[SpaceChild]


class TreePage(NamedTuple):
    """Rooms of the tree; `next_batch` None: there are no more."""

    rooms: list[TreeRoom]
    next_batch: str | None


class _Token(NamedTuple):
    """Where a page ended: after how many rooms, and after which one, by the hash of its ID.

    The tree may have changed when the next page is asked for. The walk then goes on behind that
    room, or, where it is gone, behind as many rooms.
    """

    passed: int
    max_depth: int
    suggested_only: bool
    last_hash: str

    def __str__(self) -> str:
        return f"h{self.passed}_{self.max_depth}_{int(self.suggested_only)}_{self.last_hash}"


class _Step(NamedTuple):
    room_id: RoomID
    depth: int
    via: tuple[str, ...] = ()
    # What a server told of the space that lists the room.
    told: RemoteSpace | None = None


class Hierarchy:
    """Walks the trees of spaces."""

    def __init__(
        self,
        known: KnownRooms,
        remote: RemoteSpaces,
        user_rooms: UserRooms,
    ) -> None:
        self._known = known
        self._remote = remote
        self._user_rooms = user_rooms

    async def page(self, requester: Requester, room_id: RoomID, query: HierarchyQuery) -> TreePage:
        """Return rooms of the tree below a room, that room first, depth first.

        Raises Forbidden: the user may not see the room; InvalidParam: not a token of this server,
        or `suggested_only` or `max_depth` are other than those of the first page.
        """
        after = _parsed(query.start) if query.start is not None else None
        suggested_only, max_depth = _settled(query, after)
        limit = min(query.limit or DEFAULT_LIMIT, MAX_LIMIT)
        walk = _Walk(
            self._known,
            self._remote,
            await viewer_of(self._user_rooms, requester),
            suggested_only=suggested_only,
            max_depth=max_depth,
        )
        rooms = walk.rooms(room_id)
        if after is None:
            return await _take(rooms, 0, limit, max_depth, suggested_only=suggested_only)
        if await _skip(rooms, after):
            return await _take(rooms, after.passed, limit, max_depth, suggested_only=suggested_only)
        # The last room is gone: once more, counting.
        rooms = walk.rooms(room_id)
        await _skip(rooms, after._replace(last_hash=""))
        return await _take(rooms, after.passed, limit, max_depth, suggested_only=suggested_only)


class _Walk:
    """One walk through a tree, in the eyes of one user."""

    def __init__(
        self,
        known: KnownRooms,
        remote: RemoteSpaces,
        viewer: Viewer,
        *,
        suggested_only: bool,
        max_depth: int,
    ) -> None:
        self._known = known
        self._remote = remote
        self._viewer = viewer
        self._suggested_only = suggested_only
        self._max_depth = max_depth
        self._facts: dict[RoomID, RoomFacts | None] = {}
        self._remote_requests = 0

    async def rooms(self, root: RoomID) -> AsyncIterator[TreeRoom]:
        """Yield the rooms of the tree, each once: "Servers should gracefully break loops".

        Raises Forbidden: the root is not to be seen.
        """
        stack = [_Step(root, 0)]
        seen: set[RoomID] = set()
        while stack and len(seen) < MAX_ROOMS:
            if stack[-1].room_id not in self._facts:
                await self._read(stack)
            step = stack.pop()
            if step.room_id in seen:
                continue
            seen.add(step.room_id)
            found = await self._find(step)
            if found is None:
                if step.depth == 0:
                    raise Forbidden("You are not allowed to view this room")
                continue
            facts, told = found
            children = [
                child for child in facts.children if child.is_suggested or not self._suggested_only
            ]
            yield TreeRoom(facts, children if facts.is_space else [])
            if facts.is_space and step.depth < self._max_depth:
                stack += [
                    _Step(child.room_id, step.depth + 1, child.via, told)
                    for child in reversed(children)
                ]

    async def _read(self, stack: Sequence[_Step]) -> None:
        """Read what this server knows of the rooms that come next."""
        wanted = [step.room_id for step in stack[-_AHEAD:] if step.room_id not in self._facts]
        found = await self._known.facts(wanted)
        self._facts.update({room_id: found.get(room_id) for room_id in wanted})

    async def _find(self, step: _Step) -> tuple[RoomFacts, RemoteSpace | None] | None:
        facts = self._facts[step.room_id]
        if facts is not None and facts.is_current:
            return (facts, None) if self._viewer.may_see(facts) else None
        told = None
        if step.told is not None:
            if step.room_id in step.told.inaccessible:
                return None
            facts = step.told.children.get(step.room_id)
        # The parent's server does not tell the children of a space that it lists.
        is_enough = (
            step.told is not None
            and facts is not None
            and (not facts.is_space or step.depth >= self._max_depth)
        )
        if not is_enough:
            told = await self._ask(step)
            facts = told.facts if told is not None else facts if step.told is not None else None
        if facts is None or not self._viewer.may_see(facts):
            return None
        return facts, told

    async def _ask(self, step: _Step) -> RemoteSpace | None:
        if self._remote_requests >= MAX_REMOTE_REQUESTS:
            return None
        self._remote_requests += 1
        servers = list(step.via)
        if has_domain(step.room_id):
            servers.append(server_name_of(step.room_id))
        return await self._remote.space(step.room_id, servers)


async def _skip(rooms: AsyncIterator[TreeRoom], after: _Token) -> bool:
    """Go on to behind a token's place; False: the tree has no such room any more."""
    count = 0
    async for room in rooms:
        count += 1
        if after.last_hash == _hash_of(room.facts.room_id):
            return True
        if not after.last_hash and count == after.passed:
            return True
    return False


async def _take(
    rooms: AsyncIterator[TreeRoom],
    before: int,
    limit: int,
    max_depth: int,
    *,
    suggested_only: bool,
) -> TreePage:
    taken: list[TreeRoom] = []
    async for room in rooms:
        if len(taken) == limit:
            last = taken[-1].facts.room_id
            token = _Token(before + limit, max_depth, suggested_only, _hash_of(last))
            return TreePage(taken, str(token))
        taken.append(room)
    return TreePage(taken, None)


def _settled(query: HierarchyQuery, after: _Token | None) -> tuple[bool, int]:
    """Return `suggested_only` and the bounded `max_depth`. Raises InvalidParam."""
    depth = None if query.max_depth is None else min(query.max_depth, MAX_DEPTH)
    if after is None:
        return query.suggested_only or False, MAX_DEPTH if depth is None else depth
    if query.suggested_only not in (None, after.suggested_only) or depth not in (
        None,
        after.max_depth,
    ):
        raise InvalidParam("suggested_only and max_depth cannot change on paginated requests")
    return after.suggested_only, after.max_depth


def _parsed(token: str) -> _Token:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("from is not a token of this server")
    return _Token(int(match[1]), int(match[2]), match[3] == "1", match[4])


def _hash_of(room_id: RoomID) -> str:
    return hashlib.blake2b(room_id.encode(), digest_size=8).hexdigest()
