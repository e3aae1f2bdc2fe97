"""How an event counts as unread: evaluated once for everybody, and again for few.

The counters run per room and per thread, so that a user's unread count is a difference of two of
them, and a message writes the same rows however many members the room has. A row of one user is
written only where the event counts differently for the user than the counters say: a mention, a
keyword, an ignored sender.

A user who has muted the room would differ at every message. For such a user, who is silent there
by `RulesInRoom.is_silent`, the counters do not count at all, and a row is written where something
does. The rows hold the outcome itself as well as its difference to the default, so that readers
may take them either way: a room whose rules have changed counts as they are now, except that an
event that has a row counts as it did when it came.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.protocol.push_rules.conditions import PushEvent, RoomFacts, UserFacts
from homeserver.protocol.push_rules.evaluate import (
    SILENT,
    CompiledRules,
    Outcome,
    singled_out_users,
)
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.room_rules import MembersRules, RoomRules
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import UserNotificationWrite
from homeserver.streams.personal_rules import DEFAULT_RULES

# A member event mentions nobody else; more mentions than this are an attack on the database.
MAX_SINGLED_OUT: Final = 100


class UserOutcome(NamedTuple):
    """One user's outcome where it is not what the counters say, and what it adds to them."""

    user_id: UserID
    outcome: Outcome
    notify_delta: int
    highlight_delta: int


class Counts(NamedTuple):
    """The running counts of the event's part of the timeline after it, and the exceptions."""

    notify_seq: int
    highlight_seq: int
    users: tuple[UserOutcome, ...] = ()

    def rows(
        self, room_nid: int, event_nid: int, thread_nid: int | None
    ) -> list[UserNotificationWrite]:
        """Return the rows of the users for whom the event counts differently."""
        return [
            UserNotificationWrite(
                0,
                user.user_id,
                room_nid,
                event_nid,
                thread_nid,
                user.notify_delta,
                user.highlight_delta,
                user.outcome.notify,
                user.outcome.highlight,
                msgspec.json.encode(user.outcome.actions),
            )
            for user in self.users
        ]


class _Evaluation(NamedTuple):
    """One event, and what everybody's evaluation of it has in common."""

    head: RoomHead
    event: PushEvent
    facts: RoomFacts
    default: Outcome

    @property
    def sender(self) -> UserID:
        return self.event.event.sender


class Counting:
    """Evaluates the push rules of an event that is about to be written."""

    def __init__(
        self,
        database: Database,
        server_name: ServerName,
        cache: EventCache,
        room_rules: RoomRules,
    ) -> None:
        self._database = database
        self._domain = f":{server_name}"
        self._cache = cache
        self._room_rules = room_rules
        self._default = CompiledRules(DEFAULT_RULES)

    async def of(self, head: RoomHead, event: Event, thread_nid: int | None) -> Counts:
        """Return the counts after `event`, which `head` does not have yet."""
        notify_seq, highlight_seq = await self._before(head, thread_nid)
        push_event = PushEvent(event)
        facts = RoomFacts(head.joined, head.power_levels)
        default = self._default.evaluate(push_event, facts, None)
        users = await self._exceptions(_Evaluation(head, push_event, facts, default))
        return Counts(notify_seq + default.notify, highlight_seq + default.highlight, users)

    async def _before(self, head: RoomHead, thread_nid: int | None) -> tuple[int, int]:
        if thread_nid is None:
            return head.notify_seq, head.highlight_seq
        known = head.threads.get(thread_nid)
        if known is not None:
            return known
        async with self._database.connection("counting") as connection:
            return await events.thread_counters(connection, head.room_nid, thread_nid)

    async def _exceptions(self, of: _Evaluation) -> tuple[UserOutcome, ...]:
        """Return the outcomes of the local users for whom it is not what the counters say."""
        rules = await self._room_rules.of_room(of.head)
        outcomes = await self._of_classes(of, rules)
        singled_out = [user_id for user_id in self._singled_out(of) if user_id in rules.members]
        outcomes |= await self._of_users(of, rules, singled_out)
        outcomes |= _of_ignoring(of, rules)
        self._set_sender(of, outcomes)
        found = [*_differing(of, rules, outcomes)]
        if of.event.event.membership == "invite":
            found += await self._of_invited(of)
        return tuple(sorted(found))

    async def _of_classes(self, of: _Evaluation, rules: MembersRules) -> dict[UserID, Outcome]:
        """Evaluate for the members with rules of their own, once for all who have the same."""
        outcomes: dict[UserID, Outcome] = {}
        for in_room, user_ids in rules.classes:
            if in_room.needs_display_name:
                outcomes |= await self._of_users(of, rules, user_ids)
                continue
            outcome = in_room.compiled.evaluate(of.event, of.facts, None)
            if in_room.is_silent and not outcome.notify:
                # Nobody needs a row: that is what muting is for.
                continue
            outcomes |= dict.fromkeys(user_ids, outcome)
        return outcomes

    async def _of_users(
        self, of: _Evaluation, rules: MembersRules, user_ids: Iterable[UserID]
    ) -> dict[UserID, Outcome]:
        """Evaluate for single users."""
        outcomes = {}
        for user_id in user_ids:
            in_room = rules.of_user.get(user_id)
            name = None
            if in_room is not None and in_room.needs_display_name:
                name = await self._display_name(of.head, user_id)
            compiled = self._default if in_room is None else in_room.compiled
            outcomes[user_id] = compiled.evaluate(of.event, of.facts, UserFacts(user_id, name))
        return outcomes

    async def _of_invited(self, of: _Evaluation) -> list[UserOutcome]:
        """An invite is the one event that counts for somebody who is not in the room."""
        found: list[UserOutcome] = []
        for user_id in self._singled_out(of):
            if user_id == of.event.event.state_key and user_id not in of.head.local_joined:
                rules = await self._room_rules.of_stranger(of.head.room_id, user_id)
                outcomes = await self._of_users(of, rules, [user_id])
                outcomes |= _of_ignoring(of, rules)
                found += _differing(of, rules, outcomes)
        return found

    def _singled_out(self, of: _Evaluation) -> list[UserID]:
        """Return the local users for whom the default rules may say something else, too."""
        local = (
            user_id
            for user_id in singled_out_users(of.event)
            if user_id.endswith(self._domain) and user_id != of.sender
        )
        return sorted(local)[:MAX_SINGLED_OUT]

    def _set_sender(self, of: _Evaluation, outcomes: dict[UserID, Outcome]) -> None:
        """A state event counts for everybody but its sender, who has read nothing by sending it.

        By sending a message a local user has read up to it: see `ReadWrite`.
        """
        outcomes.pop(of.sender, None)
        if of.event.event.state_key is not None and of.sender.endswith(self._domain):
            outcomes[of.sender] = SILENT

    async def _display_name(self, head: RoomHead, user_id: UserID) -> str | None:
        entry = head.state.get(("m.room.member", user_id))
        if entry is None:
            return None
        found = await self._cache.get([entry.event_nid])
        name = found[entry.event_nid].content.get("displayname")
        return name if isinstance(name, str) else None


def _of_ignoring(of: _Evaluation, rules: MembersRules) -> dict[UserID, Outcome]:
    """Nobody is notified of what somebody says whom they ignore."""
    return {user_id: SILENT for user_id, ignored in rules.ignoring if of.sender in ignored}


def _differing(
    of: _Evaluation, rules: MembersRules, outcomes: dict[UserID, Outcome]
) -> Iterator[UserOutcome]:
    """Leave out those for whom the counters, or nothing where the user is silent, say the same."""
    default = of.default
    for user_id, outcome in outcomes.items():
        in_room = rules.of_user.get(user_id)
        counted = SILENT if in_room is not None and in_room.is_silent else default
        if (outcome.notify, outcome.highlight) != (counted.notify, counted.highlight):
            yield UserOutcome(
                user_id,
                outcome,
                outcome.notify - default.notify,
                outcome.highlight - default.highlight,
            )
