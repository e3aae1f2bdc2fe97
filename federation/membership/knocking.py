"""Knocking on rooms of other servers. Spec: server-server-api/#knocking-rooms"""

from collections.abc import Sequence

from federation.membership.candidates import Candidates
from federation.membership.handshake import Handshake
from federation.membership.room_previews import RoomPreviews
from federation.membership.template import Membership
from federation.transport.failures import RemoteBadAnswer
from homeserver.protocol.identifiers import RoomID, ServerName, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.outside import OutsideMemberships


class RemoteKnocks:
    """Asks to be let into rooms that this server is not in."""

    def __init__(
        self,
        handshake: Handshake,
        candidates: Candidates,
        previews: RoomPreviews,
        outside: OutsideMemberships,
    ) -> None:
        self._handshake = handshake
        self._candidates = candidates
        self._previews = previews
        self._outside = outside

    async def knock(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName], content: JsonObject
    ) -> None:
        """Knock through the first server that takes it; nothing happens for who has knocked.

        Raises MatrixError, RemoteError.
        """
        row = await self._outside.of(user_id, room_id)
        if row is not None and row.membership == "knock":
            return
        wanted = Membership(user_id, room_id, "knock", content)
        servers = await self._candidates.of(user_id, room_id, via)
        await self._candidates.first(servers, lambda server: self._through(server, wanted))

    async def _through(self, server: ServerName, wanted: Membership) -> None:
        event, template = await self._handshake.make(server, "make_knock", wanted)
        if not template.rules.knocking:
            raise RemoteBadAnswer(server, "lets knock on a room whose version has no knocking")
        answer = await self._handshake.send_v1(server, "send_knock", event)
        state = await self._previews.lenient(
            answer.get("knock_room_state"), wanted.room_id, template.rules
        )
        await self._outside.begin(
            wanted.user_id,
            wanted.room_id,
            template.rules,
            membership="knock",
            sender=wanted.user_id,
            stripped_state=[*state, *_own(event.pdu)],
        )


def _own(pdu: JsonObject) -> list[JsonObject]:
    return [{name: pdu[name] for name in ("content", "sender", "state_key", "type")}]
