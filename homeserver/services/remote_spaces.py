"""Rooms and spaces as other servers tell of them, for a while in memory.

Spec: server-server-api/#get_matrixfederationv1hierarchyroomid
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from homeserver.errors import RemoteError
from homeserver.ports import RemoteDirectories
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.history_visibility import HistoryVisibility
from homeserver.protocol.identifiers import RoomID, ServerName, parse_room_id, parse_server_name
from homeserver.protocol.join_rules import JoinRule, JoinRules
from homeserver.protocol.json_types import JsonObject
from homeserver.services.room_facts import (
    RoomFacts,
    SpaceChild,
    facts_from_state,
    in_order,
    space_child,
)
from homeserver.telemetry.clock import Clock

# "Responses to this endpoint should be cached for a period of time."
_KEEP_SECONDS: Final = 300.0
# Nobody knew the room: the next try may do better.
_KEEP_FAILURE_SECONDS: Final = 30.0
_MAX_SPACES: Final = 1_000
# Enough to find one that answers.
MAX_SERVERS: Final = 5
# Of what another server says a space has: it is walked through and kept.
MAX_CHILDREN: Final = 1_000


class RemoteSpace(NamedTuple):
    """A room of which another server tells, with what it tells of the room's children."""

    facts: RoomFacts
    children: Mapping[RoomID, RoomFacts]
    # "should consider these room IDs as not accessible from anywhere"
    inaccessible: frozenset[str]


class _Room(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a summary that have to be of the right type."""

    room_id: str
    num_joined_members: int
    world_readable: bool = False
    guest_can_join: bool = False
    # "When not present, the room is assumed to be public."
    join_rule: str = "public"
    allowed_room_ids: list[str] = []
    name: str | None = None
    topic: str | None = None
    avatar_url: str | None = None
    canonical_alias: str | None = None
    room_type: str | None = None
    encryption: str | None = None
    room_version: str | None = None


class RemoteSpaces:
    """Asks other servers for the rooms that this server does not take part in."""

    def __init__(self, directories: RemoteDirectories, clock: Clock) -> None:
        self._directories = directories
        self._clock = clock
        self._answers: OrderedDict[RoomID, tuple[float, RemoteSpace | None]] = OrderedDict()

    async def space(self, room_id: RoomID, servers: Iterable[str]) -> RemoteSpace | None:
        """Return a room with its children; None: no server tells."""
        kept = self._answers.get(room_id)
        if kept is not None and kept[0] > self._clock.monotonic():
            return kept[1]
        candidates = _valid_servers(servers)
        if not candidates:
            return None
        try:
            answer = await self._directories.space_hierarchy(room_id, candidates)
        except RemoteError:
            answer = None
        space = None if answer is None else _space_of(room_id, answer)
        keep = _KEEP_FAILURE_SECONDS if space is None else _KEEP_SECONDS
        self._answers[room_id] = (self._clock.monotonic() + keep, space)
        self._answers.move_to_end(room_id)
        if len(self._answers) > _MAX_SPACES:
            self._answers.popitem(last=False)
        return space


def _valid_servers(servers: Iterable[str]) -> Sequence[ServerName]:
    valid: dict[ServerName, None] = {}
    for server in servers:
        try:
            valid[parse_server_name(server)] = None
        except InvalidIdentifier:
            continue
        if len(valid) == MAX_SERVERS:
            break
    return list(valid)


def _space_of(room_id: RoomID, answer: JsonObject) -> RemoteSpace | None:
    facts = _facts_of(answer.get("room"))
    if facts is None or facts.room_id != room_id:
        return None
    children = answer.get("children")
    listed = children[:MAX_CHILDREN] if isinstance(children, list) else []
    known = (_facts_of(child) for child in listed)
    inaccessible = answer.get("inaccessible_children")
    return RemoteSpace(
        facts,
        {child.room_id: child for child in known if child is not None},
        frozenset(each for each in inaccessible if isinstance(each, str))
        if isinstance(inaccessible, list)
        else frozenset(),
    )


def _facts_of(summary: object) -> RoomFacts | None:
    try:
        room = msgspec.convert(summary, _Room)
        room_id = parse_room_id(room.room_id)
    except (msgspec.ValidationError, InvalidIdentifier):
        return None
    contents: dict[str, JsonObject] = {
        "m.room.create": {"type": room.room_type},
        "m.room.name": {"name": room.name},
        "m.room.topic": {"topic": room.topic},
        "m.room.avatar": {"url": room.avatar_url},
        "m.room.canonical_alias": {"alias": room.canonical_alias},
        "m.room.encryption": {"algorithm": room.encryption},
    }
    return msgspec.structs.replace(
        facts_from_state(room_id, "1", contents),
        room_version=room.room_version or "",
        joined=max(0, room.num_joined_members),
        join_rules=_join_rules(room),
        join_rule=room.join_rule,
        visibility=(
            HistoryVisibility.WORLD_READABLE if room.world_readable else HistoryVisibility.SHARED
        ),
        guests_may_join=room.guest_can_join,
        children=_children_of(summary),
    )


def _join_rules(room: _Room) -> JoinRules:
    try:
        rule = JoinRule(room.join_rule)
    except ValueError:
        rule = JoinRule.UNSUPPORTED
    allow = [{"type": "m.room_membership", "room_id": each} for each in room.allowed_room_ids]
    return JoinRules(rule, allow)


def _children_of(summary: object) -> tuple[SpaceChild, ...]:
    events = summary.get("children_state") if isinstance(summary, dict) else None
    if not isinstance(events, list):
        return ()
    children = (_child_of(event) for event in events[:MAX_CHILDREN])
    return in_order(child for child in children if child is not None)


def _child_of(event: object) -> SpaceChild | None:
    if not isinstance(event, dict) or event.get("type") != "m.space.child":
        return None
    state_key, sender, ts = (
        event.get("state_key"),
        event.get("sender"),
        event.get("origin_server_ts"),
    )
    # `type` and not isinstance: a boolean is no time.
    if not isinstance(state_key, str) or not isinstance(sender, str) or type(ts) is not int:
        return None
    return space_child(state_key, event.get("content"), sender, ts)
