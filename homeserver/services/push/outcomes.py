"""Whom of some users an event notifies, and how. Spec: client-server-api/#push-rules"""

from collections.abc import Iterable, Mapping
from typing import Final

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.push_rules.conditions import PushEvent, RoomFacts, UserFacts
from homeserver.protocol.push_rules.evaluate import (
    SILENT,
    CompiledRules,
    Outcome,
    outcome_of,
    singled_out_users,
)
from homeserver.protocol.push_rules.model import Action
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.streams.entries import UserCount
from homeserver.streams.personal_rules import DEFAULT_RULES, PersonalRuleIndex, PersonalRules

_UNKNOWN_ROOM: Final = RoomFacts(member_count=None, power_levels=None)
_LOUD: Final[Action] = {"set_tweak": "highlight"}


class PushOutcomes:
    """Evaluates the rules of users for an event that is in the log.

    Whether it notifies a user for whom it counts differently than for all others is what was
    written with the event; for the others it is evaluated on the room as it is now.
    """

    def __init__(self, cache: EventCache, personal_rules: PersonalRuleIndex) -> None:
        self._cache = cache
        self._personal_rules = personal_rules
        self._default = CompiledRules(DEFAULT_RULES)

    async def of(
        self,
        head: RoomHead,
        event: Event,
        users: Iterable[UserID],
        counts: Mapping[str, UserCount],
    ) -> dict[UserID, Outcome]:
        """Return the outcomes of those users whom the event notifies.

        `counts`: what was written for single users, by user ID.
        """
        asked = [user_id for user_id in users if user_id != event.sender]
        personal = await self._personal_rules.of_users(asked)
        push_event = PushEvent(event)
        facts = RoomFacts(head.joined, head.power_levels)
        singled_out = singled_out_users(push_event)
        default = self._default.evaluate(push_event, facts, None)
        found: dict[UserID, Outcome] = {}
        for user_id in asked:
            own = personal.get(user_id)
            if own is None and user_id not in singled_out:
                outcome = default
            else:
                outcome = await self._of_user(head, push_event, facts, user_id, own)
            outcome = _as_written(outcome, counts.get(user_id))
            if outcome.notify:
                found[user_id] = outcome
        return found

    async def of_stranger(self, event: Event, user_id: UserID) -> Outcome:
        """Return what an event says to a user of whose room nothing is known here: an invite."""
        personal = await self._personal_rules.of_user(user_id)
        if personal is not None and event.sender in personal.ignored:
            return SILENT
        in_room = None
        if personal is not None:
            in_room = self._personal_rules.in_room(personal, event.room_id)
        rules = self._default if in_room is None else in_room.compiled
        return rules.evaluate(PushEvent(event), _UNKNOWN_ROOM, UserFacts(user_id))

    async def _of_user(
        self,
        head: RoomHead,
        event: PushEvent,
        facts: RoomFacts,
        user_id: UserID,
        personal: PersonalRules | None,
    ) -> Outcome:
        if personal is not None and event.event.sender in personal.ignored:
            return SILENT
        in_room = None
        if personal is not None:
            in_room = self._personal_rules.in_room(personal, head.room_id)
        if in_room is None:
            return self._default.evaluate(event, facts, UserFacts(user_id))
        name = await self._display_name(head, user_id) if in_room.needs_display_name else None
        return in_room.compiled.evaluate(event, facts, UserFacts(user_id, name))

    async def _display_name(self, head: RoomHead, user_id: UserID) -> str | None:
        entry = head.state.get(("m.room.member", user_id))
        if entry is None:
            return None
        found = await self._cache.get([entry.event_nid])
        member = found.get(entry.event_nid)
        name = member.content.get("displayname") if member is not None else None
        return name if isinstance(name, str) else None


def _as_written(outcome: Outcome, count: UserCount | None) -> Outcome:
    if count is None or count.is_notification == outcome.notify:
        return outcome
    if not count.is_notification:
        return SILENT
    # The rules, or the room, have changed since: how it is to be told is not known any more.
    return outcome_of(("notify", _LOUD) if count.is_highlight else ("notify",))
