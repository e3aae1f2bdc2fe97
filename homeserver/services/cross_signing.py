"""Publishing cross-signing keys. Spec: client-server-api/#cross-signing"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from homeserver.errors import Forbidden, InvalidSignature, MissingParam, TooLarge
from homeserver.protocol.device_keys import (
    CrossSigningKey,
    Usage,
    is_same_key,
    parse_cross_signing_key,
    signatures_of,
    verify_cross_signature,
)
from homeserver.protocol.errors import BadSignature
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.signing import verify_json
from homeserver.services.key_objects import (
    cross_signing_key_of,
    device_keys_of,
    encode,
    source_of,
    stored_key,
    without_signature,
)
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.uia import UiaRequest, body_without_auth
from homeserver.storage import cross_signing, device_keys
from homeserver.storage.cross_signing import CrossSigningRow
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import CROSS_SIGNING_CHANGED
from homeserver.streams.log_writer import LogWriter
from homeserver.web.params import Body, RequestFacts
from homeserver.web.requester import Requester

# Ours: a key object is some hundred bytes, and a signature by each device comes to a master key.
MAX_KEY_BYTES: Final = 64 * 1024

_Keys: TypeAlias = Mapping[Usage, CrossSigningKey]
_Rows: TypeAlias = Mapping[Usage, CrossSigningRow]


class CrossSigningForm(Body, frozen=True):
    """The keys that a client uploads; null counts as absent."""

    master_key: JsonObject | None = None
    self_signing_key: JsonObject | None = None
    user_signing_key: JsonObject | None = None
    auth: JsonObject | None = None


class CrossSigning:
    """Takes users' cross-signing keys: the first ones at once, others after another proof."""

    def __init__(
        self,
        database: Database,
        log_writer: LogWriter,
        reauthentication: Reauthentication,
    ) -> None:
        self._database = database
        self._log_writer = log_writer
        self._reauthentication = reauthentication

    async def upload(
        self, requester: Requester, form: CrossSigningForm, facts: RequestFacts
    ) -> None:
        """Store the keys of who asks, all or none; those that are there already change nothing.

        Raises InvalidKeys, TooLarge, MissingParam: there is no master key; InvalidSignature;
        Forbidden: a device has the ID; UiaRequired.
        """
        user_id = requester.user_id
        may_replace = requester.appservice_id is not None
        if not may_replace and await self._needs_confirmation(user_id, form):
            request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
            completed = await self._reauthentication.confirm(
                requester, "replace cross-signing keys", request, is_single_use=True
            )
            form = msgspec.json.decode(completed.body, type=CrossSigningForm)
            may_replace = True
        keys = _read(form, user_id)
        if not keys:
            raise MissingParam("There is no key in the request")

        async def work(tx: Transaction) -> int | None:
            return await _store(tx, user_id, keys, may_replace=may_replace)

        position = await self._database.run_transaction(work, "cross_signing")
        if position is not None:
            await self._log_writer.told(position)

    async def _needs_confirmation(self, user_id: UserID, form: CrossSigningForm) -> bool:
        """Whether the request replaces a key; what is wrong with it is refused before that."""
        keys = _read(form, user_id)
        if not keys:
            # After a page outside of the client, its session knows the keys.
            return form.auth is not None
        async with self._database.connection("cross_signing") as connection:
            known = await cross_signing.keys_of_user(connection, user_id)
            await _check(connection, user_id, keys, known)
        return Usage.MASTER in known and bool(_new_among(keys, known))


class CrossSigningKeyIDs:
    """Knows the device IDs that a user cannot have: the public keys of cross-signing.

    "servers MUST not allow devices to have the same IDs as cross-signing keys".
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_reserved(self, user_id: UserID, device_id: DeviceID) -> bool:
        """Whether the device ID is one of the user's cross-signing keys."""
        async with self._database.connection("reserved_device_id") as connection:
            return await cross_signing.is_public_key(connection, user_id, device_id)


def _read(form: CrossSigningForm, user_id: UserID) -> _Keys:
    sources = {
        Usage.MASTER: form.master_key,
        Usage.SELF_SIGNING: form.self_signing_key,
        Usage.USER_SIGNING: form.user_signing_key,
    }
    for source in sources.values():
        if source is not None and len(encode(source)) > MAX_KEY_BYTES:
            raise TooLarge(f"A key is larger than {MAX_KEY_BYTES} bytes")
    return {
        usage: parse_cross_signing_key(source, user_id, usage)
        for usage, source in sources.items()
        if source is not None
    }


async def _check(connection: Connection, user_id: UserID, keys: _Keys, known: _Rows) -> None:
    """Raises MissingParam, InvalidSignature, Forbidden."""
    master = keys.get(Usage.MASTER)
    if master is None:
        if Usage.MASTER not in known:
            raise MissingParam("No master signing key is available")
        master = cross_signing_key_of(known[Usage.MASTER])
    for usage, key in keys.items():
        if usage is Usage.MASTER:
            continue
        try:
            verify_cross_signature(key.source, master)
        except BadSignature as error:
            raise InvalidSignature(f"The {usage} key is not signed as it must be") from error
    public_keys = [key.public_key for key in keys.values()]
    if await device_keys.devices_among(connection, user_id, public_keys):
        raise Forbidden("Key ID in use")


def _new_among(keys: _Keys, known: _Rows) -> _Keys:
    return {
        usage: key
        for usage, key in keys.items()
        if usage not in known or not is_same_key(source_of(known[usage].key), key.source)
    }


async def _store(tx: Transaction, user_id: UserID, keys: _Keys, *, may_replace: bool) -> int | None:
    """Store what is new of the keys and return the position; None: nothing is."""
    await cross_signing.lock_user(tx, user_id)
    known = await cross_signing.keys_of_user(tx, user_id)
    await _check(tx, user_id, keys, known)
    new = _new_among(keys, known)
    if not new:
        return None
    if Usage.MASTER in known and not may_replace:
        raise Forbidden("Other keys have been uploaded at this moment")
    # Under a new master key the others have a new signature, even where they are those of before.
    for usage, key in (keys if Usage.MASTER in new else new).items():
        signatures = await _signatures_to_keep(tx, key, keys, known)
        row = CrossSigningRow(
            user_id, usage, key.public_key, stored_key(key.source, user_id, signatures)
        )
        await cross_signing.put(tx, row)
    await _drop_what_is_void(tx, user_id, keys, new, known)
    return await append_user_change(tx, user_id, CROSS_SIGNING_CHANGED)


async def _signatures_to_keep(
    tx: Transaction, key: CrossSigningKey, keys: _Keys, known: _Rows
) -> dict[str, str]:
    """Return the master key's signature, or those that devices have made of a master key.

    Raises InvalidSignature: one of a device is wrong. Those of unknown devices are left out.
    """
    given = signatures_of(key.source).get(key.user_id, {})
    if key.usage is not Usage.MASTER:
        master = keys.get(Usage.MASTER) or cross_signing_key_of(known[Usage.MASTER])
        return {master.key_id: given[master.key_id]}
    device_ids = [DeviceID(name.removeprefix("ed25519:")) for name in given]
    kept = {}
    rows = await device_keys.keys_of_users(tx, {key.user_id: device_ids}) if device_ids else []
    for row in rows:
        device = device_keys_of(row.key, row.user_id, row.device_id)
        key_id = f"ed25519:{row.device_id}"
        try:
            verify_json(key.source, key.user_id, key_id, device.signing_key or "")
        except BadSignature as error:
            raise InvalidSignature(f"The signature by {key_id} is wrong") from error
        kept[key_id] = given[key_id]
    return kept


async def _drop_what_is_void(
    tx: Transaction, user_id: UserID, keys: _Keys, new: _Keys, known: _Rows
) -> None:
    """Delete what was signed by a key that is replaced, the other cross-signing keys too."""
    replaced = {usage for usage in new if usage in known}
    if Usage.MASTER in replaced:
        unsigned = [usage for usage in known if usage not in keys]
        await cross_signing.delete(tx, user_id, unsigned)
        replaced.update(unsigned)
    if Usage.USER_SIGNING in replaced:
        await cross_signing.delete_signatures_by(tx, user_id)
    if Usage.SELF_SIGNING not in replaced:
        return
    key_id = f"ed25519:{known[Usage.SELF_SIGNING].public_key}"
    for row in await device_keys.keys_of_users(tx, {user_id: []}):
        unsigned_key = without_signature(row.key, user_id, key_id)
        await device_keys.put(tx, user_id, row.device_id, unsigned_key)
