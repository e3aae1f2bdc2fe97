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
from homeserver.storage.history_stretches import LEAST
from homeserver.storage.key_histories import KeyChange, VisibilityChange

_decode = msgspec.json.Decoder().decode
# The more to the right, the fewer may see.
_ORDER = (
    HistoryVisibility.WORLD_READABLE,
    HistoryVisibility.SHARED,
    HistoryVisibility.INVITED,
    HistoryVisibility.JOINED,
)


class FilledIn(NamedTuple):
    """A visibility within history that was filled in before position `pos`."""

    pos: int
    sub: int
    visibility: HistoryVisibility


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
    # Those that begin with an event; and those in which stretches of history begin that stand
    # apart. Both in order.
    filled_in: Sequence[FilledIn] = ()
    beginnings: Sequence[FilledIn] = ()
    # Positions at which the visibility changed with the state that others told of.
    told_at: frozenset[int] = frozenset()

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
        visibilities = [self.visibility_before(pos, record.sub)]
        memberships = [self.memberships[bisect_left(self.membership_positions, pos) - 1]]
        if record.type == "m.room.history_visibility" and record.state_key == "":
            visibilities.append(parse_history_visibility(_decode(record.core)["content"]))
        elif record.type == "m.room.member" and record.state_key == self.user_id:
            memberships.append(_decode(record.core)["content"].get("membership"))
        return may_see_with(visibilities, memberships, joined_since=self.joined_until > pos)

    def might_see_before(self, pos: int, sub: int) -> bool:
        """Whether the user may see messages that are missing before a place in history.

        Before a change of the visibility, that is not known before they are there.
        """
        if any(each.sub >= sub for each in self._changes_around(pos, sub)):
            return True
        visibilities = [self.visibility_before(pos, sub - 1)]
        older = [each for each in self.beginnings if each.pos == pos and each.sub < sub]
        if older:
            # What is missing ends where another stretch begins.
            visibilities.append(older[-1].visibility)
        membership = self.memberships[bisect_left(self.membership_positions, pos) - 1]
        return may_see_with(visibilities, [membership], joined_since=self.joined_until > pos)

    def visibility_before(self, pos: int, sub: int) -> HistoryVisibility:
        """Return the visibility in the state before an event at a place.

        Of history that was filled in it may not be known: then it is the strictest possible.
        """
        before = self.visibilities[bisect_left(self.visibility_positions, pos) - 1]
        if sub == 0:
            return before
        stretch = self._changes_around(pos, sub)
        older = [each for each in stretch if each.sub < sub]
        if older:
            return older[-1].visibility
        if stretch:
            # What was before the oldest change that is known is not.
            return HistoryVisibility.JOINED
        beginning = next(
            (each for each in self.beginnings if each.pos == pos and each.sub >= sub), None
        )
        if beginning is not None:
            return beginning.visibility
        if pos not in self.told_at:
            return before
        after = self.visibilities[bisect_right(self.visibility_positions, pos) - 1]
        return max(before, after, key=_ORDER.index)

    def _changes_around(self, pos: int, sub: int) -> list[FilledIn]:
        """Return the changes in the stretch of filled-in history that a place is in."""
        subs = [each.sub for each in self.beginnings if each.pos == pos]
        newest = min((each for each in subs if each >= sub), default=0)
        lowest = max((each for each in subs if each < sub), default=LEAST)
        return [each for each in self.filled_in if each.pos == pos and lowest < each.sub <= newest]


class Visibility:
    """Reads what users may see of rooms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def view(self, room_nid: int, user_id: UserID) -> RoomView:
        """Return the view of a user, who need not have been in the room."""
        async with self._database.connection("visibility") as connection:
            return await read_view(connection, room_nid, user_id)

    async def of_nobody(self, room_nid: int) -> RoomView:
        """Return the view of somebody who was never in the room."""
        async with self._database.connection("visibility") as connection:
            changes = await key_histories.visibilities_of_rooms(connection, [room_nid])
        return _view(UserID(""), changes.get(room_nid, ()), ())

    async def views(self, room_nids: Collection[int], user_id: UserID) -> dict[int, RoomView]:
        """Return the views that a user has of many rooms."""
        async with self._database.connection("visibility") as connection:
            return await read_views(connection, room_nids, user_id)


async def read_view(connection: Connection, room_nid: int, user_id: UserID) -> RoomView:
    """Read a view with two statements."""
    changes = await key_histories.visibilities_of_rooms(connection, [room_nid])
    own = await state.key_history(connection, room_nid, "m.room.member", user_id)
    return _view(user_id, changes.get(room_nid, ()), own)


async def read_views(
    connection: Connection, room_nids: Collection[int], user_id: UserID
) -> dict[int, RoomView]:
    """Read a user's views of many rooms with two statements."""
    changes = await key_histories.visibilities_of_rooms(connection, room_nids)
    own = await key_histories.of_rooms(connection, room_nids, "m.room.member", user_id)
    return {nid: _view(user_id, changes.get(nid, ()), own.get(nid, ())) for nid in room_nids}


def _view(
    user_id: UserID, visibilities: Sequence[VisibilityChange], own: Sequence[KeyChange]
) -> RoomView:
    changes = [each for each in visibilities if each.sub == 0]
    filled_in = [
        # The create event itself is under the visibility of a room without any.
        FilledIn(each.pos, each.sub - each.is_create, _visibility_of(each))
        for each in visibilities
        if each.sub < 0 and each.beginning is None
    ]
    beginnings = [
        FilledIn(each.pos, each.sub, HistoryVisibility(each.beginning))
        for each in visibilities
        if each.beginning is not None
    ]
    memberships: list[str | None] = [None]
    joined_until: float = 0
    for pos, _, core in own:
        if memberships[-1] == "join":
            joined_until = pos
        memberships.append(_decode(core)["content"].get("membership") if core else None)
    if memberships[-1] == "join":
        joined_until = float("inf")
    # A room that came here with its state had that before its first event here.
    has_come = bool(changes) and not changes[0].is_live
    first = _visibility_of(changes[0]) if has_come else HistoryVisibility.SHARED
    return RoomView(
        user_id,
        [0, *(each.pos for each in changes)],
        [first, *map(_visibility_of, changes)],
        [0, *(pos for pos, _, _ in own)],
        memberships,
        joined_until,
        filled_in,
        beginnings,
        frozenset(each.pos for each in changes if not each.is_live),
    )


def _visibility_of(change: VisibilityChange) -> HistoryVisibility:
    # "If no history_visibility is set … the visibility is assumed to be shared."
    if change.is_create or change.core is None:
        return HistoryVisibility.SHARED
    return parse_history_visibility(_decode(change.core)["content"])
