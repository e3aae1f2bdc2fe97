"""Bringing down the number of forward extremities with events that say nothing."""

from collections.abc import Sequence
from typing import Final

from homeserver.errors import MatrixError, RemoteError
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.build import Built
from homeserver.rooms.head import RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.write import RoomWriter
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# Every event that follows must have the states of all of them resolved, on every server.
MAX_EXTREMITIES: Final = 10
# Nobody is shown such an event, but that is up to the clients: its type is one that they ignore.
DUMMY_EVENT: Final = "org.matrix.dummy_event"
# Users that are tried; in a room where these may not send, nobody of us is likely to.
_MAX_USERS: Final = 20


class Extremities:
    """Joins the ends of a room where there are too many."""

    def __init__(self, writer: RoomWriter, heads: Heads) -> None:
        self._writer = writer
        self._heads = heads

    async def thin(self, room_id: RoomID) -> None:
        """Send events that follow up to twenty extremities each, until there are few enough.

        Nothing happens where no local user may send.
        """
        head = await self._heads.head(room_id)
        while head is not None and len(head.extremities) > MAX_EXTREMITIES:
            ends = len(head.extremities)
            try:
                built = await self._writer.write(room_id, self._build)
            except (MatrixError, RemoteError) as error:
                # The room is gone, or its policy server does not sign.
                log.warning("extremities not joined", room_id=room_id, reason=str(error))
                return
            if not built:
                log.warning("too many extremities", room_id=room_id, extremities=ends)
                return
            head = await self._heads.head(room_id)

    async def _build(self, head: RoomHead) -> Sequence[Built]:
        for user_id in self._senders(head):
            draft = EventDraft(type=DUMMY_EVENT, sender=user_id, content={}, room_id=head.room_id)
            try:
                return [await self._writer.builder.build(head, draft)]
            except AuthRefusal:
                continue
        return []

    def _senders(self, head: RoomHead) -> list[UserID]:
        allowed = [
            user_id
            for user_id in sorted(head.local_joined)
            if head.power_levels.may_send(user_id, DUMMY_EVENT, is_state=False)
        ]
        return allowed[:_MAX_USERS]
