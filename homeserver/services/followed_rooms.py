"""The rooms whose new events a reader is told of, and which of these."""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.access import Access
from homeserver.rooms.visibility import RoomView, Visibility
from homeserver.storage.events import EventRecord
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.tail import Tail
from homeserver.streams.user_rooms import UserRooms


class FollowedRoom(NamedTuple):
    """A room with what the reader may see of it; `view` None: a member all along.

    `row` None: the reader looks in from outside, or asks for this room only.
    """

    room_nid: int
    room_id: RoomID
    view: RoomView | None
    row: MembershipRow | None

    def admits(self, record: EventRecord) -> bool:
        """Whether the reader is told of an event."""
        if self.view is None:
            return True
        if self.row is not None and self.row.membership != "join":
            if record.event_nid == self.row.event_nid:
                return True
            has_left = self.row.membership in ("leave", "ban")
            if not has_left or (record.pos or 0) > self.view.joined_until:
                return False
        return self.view.may_see(record)

    def membership_at(self, pos: int | None) -> str:
        """Return the reader's membership after a position."""
        return "join" if self.view is None else self.view.membership_at(pos or 0)


class Following(NamedTuple):
    """Rooms, and the position of the log up to which there is something to tell of them."""

    rooms: Sequence[FollowedRoom]
    upto: int


class FollowedRooms:
    """Finds the rooms of readers."""

    def __init__(
        self, access: Access, visibility: Visibility, user_rooms: UserRooms, tail: Tail
    ) -> None:
        self._access = access
        self._visibility = visibility
        self._user_rooms = user_rooms
        self._tail = tail

    async def one(self, user_id: UserID, room_id: RoomID) -> Following:
        """Return a room that the user need not be in. Raises Forbidden."""
        access = await self._access.to_read(user_id, room_id)
        room = FollowedRoom(access.room_nid, room_id, access.view, None)
        return Following([room], access.timeline_upto)

    async def all(self, user_id: UserID, since: int) -> Following:
        """Return the rooms that the user is in, and those where that has ended since a position."""
        memberships = await self._user_rooms.of_user(user_id)
        position = self._tail.position
        rooms = []
        for row in memberships.values():
            is_new = row.pos > since
            if row.is_forgotten or not (is_new or row.membership == "join"):
                continue
            view = await self._visibility.view(row.room_nid, user_id) if is_new else None
            rooms.append(FollowedRoom(row.room_nid, row.room_id, view, row))
        return Following(rooms, position)
