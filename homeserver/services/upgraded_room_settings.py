"""What users have set for a room holds for the room that replaces it: a follower of the log.

"When a user joins the new room, the server should automatically transfer/replicate some of the
user's personalized settings such as notifications, tags, etc."
Spec: client-server-api/#room-upgrades
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from homeserver.errors import MatrixError
from homeserver.protocol.errors import InvalidIdentifier, ProtocolError
from homeserver.protocol.identifiers import RoomID, ServerName, UserID, parse_room_id
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.push_rules.model import Condition, Rule, RuleKind
from homeserver.services.account_data import AccountData
from homeserver.services.push_rules import PushRules
from homeserver.storage import room_summary
from homeserver.storage.database import Database
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.follower import Stretch
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

FOLLOWER_NAME: Final = "upgraded_room_settings"
_decode: Final = msgspec.json.Decoder().decode


class _Join(NamedTuple):
    user_id: UserID
    room_nid: int
    room_id: RoomID


class UpgradedRoomSettings:
    """Copies tags, push rules and the mark of a direct chat when users of this server join."""

    def __init__(
        self,
        database: Database,
        account_data: AccountData,
        push_rules: PushRules,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._account_data = account_data
        self._push_rules = push_rules
        self._suffix = f":{server_name}"

    def concerns(self, entry: LogEntry) -> bool:
        """Whether a user of this server may have joined."""
        return isinstance(entry, EventEntry) and any(self._is_join(entry))

    async def handle(self, stretch: Stretch) -> None:
        """Copy what there is and is not there yet. Once more does no harm."""
        joins = [
            join
            for entry in stretch.entries
            if isinstance(entry, EventEntry) and not _was_joined(entry)
            for join in self._is_join(entry)
        ]
        if not joins:
            return
        predecessors = await self._predecessors({join.room_nid for join in joins})
        for join in joins:
            old = predecessors.get(join.room_nid)
            if old is None or old == join.room_id:
                continue
            try:
                await self._copy(join.user_id, old, join.room_id)
            except (MatrixError, ProtocolError) as error:
                # Over some limit of the user's: the room is none the worse for it.
                log.info("settings could not be transferred", reason=type(error).__name__)

    def _is_join(self, entry: EventEntry) -> Iterator[_Join]:
        for change in entry.state_changes:
            if change.membership == "join" and change.key[1].endswith(self._suffix):
                yield _Join(UserID(change.key[1]), entry.room_nid, entry.room_id)

    async def _predecessors(self, room_nids: Iterable[int]) -> dict[int, RoomID]:
        async with self._database.connection(FOLLOWER_NAME) as connection:
            creates = await room_summary.state_contents(
                connection, list(room_nids), ["m.room.create"]
            )
        found = ((row.room_nid, _predecessor(_decode(row.core)["content"])) for row in creates)
        return {room_nid: old for room_nid, old in found if old is not None}

    async def _copy(self, user_id: UserID, old: RoomID, new: RoomID) -> None:
        tags = await self._account_data.find(user_id, "m.tag", room_id=old)
        if tags is not None:
            copied: JsonObject = _decode(tags)
            await self._account_data.change(
                user_id,
                "m.tag",
                lambda present: copied if present is None else None,
                room_id=new,
            )
        if await self._account_data.find(user_id, "m.direct") is not None:
            await self._account_data.change(
                user_id, "m.direct", lambda present: _with_direct(present, old, new)
            )
        await self._copy_rules(user_id, old, new)

    async def _copy_rules(self, user_id: UserID, old: RoomID, new: RoomID) -> None:
        rules = await self._push_rules.of_user(user_id)
        for kind in RuleKind:
            # The last first: each is put before the others of its kind.
            for rule in reversed(rules.of_kind(kind)):
                moved = _about(kind, rule, old, new)
                if moved is None or rules.find(kind, moved.rule_id) is not None:
                    continue
                await self._push_rules.put(
                    user_id, kind, moved.rule_id, moved.to_json(kind, user_id)
                )
                if not rule.is_enabled:
                    await self._push_rules.set_enabled(
                        user_id, kind, moved.rule_id, is_enabled=False
                    )


def _was_joined(entry: EventEntry) -> bool:
    replaced = entry.record.replaced_core
    if entry.record.type != "m.room.member" or replaced is None:
        return False
    return bool(_decode(replaced)["content"].get("membership") == "join")


def _predecessor(content: JsonObject) -> RoomID | None:
    stated = content.get("predecessor")
    room_id = stated.get("room_id") if isinstance(stated, dict) else None
    try:
        return parse_room_id(room_id) if isinstance(room_id, str) else None
    except InvalidIdentifier:
        return None


def _with_direct(content: JsonObject | None, old: RoomID, new: RoomID) -> JsonObject | None:
    """Return `m.direct` with the new room wherever the old one is; None: no change."""
    changed = {
        user_id: [*rooms, new]
        for user_id, rooms in (content or {}).items()
        if isinstance(rooms, list) and old in rooms and new not in rooms
    }
    return {**(content or {}), **changed} if changed else None


def _about(kind: RuleKind, rule: Rule, old: RoomID, new: RoomID) -> Rule | None:
    """Return a rule about the old room as one about the new room; None for other rules."""
    if rule.is_default:
        return None
    if kind is RuleKind.ROOM:
        return msgspec.structs.replace(rule, rule_id=new) if rule.rule_id == old else None
    conditions = tuple(_condition(condition, old, new) for condition in rule.conditions)
    if conditions == rule.conditions:
        return None
    # Clients name such rules by the room; another name would be taken already.
    rule_id = rule.rule_id.replace(old, new)
    rule_id = rule_id if rule_id != rule.rule_id else f"{rule.rule_id} {new}"
    return msgspec.structs.replace(rule, rule_id=rule_id, conditions=conditions)


def _condition(condition: Condition, old: RoomID, new: RoomID) -> Condition:
    source = condition.source
    asks = (source.get("kind"), source.get("key"), source.get("pattern"))
    if asks != ("event_match", "room_id", old):
        return condition
    return Condition({**source, "pattern": new})
