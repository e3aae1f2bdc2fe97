"""Whose events count differently than by the default push rules: a cache that follows the log.

Spec: client-server-api/#push-rules, client-server-api/#ignoring-users
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, TypeGuard

import msgspec
from msgspec import UNSET, UnsetType

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.push_rules.defaults import default_rules
from homeserver.protocol.push_rules.evaluate import CompiledRules
from homeserver.protocol.push_rules.in_room import RulesByRoom, is_silent_in, needs_display_name
from homeserver.protocol.push_rules.model import RuleKind
from homeserver.protocol.push_rules.user_rules import UserRules, merged
from homeserver.storage import account_data, push_rules
from homeserver.storage.database import Database
from homeserver.streams.entries import (
    IGNORED_USERS_CHANGED,
    PUSH_RULES_CHANGED,
    LogEntry,
    UserEntry,
)
from homeserver.streams.tail import Tail

# The rules of everybody who has changed nothing.
DEFAULT_RULES: Final = default_rules(with_polls=True)
# Users, their rules and whom they ignore, counted together: some 100 MB.
MAX_WEIGHT: Final = 500_000
# Different rule sets: some 20 kB each.
MAX_COMPILED: Final = 2_000

decode_rules: Final = msgspec.json.Decoder(UserRules).decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class _IgnoredUserList(msgspec.Struct):
    ignored_users: dict[str, object] = {}


_decode_ignored: Final = msgspec.json.Decoder(_IgnoredUserList).decode


class RulesInRoom(NamedTuple):
    """The rules of a user, or of many users with equal ones, as far as they count in one room.

    `is_silent`: plain messages do not notify. Then nothing counts but what is written down for
    the user, and a muted room costs no row a message.
    """

    compiled: CompiledRules
    is_silent: bool
    needs_display_name: bool


class PersonalRules:
    """The rules of a user who has other than the defaults, and whom the user ignores."""

    __slots__ = ("by_room", "ignored", "in_rooms", "weight")

    def __init__(self, rules: UserRules, ignored: frozenset[UserID]) -> None:
        self.by_room: Final = RulesByRoom(rules)
        self.ignored: Final = ignored
        # What has been found before, by room; None: the default class.
        self.in_rooms: Final[dict[RoomID, RulesInRoom | None]] = {}
        own = sum(len(rules.custom.of_kind(kind)) for kind in RuleKind)
        self.weight: Final = 1 + own + len(ignored)


class PersonalRuleIndex:
    """The personal rules of the local users with whom this node has to do."""

    def __init__(self, database: Database, tail: Tail, *, max_weight: int = MAX_WEIGHT) -> None:
        self._database = database
        self._max_weight = max_weight
        self._weight = 0
        # None: a user with the defaults, who ignores nobody.
        self._users: OrderedDict[UserID, PersonalRules | None] = OrderedDict()
        self._compiled: OrderedDict[bytes, tuple[CompiledRules, bool]] = OrderedDict()
        # Grows whenever something is forgotten: what was read before may be out of date.
        self.generation = 0
        tail.follow(self._take, on_gap=self._forget_all)

    async def of_users(self, user_ids: Collection[UserID]) -> dict[UserID, PersonalRules]:
        """Return the personal rules of those of the users who have any."""
        missing = [user_id for user_id in user_ids if user_id not in self._users]
        loaded = await self._load(missing) if missing else {}
        found = {}
        for user_id in user_ids:
            personal = loaded[user_id] if user_id in loaded else self._users.get(user_id)
            if personal is not None:
                found[user_id] = personal
        return found

    async def of_user(self, user_id: UserID) -> PersonalRules | None:
        """Return the personal rules of a user, None for one with the defaults."""
        known = self.known(user_id)
        if known is not UNSET:
            return known
        return (await self.of_users([user_id])).get(user_id)

    def known(self, user_id: UserID) -> PersonalRules | UnsetType | None:
        """Return the same without waiting; UNSET when it must be read first."""
        if user_id not in self._users:
            return UNSET
        self._users.move_to_end(user_id)
        return self._users[user_id]

    def in_room(self, personal: PersonalRules, room_id: RoomID) -> RulesInRoom | None:
        """Return what the rules come to in a room; None: the same as the defaults."""
        if room_id not in personal.in_rooms:
            personal.in_rooms[room_id] = self._rules_in_room(personal, room_id)
        return personal.in_rooms[room_id]

    def _rules_in_room(self, personal: PersonalRules, room_id: RoomID) -> RulesInRoom | None:
        rules = personal.by_room.in_room(room_id)
        if rules.is_default_class:
            return None
        key = _encode(rules)
        found = self._compiled.get(key)
        if found is None:
            found = CompiledRules(merged(rules, DEFAULT_RULES)), needs_display_name(rules)
            self._compiled[key] = found
            if len(self._compiled) > MAX_COMPILED:
                self._compiled.popitem(last=False)
        compiled, asks_for_name = found
        return RulesInRoom(compiled, is_silent_in(compiled, room_id), asks_for_name)

    async def _load(self, user_ids: Collection[UserID]) -> dict[UserID, PersonalRules | None]:
        generation = self.generation
        async with self._database.connection("personal_rules") as connection:
            rules = await push_rules.rules_of_users(connection, user_ids)
            ignored = await account_data.ignored_user_lists(connection, user_ids)
        loaded = {
            user_id: _personal(user_id, rules.get(user_id), ignored.get(user_id))
            for user_id in user_ids
        }
        if generation == self.generation:
            for user_id, personal in loaded.items():
                self._keep(user_id, personal)
        return loaded

    def _keep(self, user_id: UserID, personal: PersonalRules | None) -> None:
        self._forget(user_id)
        self._users[user_id] = personal
        self._weight += _weight_of(personal)
        while self._weight > self._max_weight and len(self._users) > 1:
            self._forget(next(iter(self._users)))

    def _forget(self, user_id: UserID) -> None:
        if user_id in self._users:
            self._weight -= _weight_of(self._users.pop(user_id))

    def _forget_all(self) -> None:
        self.generation += 1
        self._users.clear()
        self._weight = 0

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if changes_personal_rules(entry):
                self.generation += 1
                self._forget(UserID(entry.user_id))


def changes_personal_rules(entry: LogEntry) -> TypeGuard[UserEntry]:
    """Whether a user's push rules, or whom the user ignores, have changed."""
    return isinstance(entry, UserEntry) and entry.kind in _KINDS


_KINDS: Final = frozenset({IGNORED_USERS_CHANGED, PUSH_RULES_CHANGED})


def _weight_of(personal: PersonalRules | None) -> int:
    return 1 if personal is None else personal.weight


def _personal(user_id: UserID, rules: bytes | None, ignored: bytes | None) -> PersonalRules | None:
    user_rules = UserRules() if rules is None else decode_rules(rules)
    ignored_users = frozenset[UserID]() if ignored is None else _ignored_by(user_id, ignored)
    if user_rules.is_default_class and not ignored_users:
        return None
    return PersonalRules(user_rules, ignored_users)


def _ignored_by(user_id: UserID, content: bytes) -> frozenset[UserID]:
    """Read an `m.ignored_user_list`; what is malformed ignores nobody, and nobody oneself."""
    try:
        ignored = _decode_ignored(content).ignored_users
    except msgspec.ValidationError:
        return frozenset()
    return frozenset(UserID(each) for each in ignored) - {user_id}
