"""What a user has been notified of. Spec: client-server-api/#get_matrixclientv3notifications"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.client_event import client_event
from homeserver.protocol.errors import InvalidToken
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.push_rules.model import Action
from homeserver.protocol.sync_token import MAX_POSITION
from homeserver.rooms.client_events import Viewer, render
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.visibility import RoomView, Visibility
from homeserver.services.push.outcomes import PushOutcomes
from homeserver.services.push.outside_pushes import OutsidePushes, ToldInvite
from homeserver.storage import events, notifications
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.notifications import ScannedEvent, ScannedRoom
from homeserver.streams.personal_rules import PersonalRuleIndex
from homeserver.streams.user_rooms import UserRooms
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

# Events that are looked at together, …
_BATCH: Final = 100
# … and how often, before the client is told where to go on.
_MAX_BATCHES: Final = 10
_TOKEN: Final = re.compile(r"n([1-9][0-9]{0,18})")
_NOTIFY: Final[Sequence[Action]] = ("notify",)
_HIGHLIGHT: Final[Sequence[Action]] = ("notify", {"set_tweak": "highlight"})

_decode: Final = msgspec.json.Decoder(list).decode


class Notification(NamedTuple):
    """An event that has notified the user; `event` in client format, without the room."""

    actions: Sequence[Action]
    event: bytes
    is_read: bool
    room_id: RoomID
    ts: int


class NotificationsPage(NamedTuple):
    """Notifications, newest first; `end` None: there are no more."""

    chunk: list[Notification]
    end: int | None


class Notifications:
    """Lists the notifications of users."""

    def __init__(
        self,
        database: Database,
        user_rooms: UserRooms,
        visibility: Visibility,
        heads: Heads,
        cache: EventCache,
        personal_rules: PersonalRuleIndex,
        outcomes: PushOutcomes,
        outside: OutsidePushes,
        clock: Clock,
    ) -> None:
        self._database = database
        self._user_rooms = user_rooms
        self._visibility = visibility
        self._heads = heads
        self._cache = cache
        self._personal_rules = personal_rules
        self._outcomes = outcomes
        self._outside = outside
        self._clock = clock

    async def page(
        self, requester: Requester, *, before: int | None, limit: int, highlights_only: bool
    ) -> NotificationsPage:
        """Return what has notified the requester in the rooms where they are, newest first."""
        user_id = requester.user_id
        memberships = await self._user_rooms.of_user(user_id)
        rooms = [_scanned(row) for row in memberships.values() if row.membership in _HERE]
        viewer = Viewer(user_id, requester.device_id, self._clock.now_ms())
        found: list[Notification] = []
        upto = MAX_POSITION if before is None else before
        invites = await self._invites(user_id, upto, highlights_only)
        for _ in range(_MAX_BATCHES if rooms else 0):
            async with self._database.connection("notifications") as connection:
                batch = await notifications.scan(connection, user_id, rooms, upto, _BATCH)
            reached = batch[-1].pos if len(batch) == _BATCH else 0
            wanted = _newest_first(
                await self._notifying(user_id, memberships, batch, highlights_only),
                [invite for invite in invites if reached <= invite.pos < upto],
            )
            room_left = limit - len(found)
            found += await self._rendered(viewer, memberships, wanted[:room_left])
            if len(wanted) > room_left:
                return NotificationsPage(found, wanted[room_left - 1].pos)
            if len(batch) < _BATCH:
                return NotificationsPage(found, None)
            upto = reached
            if len(found) == limit:
                break
        return NotificationsPage(found, upto if rooms else None)

    async def _invites(
        self,
        user_id: UserID,
        before: int,
        highlights_only: bool,  # noqa: FBT001  passed on
    ) -> list[ToldInvite]:
        """Return the open invites from rooms that this server is not in."""
        told = await self._outside.open_ones(user_id, before)
        return [each for each in told if each.outcome.highlight or not highlights_only]

    async def _notifying(
        self,
        user_id: UserID,
        memberships: Mapping[int, MembershipRow],
        batch: Sequence[ScannedEvent],
        highlights_only: bool,  # noqa: FBT001  passed on
    ) -> list[ScannedEvent]:
        """Return those events that have notified the user, who may see them."""
        personal = await self._personal_rules.of_user(user_id)
        chosen = []
        for event in batch:
            notifies, highlights = event.notifies_all, event.highlights_all
            if event.is_notification is not None:
                notifies, highlights = event.is_notification, bool(event.is_highlight)
            elif personal is not None and notifies:
                room_id = memberships[event.room_nid].room_id
                in_room = self._personal_rules.in_room(personal, room_id)
                notifies = in_room is None or not in_room.is_silent
            if notifies and (highlights or not highlights_only):
                chosen.append(event)
        if not chosen:
            return []
        views = await self._visibility.views({event.room_nid for event in chosen}, user_id)
        async with self._database.connection("notifications") as connection:
            records = await events.events_by_nid(connection, [each.event_nid for each in chosen])
        return [
            event
            for event in chosen
            if _was_told(views[event.room_nid], records[event.event_nid], memberships)
        ]

    async def _rendered(
        self,
        viewer: Viewer,
        memberships: Mapping[int, MembershipRow],
        chosen: Sequence[ScannedEvent | ToldInvite],
    ) -> list[Notification]:
        nids = [each.event_nid for each in chosen if isinstance(each, ScannedEvent)]
        async with self._database.connection("notifications") as connection:
            records = await events.events_by_nid(connection, nids)
        found = []
        for event in chosen:
            if isinstance(event, ToldInvite):
                found.append(_of_invite(event))
                continue
            record = records.get(event.event_nid)
            if record is None:
                continue
            room_id = memberships[event.room_nid].room_id
            actions = await self._actions(viewer.user_id, room_id, event)
            rendered = render(record, viewer, None, None)
            found.append(
                Notification(actions, rendered, event.is_read, room_id, record.origin_server_ts)
            )
        return found

    async def _actions(
        self, user_id: UserID, room_id: RoomID, event: ScannedEvent
    ) -> Sequence[Action]:
        """Return the actions that were written down, or else those of the rules as they are."""
        if event.actions is not None:
            actions: Sequence[Action] = _decode(event.actions)
            return actions
        head = await self._heads.head(room_id)
        pdu = (await self._cache.get([event.event_nid])).get(event.event_nid)
        if head is not None and pdu is not None:
            outcome = (await self._outcomes.of(head, pdu, [user_id], {})).get(user_id)
            if outcome is not None:
                return outcome.actions
        return _HIGHLIGHT if event.highlights_all else _NOTIFY


def parse_notification_token(text: str) -> int:
    """Read a token of a page. Raises InvalidToken."""
    match = _TOKEN.fullmatch(text)
    if match is None or int(match[1]) > MAX_POSITION:
        raise InvalidToken("Unknown pagination token")
    return int(match[1])


def notification_token(position: int) -> str:
    """Return the token of what comes after the event at a position."""
    return f"n{position}"


def _newest_first(
    scanned: Sequence[ScannedEvent], invites: Sequence[ToldInvite]
) -> list[ScannedEvent | ToldInvite]:
    return sorted([*scanned, *invites], key=lambda each: each.pos, reverse=True)


def _of_invite(told: ToldInvite) -> Notification:
    invite = told.invite
    event = client_event(invite.core, event_id=invite.event_id)
    actions = told.outcome.actions
    # Receipts are for who is in a room.
    return Notification(
        actions, event, is_read=False, room_id=invite.room_id, ts=invite.origin_server_ts
    )


_HERE: Final = frozenset({"join", "invite"})


def _scanned(row: MembershipRow) -> ScannedRoom:
    # Of a room to which the user is invited, only the invite is known to the user.
    after = row.pos - 1 if row.membership == "invite" else 0
    return ScannedRoom(row.room_nid, after, MAX_POSITION)


def _was_told(
    view: RoomView, record: EventRecord, memberships: Mapping[int, MembershipRow]
) -> bool:
    """Whether the user was in the room at an event, or is invited by it."""
    row = memberships[record.room_nid]
    if record.event_nid == row.event_nid and row.membership == "invite":
        return True
    pos = record.pos or 0
    was_member = view.membership_at(pos - 1) == "join" or (
        record.state_key == view.user_id and record.type == "m.room.member"
    )
    return was_member and view.may_see(record)
