"""The other servers in rooms: the ports `RoomPeers` and `InviteExchange`."""

from collections.abc import Sequence

from federation.membership.inviting import RemoteInvites
from federation.membership.joining import RemoteJoins
from federation.membership.knocking import RemoteKnocks
from federation.membership.leaving import RemoteLeaves
from federation.membership.refusals import most_telling
from federation.transport.client import FederationClient, path_of
from homeserver.errors import RemoteError
from homeserver.protocol.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.web.paths import FEDERATION_V1


class FederatedRooms:
    """Changes memberships through other servers."""

    def __init__(
        self,
        client: FederationClient,
        joins: RemoteJoins,
        knocks: RemoteKnocks,
        leaves: RemoteLeaves,
        invites: RemoteInvites,
    ) -> None:
        self._client = client
        self._joins = joins
        self._knocks = knocks
        self._leaves = leaves
        self._invites = invites

    async def join(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName], content: JsonObject
    ) -> None:
        """Join a room through other servers. Raises MatrixError, RemoteError."""
        await self._joins.join(user_id, room_id, via, content)

    async def knock(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName], content: JsonObject
    ) -> None:
        """Knock on a room through other servers. Raises MatrixError, RemoteError."""
        await self._knocks.knock(user_id, room_id, via, content)

    async def leave(self, user_id: UserID, room_id: RoomID, content: JsonObject) -> None:
        """Reject the invite to, or retract the knock on, a room that this server is not in."""
        await self._leaves.leave(user_id, room_id, content)

    async def invite(
        self, sender: UserID, target: UserID, room_id: RoomID, content: JsonObject
    ) -> EventID:
        """Invite a user of another server. Raises MatrixError, AuthRefusal, RemoteError."""
        return await self._invites.invite(sender, target, room_id, content)

    def check_reachable(self, target: UserID) -> None:
        """Refuse users of servers that will not be contacted. Raises Forbidden."""
        self._invites.check_reachable(target)

    async def exchange_third_party_invite(
        self, server: ServerName, room_id: RoomID, event: JsonObject
    ) -> None:
        """Have another server invite a local user. Raises MatrixError, RemoteError."""
        path = path_of(FEDERATION_V1, "exchange_third_party_invite", room_id)
        try:
            await self._client.put(server, path, body=event, ignore_backoff=True)
        except RemoteError as error:
            raise most_telling([error]) from None
