"""Who may read a room, and up to where.

Spec: client-server-api/#getting-events-for-a-room, client-server-api/#room-previews
"""

from collections.abc import Callable
from typing import NamedTuple

from homeserver.errors import Forbidden
from homeserver.protocol.history_visibility import HistoryVisibility
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.visibility import RoomView, Visibility
from homeserver.storage import rooms
from homeserver.storage.database import Database
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.tail import Tail
from homeserver.streams.user_rooms import UserRooms


class RoomAccess(NamedTuple):
    """Permission to read a room.

    `upto` is the position up to which its state is shown: the tail's for members and for whoever
    peeks, that of the leave or ban for former members. `timeline_upto` is the same for its
    events, but for former members of a room that is world-readable now: they are anybody, too.
    """

    room_nid: int
    room_id: RoomID
    view: RoomView
    upto: int
    timeline_upto: int
    is_peeking: bool = False


class Access:
    """Decides who may read a room."""

    def __init__(
        self, database: Database, tail: Tail, user_rooms: UserRooms, visibility: Visibility
    ) -> None:
        self._database = database
        self._tail = tail
        self._user_rooms = user_rooms
        self._visibility = visibility

    async def membership(self, user_id: UserID, room_id: RoomID) -> MembershipRow | None:
        """Return the user's present membership of a room, None without any."""
        memberships = await self._user_rooms.of_user(user_id)
        return next((row for row in memberships.values() if row.room_id == room_id), None)

    async def to_read(self, user_id: UserID, room_id: RoomID) -> RoomAccess:
        """Return the access of a member, a former member, or of anybody to a readable room.

        Raises Forbidden, for rooms that do not exist too: it must not tell them apart.
        """
        access = await self.to_read_or_none(user_id, room_id)
        if access is None:
            raise Forbidden("You are not in this room and may not read it")
        return access

    async def to_read_or_none(self, user_id: UserID, room_id: RoomID) -> RoomAccess | None:
        """Return the same access, or None without it."""
        membership = await self.membership(user_id, room_id)
        if membership is not None and not membership.is_forgotten:
            view = await self._visibility.view(membership.room_nid, user_id)
            access = self._of_member(membership, view)
            if access is not None:
                return access
        return await self._peek(user_id, room_id)

    async def to_read_all(
        self, user_id: UserID, is_wanted: Callable[[RoomID], bool]
    ) -> list[RoomAccess]:
        """Return the accesses to those wanted of the rooms that a user is, or has been, in."""
        memberships = {
            row.room_nid: row
            for row in (await self._user_rooms.of_user(user_id)).values()
            if row.membership in ("join", "leave", "ban") and not row.is_forgotten
            if is_wanted(row.room_id)
        }
        views = await self._visibility.views(list(memberships), user_id)
        found = (self._of_member(row, views[nid]) for nid, row in memberships.items())
        return [access for access in found if access is not None]

    async def to_members_only(self, user_id: UserID, room_id: RoomID) -> RoomAccess:
        """Return the access of a joined member. Raises Forbidden."""
        membership = await self.membership(user_id, room_id)
        if membership is None or membership.membership != "join":
            raise Forbidden("You are not joined to this room")
        view = await self._visibility.view(membership.room_nid, user_id)
        return self._present(membership.room_nid, room_id, view)

    async def _peek(self, user_id: UserID, room_id: RoomID) -> RoomAccess | None:
        async with self._database.connection("access") as connection:
            room_nid = await rooms.room_nid_of(connection, room_id)
        if room_nid is not None:
            view = await self._visibility.view(room_nid, user_id)
            if _is_open(view):
                return self._present(room_nid, room_id, view)._replace(is_peeking=True)
        return None

    def _of_member(self, membership: MembershipRow, view: RoomView) -> RoomAccess | None:
        room_nid, room_id = membership.room_nid, membership.room_id
        if membership.membership == "join":
            return self._present(room_nid, room_id, view)
        if membership.membership in ("leave", "ban") and view.joined_until > 0:
            # A ban after the leave shows nothing more.
            upto = int(min(membership.pos, view.joined_until))
            timeline_upto = self._tail.position if _is_open(view) else upto
            return RoomAccess(room_nid, room_id, view, upto, timeline_upto)
        return None

    def _present(self, room_nid: int, room_id: RoomID, view: RoomView) -> RoomAccess:
        position = self._tail.position
        return RoomAccess(room_nid, room_id, view, position, position)


def _is_open(view: RoomView) -> bool:
    return view.visibilities[-1] is HistoryVisibility.WORLD_READABLE
