"""Sending messages and redactions. Spec: client-server-api/#sending-events-to-a-room"""

from client_api.routes.room_answers import EventAnswer
from client_api.routes.timestamp_massaging import TimestampQuery
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.services.send_message import SendMessage
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, RawBody
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class SendPath(Params, frozen=True):
    """What is sent, and where."""

    room_id: RoomID
    event_type: str
    txn_id: str


class RedactPath(Params, frozen=True):
    """The event to redact."""

    room_id: RoomID
    event_id: EventID
    txn_id: str


class RoomSendRoutes:
    """Sending what is no state."""

    def __init__(self, send_message: SendMessage) -> None:
        self._send_message = send_message

    @endpoint(
        "PUT",
        CLIENT_V3 / "rooms/{room_id}/send/{event_type}/{txn_id}",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=RateLimit.MESSAGE,
        spec="client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid",
    )
    async def put_send(
        self, requester: Requester, path: SendPath, query: TimestampQuery, body: RawBody
    ) -> EventAnswer:
        """Send a message event to a room."""
        event_id = await self._send_message.message(
            requester,
            path.room_id,
            path.event_type,
            path.txn_id,
            body.content,
            origin_server_ts=query.origin_server_ts(requester),
        )
        return EventAnswer(event_id)

    @endpoint(
        "PUT",
        CLIENT_V3 / "rooms/{room_id}/redact/{event_id}/{txn_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.MESSAGE,
        spec="client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid",
    )
    async def put_redact(
        self, requester: Requester, path: RedactPath, body: RawBody
    ) -> EventAnswer:
        """Strip an event of all that is not needed for the room to work."""
        event_id = await self._send_message.redaction(
            requester, path.room_id, path.event_id, path.txn_id, body.content
        )
        return EventAnswer(event_id)
