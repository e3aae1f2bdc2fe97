"""Which rooms an answer is about."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from client_api.sync.request import SyncContext
from homeserver.protocol.identifiers import UserID
from homeserver.rooms.invite_permissions import InvitePermissions
from homeserver.rooms.visibility import Visibility
from homeserver.storage import sync_reads
from homeserver.storage.database import Database
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.entries import MEMBERSHIP_OUTSIDE, EventEntry, LogEntry, UserEntry
from homeserver.streams.partial_rooms import PartialRooms
from homeserver.streams.tail import Tail


class RoomChoice(NamedTuple):
    """The rooms of an answer by how they are told.

    `whole`: joined rooms with their whole state; `changed`: those with only what is new.
    `new` are those of the whole ones that the client knows nothing of.
    """

    whole: Sequence[MembershipRow]
    new: frozenset[int]
    changed: Sequence[MembershipRow]
    left: Sequence[MembershipRow]
    invited: Sequence[MembershipRow]
    knocked: Sequence[MembershipRow]
    # Of the changed ones those whose members have become known.
    completed: frozenset[int] = frozenset()


class RoomChoices:
    """Finds the rooms in which there is something to tell."""

    def __init__(
        self,
        database: Database,
        tail: Tail,
        visibility: Visibility,
        permissions: InvitePermissions,
        partial_rooms: PartialRooms,
    ) -> None:
        self._database = database
        self._tail = tail
        self._visibility = visibility
        self._permissions = permissions
        self._partial_rooms = partial_rooms

    async def of(self, context: SyncContext) -> RoomChoice:
        """Return the rooms of an initial or an incremental answer."""
        if context.since is None:
            return await self._initial(context)
        return await self._incremental(context, context.since)

    async def _initial(self, context: SyncContext) -> RoomChoice:
        rows = _admitted(context, context.memberships.values())
        joined = [row for row in rows if row.membership == "join"]
        left: list[MembershipRow] = []
        if context.request.filter.filter.room.include_leave:
            left = [row for row in rows if row.membership in ("leave", "ban")]
        return RoomChoice(
            joined,
            frozenset(row.room_nid for row in joined),
            [],
            left,
            await self._invites(context, rows),
            [row for row in rows if row.membership == "knock"],
        )

    async def _incremental(self, context: SyncContext, since: int) -> RoomChoice:
        completed = self._partial_rooms.completed(since, context.now)
        candidates = await self._with_news(context, since, completed)
        # Others were not told of the room before.
        unheard = frozenset() if context.request.filter.lazy_load_members else completed
        whole, changed, new = [], [], set()
        for row in candidates:
            if row.membership != "join":
                continue
            if row.room_nid in unheard or (
                row.pos > since and not await self._was_joined_throughout(context, row, since)
            ):
                new.add(row.room_nid)
                whole.append(row)
            elif context.request.full_state:
                whole.append(row)
            else:
                changed.append(row)
        return RoomChoice(
            whole,
            frozenset(new),
            changed,
            [row for row in candidates if row.membership in ("leave", "ban")],
            await self._invites(context, candidates),
            [row for row in candidates if row.membership == "knock"],
            completed,
        )

    async def _with_news(
        self, context: SyncContext, since: int, completed: frozenset[int]
    ) -> list[MembershipRow]:
        memberships = context.memberships
        if context.request.full_state:
            return [
                row
                for row in _admitted(context, memberships.values())
                if row.membership == "join" or row.pos > since
            ]
        if since >= self._tail.floor:
            room_nids = self._in_tail(context, since)
        else:
            joined = [row.room_nid for row in memberships.values() if row.membership == "join"]
            async with self._database.connection("sync_rooms") as connection:
                active = await sync_reads.active_rooms(connection, joined, since, context.now)
            room_nids = {*active, *(n for n, row in memberships.items() if row.pos > since)}
        room_nids |= completed
        rows = [memberships[room_nid] for room_nid in room_nids if room_nid in memberships]
        return [
            row
            for row in _admitted(context, rows, with_forgotten=True)
            if row.membership == "join"
            or row.pos > since
            # A membership may have become known with those of others; who has left was told.
            or (row.room_nid in completed and row.membership not in ("leave", "ban"))
        ]

    def _in_tail(self, context: SyncContext, since: int) -> set[int]:
        """Return rooms with entries after `since`: by entries or by rooms, whichever are fewer."""
        behind = self._tail.position - since
        if behind < len(context.memberships):
            entries = self._tail.entries_after(since)
            user_id = context.viewer.user_id
            return {nid for each in entries if (nid := _room_of(each, user_id)) is not None}
        return {
            room_nid
            for room_nid, row in context.memberships.items()
            if self._tail.last_position_of(room_nid) > since or row.pos > since
        }

    async def _was_joined_throughout(
        self, context: SyncContext, row: MembershipRow, since: int
    ) -> bool:
        """Whether the client has followed the room since `since`: not if the user came (back)."""
        view = await self._visibility.view(row.room_nid, context.viewer.user_id)
        if view.membership_at(since) != "join":
            return False
        return not any(
            since < pos < row.pos and membership != "join"
            for pos, membership in zip(view.membership_positions, view.memberships, strict=True)
        )

    async def _invites(
        self, context: SyncContext, rows: Iterable[MembershipRow]
    ) -> list[MembershipRow]:
        """Return the invites that reach the user.

        "Servers must not send room invites from ignored users to clients.", and who blocks
        invites sees none: client-server-api/#invite-permission
        """
        invites = [
            row for row in rows if row.membership == "invite" and row.sender not in context.ignored
        ]
        if invites and await self._permissions.blocks_all(context.viewer.user_id):
            return []
        return invites


def _room_of(entry: LogEntry, user_id: UserID) -> int | None:
    """Return the room in which an entry is news for a user."""
    if isinstance(entry, EventEntry):
        return entry.room_nid
    if isinstance(entry, UserEntry) and entry.kind == MEMBERSHIP_OUTSIDE:
        return entry.room_nid if entry.user_id == user_id else None
    return None


def _admitted(
    context: SyncContext, rows: Iterable[MembershipRow], *, with_forgotten: bool = False
) -> list[MembershipRow]:
    """Leave out rooms that the filter does not want, and forgotten ones.

    A client that was not told yet that the user has left learns it even when the room has been
    forgotten since, by another client or by the server.
    """
    chosen = context.request.filter
    return [
        row
        for row in rows
        if (with_forgotten or not row.is_forgotten) and chosen.admits_room(row.room_id)
    ]
