"""The members of a room whose push rules count, grouped by what their rules come to there."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.rooms.head import RoomHead
from homeserver.streams.entries import LogEntry
from homeserver.streams.personal_rules import (
    PersonalRuleIndex,
    RulesInRoom,
    changes_personal_rules,
)
from homeserver.streams.tail import Tail

# As many rooms as heads are kept; nearly all of them with next to nobody in here.
MAX_ROOMS: Final = 5_000


class MembersRules(NamedTuple):
    """The local joined members of a room who have personal rules.

    `classes`: who has which rules; members with the defaults, here, are in none. `ignoring`:
    whom each of those ignores who ignore anybody.
    """

    members: frozenset[UserID]
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
        """Return the rules of the members whom the head has."""
        known = self._rooms.get(head.room_nid)
        # The head keeps the set as long as nobody comes or goes.
        if known is not None and known.members is head.local_joined:
            self._rooms.move_to_end(head.room_nid)
            return known
        generation = self._personal_rules.generation
        found = await self._find(head, head.local_joined)
        if generation == self._personal_rules.generation:
            self._rooms[head.room_nid] = found
            if len(self._rooms) > self._max_rooms:
                self._rooms.popitem(last=False)
        return found

    async def of_stranger(self, head: RoomHead, user_id: UserID) -> MembersRules:
        """Return the rules of one local user who is not in the room, as if the user were."""
        return await self._find(head, frozenset({user_id}))

    async def _find(self, head: RoomHead, members: frozenset[UserID]) -> MembersRules:
        personal = await self._personal_rules.of_users(members)
        of_user = {
            user_id: rules
            for user_id, each in personal.items()
            if (rules := self._personal_rules.in_room(each, head.room_id)) is not None
        }
        # Compiled rules are shared by those who have the same.
        classes: dict[tuple[int, bool], tuple[RulesInRoom, list[UserID]]] = {}
        for user_id, rules in of_user.items():
            key = (id(rules.compiled), rules.is_silent)
            classes.setdefault(key, (rules, []))[1].append(user_id)
        return MembersRules(
            members,
            list(classes.values()),
            of_user,
            [(user_id, each.ignored) for user_id, each in personal.items() if each.ignored],
        )

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if changes_personal_rules(entry):
                user_id = UserID(entry.user_id)
                changed = [nid for nid, room in self._rooms.items() if user_id in room.members]
                for room_nid in changed:
                    del self._rooms[room_nid]
