"""Read markers. Spec: client-server-api/#read-and-unread-markers"""

from msgspec import UNSET, UnsetType, field

from client_api.routes.joining import RoomPath
from client_api.routes.receipts import UNSTABLE_PRIVATE, receipt_type_of
from homeserver.protocol.identifiers import EventID
from homeserver.services.read_markers import ReadMarkers
from homeserver.services.receipts import NewReceipt, Receipts
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class ReadMarkersBody(Body, frozen=True, kw_only=True):
    """Up to where everything has been read, and up to where something has."""

    fully_read: EventID | UnsetType = field(default=UNSET, name="m.fully_read")
    read: EventID | UnsetType = field(default=UNSET, name="m.read")
    read_private: EventID | UnsetType = field(default=UNSET, name="m.read.private")
    # COMPAT(clients before v1.4): Nheko sends both.
    unstable_read_private: EventID | UnsetType = field(default=UNSET, name=UNSTABLE_PRIVATE)

    def receipts(self) -> list[NewReceipt]:
        """Return the receipts of the request."""
        named = {
            "m.read": self.read,
            "m.read.private": self.read_private,
            UNSTABLE_PRIVATE: self.unstable_read_private,
        }
        return [
            NewReceipt(receipt_type_of(name), event_id)
            for name, event_id in named.items()
            if event_id is not UNSET
        ]


class ReadMarkerRoutes:
    """`POST /rooms/{roomId}/read_markers`."""

    def __init__(self, receipts: Receipts, read_markers: ReadMarkers) -> None:
        self._receipts = receipts
        self._read_markers = read_markers

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/read_markers",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3roomsroomidread_markers",
    )
    async def post_read_markers(
        self, requester: Requester, path: RoomPath, body: ReadMarkersBody
    ) -> Empty:
        """Set the position of the read marker for a room."""
        receipts = body.receipts()
        if receipts:
            await self._receipts.record(requester.user_id, path.room_id, receipts)
        if body.fully_read is not UNSET:
            await self._read_markers.move(requester.user_id, path.room_id, body.fully_read)
        return Empty()
