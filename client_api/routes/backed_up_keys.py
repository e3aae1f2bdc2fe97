"""The keys in key backups: all of them, those of a room, or that of a session.

Spec: client-server-api/#server-side-key-backups
"""

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from homeserver.protocol.identifiers import RoomID
from homeserver.services.key_backup import BackedUpKey, BackupState, KeyBackup, StoredKey
from homeserver.web.answers import Download, JsonBytes
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params, Query
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3
from homeserver.web.requester import Requester

# Ten thousand keys of 1 kB, and a third more.
_MAX_BODY_BYTES: Final = 15 * 1024 * 1024
_JSON: Final = "application/json"
_ALL: Final = "room_keys/keys"
_ROOM: Final = "room_keys/keys/{room_id}"
_SESSION: Final = "room_keys/keys/{room_id}/{session_id}"
_encode: Final = msgspec.json.Encoder().encode


class BackupQuery(Query, frozen=True):
    """Which backup."""

    version: str


class RoomKeysPath(Params, frozen=True):
    """The keys of which room."""

    room_id: RoomID


class SessionKeyPath(Params, frozen=True):
    """The key of which session."""

    room_id: RoomID
    session_id: str


class SessionKeyBody(BackedUpKey, Body, frozen=True, kw_only=True):
    """The key of a session."""


class RoomKeysBody(Body, frozen=True):
    """The keys of a room by session ID."""

    sessions: dict[str, BackedUpKey]


class SessionsOfRoom(msgspec.Struct, frozen=True):
    """The same, as part of a larger body."""

    sessions: dict[str, BackedUpKey]


class AllKeysBody(Body, frozen=True):
    """The keys by room and session ID."""

    rooms: dict[RoomID, SessionsOfRoom]


class BackedUpKeyRoutes:
    """`/room_keys/keys`."""

    def __init__(self, key_backup: KeyBackup) -> None:
        self._key_backup = key_backup

    @endpoint(
        "PUT",
        CLIENT_V3 / _SESSION,
        # COMPAT(clients before v1.1): the name that it had as a proposal.
        also=[CLIENT_UNSTABLE / _SESSION],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#put_matrixclientv3room_keyskeysroomidsessionid",
    )
    async def put_session_key(
        self, requester: Requester, path: SessionKeyPath, query: BackupQuery, body: SessionKeyBody
    ) -> BackupState:
        """Store a key in the backup."""
        keys = {path.room_id: {path.session_id: body}}
        return await self._key_backup.put_keys(requester.user_id, query.version, keys)

    @endpoint(
        "GET",
        CLIENT_V3 / _SESSION,
        also=[CLIENT_UNSTABLE / _SESSION],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#get_matrixclientv3room_keyskeysroomidsessionid",
    )
    async def get_session_key(
        self, requester: Requester, path: SessionKeyPath, query: BackupQuery
    ) -> JsonBytes:
        """Retrieve a key from the backup."""
        stored = await self._key_backup.key(
            requester.user_id, query.version, path.room_id, path.session_id
        )
        return JsonBytes(stored.key)

    @endpoint(
        "DELETE",
        CLIENT_V3 / _SESSION,
        also=[CLIENT_UNSTABLE / _SESSION],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#delete_matrixclientv3room_keyskeysroomidsessionid",
    )
    async def delete_session_key(
        self, requester: Requester, path: SessionKeyPath, query: BackupQuery
    ) -> BackupState:
        """Delete a key from the backup."""
        return await self._key_backup.delete_keys(
            requester.user_id, query.version, path.room_id, path.session_id
        )

    @endpoint(
        "PUT",
        CLIENT_V3 / _ROOM,
        also=[CLIENT_UNSTABLE / _ROOM],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        max_body_bytes=_MAX_BODY_BYTES,
        spec="client-server-api/#put_matrixclientv3room_keyskeysroomid",
    )
    async def put_keys_of_room(
        self, requester: Requester, path: RoomKeysPath, query: BackupQuery, body: RoomKeysBody
    ) -> BackupState:
        """Store several keys in the backup for a given room."""
        keys = {path.room_id: body.sessions}
        return await self._key_backup.put_keys(requester.user_id, query.version, keys)

    @endpoint(
        "GET",
        CLIENT_V3 / _ROOM,
        also=[CLIENT_UNSTABLE / _ROOM],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#get_matrixclientv3room_keyskeysroomid",
    )
    async def get_keys_of_room(
        self, requester: Requester, path: RoomKeysPath, query: BackupQuery
    ) -> Download:
        """Retrieve the keys from the backup for a given room."""
        pages = await self._key_backup.keys(requester.user_id, query.version, path.room_id)
        return Download(_JSON, _room_in_pieces(pages))

    @endpoint(
        "DELETE",
        CLIENT_V3 / _ROOM,
        also=[CLIENT_UNSTABLE / _ROOM],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#delete_matrixclientv3room_keyskeysroomid",
    )
    async def delete_keys_of_room(
        self, requester: Requester, path: RoomKeysPath, query: BackupQuery
    ) -> BackupState:
        """Delete the keys from the backup for a given room."""
        return await self._key_backup.delete_keys(requester.user_id, query.version, path.room_id)

    @endpoint(
        "PUT",
        CLIENT_V3 / _ALL,
        also=[CLIENT_UNSTABLE / _ALL],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        max_body_bytes=_MAX_BODY_BYTES,
        spec="client-server-api/#put_matrixclientv3room_keyskeys",
    )
    async def put_keys(
        self, requester: Requester, query: BackupQuery, body: AllKeysBody
    ) -> BackupState:
        """Store several keys in the backup."""
        keys = {room_id: room.sessions for room_id, room in body.rooms.items()}
        return await self._key_backup.put_keys(requester.user_id, query.version, keys)

    @endpoint(
        "GET",
        CLIENT_V3 / _ALL,
        also=[CLIENT_UNSTABLE / _ALL],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#get_matrixclientv3room_keyskeys",
    )
    async def get_keys(self, requester: Requester, query: BackupQuery) -> Download:
        """Retrieve the keys from the backup."""
        pages = await self._key_backup.keys(requester.user_id, query.version)
        return Download(_JSON, _rooms_in_pieces(pages))

    @endpoint(
        "DELETE",
        CLIENT_V3 / _ALL,
        also=[CLIENT_UNSTABLE / _ALL],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#delete_matrixclientv3room_keyskeys",
    )
    async def delete_keys(self, requester: Requester, query: BackupQuery) -> BackupState:
        """Delete the keys from the backup."""
        return await self._key_backup.delete_keys(requester.user_id, query.version)


async def _room_in_pieces(pages: AsyncIterator[list[StoredKey]]) -> AsyncIterator[bytes]:
    yield b'{"sessions":{'
    separator = b""
    async for page in pages:
        yield separator + b",".join(map(_member, page))
        separator = b","
    yield b"}}"


async def _rooms_in_pieces(pages: AsyncIterator[list[StoredKey]]) -> AsyncIterator[bytes]:
    """Keys come in the order of rooms: a room is opened once."""
    yield b'{"rooms":{'
    opened = None
    async for page in pages:
        pieces = []
        for stored in page:
            if stored.room_id != opened:
                pieces.append(b"" if opened is None else b"}},")
                pieces.append(_encode(stored.room_id) + b':{"sessions":{')
                opened = stored.room_id
            else:
                pieces.append(b",")
            pieces.append(_member(stored))
        yield b"".join(pieces)
    yield b"}}" if opened is None else b"}}}}"


def _member(stored: StoredKey) -> bytes:
    return _encode(stored.session_id) + b":" + stored.key
