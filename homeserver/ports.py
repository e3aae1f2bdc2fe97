"""What inner layers need of outer ones: narrow protocols that the edges implement."""

from collections.abc import Sequence
from typing import Protocol

from homeserver.protocol.identifiers import EventID, RoomAlias, RoomID, ServerName, UserID
from homeserver.protocol.json_types import JsonObject


class MemberProfiles(Protocol):
    """What a user's membership events say about the user."""

    async def member_fields(self, user_id: UserID) -> JsonObject:
        """Return `displayname` and `avatar_url` of a local user, those that are set."""
        ...


class RemoteUsers(Protocol):
    """The users of other servers."""

    async def profile(self, user_id: UserID, field: str | None = None) -> JsonObject:
        """Return the profile of a user of another server, or what it has of one field.

        Raises MatrixError, RemoteError. Spec: server-server-api/#get_matrixfederationv1queryprofile
        """
        ...


class RoomPeers(Protocol):
    """The other servers in rooms: the federation client fills it."""

    async def join(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName], content: JsonObject
    ) -> None:
        """Join a room through other servers. Raises MatrixError, RemoteError."""
        ...

    async def knock(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName], content: JsonObject
    ) -> None:
        """Knock on a room through other servers. Raises MatrixError, RemoteError."""
        ...

    async def leave(self, user_id: UserID, room_id: RoomID, content: JsonObject) -> None:
        """Leave, or reject the invite to, a room that this server is not in."""
        ...

    async def invite(
        self, sender: UserID, target: UserID, room_id: RoomID, content: JsonObject
    ) -> EventID:
        """Invite a user of another server. Raises MatrixError, RemoteError."""
        ...

    def check_reachable(self, target: UserID) -> None:
        """Refuse users of servers that will not be contacted. Raises Forbidden."""
        ...


class RemoteDirectories(Protocol):
    """The room directories of other servers."""

    async def room_of_alias(self, alias: RoomAlias) -> tuple[RoomID, list[ServerName]] | None:
        """Resolve an alias of another server. Raises RemoteError."""
        ...

    async def public_rooms(self, server: ServerName, query: JsonObject) -> JsonObject:
        """Return the answer of another server to `POST /publicRooms` with a body.

        Raises MatrixError, RemoteError.
        Spec: server-server-api/#post_matrixfederationv1publicrooms
        """
        ...

    async def space_hierarchy(
        self, room_id: RoomID, servers: Sequence[ServerName]
    ) -> JsonObject | None:
        """Return the first answer of some servers to `GET /hierarchy`; None: nobody answers well.

        Spec: server-server-api/#get_matrixfederationv1hierarchyroomid
        """
        ...
