"""A user loses the only device and comes back with a recovery key.

Spec: client-server-api/#storage, client-server-api/#server-side-key-backups
"""

import json

import pytest
import vodozemac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from homeserver.protocol.unpadded_base64 import decode_base64, encode_base64
from tests.support.account_data import (
    global_account_data,
    reads_account_data,
    sets_account_data,
)
from tests.support.client import quoted, refused
from tests.support.to_device import logs_in_again

RECOVERY_KEY = bytes(range(32))
KEY_ID = "kx1"
BACKUP_SECRET = "m.megolm_backup.v1"
ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"


class SecretStorage:
    """`m.secret_storage.v1.aes-hmac-sha2` with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, name: str, secret: bytes) -> dict[str, str]:
        aes_key, mac_key = self._keys_of(name)
        iv = bytearray(range(16))
        iv[8] &= 0x7F
        ciphertext = self._apply(aes_key, bytes(iv), secret)
        mac = self._mac(mac_key, ciphertext).finalize()
        return {
            "iv": encode_base64(bytes(iv)),
            "ciphertext": encode_base64(ciphertext),
            "mac": encode_base64(mac),
        }

    def decrypt(self, name: str, encrypted: dict[str, str]) -> bytes:
        """Raises InvalidSignature: it was encrypted with another key."""
        aes_key, mac_key = self._keys_of(name)
        ciphertext = decode_base64(encrypted["ciphertext"])
        self._mac(mac_key, ciphertext).verify(decode_base64(encrypted["mac"]))
        return self._apply(aes_key, decode_base64(encrypted["iv"]), ciphertext)

    def _keys_of(self, name: str) -> tuple[bytes, bytes]:
        derived = HKDF(SHA256(), 64, bytes(32), name.encode()).derive(self._key)
        return derived[:32], derived[32:]

    def _apply(self, aes_key: bytes, iv: bytes, text: bytes) -> bytes:
        cipher = Cipher(algorithms.AES(aes_key), modes.CTR(iv)).encryptor()
        return cipher.update(text) + cipher.finalize()

    def _mac(self, mac_key: bytes, ciphertext: bytes) -> HMAC:
        mac = HMAC(mac_key, SHA256())
        mac.update(ciphertext)
        return mac


async def sets_up_secret_storage(client, storage):
    """Describe the key, and make it the default."""
    check = storage.encrypt("", bytes(32))
    description = {
        "algorithm": "m.secret_storage.v1.aes-hmac-sha2",
        "name": "Recovery key",
        "iv": check["iv"],
        "mac": check["mac"],
    }
    await sets_account_data(client, f"m.secret_storage.key.{KEY_ID}", description)
    await sets_account_data(client, "m.secret_storage.default_key", {"key": KEY_ID})


async def stores_secret(client, storage, name, secret):
    await sets_account_data(client, name, {"encrypted": {KEY_ID: storage.encrypt(name, secret)}})


async def backs_up(client, version, public_key, room, session):
    """Encrypt a room key for the backup, as clients do."""
    exported = vodozemac.InboundGroupSession(session.session_key).export_at(0)
    plaintext = {"algorithm": "m.megolm.v1.aes-sha2", "session_key": exported.to_base64()}
    key = vodozemac.Curve25519PublicKey.from_base64(public_key)
    message = vodozemac.PkEncryption.from_key(key).encrypt(json.dumps(plaintext).encode())
    ephemeral, mac, ciphertext = message.to_base64()
    body = {
        "first_message_index": 0,
        "forwarded_count": 0,
        "is_verified": True,
        "session_data": {"ciphertext": ciphertext, "mac": mac, "ephemeral": ephemeral},
    }
    path = f"room_keys/keys/{quoted(room, session.session_id)}"
    assert (await client.put(path, body, version=version))["count"] == 1


@pytest.fixture
async def room(alice):
    return await alice.creates_room()


async def test_a_new_device_reads_old_messages_with_the_recovery_key(clients, alice, room):
    storage = SecretStorage(RECOVERY_KEY)
    await sets_up_secret_storage(alice, storage)
    backup = vodozemac.PkDecryption()
    public_key = backup.public_key.to_base64()
    auth_data = {"public_key": public_key}
    body = {"algorithm": ALGORITHM, "auth_data": auth_data}
    version = (await alice.post("room_keys/version", body))["version"]
    secret = encode_base64(backup.key.to_bytes()).encode()
    await stores_secret(alice, storage, BACKUP_SECRET, secret)
    session = vodozemac.GroupSession()
    await backs_up(alice, version, public_key, room, session)
    text = session.encrypt(b"the old message").to_base64()
    content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": text}
    event_id = await alice.sends(
        room, {**content, "session_id": session.session_id}, "m.room.encrypted"
    )
    await alice.post("logout")

    laptop = await logs_in_again(clients, alice, "LAPTOP")
    told = global_account_data(await laptop.syncs())
    key_id = told["m.secret_storage.default_key"]["key"]
    assert told[f"m.secret_storage.key.{key_id}"]["algorithm"].endswith("aes-hmac-sha2")
    entered = SecretStorage(RECOVERY_KEY)
    encrypted = (await reads_account_data(laptop, BACKUP_SECRET))["encrypted"][key_id]
    private = decode_base64(entered.decrypt(BACKUP_SECRET, encrypted).decode())

    found = await laptop.get("room_keys/version")
    opened = vodozemac.PkDecryption.from_key(vodozemac.Curve25519SecretKey.from_bytes(private))
    assert found["auth_data"]["public_key"] == opened.public_key.to_base64()
    event = await laptop.reads_event(room, event_id)
    path = f"room_keys/keys/{quoted(room, event['content']['session_id'])}"
    stored = (await laptop.get(path, version=found["version"]))["session_data"]
    message = vodozemac.Message.from_base64(
        stored["ciphertext"], stored["mac"], stored["ephemeral"]
    )
    restored = json.loads(opened.decrypt(message))
    exported = vodozemac.ExportedSessionKey(restored["session_key"])
    inbound = vodozemac.InboundGroupSession.import_session(exported)
    ciphertext = vodozemac.MegolmMessage.from_base64(event["content"]["ciphertext"])
    assert inbound.decrypt(ciphertext).plaintext == b"the old message"


async def test_a_secret_is_encrypted_anew_under_another_key(clients, alice):
    old, new = SecretStorage(RECOVERY_KEY), SecretStorage(bytes(32))
    await sets_up_secret_storage(alice, old)
    await stores_secret(alice, old, BACKUP_SECRET, b"secret")
    laptop = await logs_in_again(clients, alice, "LAPTOP")
    since = (await laptop.syncs())["next_batch"]
    both = {
        "encrypted": {
            KEY_ID: old.encrypt(BACKUP_SECRET, b"secret"),
            "kx2": new.encrypt(BACKUP_SECRET, b"secret"),
        }
    }
    await sets_account_data(alice, BACKUP_SECRET, both)
    await sets_account_data(alice, "m.secret_storage.default_key", {"key": "kx2"})
    told = global_account_data(await laptop.syncs(since))
    assert told == {BACKUP_SECRET: both, "m.secret_storage.default_key": {"key": "kx2"}}
    assert new.decrypt(BACKUP_SECRET, told[BACKUP_SECRET]["encrypted"]["kx2"]) == b"secret"
    # "To remove a secret": clients leave an empty object.
    await sets_account_data(alice, BACKUP_SECRET, {})
    with refused(404, "M_NOT_FOUND"):
        await reads_account_data(laptop, BACKUP_SECRET)
