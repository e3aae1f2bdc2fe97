"""Profiles: what users tell everybody about themselves.

Spec: client-server-api/#profiles
"""

from typing import Final

import msgspec

from homeserver.errors import MissingParam, NotFound, ProfileTooLarge
from homeserver.ports import RemoteUsers
from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.identifiers import ServerName, UserID, localpart_of, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.services.profile_fields import (
    DISPLAY_NAME,
    MAX_PROFILE_BYTES,
    MEMBER_FIELDS,
    check_name,
    encoded_value,
)
from homeserver.storage import profiles
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import PROFILE_CHANGED
from homeserver.streams.log_writer import LogWriter

_decode: Final = msgspec.json.Decoder().decode


class Profiles:
    """Keeps the profiles of local users and asks other servers for theirs.

    Rooms hear of a new name or avatar through the log: see `profile_propagation`.
    """

    def __init__(
        self,
        database: Database,
        log_writer: LogWriter,
        remote_users: RemoteUsers,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._log_writer = log_writer
        self._remote_users = remote_users
        self._server_name = server_name

    async def profile(self, user_id: UserID) -> JsonObject:
        """Return a whole profile; that of a user who has set nothing is empty.

        Raises NotFound: there is no such active user; RemoteError.
        """
        if not self._is_local(user_id):
            return await self._remote_users.profile(user_id)
        async with self._database.connection("profile") as connection:
            fields = await profiles.fields_of(connection, user_id)
        if fields is None:
            raise NotFound("There is no such user")
        return _decoded(fields)

    async def field(self, user_id: UserID, name: str) -> JsonObject:
        """Return one field as an object with one member.

        Raises NotFound: there is no such user, or the field is not set; KeyTooLarge,
        InvalidParam, RemoteError.
        """
        check_name(name)
        if self._is_local(user_id):
            async with self._database.connection("profile_field") as connection:
                fields = _decoded(await profiles.fields_among(connection, user_id, [name]))
        else:
            fields = await self._remote_users.profile(user_id, name)
        if name not in fields:
            raise NotFound("The user has no such field in the profile")
        return {name: fields[name]}

    async def member_fields(self, user_id: UserID) -> JsonObject:
        """Return `displayname` and `avatar_url` of a local user, those that are set."""
        async with self._database.connection("member_fields") as connection:
            return _decoded(await profiles.fields_among(connection, user_id, MEMBER_FIELDS))

    async def put(self, user_id: UserID, name: str, content: JsonObject) -> None:
        """Set a field of a local user to the member of the content that has its name.

        Raises MissingParam, InvalidParam, BadJson, KeyTooLarge, ProfileTooLarge; NotFound: there
        is no such active account.
        """
        check_name(name)
        if name not in content:
            raise MissingParam(f"The content has no {name}")
        await self._change(user_id, name, encoded_value(name, content[name]))

    async def delete(self, user_id: UserID, name: str) -> None:
        """Remove a field of a local user; one that is not there is no error. Raises like `put`."""
        check_name(name)
        await self._change(user_id, name, None)

    def _is_local(self, user_id: UserID) -> bool:
        return server_name_of(user_id) == self._server_name

    async def _change(self, user_id: UserID, name: str, value: bytes | None) -> None:
        async def write(tx: Transaction) -> int | None:
            return await _write(tx, user_id, name, value)

        position = await self._database.run_transaction(write, "change_profile")
        if position is not None:
            await self._log_writer.told(position)


async def name_new_user(tx: Transaction, user_id: UserID) -> None:
    """Give a new account its localpart as display name, so that rooms show no full user ID."""
    await profiles.put(tx, user_id, DISPLAY_NAME, encode_canonical(localpart_of(user_id)))


async def _write(tx: Transaction, user_id: UserID, name: str, value: bytes | None) -> int | None:
    """Write a field and return the position of the change, if anybody has to hear of it."""
    if not await profiles.lock(tx, user_id):
        raise NotFound("There is no such user")
    present = (await profiles.fields_among(tx, user_id, [name])).get(name)
    if present == value:
        return None
    if value is None:
        await profiles.delete(tx, user_id, name)
    else:
        await profiles.put(tx, user_id, name, value)
        # What does not grow always passes.
        if len(value) > len(present or b"") and (
            await profiles.size_of(tx, user_id) > MAX_PROFILE_BYTES
        ):
            raise ProfileTooLarge
    if name not in MEMBER_FIELDS:
        return None
    return await append_user_change(tx, user_id, PROFILE_CHANGED)


def _decoded(fields: dict[str, bytes]) -> JsonObject:
    return {name: _decode(value) for name, value in fields.items()}
