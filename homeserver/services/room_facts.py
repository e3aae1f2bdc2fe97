"""What previews, directories and space trees tell of rooms, kept in memory.

Spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias,
client-server-api/#mspacechild-relationship
"""

import re
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.errors import InvalidIdentifier, UnsupportedRoomVersion
from homeserver.protocol.history_visibility import HistoryVisibility, parse_history_visibility
from homeserver.protocol.identifiers import (
    RoomAlias,
    RoomID,
    ServerName,
    parse_room_alias,
    parse_room_id,
)
from homeserver.protocol.join_rules import JoinRules, parse_join_rules
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.room_versions import rules_of
from homeserver.storage import log, room_summary
from homeserver.storage.database import Database
from homeserver.storage.room_summary import KnownRoomRow, SpaceChildRow
from homeserver.streams.entries import ROOM_COMPLETED, EventEntry, LogEntry, UserEntry
from homeserver.streams.tail import Tail

SPACE: Final = "m.space"
# About 1.5 kB each, more for spaces: 30 MB. Large enough for the directory of a large server,
# which reads all published rooms at once.
MAX_ROOMS: Final = 20_000

_TYPES: Final = (
    "m.room.create",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
)
_FOLLOWED: Final = frozenset((*_TYPES, "m.room.member", "m.space.child"))
# "Must consist of ASCII characters within the range \x20 to \x7E… not exceed 50 characters."
_ORDER: Final = re.compile(r"[\x20-\x7e]{1,50}")
_decode: Final = msgspec.json.Decoder().decode


class SpaceChild(NamedTuple):
    """A room that a space lists; `stripped` is the event as `children_state` has it."""

    room_id: RoomID
    via: tuple[str, ...]
    is_suggested: bool
    stripped: JsonObject


class RoomFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What may be told of a room to those who may see it."""

    room_id: RoomID
    # Empty where another server does not tell.
    room_version: str
    joined: int
    # Whether this server takes part, or nobody does: then what is stored is the present.
    is_current: bool
    is_joined_here: bool
    join_rules: JoinRules
    # As written in the room: unknown values reach clients too.
    join_rule: str
    visibility: HistoryVisibility
    guests_may_join: bool
    # Whether users of other servers may join at all: `m.federate`.
    is_federatable: bool = True
    # None: the room is not known here.
    room_nid: int | None = None
    name: str | None = None
    topic: str | None = None
    avatar_url: str | None = None
    canonical_alias: RoomAlias | None = None
    room_type: str | None = None
    encryption: str | None = None
    # In the order in which clients show them.
    children: tuple[SpaceChild, ...] = ()

    @property
    def is_world_readable(self) -> bool:
        """Whether anybody may read the room without joining."""
        return self.visibility is HistoryVisibility.WORLD_READABLE

    @property
    def is_space(self) -> bool:
        """Whether the room is a space."""
        return self.room_type == SPACE


class KnownRooms:
    """The facts of the rooms that this server knows: a cache that follows the log."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        server_name: ServerName,
        *,
        max_rooms: int = MAX_ROOMS,
    ) -> None:
        self._database = database
        self._tail = tail
        self._server_name = server_name
        self._max_rooms = max_rooms
        self._facts: OrderedDict[str, RoomFacts] = OrderedDict()
        tail.follow(self._take, on_gap=self._facts.clear)

    async def facts(self, room_ids: Iterable[RoomID]) -> dict[RoomID, RoomFacts]:
        """Return the facts of those of the rooms that have a create event here."""
        found: dict[RoomID, RoomFacts] = {}
        missing: list[RoomID] = []
        for room_id in dict.fromkeys(room_ids):
            facts = self._facts.get(room_id)
            if facts is None:
                missing.append(room_id)
            else:
                self._facts.move_to_end(room_id)
                found[room_id] = facts
        if missing:
            found |= await self._load(missing)
        return found

    async def _load(self, room_ids: Collection[RoomID]) -> dict[RoomID, RoomFacts]:
        entries = None
        while entries is None:
            async with self._database.transaction(
                "room_facts", isolation="repeatable_read", readonly=True
            ) as tx:
                position = await log.head(tx)
                known = await room_summary.known_rooms(tx, room_ids, self._server_name)
                nids = [row.room_nid for row in known]
                contents: dict[int, dict[str, JsonObject]] = defaultdict(dict)
                for nid, event_type, core in await room_summary.state_contents(tx, nids, _TYPES):
                    contents[nid][event_type] = _decode(core)["content"]
                spaces = [nid for nid in nids if _is_space(contents[nid])]
                children: dict[int, list[SpaceChildRow]] = defaultdict(list)
                for child in await room_summary.space_children(tx, spaces) if spaces else ():
                    children[child.room_nid].append(child)
            entries = await self._tail.since(position)
        loaded = {
            row.room_id: _facts_of(row, contents[row.room_nid], children[row.room_nid])
            for row in known
            if "m.room.create" in contents[row.room_nid]
        }
        # What has changed since is answered as of the read, and read again the next time.
        changed, completed = set(_changed_rooms(entries)), _completed_rooms(entries)
        for room_id, facts in loaded.items():
            if room_id not in changed and facts.room_nid not in completed:
                self._facts[room_id] = facts
        while len(self._facts) > self._max_rooms:
            self._facts.popitem(last=False)
        return loaded

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for room_id in _changed_rooms(entries):
            self._facts.pop(room_id, None)
        if completed := _completed_rooms(entries):
            # Somebody has joined a room on another server: that is rare, and this takes 1 ms.
            for facts in [each for each in self._facts.values() if each.room_nid in completed]:
                del self._facts[facts.room_id]


def facts_from_state(
    room_id: RoomID, room_version: str, contents: Mapping[str, JsonObject]
) -> RoomFacts:
    """Return the facts that state events, of whatever shape, tell; nobody is counted.

    `contents` are those of events with an empty state key, by type. Nothing is raised.
    """
    rules_content = contents.get("m.room.join_rules")
    return RoomFacts(
        room_id=room_id,
        room_version=room_version,
        joined=0,
        is_current=True,
        is_joined_here=False,
        join_rules=_join_rules(rules_content, room_version),
        join_rule=_text(rules_content, "join_rule") or "invite",
        visibility=parse_history_visibility(contents.get("m.room.history_visibility")),
        guests_may_join=_text(contents.get("m.room.guest_access"), "guest_access") == "can_join",
        is_federatable=contents.get("m.room.create", {}).get("m.federate") is not False,
        name=_text(contents.get("m.room.name"), "name"),
        topic=plain_topic(contents.get("m.room.topic") or {}),
        avatar_url=_content_uri(_text(contents.get("m.room.avatar"), "url")),
        canonical_alias=_alias(_text(contents.get("m.room.canonical_alias"), "alias")),
        room_type=_text(contents.get("m.room.create"), "type"),
        encryption=_text(contents.get("m.room.encryption"), "algorithm"),
    )


def space_child(
    room_id: str, content: JsonValue, sender: str, origin_server_ts: int
) -> SpaceChild | None:
    """Return the child that a `m.space.child` event lists.

    None: "When not present or invalid [via], the child room is not considered to be part of the
    space", and without a room ID there is none.
    """
    via = content.get("via") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(via, list) or not via:
        return None
    if not all(isinstance(server, str) for server in via):
        return None
    try:
        child = parse_room_id(room_id)
    except InvalidIdentifier:
        return None
    stripped: JsonObject = {
        "type": "m.space.child",
        "state_key": room_id,
        "content": content,
        "sender": sender,
        "origin_server_ts": origin_server_ts,
    }
    return SpaceChild(child, tuple(via), content.get("suggested") is True, stripped)


def in_order(children: Iterable[SpaceChild]) -> tuple[SpaceChild, ...]:
    """Sort the children of a space.

    Spec: client-server-api/#ordering-of-children-within-a-space
    """
    return tuple(sorted(children, key=_place))


def plain_topic(content: JsonObject) -> str | None:
    """Return the plain text of a topic: "Omitted if no text/plain mimetype exists"."""
    block = content.get("m.topic")
    texts = block.get("m.text") if isinstance(block, dict) else None
    if not isinstance(texts, list):
        return _text(content, "topic")
    for text in texts:
        # "mimetype … Defaults to text/plain"
        if isinstance(text, dict) and text.get("mimetype", "text/plain") == "text/plain":
            return _text(text, "body")
    return None


def _facts_of(
    row: KnownRoomRow, contents: Mapping[str, JsonObject], children: Iterable[SpaceChildRow]
) -> RoomFacts:
    listed = (
        space_child(each.child, _decode(each.core)["content"], each.sender, each.origin_server_ts)
        for each in children
    )
    return msgspec.structs.replace(
        facts_from_state(row.room_id, row.room_version, contents),
        joined=row.joined,
        is_current=row.joined_here > 0 or (row.joined == 0 and not row.is_partial_state),
        is_joined_here=row.joined_here > 0,
        room_nid=row.room_nid,
        children=in_order(child for child in listed if child is not None),
    )


def _place(child: SpaceChild) -> tuple[bool, str, int, str]:
    content, ts = child.stripped["content"], child.stripped["origin_server_ts"]
    order = content.get("order")
    is_valid = isinstance(order, str) and _ORDER.fullmatch(order) is not None
    return not is_valid, order if is_valid else "", ts, child.room_id


def _changed_rooms(entries: Iterable[LogEntry]) -> Iterator[RoomID]:
    for entry in entries:
        # A redaction may have emptied one of the events; which one is not worth a look.
        if isinstance(entry, EventEntry) and (
            entry.redaction is not None
            or any(change.key[0] in _FOLLOWED for change in entry.state_changes)
        ):
            yield entry.room_id


def _completed_rooms(entries: Iterable[LogEntry]) -> set[int]:
    """Return the rooms whose members have all become known at once."""
    return {
        entry.room_nid
        for entry in entries
        if isinstance(entry, UserEntry)
        and entry.kind == ROOM_COMPLETED
        and entry.room_nid is not None
    }


def _is_space(contents: Mapping[str, JsonObject]) -> bool:
    return _text(contents.get("m.room.create"), "type") == SPACE


def _join_rules(content: JsonObject | None, room_version: str) -> JoinRules:
    try:
        return parse_join_rules(content, rules_of(room_version))
    except UnsupportedRoomVersion:
        # Nobody can join a room of a version that we do not speak.
        return parse_join_rules({"join_rule": "private"}, rules_of("1"))


def _text(content: JsonObject | None, key: str) -> str | None:
    value = content.get(key) if content is not None else None
    return value if isinstance(value, str) and value else None


def _content_uri(text: str | None) -> str | None:
    return text if text is not None and text.startswith("mxc://") else None


def _alias(text: str | None) -> RoomAlias | None:
    try:
        return parse_room_alias(text) if text is not None else None
    except InvalidIdentifier:
        return None
