"""Publishing signatures of keys: of one's own devices and master key, and of other users'.

Spec: client-server-api/#post_matrixclientv3keyssignaturesupload
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from homeserver.errors import InvalidParam
from homeserver.protocol.device_keys import Usage, is_same_key, signatures_of
from homeserver.protocol.errors import BadSignature
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import verify_json
from homeserver.services.key_objects import (
    decode,
    device_keys_of,
    encode,
    signatures_in,
    source_of,
    with_signatures,
)
from homeserver.storage import cross_signing, device_keys, remote_devices
from homeserver.storage.cross_signing import CrossSigningRow, UserSignatureRow
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.storage.device_keys import StoredKey
from homeserver.storage.log import append_user_changes
from homeserver.streams.entries import CROSS_SIGNING_CHANGED, DEVICE_KEYS_CHANGED, USERS_SIGNED
from homeserver.streams.log_writer import LogWriter

# Ours: a client signs what it has just verified, or each of its user's devices once.
MAX_SIGNED: Final = 1_000

# user ID → device ID or public key → signed object
SignedObjects: TypeAlias = Mapping[UserID, Mapping[str, JsonObject]]
_Change: TypeAlias = tuple[str, str | None]


class _Refused(Exception):
    """One of the objects is not acceptable."""

    def __init__(self, errcode: str, error: str) -> None:
        super().__init__(error)
        self.failure: JsonObject = {"errcode": errcode, "error": error}


class _Signer(msgspec.Struct, frozen=True):
    """Who signs, and the keys that may."""

    user_id: UserID
    keys: Mapping[Usage, CrossSigningRow]
    devices: Mapping[str, StoredKey]


class KeySignatures:
    """Takes signatures after each has been verified."""

    def __init__(self, database: Database, log_writer: LogWriter, server_name: ServerName) -> None:
        self._database = database
        self._log_writer = log_writer
        self._server_name = server_name

    async def upload(self, user_id: UserID, signed: SignedObjects) -> JsonObject:
        """Store those signatures that are right, and return failures by user and key.

        Raises InvalidParam: there are too many.
        """
        if sum(map(len, signed.values())) > MAX_SIGNED:
            raise InvalidParam(f"At most {MAX_SIGNED} keys are signed at once")

        async def work(tx: Transaction) -> tuple[JsonObject, int | None]:
            return await self._take(tx, user_id, signed)

        failures, position = await self._database.run_transaction(work, "key_signatures")
        if position is not None:
            await self._log_writer.told(position)
        return failures

    async def _take(
        self, tx: Transaction, user_id: UserID, signed: SignedObjects
    ) -> tuple[JsonObject, int | None]:
        await cross_signing.lock_user(tx, user_id)
        signer = await _read_signer(tx, user_id)
        failures: JsonObject = {}
        changes: list[_Change] = []
        of_others: list[UserSignatureRow] = []
        masters = await self._masters_of(tx, [each for each in signed if each != user_id])
        for target_id, objects in signed.items():
            for name, source in objects.items():
                try:
                    if target_id == user_id:
                        changes += await _sign_own(tx, signer, name, source)
                    else:
                        of_others.append(
                            _signed_other(signer, target_id, masters.get(target_id), name, source)
                        )
                except _Refused as refused:
                    failures.setdefault(target_id, {})[name] = refused.failure
        of_others = await _without_known(tx, user_id, of_others)
        if of_others:
            changes.append((USERS_SIGNED, None))
        if not changes:
            return failures, None
        position = await append_user_changes(tx, user_id, changes)
        await cross_signing.put_signatures_by(tx, user_id, of_others, position)
        return failures, position

    async def _masters_of(
        self, connection: Connection, user_ids: list[UserID]
    ) -> dict[UserID, JsonObject]:
        """Return the master keys of users, as far as they are known here."""
        local = [each for each in user_ids if server_name_of(each) == self._server_name]
        masters = {
            row.user_id: source_of(row.key)
            for row in await cross_signing.keys_of_users(connection, local)
            if row.usage is Usage.MASTER
        }
        distant = [each for each in user_ids if each not in local]
        for user_id, source in (await remote_devices.master_keys(connection, distant)).items():
            masters[user_id] = decode(source)
        return masters


async def _read_signer(connection: Connection, user_id: UserID) -> _Signer:
    keys = await cross_signing.keys_of_user(connection, user_id)
    devices = await device_keys.keys_of_users(connection, {user_id: []})
    return _Signer(user_id, keys, {row.device_id: row.key for row in devices})


async def _sign_own(
    tx: Transaction, signer: _Signer, name: str, source: JsonObject
) -> list[_Change]:
    """Add signatures to a device of the signer's, or to the master key."""
    master = signer.keys.get(Usage.MASTER)
    if master is not None and name == master.public_key:
        by = {f"ed25519:{each}": _signing_key(signer, each) for each in signer.devices}
        key = _signed(signer.user_id, master.key, source, by)
        if key is None:
            return []
        await cross_signing.put(tx, master._replace(key=key))
        return [(CROSS_SIGNING_CHANGED, None)]
    if name not in signer.devices:
        raise _Refused("M_NOT_FOUND", "You have no such key")
    by = {f"ed25519:{name}": _signing_key(signer, name)}
    self_signing = signer.keys.get(Usage.SELF_SIGNING)
    if self_signing is not None:
        by[f"ed25519:{self_signing.public_key}"] = self_signing.public_key
    key = _signed(signer.user_id, signer.devices[name], source, by)
    if key is None:
        return []
    await device_keys.put(tx, signer.user_id, name, key)
    return [(DEVICE_KEYS_CHANGED, name)]


def _signed_other(
    signer: _Signer, target_id: UserID, master: JsonObject | None, name: str, source: JsonObject
) -> UserSignatureRow:
    """Return the signature of another user's master key by the user-signing key."""
    user_signing = signer.keys.get(Usage.USER_SIGNING)
    if user_signing is None:
        raise _Refused("M_INVALID_SIGNATURE", "You have no user-signing key")
    if master is None or f"ed25519:{name}" not in master["keys"]:
        raise _Refused("M_NOT_FOUND", "The user has no such master key")
    by = {f"ed25519:{user_signing.public_key}": user_signing.public_key}
    signatures = _verified(signer.user_id, master, source, by)
    return UserSignatureRow(target_id, name, encode(signatures))


def _signed(
    user_id: UserID, key: StoredKey, source: JsonObject, by: Mapping[str, str]
) -> StoredKey | None:
    """Return a key with new signatures; None: they are known."""
    merged = with_signatures(key, user_id, _verified(user_id, source_of(key), source, by))
    return None if signatures_in(merged) == signatures_in(key) else merged


def _verified(
    user_id: UserID, stored: JsonObject, source: JsonObject, by: Mapping[str, str]
) -> dict[str, str]:
    """Return the user's signatures of an object, each of which is right and by one of the keys.

    Those that are stored already may be repeated. Raises _Refused.
    """
    if not is_same_key(stored, source):
        raise _Refused("M_INVALID_PARAM", "The key is not the one that was uploaded")
    known = signatures_of(stored).get(user_id, {})
    given = signatures_of(source).get(user_id, {})
    new = {key_id: value for key_id, value in given.items() if known.get(key_id) != value}
    if not given:
        raise _Refused("M_INVALID_SIGNATURE", "There is no signature of yours")
    for key_id in new:
        if key_id not in by:
            raise _Refused("M_INVALID_SIGNATURE", f"{key_id} cannot sign this key")
        try:
            verify_json(source, user_id, key_id, by[key_id])
        except BadSignature as error:
            raise _Refused("M_INVALID_SIGNATURE", f"Invalid signature: {error}") from None
    return given


async def _without_known(
    connection: Connection, signer_id: UserID, rows: list[UserSignatureRow]
) -> list[UserSignatureRow]:
    """Leave out what the signer has uploaded before, and all but the last of each target."""
    targets = {row.target_id: row for row in rows}
    known = await cross_signing.signatures_by(connection, signer_id, list(targets))
    return [row for row in targets.values() if row not in known]


def _signing_key(signer: _Signer, device_id: str) -> str:
    keys = device_keys_of(signer.devices[device_id], signer.user_id, DeviceID(device_id))
    return keys.signing_key or ""
