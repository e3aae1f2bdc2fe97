"""Account data in /sync: all of it at first, then what has changed.

Spec: client-server-api/#client-config, client-server-api/#push-rules-events
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from client_api.sync.encode import encode, event_list
from client_api.sync.request import SyncContext
from client_api.sync.streams import RoomPart
from homeserver.services.push_rules import PUSH_RULES, PushRules
from homeserver.storage import account_data
from homeserver.storage.account_data import GLOBAL, AccountDataRow
from homeserver.storage.database import Database
from homeserver.streams.entries import (
    ACCOUNT_DATA_CHANGED,
    IGNORED_USERS_CHANGED,
    PUSH_RULES_CHANGED,
    LogEntry,
    UserEntry,
)
from homeserver.streams.tail import Tail
from homeserver.streams.unread import UnreadCounts

_KINDS: Final = frozenset({ACCOUNT_DATA_CHANGED, IGNORED_USERS_CHANGED, PUSH_RULES_CHANGED})
# Some MB. What the tail has dropped is forgotten then.
MAX_USERS: Final = 50_000


class AccountDataChanges:
    """When users have last changed their account data: a cache that follows the log.

    Whoever has changed nothing, as nearly everybody at nearly any time, needs no statement.
    """

    def __init__(self, tail: Tail, *, max_users: int = MAX_USERS) -> None:
        self._tail = tail
        self._max_users = max_users
        self._positions: dict[str, int] = {}
        # After a gap the tail's floor says that nothing is known.
        tail.follow(self._take)

    def may_be_after(self, user_id: str, position: int) -> bool:
        """Whether the user may have changed account data or push rules after a position."""
        return position < self._tail.floor or self._positions.get(user_id, 0) > position

    def _take(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            if isinstance(entry, UserEntry) and entry.kind in _KINDS:
                self._positions[entry.user_id] = entry.pos
        if len(self._positions) > self._max_users:
            floor = self._tail.floor
            self._positions = {
                user_id: pos for user_id, pos in self._positions.items() if pos > floor
            }


class GlobalAccountData:
    """The member `account_data` of an answer."""

    def __init__(
        self, database: Database, changes: AccountDataChanges, push_rules: PushRules
    ) -> None:
        self._database = database
        self._changes = changes
        self._push_rules = push_rules

    async def sections(self, context: SyncContext) -> Mapping[str, bytes]:
        """Return the events that are new to the client, of those that the filter lets through."""
        matcher = context.request.filter.account_data
        since, user_id = context.since, context.viewer.user_id
        if matcher.matches_nothing or (
            since is not None and not self._changes.may_be_after(user_id, since)
        ):
            return {}
        events = [
            _event(row.type, row.content)
            for row in await self._rows(context)
            if matcher.matches(row.type)
        ]
        rules = await self._rules(context) if matcher.matches(PUSH_RULES) else None
        if rules is not None:
            events.append(_event(PUSH_RULES, rules))
        return {"account_data": event_list(events)} if events else {}

    async def always(self, context: SyncContext) -> Mapping[str, bytes]:
        """Nothing: account data is only told when it changes."""
        return {}

    async def _rows(self, context: SyncContext) -> list[AccountDataRow]:
        since, user_id = context.since, context.viewer.user_id
        async with self._database.connection("sync_account_data") as connection:
            if since is None:
                return await account_data.of_rooms(
                    connection, user_id, [GLOBAL], deleted_after=context.now
                )
            changed = await account_data.changed_after(connection, user_id, since)
        return [row for row in changed if row.room_nid == GLOBAL]

    async def _rules(self, context: SyncContext) -> bytes | None:
        user_id = context.viewer.user_id
        if context.since is None:
            return await self._push_rules.as_account_data(user_id)
        return await self._push_rules.as_account_data_after(user_id, context.since)


class RoomAccountData:
    """The member `account_data` of rooms."""

    def __init__(self, database: Database, changes: AccountDataChanges) -> None:
        self._database = database
        self._changes = changes

    @property
    def part(self) -> RoomPart:
        """Where the events belong."""
        return "account_data"

    async def of_rooms(
        self, context: SyncContext, whole: Collection[int], followed: Collection[int]
    ) -> Mapping[int, Sequence[bytes]]:
        """Return the events that are new to the client, of those that the filter lets through."""
        matcher = context.request.filter.room_account_data
        if matcher.matches_nothing:
            return {}
        found: dict[int, list[bytes]] = {}
        for row in await self._rows(context, whole, followed):
            room_id = context.memberships[row.room_nid].room_id
            if matcher.admits_room(room_id) and matcher.matches(row.type):
                found.setdefault(row.room_nid, []).append(_event(row.type, row.content))
        return found

    async def _rows(
        self, context: SyncContext, whole: Collection[int], followed: Collection[int]
    ) -> list[AccountDataRow]:
        since, user_id = context.since, context.viewer.user_id
        has_changes = since is not None and self._changes.may_be_after(user_id, since)
        if not whole and not has_changes:
            return []
        rows: list[AccountDataRow] = []
        async with self._database.connection("sync_account_data") as connection:
            if whole:
                # Who has been in the room before may know what is deleted now.
                deleted_after = context.now if since is None else since
                rows += await account_data.of_rooms(
                    connection, user_id, whole, deleted_after=deleted_after
                )
            if since is not None and has_changes:
                rooms = set(followed)
                changed = await account_data.changed_after(connection, user_id, since)
                rows += [row for row in changed if row.room_nid in rooms]
        return rows


class RecountedRooms:
    """Rooms whose unread counts may have changed because the user's push rules have.

    They come with no event, but with their counts.
    """

    def __init__(
        self, changes: AccountDataChanges, push_rules: PushRules, unread: UnreadCounts
    ) -> None:
        self._changes = changes
        self._push_rules = push_rules
        self._unread = unread

    @property
    def part(self) -> RoomPart:
        """Where events would belong."""
        return "account_data"

    async def of_rooms(
        self, context: SyncContext, whole: Collection[int], followed: Collection[int]
    ) -> Mapping[int, Sequence[bytes]]:
        """Return no events, of the rooms that are to be told of."""
        since, user_id = context.since, context.viewer.user_id
        if since is None or not self._changes.may_be_after(user_id, since):
            return {}
        if not await self._push_rules.have_changed_after(user_id, since):
            return {}
        return dict.fromkeys(await self._unread.depending_on_rules(user_id, list(followed)), ())


def _event(event_type: str, content: bytes) -> bytes:
    return b'{"type":%b,"content":%b}' % (encode(event_type), content)
