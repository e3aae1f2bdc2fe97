"""What inner layers need of outer ones: narrow protocols that the edges implement."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import (
    DeviceID,
    EventID,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
)
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


class InviteExchange(Protocol):
    """Has the server of an inviter turn an invite by an address into one of a user."""

    async def exchange_third_party_invite(
        self, server: ServerName, room_id: RoomID, event: JsonObject
    ) -> None:
        """Send a partial `m.room.member` event. Raises MatrixError, RemoteError.

        Spec: server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid
        """
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


class RemoteDeviceLists(Protocol):
    """The device lists of users of other servers."""

    async def devices(self, user_id: UserID) -> JsonObject:
        """Return the answer of a user's server about all devices of the user, unchecked.

        Raises RemoteError.
        Spec: server-server-api/#get_matrixfederationv1userdevicesuserid
        """
        ...


class RemoteKeys(RemoteDeviceLists, Protocol):
    """The encryption keys of users of other servers. All raise MatrixError, RemoteError."""

    async def query(
        self, server: ServerName, wanted: Mapping[UserID, Sequence[DeviceID]]
    ) -> JsonObject:
        """Return a server's answer about devices of its users, no devices named: about all.

        Spec: server-server-api/#post_matrixfederationv1userkeysquery
        """
        ...

    async def claim(
        self, server: ServerName, wanted: Mapping[UserID, Mapping[DeviceID, str]]
    ) -> JsonObject:
        """Return a server's answer to claims: user ID → device ID → algorithm.

        Spec: server-server-api/#post_matrixfederationv1userkeysclaim
        """
        ...


class RemoteContent(Protocol):
    """Content that another server, or where it has sent us, begins to give out; unchecked."""

    @property
    def content_type(self) -> str:
        """The `Content-Type` header; `application/octet-stream` when absent."""
        ...

    @property
    def content_disposition(self) -> str | None:
        """The `Content-Disposition` header."""
        ...

    @property
    def content_length(self) -> int | None:
        """The announced size in bytes; nobody need keep to it."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content, once. Raises RemoteError: it breaks off, or is too large."""
        ...


class ThumbnailWish(msgspec.Struct, frozen=True, kw_only=True):
    """Which thumbnail is asked for; `animated` None: whatever the server prefers."""

    width: int
    height: int
    method: str
    animated: bool | None = None


class RemoteMedia(Protocol):
    """The media of other servers."""

    def content(
        self,
        server: ServerName,
        media_id: str,
        *,
        thumbnail: ThumbnailWish | None = None,
        timeout_ms: int,
        max_bytes: int,
    ) -> AbstractAsyncContextManager[RemoteContent]:
        """Open a content of the server's own, or a thumbnail of it.

        `timeout_ms` is how long the server may wait for an upload. Entering raises RemoteError,
        with what the server answered: 404 M_NOT_FOUND, 504 M_NOT_YET_UPLOADED, M_TOO_LARGE.
        Spec: server-server-api/#content-repository
        """
        ...


class StateIDs(msgspec.Struct, frozen=True):
    """Another server's answer about the state before an event; unchecked, may name anything."""

    pdu_ids: Sequence[EventID]
    auth_chain_ids: Sequence[EventID]


class EventPeers(Protocol):
    """Asks one other server for events. Answers are raw PDUs, unchecked, of a bounded number.

    Every question raises RemoteError: no answer in time, or none of the form that it should have.
    """

    async def missing_events(
        self,
        server: ServerName,
        room_id: RoomID,
        *,
        latest: Sequence[EventID],
        earliest: Sequence[EventID],
        limit: int,
        min_depth: int,
    ) -> list[JsonObject]:
        """Spec: server-server-api/#post_matrixfederationv1get_missing_eventsroomid"""
        ...

    async def event(self, server: ServerName, event_id: EventID) -> JsonObject:
        """Spec: server-server-api/#get_matrixfederationv1eventeventid"""
        ...

    async def event_auth(
        self, server: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject]:
        """Spec: server-server-api/#get_matrixfederationv1event_authroomideventid"""
        ...

    async def state_ids(self, server: ServerName, room_id: RoomID, event_id: EventID) -> StateIDs:
        """Spec: server-server-api/#get_matrixfederationv1state_idsroomid"""
        ...

    async def state(
        self, server: ServerName, room_id: RoomID, event_id: EventID
    ) -> tuple[list[JsonObject], list[JsonObject]]:
        """Return the state before an event and its auth chain.

        Spec: server-server-api/#get_matrixfederationv1stateroomid
        """
        ...

    async def backfill(
        self, server: ServerName, room_id: RoomID, event_ids: Sequence[EventID], limit: int
    ) -> list[JsonObject]:
        """Spec: server-server-api/#get_matrixfederationv1backfillroomid"""
        ...


class PolicySigner(Protocol):
    """Asks policy servers to sign events."""

    async def sign(self, server: ServerName, pdu: JsonObject) -> JsonObject:
        """Return signatures by server name and key ID, unchecked.

        Raises MatrixError: the error that the policy server answers, as it is; RemoteError.
        Spec: server-server-api/#post_matrixpolicyv1sign
        """
        ...


class EventsByTime(Protocol):
    """Asks one other server for events at a time. Raises RemoteError."""

    async def timestamp_to_event(
        self, server: ServerName, room_id: RoomID, ts: int, *, forwards: bool
    ) -> tuple[EventID, int]:
        """Return the event closest to a time (ms), and the time that it is said to have.

        Spec: server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
        """
        ...


class EventSignatures(Protocol):
    """Verifies signatures of events; the key ring fills it."""

    async def verify_events(self, events: Sequence[Event]) -> frozenset[EventID]:
        """Return which of the events carry every signature that they must have.

        That of the sender's server (but for an invite by a third party ID), in room versions 1
        and 2 that of the event ID's server, and that of the server of
        `join_authorised_via_users_server`, each by a key that was valid as the room version wants
        it. An event whose keys cannot be had is not among them. The keys of many servers are
        fetched, and many signatures verified, at once. Raises nothing.
        Spec: server-server-api/#validating-hashes-and-signatures-on-received-events
        """
        ...


class ThirdPartyNetworks(Protocol):
    """The networks to which application services bridge.

    Locations and users are as the specification's `location_batch` and `user_batch`.
    Spec: client-server-api/#third-party-lookups
    """

    async def protocols(self) -> dict[str, JsonObject]:
        """Return the metadata of all protocols by name."""
        ...

    async def locations(self, protocol: str, fields: Mapping[str, str]) -> list[JsonObject]:
        """Return the portal rooms of a place in a network; none for an unknown protocol."""
        ...

    async def users(self, protocol: str, fields: Mapping[str, str]) -> list[JsonObject]:
        """Return the Matrix users for a user of a network; none for an unknown protocol."""
        ...

    async def locations_of_alias(self, alias: RoomAlias) -> list[JsonObject]:
        """Return the places in networks to which an alias leads."""
        ...

    async def users_of_id(self, user_id: UserID) -> list[JsonObject]:
        """Return the users of networks behind a Matrix user."""
        ...
