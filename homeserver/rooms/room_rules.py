"""The members of a room whose push rules count, grouped by what their rules come to there."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.head import RoomHead
from homeserver.streams.entries import LogEntry
from homeserver.streams.personal_rules import (
    PersonalRuleIndex,
    PersonalRules,
    RulesInRoom,
    changes_personal_rules,
)
from homeserver.streams.tail import Tail

# As many rooms as heads are kept; nearly all of them with next to nobody in here.
MAX_ROOMS: Final = 5_000


class MembersRules(NamedTuple):
    """The rules of some local users in a room.

    `personal`: of those of the `members` who have not just the defaults. `classes`: who has which
    rules in this room; members with the defaults, here, are in none. `ignoring`: whom each of
    those ignores who ignore anybody.
    """

    members: frozenset[UserID]
    personal: Mapping[UserID, PersonalRules]
    classes: Sequence[tuple[RulesInRoom, Sequence[UserID]]]
    of_user: Mapping[UserID, RulesInRoom]
    ignoring: Sequence[tuple[UserID, frozenset[UserID]]]


class RoomRules:
    """Finds the members of rooms who have personal rules: a cache that follows the log.

    A room that has been found costs nothing until its local members, or their rules, change.
    """

    def __init__(
        self, personal_rules: PersonalRuleIndex, tail: Tail, *, max_rooms: int = MAX_ROOMS
    ) -> None:
        self._personal_rules = personal_rules
        self._max_rooms = max_rooms
        self._rooms: OrderedDict[int, MembersRules] = OrderedDict()
        tail.follow(self._take, on_gap=self._rooms.clear)

    async def of_room(self, head: RoomHead) -> MembersRules:
        """Return the rules of the local members whom the head has."""
        known = self._rooms.get(head.room_nid)
        # The head keeps the set as long as nobody comes or goes.
        if known is not None and known.members is head.local_joined:
            self._rooms.move_to_end(head.room_nid)
            return known
        generation = self._personal_rules.generation
        personal = await self._personal_of(head.local_joined, known)
        found = self._grouped(head.room_id, head.local_joined, personal)
        if generation == self._personal_rules.generation:
            self._rooms[head.room_nid] = found
            if len(self._rooms) > self._max_rooms:
                self._rooms.popitem(last=False)
        return found

    async def of_stranger(self, room_id: RoomID, user_id: UserID) -> MembersRules:
        """Return the rules of one local user who is not in the room, as if the user were."""
        personal = await self._personal_rules.of_users([user_id])
        return self._grouped(room_id, frozenset({user_id}), personal)

    async def _personal_of(
        self, members: frozenset[UserID], known: MembersRules | None
    ) -> dict[UserID, PersonalRules]:
        if known is None:
            return await self._personal_rules.of_users(members)
        # Who has come to a large room is few.
        came = await self._personal_rules.of_users(members - known.members)
        stayed = {user_id: each for user_id, each in known.personal.items() if user_id in members}
        return stayed | came

    def _grouped(
        self,
        room_id: RoomID,
        members: frozenset[UserID],
        personal: Mapping[UserID, PersonalRules],
    ) -> MembersRules:
        of_user = {
            user_id: rules
            for user_id, each in personal.items()
            if (rules := self._personal_rules.in_room(each, room_id)) is not None
        }
        # Compiled rules are shared by those who have the same.
        classes: dict[int, tuple[RulesInRoom, list[UserID]]] = {}
        for user_id, rules in of_user.items():
            classes.setdefault(id(rules.compiled), (rules, []))[1].append(user_id)
        ignoring = [(user_id, each.ignored) for user_id, each in personal.items() if each.ignored]
        return MembersRules(members, personal, list(classes.values()), of_user, ignoring)

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if changes_personal_rules(entry):
                user_id = UserID(entry.user_id)
                changed = [nid for nid, room in self._rooms.items() if user_id in room.members]
                for room_nid in changed:
                    del self._rooms[room_nid]
