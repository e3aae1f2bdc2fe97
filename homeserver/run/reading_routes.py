"""Receipts, read markers and typing, put together."""

from client_api.routes.read_markers import ReadMarkerRoutes
from client_api.routes.receipts import ReceiptRoutes
from client_api.routes.typing_notifications import TypingRoutes
from homeserver.run.foundation import Foundation
from homeserver.run.room_layer import RoomLayer
from homeserver.services.account_data import AccountData
from homeserver.services.push_rules import PushRules
from homeserver.services.read_markers import ReadMarkers
from homeserver.services.receipts import Receipts
from homeserver.services.typing_notifications import TypingNotifications


def receipts_of(base: Foundation, rooms: RoomLayer) -> Receipts:
    """Put the receipts together."""
    return Receipts(
        base.database, base.tail, rooms.access, rooms.timeline, base.log_writer, base.clock
    )


def reading_routes(base: Foundation, rooms: RoomLayer) -> list[object]:
    """Put the operations on receipts, read markers and typing together."""
    push_rules = PushRules(base.database, base.log_writer)
    account_data = AccountData(base.database, base.log_writer, push_rules)
    read_markers = ReadMarkers(base.database, rooms.timeline, account_data)
    receipts = receipts_of(base, rooms)
    typing = TypingNotifications(base.database, rooms.access, base.typing)
    return [
        ReceiptRoutes(receipts, read_markers),
        ReadMarkerRoutes(receipts, read_markers),
        TypingRoutes(typing),
    ]
