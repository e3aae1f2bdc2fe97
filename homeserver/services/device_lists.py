"""Whose devices a client has to ask for again, and whose it can forget.

Spec: client-server-api/#e2e-extensions-to-sync, client-server-api/#get_matrixclientv3keyschanges
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from homeserver.protocol.identifiers import UserID
from homeserver.storage import cross_signing, device_lists
from homeserver.storage.database import Connection, Database
from homeserver.storage.device_lists import ThenAndNow
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.device_list_index import DeviceListFact, DeviceListIndex
from homeserver.streams.partial_rooms import PartialRooms
from homeserver.streams.user_rooms import UserRooms

# Of so many users it is looked up in memory whether they share a room.
_FEW: Final = 8


class DeviceListChanges(msgspec.Struct, frozen=True):
    """What has happened between two positions; nobody is in both sets."""

    changed: frozenset[UserID] = frozenset()
    left: frozenset[UserID] = frozenset()


class _Sharing(msgspec.Struct, frozen=True):
    """With whom a user shares some room, and an encrypted one, at one position."""

    any_room: set[UserID]
    encrypted: set[UserID]


class DeviceLists:
    """Derives device lists from the log: nothing is written for those who are told.

    `changed` are users with new keys who share a room; users who share an encrypted room, or any,
    and did not; and users whose keys the viewer has signed. `left` are users with whom an
    encrypted room, or any, was shared and is not any more.
    """

    def __init__(
        self,
        database: Database,
        user_rooms: UserRooms,
        partial_rooms: PartialRooms,
        index: DeviceListIndex,
    ) -> None:
        self._database = database
        self._user_rooms = user_rooms
        self._partial_rooms = partial_rooms
        self._index = index

    async def between(self, viewer: UserID, then: int, now: int) -> DeviceListChanges:
        """Return what is new for a user after `then`, as of `now`, which the tail has reached."""
        facts = self._index.between(then, now)
        if facts is not None and not facts:
            return DeviceListChanges()
        rooms = await self._user_rooms.of_user(viewer)
        changed = await self._with_new_keys(viewer, rooms, facts, then)
        came, left = await self._moves(viewer, rooms, facts, then, now)
        return DeviceListChanges(frozenset((changed | came) - left), frozenset(left))

    async def _with_new_keys(
        self,
        viewer: UserID,
        rooms: Mapping[int, MembershipRow],
        facts: Collection[DeviceListFact] | None,
        then: int,
    ) -> set[UserID]:
        """Return who of the viewer and those who share a room has new keys, or is newly signed."""
        joined = [room_nid for room_nid, row in rooms.items() if row.membership == "join"]
        if facts is not None:
            of_keys = [fact for fact in facts if fact.room_nid is None]
            users = {each.user_id for each in of_keys if each.user_id and not each.is_signing}
            has_signed = any(each.is_signing and each.user_id == viewer for each in of_keys)
            if not users and not has_signed:
                return set()
            if not has_signed and len(users) <= _FEW:
                return {each for each in users if await self._shares(viewer, each, joined)}
        async with self._database.connection("device_lists") as connection:
            if facts is None:
                users, has_signed = await device_lists.changed_after(connection, then), True
            found = await device_lists.members_among(connection, list(users), joined)
            found |= users & {viewer}
            if has_signed:
                found |= await cross_signing.signed_after(connection, viewer, then)
        return found

    async def _shares(self, viewer: UserID, other: UserID, joined: Iterable[int]) -> bool:
        if other == viewer:
            return True
        rooms = await self._user_rooms.of_user(other)
        return any(
            room_nid in rooms and rooms[room_nid].membership == "join" for room_nid in joined
        )

    async def _moves(
        self,
        viewer: UserID,
        rooms: Mapping[int, MembershipRow],
        facts: Collection[DeviceListFact] | None,
        then: int,
        now: int,
    ) -> tuple[set[UserID], set[UserID]]:
        """Return who has begun to share rooms with the viewer, and who has ceased to."""
        # In all others the viewer was neither then nor is now.
        concerned = {n for n, row in rooms.items() if row.membership == "join" or row.pos > then}
        if facts is not None:
            facts = [fact for fact in facts if fact.room_nid in concerned]
            if not facts:
                return set(), set()
            sharing = await self._sharing_in_memory(viewer, rooms, concerned, facts, then, now)
            if sharing is not None:
                return _difference(*sharing)
        completed = await self._completed(then, now)
        async with self._database.connection("device_lists") as connection:
            view = await _RoomsThenAndNow.read(connection, viewer, rooms, concerned, then, now)
            # Of who was in them nobody was told then.
            view.joined_then.difference_update(completed)
            candidates = await view.candidates(connection, facts)
            if not candidates:
                return set(), set()
            before, after = await view.sharing(connection, candidates)
        return _difference(before, after)

    async def _sharing_in_memory(
        self,
        viewer: UserID,
        rooms: Mapping[int, MembershipRow],
        concerned: Collection[int],
        facts: Collection[DeviceListFact],
        then: int,
        now: int,
    ) -> tuple[_Sharing, _Sharing] | None:
        """Return with whom of those who moved the viewer shared rooms and does, without a table.

        None: not if the viewer has moved, a room was encrypted, or many users have moved.
        """
        users = {fact.user_id for fact in facts}
        if len(users) > _FEW or viewer in users or any(f.was_joined is None for f in facts):
            return None
        if any(rooms[room_nid].pos > then for room_nid in concerned):
            return None
        joined = {user_id: await self._joined(user_id) for user_id in users if user_id}
        shared = {each.room_nid for each in facts if each.room_nid is not None}
        shared |= {room_nid for each in joined.values() for room_nid in each if room_nid in rooms}
        encrypted = await self._index.encrypted_among(shared)
        later = self._index.between(now, self._index.position)
        if later is None or any(f.user_id in users or f.user_id is None for f in later):
            return None
        before = {user_id: set(each) for user_id, each in joined.items()}
        # The newest comes first: what was before the oldest counts.
        for fact in facts:
            if fact.user_id is not None and fact.room_nid is not None:
                place = before[fact.user_id]
                (place.add if fact.was_joined else place.discard)(fact.room_nid)
        return (
            _sharing_of(before, concerned, encrypted),
            _sharing_of(joined, concerned, encrypted),
        )

    async def _completed(self, then: int, now: int) -> frozenset[int]:
        while self._partial_rooms.now is None:
            await self._partial_rooms.load()
        return self._partial_rooms.completed(then, now)

    async def _joined(self, user_id: UserID) -> set[int]:
        rooms = await self._user_rooms.of_user(user_id)
        return {room_nid for room_nid, row in rooms.items() if row.membership == "join"}


class _RoomsThenAndNow(msgspec.Struct, frozen=True):
    """The rooms of the viewer at two positions, and which of them were and are encrypted."""

    viewer: UserID
    then: int
    now: int
    joined_then: set[int]
    joined_now: set[int]
    encrypted_then: set[int]
    encrypted_now: set[int]

    @classmethod
    async def read(
        cls,
        connection: Connection,
        viewer: UserID,
        rooms: Mapping[int, MembershipRow],
        concerned: Collection[int],
        then: int,
        now: int,
    ) -> "_RoomsThenAndNow":
        moved = [room_nid for room_nid in concerned if rooms[room_nid].pos > then]
        stayed = set(concerned) - set(moved)
        rows: list[ThenAndNow] = []
        if moved:
            rows = await device_lists.memberships_then_and_now(
                connection, [viewer], moved, then, now
            )
        encrypted = await device_lists.encrypted_then_and_now(
            connection, list(concerned), then, now
        )
        return cls(
            viewer,
            then,
            now,
            stayed | {row.room_nid for row in rows if row.was_joined},
            stayed | {row.room_nid for row in rows if row.is_joined},
            *encrypted,
        )

    async def candidates(
        self, connection: Connection, facts: Collection[DeviceListFact] | None
    ) -> set[UserID]:
        """Return whoever may share other rooms with the viewer now than then."""
        rooms = self.joined_then | self.joined_now
        turned = (self.joined_then ^ self.joined_now) | (self.encrypted_then ^ self.encrypted_now)
        turned &= rooms
        users: set[UserID] = set()
        if turned:
            users |= await device_lists.members_then_or_now(
                connection, list(turned), self.then, self.now
            )
        if facts is None:
            others = list(rooms - turned)
            users |= await device_lists.moved_members(connection, others, self.then)
        else:
            users |= {
                fact.user_id
                for fact in facts
                if fact.room_nid in rooms and fact.user_id is not None
            }
        return users - {self.viewer}

    async def sharing(
        self, connection: Connection, users: Collection[UserID]
    ) -> tuple[_Sharing, _Sharing]:
        """Return which of the users share rooms with the viewer, then and now."""
        rooms = list(self.joined_then | self.joined_now)
        rows = await device_lists.memberships_then_and_now(
            connection, list(users), rooms, self.then, self.now
        )
        then = [r for r in rows if r.was_joined and r.room_nid in self.joined_then]
        now = [r for r in rows if r.is_joined and r.room_nid in self.joined_now]
        return _sharing(then, self.encrypted_then), _sharing(now, self.encrypted_now)


def _sharing(rows: Collection[ThenAndNow], encrypted: Collection[int]) -> _Sharing:
    return _Sharing(
        {row.user_id for row in rows},
        {row.user_id for row in rows if row.room_nid in encrypted},
    )


def _sharing_of(
    joined: Mapping[UserID, set[int]], own: Collection[int], encrypted: Collection[int]
) -> _Sharing:
    rooms = {user_id: each.intersection(own) for user_id, each in joined.items()}
    return _Sharing(
        {user_id for user_id, each in rooms.items() if each},
        {user_id for user_id, each in rooms.items() if each.intersection(encrypted)},
    )


def _difference(before: _Sharing, after: _Sharing) -> tuple[set[UserID], set[UserID]]:
    """Return who has begun to share rooms, and who has ceased to."""
    came = (after.encrypted - before.encrypted) | (after.any_room - before.any_room)
    left = (before.encrypted - after.encrypted) | (before.any_room - after.any_room)
    return came, left
