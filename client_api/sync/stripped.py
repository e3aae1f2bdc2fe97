"""Invited and knocked rooms: stripped state. Spec: client-server-api/#stripped-state"""

from collections.abc import Iterable
from typing import Final

import msgspec

from client_api.sync.encode import event_list
from client_api.sync.request import SyncContext
from homeserver.protocol.client_event import stripped_state_event
from homeserver.rooms.stripped_state import STRIPPED_TYPES
from homeserver.storage import events, sync_reads
from homeserver.storage.database import Database
from homeserver.storage.memberships import MembershipRow

_decode: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class StrippedRooms:
    """Makes the sections of rooms that the user may see only from outside."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def encoded(
        self, context: SyncContext, memberships: Iterable[MembershipRow], key: str
    ) -> dict[str, bytes]:
        """Return room ID -> `{"invite_state": {"events": […]}}`; `key` is that member's name."""
        rooms = {}
        for membership in memberships:
            stripped = await self._stripped_state(context, membership)
            rooms[str(membership.room_id)] = b'{"%b":%b}' % (key.encode(), event_list(stripped))
        return rooms

    async def _stripped_state(self, context: SyncContext, membership: MembershipRow) -> list[bytes]:
        if membership.stripped_state is not None:
            return [bytes(event) for event in _decode(membership.stripped_state)]
        async with self._database.connection("sync_stripped") as connection:
            nids = await sync_reads.state_nids_of_types(
                connection, membership.room_nid, STRIPPED_TYPES, context.now
            )
            # A nameless room, such as a direct chat, has its name from them.
            inviter = (membership.room_nid, membership.sender, context.now)
            nids += await sync_reads.member_nids_of_rooms(connection, [inviter])
            found = await events.events_by_nid(connection, [*nids, membership.event_nid])
        return [stripped_state_event(record.core) for record in found.values()]
