"""Rejecting invites and retracting knocks.

Spec: server-server-api/#leaving-rooms-rejecting-invites
"""

from federation.membership.candidates import Candidates
from federation.membership.handshake import Handshake
from federation.membership.template import Membership
from homeserver.errors import Forbidden, MatrixError, RemoteError
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import RoomID, ServerName, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.outside_endings import ending_by, unheard_ending
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

_SEND_TIMEOUT_MS = 30_000
_MAX_ANSWER_BYTES = 1024 * 1024


class RemoteLeaves:
    """Leaves rooms that this server is not in."""

    def __init__(
        self,
        handshake: Handshake,
        candidates: Candidates,
        outside: OutsideMemberships,
        clock: Clock,
    ) -> None:
        self._handshake = handshake
        self._candidates = candidates
        self._outside = outside
        self._clock = clock

    async def leave(self, user_id: UserID, room_id: RoomID, content: JsonObject) -> None:
        """Reject an invite or retract a knock; again is no error. Raises Forbidden.

        The invite is gone for the user even if no server hears of it: nobody shall have to look
        at the invites of servers that are down.
        """
        row = await self._outside.of(user_id, room_id)
        if row is not None and row.membership == "leave":
            return
        if row is None or row.membership not in ("invite", "knock"):
            raise Forbidden("You are not in the room")
        wanted = Membership(user_id, room_id, "leave", content)
        servers = await self._candidates.of(user_id, room_id)
        try:
            event = await self._candidates.first(
                servers, lambda server: self._through(server, wanted)
            )
            ending = ending_by(event)
        except (MatrixError, RemoteError) as error:
            log.warning("room left without its servers", room_id=room_id, reason=str(error))
            ending = unheard_ending(user_id, room_id, content, self._clock.now_ms())
        await self._outside.end(user_id, room_id, ending)

    async def _through(self, server: ServerName, wanted: Membership) -> Event:
        event, _ = await self._handshake.make(server, "make_leave", wanted)
        await self._handshake.send(
            server,
            "send_leave",
            event,
            timeout_ms=_SEND_TIMEOUT_MS,
            max_bytes=_MAX_ANSWER_BYTES,
        )
        return event
