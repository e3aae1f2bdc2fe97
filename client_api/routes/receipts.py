"""Sending receipts. Spec: client-server-api/#receipts"""

from typing import Final, Literal

from msgspec import UNSET

from homeserver.errors import InvalidParam
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import EventID, RoomID, parse_event_id
from homeserver.protocol.json_types import JsonValue
from homeserver.services.read_markers import ReadMarkers
from homeserver.services.receipts import NewReceipt, Receipts
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

# COMPAT(clients before v1.4): the name that private receipts had as a proposal.
UNSTABLE_PRIVATE: Final = "org.matrix.msc2285.read.private"


class ReceiptPath(Params, frozen=True):
    """What is acknowledged, and how."""

    room_id: RoomID
    receipt_type: Literal[
        "m.read", "m.read.private", "org.matrix.msc2285.read.private", "m.fully_read"
    ]
    event_id: EventID


class ReceiptBody(Body, frozen=True):
    """For which thread; checked by hand, because its refusals have a code of their own."""

    thread_id: JsonValue = UNSET


class ReceiptRoutes:
    """`POST /rooms/{roomId}/receipt/…`."""

    def __init__(self, receipts: Receipts, read_markers: ReadMarkers) -> None:
        self._receipts = receipts
        self._read_markers = read_markers

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/receipt/{receipt_type}/{event_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid",
    )
    async def post_receipt(
        self, requester: Requester, path: ReceiptPath, body: ReceiptBody
    ) -> Empty:
        """Send a receipt for the given event ID."""
        thread_id = _thread_id(body.thread_id)
        if path.receipt_type == "m.fully_read":
            if thread_id is not None:
                raise InvalidParam("m.fully_read is for the whole room and takes no thread_id")
            await self._read_markers.move(requester.user_id, path.room_id, path.event_id)
            return Empty()
        receipt = NewReceipt(receipt_type_of(path.receipt_type), path.event_id, thread_id)
        await self._receipts.record(requester.user_id, path.room_id, [receipt])
        return Empty()


def receipt_type_of(name: str) -> str:
    """Return the name that the specification has for a type of receipts."""
    return "m.read.private" if name == UNSTABLE_PRIVATE else name


def _thread_id(value: JsonValue) -> str | None:
    if value is UNSET:
        return None
    if not isinstance(value, str) or not value:
        raise InvalidParam("thread_id field must be a non-empty string")
    if value == "main":
        return value
    try:
        return parse_event_id(value)
    except InvalidIdentifier as error:
        raise InvalidParam("thread_id must be main or the event ID of a thread root") from error
