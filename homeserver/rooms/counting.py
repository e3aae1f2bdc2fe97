"""How an event counts as unread: evaluated once for everybody, and once for those it singles out.

The counters run per room and per thread, so that a user's unread count is a difference of two of
them and a message writes the same rows however many members the room has.
"""

from typing import NamedTuple

import msgspec

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.protocol.push_rules.conditions import PushEvent, RoomFacts, UserFacts
from homeserver.protocol.push_rules.defaults import default_rules
from homeserver.protocol.push_rules.evaluate import (
    SILENT,
    CompiledRules,
    Outcome,
    singled_out_users,
)
from homeserver.rooms.head import RoomHead
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import UserNotificationWrite

# A member event mentions nobody else; more mentions than this are an attack on the database.
MAX_SINGLED_OUT = 100


class UserOutcome(NamedTuple):
    """One user's outcome, where it differs from the default class."""

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
                user.outcome.highlight,
                msgspec.json.encode(user.outcome.actions),
            )
            for user in self.users
        ]


class Counting:
    """Evaluates the push rules of an event that is about to be written."""

    def __init__(self, database: Database, server_name: ServerName) -> None:
        self._database = database
        self._domain = f":{server_name}"
        self._default = CompiledRules(default_rules(with_polls=True))

    async def of(self, head: RoomHead, event: Event, thread_nid: int | None) -> Counts:
        """Return the counts after `event`, which `head` does not have yet."""
        notify_seq, highlight_seq = await self._before(head, thread_nid)
        push_event = PushEvent(event)
        facts = RoomFacts(head.joined, head.power_levels)
        default = self._default.evaluate(push_event, facts, None)
        users = self._singled_out(head, push_event, facts, default)
        users += self._of_sender(event, default)
        return Counts(notify_seq + default.notify, highlight_seq + default.highlight, users)

    async def _before(self, head: RoomHead, thread_nid: int | None) -> tuple[int, int]:
        if thread_nid is None:
            return head.notify_seq, head.highlight_seq
        known = head.threads.get(thread_nid)
        if known is not None:
            return known
        async with self._database.connection("counting") as connection:
            return await events.thread_counters(connection, head.room_nid, thread_nid)

    def _singled_out(
        self, head: RoomHead, event: PushEvent, facts: RoomFacts, default: Outcome
    ) -> tuple[UserOutcome, ...]:
        found = []
        for user_id in sorted(singled_out_users(event))[:MAX_SINGLED_OUT]:
            if not user_id.endswith(self._domain) or user_id == event.event.sender:
                continue
            # An invite is the one event that counts for somebody who is not in the room.
            if head.membership_of(user_id) != "join" and event.event.membership != "invite":
                continue
            outcome = self._default.evaluate(event, facts, UserFacts(user_id))
            if outcome != default:
                found.append(_differing(user_id, outcome, default))
        return tuple(found)

    def _of_sender(self, event: Event, default: Outcome) -> tuple[UserOutcome, ...]:
        """A state event counts for everybody but its sender, who has read nothing by sending it.

        By sending a message a local user has read up to it: see `ReadWrite`.
        """
        if not default.notify or event.state_key is None:
            return ()
        if not event.sender.endswith(self._domain):
            return ()
        return (_differing(event.sender, SILENT, default),)


def _differing(user_id: UserID, outcome: Outcome, default: Outcome) -> UserOutcome:
    return UserOutcome(
        user_id, outcome, outcome.notify - default.notify, outcome.highlight - default.highlight
    )
