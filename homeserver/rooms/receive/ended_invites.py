"""Invites and knocks that end elsewhere, of rooms that this server is not in.

Spec: server-server-api/#inviting-to-a-room
"""

from typing import Final, NamedTuple

import msgspec

from homeserver.ports import EventSignatures
from homeserver.protocol.errors import InvalidEvent, UnsupportedRoomVersion
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import RoomID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import rules_of
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.outside_endings import ending_by
from homeserver.rooms.receive.pdus import received_event
from homeserver.storage.memberships import MembershipRow

_ENDED: Final = frozenset({"leave", "ban"})
_OPEN: Final = frozenset({"invite", "knock"})
_decode: Final = msgspec.json.Decoder(list[dict[str, object]]).decode


class _Open(NamedTuple):
    """An invite or a knock, and the version of its room."""

    row: MembershipRow
    room_version: str


class EndedInvites:
    """Takes the events that other servers send when they take invites back, or reject knocks.

    Whether the sender may do that, only the room's state says, which is not known here. What the
    invited was told of the room has to be enough: the sender is of a server that it names.
    """

    def __init__(
        self, outside: OutsideMemberships, signatures: EventSignatures, server_name: ServerName
    ) -> None:
        self._outside = outside
        self._signatures = signatures
        self._server_name = server_name

    async def take(self, origin: ServerName, room_id: RoomID, pdu: JsonObject) -> Event | None:
        """End the invite or the knock that an event ends; None: the event is none of these."""
        state_key = pdu.get("state_key")
        if pdu.get("type") != "m.room.member" or not isinstance(state_key, str):
            return None
        if not state_key.endswith(f":{self._server_name}"):
            return None
        target = UserID(state_key)
        found = await self._open(target, room_id)
        event = None if found is None else _read(pdu, found.room_version)
        if found is None or event is None or event.room_id != room_id:
            return None
        if event.membership not in _ENDED or server_name_of(event.sender) != origin:
            return None
        if origin not in _servers_named(found.row):
            return None
        if event.event_id not in await self._signatures.verify_events([event]):
            return None
        await self._outside.end(target, room_id, ending_by(event))
        return event

    async def _open(self, target: UserID, room_id: RoomID) -> _Open | None:
        row = await self._outside.of(target, room_id)
        if row is None or row.membership not in _OPEN:
            return None
        version = await self._outside.room_version(room_id)
        return None if version is None else _Open(row, version)


def _read(pdu: JsonObject, room_version: str) -> Event | None:
    try:
        return received_event(pdu, rules_of(room_version))
    except (InvalidEvent, UnsupportedRoomVersion):
        return None


def _servers_named(row: MembershipRow) -> set[str]:
    """Return the servers of the inviter, and of who has made what the invited was told."""
    senders = [row.sender]
    for event in _decode(row.stripped_state) if row.stripped_state else ():
        sender = event.get("sender")
        if isinstance(sender, str):
            senders.append(UserID(sender))
    return {sender.partition(":")[2] for sender in senders}
