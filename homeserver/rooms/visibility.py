"""What one user may see of one room. Spec: client-server-api/#room-history-visibility"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from homeserver.protocol.history_visibility import (
    HistoryVisibility,
    may_see_with,
    parse_history_visibility,
)
from homeserver.protocol.identifiers import UserID
from homeserver.storage import key_histories, state
from homeserver.storage.database import Connection, Database
from homeserver.storage.events import EventRecord
from homeserver.storage.key_histories import KeyChange

_decode = msgspec.json.Decoder().decode


class RoomView(NamedTuple):
    """How the room's visibility and one user's membership changed, by position.

    The first entry of each, at position 0, is the value before any change.
    """

    user_id: UserID
    visibility_positions: Sequence[int]
    visibilities: Sequence[HistoryVisibility]
    membership_positions: Sequence[int]
    memberships: Sequence[str | None]
    # The last position at which the user was joined; infinite while the user is.
    joined_until: float

    @property
    def is_joined(self) -> bool:
        """Whether the user is in the room now."""
        return self.memberships[-1] == "join"

    def membership_at(self, pos: int) -> str:
        """Return the user's membership after position `pos`, as `unsigned.membership` wants it."""
        return self.memberships[bisect_right(self.membership_positions, pos) - 1] or "leave"

    def may_see(self, record: EventRecord) -> bool:
        """Whether the user may see an event of the timeline."""
        pos = record.pos
        if pos is None:
            return False
        # The state before the event: changes at its own position do not count yet.
        visibilities = [self.visibilities[bisect_left(self.visibility_positions, pos) - 1]]
        memberships = [self.memberships[bisect_left(self.membership_positions, pos) - 1]]
        if record.type == "m.room.history_visibility" and record.state_key == "":
            visibilities.append(parse_history_visibility(_decode(record.core)["content"]))
        elif record.type == "m.room.member" and record.state_key == self.user_id:
            memberships.append(_decode(record.core)["content"].get("membership"))
        return may_see_with(visibilities, memberships, joined_since=self.joined_until > pos)


class Visibility:
    """Reads what users may see of rooms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def view(self, room_nid: int, user_id: UserID) -> RoomView:
        """Return the view of a user, who need not have been in the room."""
        async with self._database.connection("visibility") as connection:
            return await read_view(connection, room_nid, user_id)

    async def views(self, room_nids: Collection[int], user_id: UserID) -> dict[int, RoomView]:
        """Return the views that a user has of many rooms."""
        async with self._database.connection("visibility") as connection:
            return await read_views(connection, room_nids, user_id)


async def read_view(connection: Connection, room_nid: int, user_id: UserID) -> RoomView:
    """Read a view with two statements."""
    changes = await state.key_history(connection, room_nid, "m.room.history_visibility", "")
    own = await state.key_history(connection, room_nid, "m.room.member", user_id)
    return _view(user_id, changes, own)


async def read_views(
    connection: Connection, room_nids: Collection[int], user_id: UserID
) -> dict[int, RoomView]:
    """Read a user's views of many rooms with two statements."""
    changes = await key_histories.of_rooms(connection, room_nids, "m.room.history_visibility", "")
    own = await key_histories.of_rooms(connection, room_nids, "m.room.member", user_id)
    return {nid: _view(user_id, changes.get(nid, ()), own.get(nid, ())) for nid in room_nids}


def _view(user_id: UserID, changes: Sequence[KeyChange], own: Sequence[KeyChange]) -> RoomView:
    memberships: list[str | None] = [None]
    joined_until: float = 0
    for pos, _, core in own:
        if memberships[-1] == "join":
            joined_until = pos
        memberships.append(_decode(core)["content"].get("membership") if core else None)
    if memberships[-1] == "join":
        joined_until = float("inf")
    return RoomView(
        user_id,
        [0, *(pos for pos, _, _ in changes)],
        [
            HistoryVisibility.SHARED,
            *(
                parse_history_visibility(_decode(core)["content"] if core else None)
                for _, _, core in changes
            ),
        ],
        [0, *(pos for pos, _, _ in own)],
        memberships,
        joined_until,
    )
