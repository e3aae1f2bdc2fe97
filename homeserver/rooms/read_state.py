"""Reading the state of a room: now, at a position, or as it was when the reader left.

Spec: client-server-api/#getting-events-for-a-room
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from homeserver.errors import NamedError, NotFound
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.client_events import Viewer, render_all, render_members
from homeserver.storage import events, member_events, state
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord
from homeserver.storage.member_events import MemberRow
from homeserver.streams.partial_rooms import PartialRooms

# For members that are still to be had from other servers: clients and proxies wait longer.
PATIENCE_SECONDS: Final = 25.0
_MEMBER: Final = "m.room.member"
_decode: Final = msgspec.json.Decoder().decode


class _Content(msgspec.Struct):
    membership: object = None
    displayname: object = None
    avatar_url: object = None


class _Member(msgspec.Struct):
    content: _Content


_decode_member: Final = msgspec.json.Decoder(_Member).decode


class MembersUnknown(NamedError):
    """Most members of the room are still to be had from other servers."""

    STATUS, ERRCODE = 504, "M_UNKNOWN"
    TEXT = "The members of the room are not known yet, try again"


class ReadState:
    """Reads state events for those who have access.

    Of a room whose members are not all known yet, whoever asks for them waits. Raises
    MembersUnknown: not any longer.
    """

    def __init__(self, database: Database, partial_rooms: PartialRooms) -> None:
        self._database = database
        self._partial_rooms = partial_rooms

    async def all(self, access: RoomAccess, viewer: Viewer) -> list[bytes]:
        """Return all state events in client format."""
        await self._wait_for_members(access)
        records = await self.records_at(access.room_nid, access.upto)
        return render_all(records.values(), viewer, access.view, access.room_id)

    async def one(
        self, access: RoomAccess, event_type: str, state_key: str, viewer: Viewer
    ) -> tuple[JsonObject, bytes]:
        """Return one state event: its content, and the whole event in client format.

        Raises NotFound.
        """
        record = await self._record(access, event_type, state_key)
        if record is None and event_type == _MEMBER:
            await self._wait_for_members(access)
            record = await self._record(access, event_type, state_key)
        if record is None:
            raise NotFound("Event not found.")
        rendered = render_all([record], viewer, access.view, access.room_id)[0]
        content: JsonObject = _decode(record.core)["content"]
        return content, rendered

    async def _record(
        self, access: RoomAccess, event_type: str, state_key: str
    ) -> EventRecord | None:
        async with self._database.connection("read_state") as connection:
            nid = await state.state_nid_at(
                connection, access.room_nid, event_type, state_key, access.upto
            )
            return (await events.events_by_nid(connection, [nid])).get(nid) if nid else None

    async def _wait_for_members(self, access: RoomAccess) -> None:
        if not await self._partial_rooms.wait(access.room_nid, PATIENCE_SECONDS):
            raise MembersUnknown

    async def members(
        self,
        access: RoomAccess,
        viewer: Viewer,
        *,
        at: int | None,
        membership: str | None,
        not_membership: str | None,
    ) -> list[bytes]:
        """Return member events in client format, as of position `at`.

        `membership` and `not_membership` together are an "or".
        """
        await self._wait_for_members(access)
        upto = access.upto if at is None else min(at, access.upto)
        async with self._database.connection("read_state") as connection:
            rows = await member_events.members_at(connection, access.room_nid, upto)
            if membership is not None or not_membership is not None:
                rows = [
                    row
                    for row in rows
                    if _is_wanted(_content(row).membership, membership, not_membership)
                ]
            others = await member_events.others_of(connection, rows)
        return render_members(rows, others, viewer, access.view, access.room_id)

    async def joined_members(self, access: RoomAccess) -> dict[str, JsonObject]:
        """Return display name and avatar of each joined member, by user ID."""
        await self._wait_for_members(access)
        async with self._database.connection("read_state") as connection:
            rows = await member_events.members_at(connection, access.room_nid, access.upto)
        joined: dict[str, JsonObject] = {}
        for row in rows:
            content = _content(row)
            if content.membership == "join":
                joined[row[1]] = {
                    "display_name": _text(content.displayname),
                    "avatar_url": _text(content.avatar_url),
                }
        return joined

    async def records_at(self, room_nid: int, pos: int) -> Mapping[int, EventRecord]:
        """Return the state events of a room after position `pos`, by event number."""
        async with self._database.connection("read_state") as connection:
            nids = await state.state_nids_at(connection, room_nid, pos)
            return await events.events_by_nid(connection, nids.values())

    async def members_at(
        self, room_nid: int, user_ids: Iterable[str], pos: int
    ) -> Sequence[EventRecord]:
        """Return the member events of some users after position `pos`."""
        wanted = list(user_ids)
        if not wanted:
            return []
        async with self._database.connection("read_state") as connection:
            nids = await state.member_nids_at(connection, room_nid, wanted, pos)
            return list((await events.events_by_nid(connection, nids)).values())


def _content(row: MemberRow) -> _Content:
    return _decode_member(row[4]).content


def _is_wanted(value: object, membership: str | None, not_membership: str | None) -> bool:
    is_the_one = membership is not None and value == membership
    is_not_the_other = not_membership is not None and value != not_membership
    return is_the_one or is_not_the_other


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
