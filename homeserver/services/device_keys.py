"""Uploading keys: the identity keys of devices, their one-time keys and fallback keys.

Spec: client-server-api/#uploading-keys
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from homeserver.errors import InvalidSignature, MissingParam, NamedError, TooLarge, UnknownDevice
from homeserver.protocol.device_keys import (
    DeviceKeys,
    OneTimeKey,
    is_same_key,
    parse_device_keys,
    parse_fallback_keys,
    parse_one_time_keys,
    signatures_of,
    verify_device_signature,
    verify_self_signature,
)
from homeserver.protocol.errors import BadSignature
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.protocol.signing import verify_json
from homeserver.services.key_objects import (
    device_keys_of,
    encode,
    signatures_in,
    source_of,
    stored_key,
    with_signatures,
)
from homeserver.storage import cross_signing, device_keys, one_time_keys
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.storage.log import append_user_changes
from homeserver.storage.one_time_keys import OneTimeKeyRow
from homeserver.streams.entries import DEVICE_KEYS_CHANGED, ONE_TIME_KEYS_CHANGED
from homeserver.streams.log_writer import LogWriter

# None of these is in the specification. Olm accounts keep at most a hundred one-time keys of
# theirs, and a signed key has some 300 bytes, but post-quantum ones will have some thousands.
MAX_ONE_TIME_KEYS: Final = 1_000
MAX_KEY_BYTES: Final = 8 * 1024
MAX_DEVICE_KEYS_BYTES: Final = 32 * 1024
# So that an upload that is repeated because its answer was lost gives no key away twice.
_CLAIMED_KEPT: Final = 200
# As many signatures are verified as fast as a thread is asked to do it.
_FEW: Final = 8


class KeysForm(msgspec.Struct, frozen=True):
    """What a client uploads; UNSET for what it does not."""

    device_keys: JsonValue = msgspec.UNSET
    one_time_keys: JsonValue = msgspec.UNSET
    fallback_keys: JsonValue = msgspec.UNSET


class KeysUpload(msgspec.Struct, frozen=True):
    """Keys of the right shape, signatures not verified."""

    device_keys: DeviceKeys | None
    one_time_keys: Mapping[tuple[str, str], OneTimeKey]
    fallback_keys: Mapping[str, tuple[str, OneTimeKey]]

    def signed_keys(self) -> Iterator[JsonObject]:
        """Yield the one-time keys and fallback keys that are signed by their device."""
        yield from (key for key in self.one_time_keys.values() if isinstance(key, dict))
        yield from (key for _, key in self.fallback_keys.values() if isinstance(key, dict))


class DeviceKeyUploads:
    """Takes the keys of devices; an upload that says what is known already changes nothing."""

    def __init__(self, database: Database, log_writer: LogWriter) -> None:
        self._database = database
        self._log_writer = log_writer

    async def upload(
        self, user_id: UserID, device_id: DeviceID | None, form: KeysForm
    ) -> dict[str, int]:
        """Store keys, all or none, and return how many one-time keys there are by algorithm.

        New identity keys replace those of the device with all that these have signed. Raises
        InvalidKeys, TooLarge, InvalidSignature, MissingParam: there is no device; NamedError: a
        one-time key that is not claimed yet has the ID of another.
        """
        if device_id is None:
            raise MissingParam("Only a device has keys: say which with device_id")
        upload = read_upload(form, user_id, device_id)
        async with self._database.connection("keys_upload") as connection:
            signer = upload.device_keys or await _known_keys(connection, user_id, device_id)
        await verify_upload(upload, signer)

        async def work(tx: Transaction) -> tuple[dict[str, int], int | None]:
            changes = await store_upload(tx, user_id, device_id, upload, signer)
            counts = (await one_time_keys.counts_of(tx, user_id, device_id)).counts
            if not changes:
                return counts, None
            return counts, await append_user_changes(tx, user_id, changes)

        counts, position = await self._database.run_transaction(work, "keys_upload")
        if position is not None:
            await self._log_writer.told(position)
        return counts


def read_upload(form: KeysForm, user_id: UserID, device_id: DeviceID) -> KeysUpload:
    """Check shapes and sizes. Raises InvalidKeys, TooLarge."""
    identity, once, fallback = form.device_keys, form.one_time_keys, form.fallback_keys
    upload = KeysUpload(
        parse_device_keys(identity, user_id, device_id) if _is_given(identity) else None,
        parse_one_time_keys(once) if _is_given(once) else {},
        parse_fallback_keys(fallback) if _is_given(fallback) else {},
    )
    if upload.device_keys is not None:
        _check_size(upload.device_keys.source, MAX_DEVICE_KEYS_BYTES)
    for key in (*upload.one_time_keys.values(), *(key for _, key in upload.fallback_keys.values())):
        _check_size(key, MAX_KEY_BYTES)
    return upload


async def store_upload(
    tx: Transaction,
    user_id: UserID,
    device_id: DeviceID,
    upload: KeysUpload,
    signer: DeviceKeys | None,
) -> list[tuple[str, str | None]]:
    """Store keys that `signer` has signed, and return the changes to be logged.

    Raises UnknownDevice; InvalidSignature: the device has other identity keys by now; TooLarge:
    there are too many keys; NamedError: see `DeviceKeyUploads.upload`.
    """
    if upload.device_keys is not None:
        # Who signs the device at this moment would write the old keys over the new ones.
        await cross_signing.lock_user(tx, user_id)
    if not await device_keys.lock_device(tx, user_id, device_id):
        raise UnknownDevice
    changes: list[tuple[str, str | None]] = []
    if upload.device_keys is not None:
        if await _store_identity(tx, upload.device_keys):
            changes.append((DEVICE_KEYS_CHANGED, device_id))
    elif signer is not None:
        known = await _known_keys(tx, user_id, device_id)
        if known is None or known.signing_key != signer.signing_key:
            raise InvalidSignature("The device has other keys by now")
    has_new = await _store_one_time_keys(tx, user_id, device_id, upload)
    rows = [
        OneTimeKeyRow(algorithm, key_id, encode(key))
        for algorithm, (key_id, key) in upload.fallback_keys.items()
    ]
    has_new_fallback = await one_time_keys.put_fallback(tx, user_id, device_id, rows)
    # With new identity keys, those that the old ones have signed are gone.
    if has_new or has_new_fallback or changes:
        changes.append((ONE_TIME_KEYS_CHANGED, device_id))
    return changes


async def _known_keys(
    connection: Connection, user_id: UserID, device_id: DeviceID
) -> DeviceKeys | None:
    key = await device_keys.keys_of_device(connection, user_id, device_id)
    return None if key is None else device_keys_of(key, user_id, device_id)


async def _store_identity(tx: Transaction, uploaded: DeviceKeys) -> bool:
    """Store the identity keys of a device; False: nothing is new."""
    user_id, device_id = uploaded.user_id, uploaded.device_id
    signatures = await _verified_signatures(tx, uploaded)
    known = await device_keys.keys_of_device(tx, user_id, device_id)
    if known is not None and is_same_key(source_of(known), uploaded.source):
        merged = with_signatures(known, user_id, signatures)
        if signatures_in(merged) == signatures_in(known):
            return False
        await device_keys.put(tx, user_id, device_id, merged)
        return True
    if known is not None:
        signing_key = device_keys_of(known, user_id, device_id).signing_key
        if signing_key != uploaded.signing_key:
            await one_time_keys.delete_all(tx, user_id, device_id)
    key = stored_key(uploaded.source, user_id, signatures)
    await device_keys.put(tx, user_id, device_id, key)
    return True


async def _verified_signatures(tx: Transaction, uploaded: DeviceKeys) -> dict[str, str]:
    """Return the device's own signature, and those of its user's cross-signing keys."""
    given = signatures_of(uploaded.source)[uploaded.user_id]
    own = f"ed25519:{uploaded.device_id}"
    kept = {own: given[own]}
    for row in (await cross_signing.keys_of_user(tx, uploaded.user_id)).values():
        key_id = f"ed25519:{row.public_key}"
        if key_id in given:
            _require(uploaded.source, uploaded.user_id, key_id, row.public_key)
            kept[key_id] = given[key_id]
    return kept


async def _store_one_time_keys(
    tx: Transaction, user_id: UserID, device_id: DeviceID, upload: KeysUpload
) -> bool:
    """Append the keys that were not uploaded before; False: there are none."""
    if not upload.one_time_keys:
        return False
    known = await one_time_keys.known(tx, user_id, device_id, upload.one_time_keys)
    new = []
    for (algorithm, key_id), key in upload.one_time_keys.items():
        before = known.get((algorithm, key_id))
        if before is not None and _is_same(msgspec.json.decode(before.key), key):
            continue
        if before is not None and not before.is_claimed:
            # COMPAT(matrix-rust-sdk): it knows the refusal by this text.
            raise NamedError(
                f"One time key {algorithm}:{key_id} already exists."
                f" Old key: {before.key.decode()}; new key: {encode(key).decode()}"
            )
        new.append(OneTimeKeyRow(algorithm, key_id, encode(key)))
    if new:
        await one_time_keys.add(tx, user_id, device_id, new)
        await one_time_keys.forget_claimed(tx, user_id, device_id, _CLAIMED_KEPT)
        counts = (await one_time_keys.counts_of(tx, user_id, device_id)).counts
        if sum(counts.values()) > MAX_ONE_TIME_KEYS:
            raise TooLarge(f"A device may have {MAX_ONE_TIME_KEYS} one-time keys", status=400)
    return bool(new)


async def verify_upload(upload: KeysUpload, signer: DeviceKeys | None) -> None:
    """Check every signature by the device. Raises InvalidSignature."""
    signed = list(upload.signed_keys())
    if signed and signer is None:
        raise InvalidSignature("Upload the device's identity keys before what they have signed")
    if len(signed) <= _FEW:
        _verify_all(upload, signed, signer)
    else:
        await asyncio.to_thread(_verify_all, upload, signed, signer)


def _verify_all(upload: KeysUpload, signed: list[JsonObject], signer: DeviceKeys | None) -> None:
    try:
        if upload.device_keys is not None:
            verify_self_signature(upload.device_keys)
        if signer is not None:
            for key in signed:
                verify_device_signature(key, signer)
    except BadSignature as error:
        raise InvalidSignature(f"The device has not signed its keys: {error}") from None


def _require(source: JsonObject, user_id: UserID, key_id: str, public_key: str) -> None:
    try:
        verify_json(source, user_id, key_id, public_key)
    except BadSignature as error:
        raise InvalidSignature(f"The signature by {key_id} is wrong: {error}") from None


def _is_given(value: JsonValue) -> bool:
    """Null and an empty object count as absent."""
    return value is not msgspec.UNSET and value is not None and value != {}


def _is_same(stored: OneTimeKey, uploaded: OneTimeKey) -> bool:
    if isinstance(stored, dict) and isinstance(uploaded, dict):
        return is_same_key(stored, uploaded)
    return stored == uploaded


def _check_size(key: OneTimeKey, limit: int) -> None:
    if len(encode(key)) > limit:
        raise TooLarge(f"A key is larger than {limit} bytes")
