"""Key backups: the room keys of a user, encrypted by the user's clients.

Spec: client-server-api/#server-side-key-backups
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec

from homeserver.errors import InvalidParam, NotFound, TooLarge, WrongRoomKeysVersion
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.storage import key_backup
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.storage.key_backup import BackupVersionRow, KeySelection, RoomKeyRow

# The specification has no limits here. Ours are far above what clients need: a key takes about
# 1 kB, and a user of ten years may have some hundred thousand.
MAX_KEYS_IN_REQUEST: Final = 10_000
MAX_KEYS: Final = 2_000_000
MAX_SESSION_DATA_BYTES: Final = 16_384
MAX_AUTH_DATA_BYTES: Final = 65_536
MAX_ALGORITHM_BYTES: Final = 255
MAX_SESSION_ID_BYTES: Final = 255
# Clients begin a new one when a user has lost the key of the old one.
MAX_VERSIONS: Final = 1_000
_PAGE: Final = 1_000

_BigInt: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_encode: Final = msgspec.json.Encoder().encode


class BackedUpKey(msgspec.Struct, frozen=True):
    """One room key in a backup. Spec: client-server-api/#definition-keybackupdata"""

    first_message_index: _BigInt
    forwarded_count: _BigInt
    is_verified: bool
    session_data: JsonObject


# By room ID and session ID.
KeysOfRooms: TypeAlias = Mapping[RoomID, Mapping[str, BackedUpKey]]


class BackupVersion(msgspec.Struct, frozen=True):
    """A backup, as its user sees it; `etag` is another one after every change of the keys."""

    algorithm: str
    auth_data: msgspec.Raw
    count: int
    etag: str
    version: str


class BackupState(msgspec.Struct, frozen=True):
    """A backup after a change of its keys."""

    etag: str
    count: int


class StoredKey(NamedTuple):
    """The key of a session, as JSON."""

    room_id: str
    session_id: str
    key: bytes


class KeyBackup:
    """Keeps the backups of all users; only the newest of a user takes more keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: UserID, algorithm: str, auth_data: JsonObject) -> str:
        """Begin a new backup and return its version. Raises InvalidParam, TooLarge."""
        if not 0 < len(algorithm.encode()) <= MAX_ALGORITHM_BYTES:
            raise InvalidParam(f"The algorithm must have 1 to {MAX_ALGORITHM_BYTES} bytes")
        encoded = _auth_data(auth_data)

        async def work(tx: Transaction) -> int:
            await key_backup.lock(tx, user_id)
            if (await key_backup.usage_of(tx, user_id)).versions >= MAX_VERSIONS:
                raise TooLarge(f"You have {MAX_VERSIONS} backups; delete some")
            return await key_backup.insert_version(tx, user_id, algorithm, encoded)

        return str(await self._database.run_transaction(work, "create_key_backup"))

    async def current(self, user_id: UserID) -> BackupVersion:
        """Return the newest backup. Raises NotFound."""
        async with self._database.connection("key_backup") as connection:
            row = await key_backup.current_version(connection, user_id)
        if row is None:
            raise NotFound("No current backup version")
        return _seen_by_user(row)

    async def get(self, user_id: UserID, version: str) -> BackupVersion:
        """Return one backup. Raises NotFound."""
        async with self._database.connection("key_backup") as connection:
            return _seen_by_user(await _existing(connection, user_id, version))

    async def update(
        self, user_id: UserID, version: str, algorithm: str, auth_data: JsonObject
    ) -> None:
        """Replace the `auth_data` of a backup. Raises NotFound, InvalidParam, TooLarge."""
        encoded = _auth_data(auth_data)

        async def work(tx: Transaction) -> None:
            await key_backup.lock(tx, user_id)
            row = await _existing(tx, user_id, version)
            if row.algorithm != algorithm:
                raise InvalidParam("Algorithm does not match")
            await key_backup.set_auth_data(tx, user_id, row.version, encoded)

        await self._database.run_transaction(work, "update_key_backup")

    async def delete(self, user_id: UserID, version: str) -> None:
        """Delete a backup with its keys; again changes nothing. Raises NotFound."""
        number = _number(version)

        async def work(tx: Transaction) -> None:
            await key_backup.lock(tx, user_id)
            if not await key_backup.delete_version(tx, user_id, number):
                raise NotFound("Unknown backup version")

        await self._database.run_transaction(work, "delete_key_backup")

    async def put_keys(self, user_id: UserID, version: str, keys: KeysOfRooms) -> BackupState:
        """Store keys, each unless a better one of its session is there.

        Raises NotFound; WrongRoomKeysVersion: there is a newer backup; InvalidParam, TooLarge.
        """
        rows = _rows(keys)

        async def write(tx: Transaction, backup: BackupVersionRow) -> BackupVersionRow:
            current = await key_backup.current_version(tx, user_id)
            if current is not None and current.version != backup.version:
                raise WrongRoomKeysVersion(str(current.version))
            usage = await key_backup.usage_of(tx, user_id)
            if usage.keys + len(rows) > MAX_KEYS:
                raise TooLarge(f"All your backups would have more than {MAX_KEYS} keys")
            return await key_backup.put_keys(tx, user_id, backup.version, rows)

        return await self._change_keys(user_id, version, write)

    async def delete_keys(
        self,
        user_id: UserID,
        version: str,
        room_id: RoomID | None = None,
        session_id: str | None = None,
    ) -> BackupState:
        """Delete all keys, those of a room or the one of a session, of any backup.

        Those that are not there are gone already. Raises NotFound: there is no such backup.
        """
        selection = KeySelection(room_id, session_id)

        async def write(tx: Transaction, backup: BackupVersionRow) -> BackupVersionRow:
            return await key_backup.delete_keys(tx, user_id, backup.version, selection)

        return await self._change_keys(user_id, version, write)

    async def key(
        self, user_id: UserID, version: str, room_id: RoomID, session_id: str
    ) -> StoredKey:
        """Return the key of a session. Raises NotFound."""
        async with self._database.connection("key_backup") as connection:
            backup = await _existing(connection, user_id, version)
            row = await key_backup.key_of(connection, user_id, backup.version, room_id, session_id)
        if row is None:
            raise NotFound("The backup has no such key")
        return _stored(row)

    async def keys(
        self, user_id: UserID, version: str, room_id: RoomID | None = None
    ) -> AsyncIterator[list[StoredKey]]:
        """Return the keys of a room, or all, in the order of rooms and sessions, page by page.

        A backup may be larger than memory. Raises NotFound, before the first page.
        """
        async with self._database.connection("key_backup") as connection:
            backup = await _existing(connection, user_id, version)
        return self._pages(user_id, backup.version, room_id)

    async def _pages(
        self, user_id: UserID, version: int, room_id: RoomID | None
    ) -> AsyncIterator[list[StoredKey]]:
        after = ("", "")
        while True:
            # Nobody's download holds a connection.
            async with self._database.connection("key_backup") as connection:
                page = await key_backup.keys_after(
                    connection, user_id, version, room_id, after, _PAGE
                )
            if page:
                yield [_stored(row) for row in page]
                after = (page[-1].room_id, page[-1].session_id)
            if len(page) < _PAGE:
                return

    async def _change_keys(
        self,
        user_id: UserID,
        version: str,
        write: Callable[[Transaction, BackupVersionRow], Awaitable[BackupVersionRow]],
    ) -> BackupState:
        async def work(tx: Transaction) -> BackupVersionRow:
            await key_backup.lock(tx, user_id)
            return await write(tx, await _existing(tx, user_id, version))

        row = await self._database.run_transaction(work, "change_key_backup")
        return BackupState(str(row.etag), row.key_count)


async def _existing(connection: Connection, user_id: UserID, version: str) -> BackupVersionRow:
    row = await key_backup.version_of(connection, user_id, _number(version))
    if row is None:
        raise NotFound("Unknown backup version")
    return row


def _seen_by_user(row: BackupVersionRow) -> BackupVersion:
    return BackupVersion(
        row.algorithm,
        msgspec.Raw(row.auth_data),
        row.key_count,
        str(row.etag),
        str(row.version),
    )


def _stored(row: RoomKeyRow) -> StoredKey:
    key = (
        b'{"first_message_index":%d,"forwarded_count":%d,"is_verified":%b,"session_data":%b}'
    ) % (
        row.first_message_index,
        row.forwarded_count,
        b"true" if row.is_verified else b"false",
        row.session_data,
    )
    return StoredKey(row.room_id, row.session_id, key)


def _number(version: str) -> int:
    """Raises NotFound: a version that was never given is as unknown as any other."""
    if not (version.isascii() and version.isdigit()) or version[0] == "0" or len(version) > 18:
        raise NotFound("Unknown backup version")
    return int(version)


def _rows(keys: KeysOfRooms) -> list[RoomKeyRow]:
    if sum(map(len, keys.values())) > MAX_KEYS_IN_REQUEST:
        raise TooLarge(f"One request may have {MAX_KEYS_IN_REQUEST} keys")
    return [
        _row(room_id, session_id, key)
        for room_id, by_session in keys.items()
        for session_id, key in by_session.items()
    ]


def _row(room_id: RoomID, session_id: str, key: BackedUpKey) -> RoomKeyRow:
    if not 0 < len(session_id.encode()) <= MAX_SESSION_ID_BYTES:
        raise InvalidParam(f"A session ID must have 1 to {MAX_SESSION_ID_BYTES} bytes")
    session_data = _encode(key.session_data)
    if len(session_data) > MAX_SESSION_DATA_BYTES:
        raise TooLarge(f"A key is larger than {MAX_SESSION_DATA_BYTES} bytes")
    return RoomKeyRow(
        room_id,
        session_id,
        key.first_message_index,
        key.forwarded_count,
        key.is_verified,
        session_data,
    )


def _auth_data(auth_data: JsonObject) -> bytes:
    encoded = _encode(auth_data)
    if len(encoded) > MAX_AUTH_DATA_BYTES:
        raise TooLarge(f"auth_data is larger than {MAX_AUTH_DATA_BYTES} bytes")
    return encoded
