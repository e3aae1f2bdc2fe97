"""Rooms that local users see only from outside: invites and knocks where this server is not in.

What is known of such a room is the stripped state that came with the invite or the knock. The
events themselves are not stored: they are no part of any room here, and come with the others when
somebody joins.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from homeserver.protocol.client_event import split_event
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.rooms.outside_endings import Ending
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.storage import (
    joined_rooms,
    log,
    memberships,
    outside_invites,
    outside_memberships,
)
from homeserver.storage.database import Database, Transaction
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.outside_invites import InviteWrite
from homeserver.streams.entries import MEMBERSHIP_OUTSIDE
from homeserver.streams.log_writer import LogWriter
from homeserver.streams.tail import Tail

_encode: Final = msgspec.json.Encoder().encode


class OutsideMemberships:
    """Keeps the memberships of local users in rooms that this server is not in."""

    def __init__(
        self, database: Database, row_numbers: RowNumbers, log_writer: LogWriter, tail: Tail
    ) -> None:
        self._database = database
        self._row_numbers = row_numbers
        self._log_writer = log_writer
        self._tail = tail

    async def of(self, user_id: UserID, room_id: RoomID) -> MembershipRow | None:
        """Return a user's present membership of a room, known from wherever."""
        async with self._database.connection("outside_memberships") as connection:
            return await memberships.membership_of(connection, user_id, room_id)

    async def room_version(self, room_id: RoomID) -> str | None:
        """Return the version that a room is said to have; None: nothing is known of it."""
        async with self._database.connection("outside_memberships") as connection:
            return await joined_rooms.room_version(connection, room_id)

    async def begin(
        self,
        user_id: UserID,
        room_id: RoomID,
        rules: RoomVersionRules,
        *,
        membership: str,
        sender: UserID,
        stripped_state: Sequence[JsonObject],
        invite: Event | None = None,
    ) -> None:
        """Note an invite or a knock; clients are told. Nothing happens for who is in the room.

        `invite`: the event, for notifications.
        """
        room_nid = await self._row_numbers.room()
        encoded = _encode(list(stripped_state))

        async def write(tx: Transaction) -> int:
            nid = await joined_rooms.ensure_room(tx, room_nid, room_id, rules.version)
            position = await _set(tx, user_id, nid, membership, sender, encoded)
            if invite is not None:
                told = _told_of(invite, rules, stripped_state)
                await outside_invites.put(tx, user_id, nid, position, told)
            return position

        await self._written(write)

    async def end(self, user_id: UserID, room_id: RoomID, ending: Ending) -> None:
        """Note that an invite or a knock came to nothing, and how; only if there is one."""

        async def write(tx: Transaction) -> int | None:
            row = await memberships.membership_of(tx, user_id, room_id)
            if row is None or row.membership not in ("invite", "knock"):
                return None
            told = ending.put_into(row.stripped_state, user_id)
            return await _set(tx, user_id, row.room_nid, "leave", ending.sender, told)

        await self._written(write)

    async def _written(self, write: Callable[[Transaction], Awaitable[int | None]]) -> None:
        position = await self._database.run_transaction(write, "outside_memberships")
        if position is not None:
            self._log_writer.announce(position)
            await self._tail.reach(position)


def _told_of(
    invite: Event, rules: RoomVersionRules, stripped_state: Sequence[JsonObject]
) -> InviteWrite:
    by_key = {(each["type"], each["state_key"]): each for each in stripped_state}

    def core(event_type: str, state_key: str = "") -> bytes | None:
        event = by_key.get((event_type, state_key))
        return None if event is None else _encode(event)

    return InviteWrite(
        event_id=invite.event_id,
        sender=invite.sender,
        origin_server_ts=invite.origin_server_ts,
        core=split_event(invite, rules)[0],
        member_core=core("m.room.member", invite.sender),
        name_core=core("m.room.name"),
        alias_core=core("m.room.canonical_alias"),
    )


async def _set(
    tx: Transaction,
    user_id: UserID,
    room_nid: int,
    membership: str,
    sender: UserID,
    stripped_state: bytes | None,
) -> int:
    # The log first: its writer holds it, too, when it writes memberships.
    position = await log.append_user_change(tx, user_id, MEMBERSHIP_OUTSIDE, room_nid=room_nid)
    await outside_memberships.set_membership(
        tx,
        user_id,
        room_nid,
        membership=membership,
        sender=sender,
        position=position,
        stripped_state=stripped_state,
    )
    return position
