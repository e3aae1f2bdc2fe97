"""Sending messages and redactions in the name of a client.

Spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
"""

from homeserver.errors import InvalidParam, MissingParam
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import EventID, RoomID, parse_event_id
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.send import SendEvent
from homeserver.services.guest_eviction import GuestEviction
from homeserver.services.suspension import Suspension
from homeserver.web.requester import Requester


class SendMessage:
    """Sends message events, once per transaction ID."""

    def __init__(
        self, send: SendEvent, suspension: Suspension, guest_eviction: GuestEviction
    ) -> None:
        self._send = send
        self._suspension = suspension
        self._guest_eviction = guest_eviction

    async def message(
        self,
        requester: Requester,
        room_id: RoomID,
        event_type: str,
        txn_id: str,
        content: JsonObject,
        *,
        origin_server_ts: int | None = None,
    ) -> EventID:
        """Send an event. Raises UserSuspended, and what `SendEvent.message` raises."""
        if event_type == "m.room.redaction":
            return await self.redaction(requester, room_id, _redacts(content), txn_id, content)
        self._suspension.check_message(requester)
        return await self._send.message(
            requester, room_id, event_type, txn_id, content, origin_server_ts=origin_server_ts
        )

    async def redaction(
        self,
        requester: Requester,
        room_id: RoomID,
        redacts: EventID,
        txn_id: str,
        content: JsonObject,
    ) -> EventID:
        """Redact an event. Raises UserSuspended, and what `SendEvent.redaction` raises."""
        await self._suspension.check_redaction(requester, redacts)
        event_id = await self._send.redaction(requester, room_id, redacts, txn_id, content)
        if await self._guest_eviction.is_decided_by(room_id, redacts):
            await self._guest_eviction.enforce(room_id)
        return event_id


def _redacts(content: JsonObject) -> EventID:
    """Return the event that the content of a redaction names, in whatever room version."""
    redacts = content.get("redacts")
    if redacts is None:
        raise MissingParam("redacts: the event to redact")
    try:
        return parse_event_id(redacts if isinstance(redacts, str) else "")
    except InvalidIdentifier as error:
        raise InvalidParam("redacts is not an event ID") from error
