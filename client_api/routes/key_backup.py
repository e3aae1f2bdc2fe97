"""Versions of key backups. Spec: client-server-api/#server-side-key-backups"""

from msgspec import Struct

from homeserver.errors import InvalidParam
from homeserver.protocol.json_types import JsonObject
from homeserver.services.key_backup import BackupVersion, KeyBackup
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3
from homeserver.web.requester import Requester


class BackupVersionPath(Params, frozen=True):
    """Which backup."""

    version: str


class NewBackupBody(Body, frozen=True):
    """How the keys will be encrypted."""

    algorithm: str
    auth_data: JsonObject


class UpdateBackupBody(Body, frozen=True):
    """The same, of a backup that is there; null counts as absent."""

    algorithm: str
    auth_data: JsonObject
    version: str | None = None


class NewBackupAnswer(Struct, frozen=True):
    """The version of a new backup."""

    version: str


class KeyBackupRoutes:
    """`/room_keys/version`."""

    def __init__(self, key_backup: KeyBackup) -> None:
        self._key_backup = key_backup

    @endpoint(
        "POST",
        CLIENT_V3 / "room_keys/version",
        # COMPAT(clients before v1.1): the name that it had as a proposal.
        also=[CLIENT_UNSTABLE / "room_keys/version"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#post_matrixclientv3room_keysversion",
    )
    async def post_backup_version(
        self, requester: Requester, body: NewBackupBody
    ) -> NewBackupAnswer:
        """Create a new backup."""
        version = await self._key_backup.create(requester.user_id, body.algorithm, body.auth_data)
        return NewBackupAnswer(version)

    @endpoint(
        "GET",
        CLIENT_V3 / "room_keys/version",
        also=[CLIENT_UNSTABLE / "room_keys/version"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#get_matrixclientv3room_keysversion",
    )
    async def get_current_backup_version(self, requester: Requester) -> BackupVersion:
        """Get information about the latest backup version."""
        return await self._key_backup.current(requester.user_id)

    @endpoint(
        "GET",
        CLIENT_V3 / "room_keys/version/{version}",
        also=[CLIENT_UNSTABLE / "room_keys/version/{version}"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#get_matrixclientv3room_keysversionversion",
    )
    async def get_backup_version(
        self, requester: Requester, path: BackupVersionPath
    ) -> BackupVersion:
        """Get information about an existing backup."""
        return await self._key_backup.get(requester.user_id, path.version)

    @endpoint(
        "PUT",
        CLIENT_V3 / "room_keys/version/{version}",
        also=[CLIENT_UNSTABLE / "room_keys/version/{version}"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#put_matrixclientv3room_keysversionversion",
    )
    async def put_backup_version(
        self, requester: Requester, path: BackupVersionPath, body: UpdateBackupBody
    ) -> Empty:
        """Update information about an existing backup."""
        if body.version is not None and body.version != path.version:
            raise InvalidParam("The version in the body is not that in the path")
        await self._key_backup.update(
            requester.user_id, path.version, body.algorithm, body.auth_data
        )
        return Empty()

    @endpoint(
        "DELETE",
        CLIENT_V3 / "room_keys/version/{version}",
        also=[CLIENT_UNSTABLE / "room_keys/version/{version}"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="client-server-api/#delete_matrixclientv3room_keysversionversion",
    )
    async def delete_backup_version(self, requester: Requester, path: BackupVersionPath) -> Empty:
        """Delete an existing key backup."""
        await self._key_backup.delete(requester.user_id, path.version)
        return Empty()
