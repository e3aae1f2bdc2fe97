"""The ports to other servers while this server does not federate."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from homeserver.errors import Forbidden, NotFound, RemoteError
from homeserver.protocol.identifiers import (
    DeviceID,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject


class NoPeers:
    """There are no other servers: their rooms are unknown and their users out of reach."""

    async def join(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName], content: JsonObject
    ) -> NoReturn:
        """Refuse: only rooms of this server can be joined."""
        raise NotFound("Unknown room: this server does not federate")

    async def knock(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName], content: JsonObject
    ) -> NoReturn:
        """Refuse: only rooms of this server can be knocked on."""
        raise NotFound("Unknown room: this server does not federate")

    async def leave(self, user_id: UserID, room_id: RoomID, content: JsonObject) -> NoReturn:
        """Refuse: there can be no room of another server to leave."""
        raise NotFound("Unknown room: this server does not federate")

    async def invite(
        self, sender: UserID, target: UserID, room_id: RoomID, content: JsonObject
    ) -> NoReturn:
        """Refuse: a user of another server would never hear of it."""
        self.check_reachable(target)

    async def exchange_third_party_invite(
        self, server: ServerName, room_id: RoomID, event: JsonObject
    ) -> NoReturn:
        """Refuse: no other server can be asked to invite."""
        raise NotFound("Unknown room: this server does not federate")

    def check_reachable(self, target: UserID) -> NoReturn:
        """Refuse all users of other servers."""
        raise Forbidden("This server does not federate: only its own users can be invited")

    async def profile(self, user_id: UserID, field: str | None = None) -> NoReturn:
        """Refuse: users of other servers cannot be asked for."""
        raise NotFound("Unknown user: this server does not federate")

    async def query(
        self, server: ServerName, wanted: Mapping[UserID, Sequence[DeviceID]]
    ) -> NoReturn:
        """Fail: no other server can be asked for keys."""
        raise RemoteError(server, "this server does not federate")

    async def claim(
        self, server: ServerName, wanted: Mapping[UserID, Mapping[DeviceID, str]]
    ) -> NoReturn:
        """Fail: no other server can be asked for keys."""
        raise RemoteError(server, "this server does not federate")

    async def devices(self, user_id: UserID) -> NoReturn:
        """Fail: no other server can be asked for devices."""
        raise RemoteError(server_name_of(user_id), "this server does not federate")

    async def sign(self, server: ServerName, pdu: JsonObject) -> NoReturn:
        """Fail: no other server can be asked to sign."""
        raise RemoteError(server, "this server does not federate")

    async def room_of_alias(self, alias: RoomAlias) -> tuple[RoomID, list[ServerName]] | None:
        """Find nothing: aliases of other servers cannot be resolved."""
        return None

    async def public_rooms(self, server: ServerName, query: JsonObject) -> NoReturn:
        """Refuse: the directories of other servers are out of reach."""
        raise Forbidden("This server does not federate: it has only its own room directory")

    async def space_hierarchy(
        self, room_id: RoomID, servers: Sequence[ServerName]
    ) -> JsonObject | None:
        """Find nothing: nobody else can be asked."""
        return None
