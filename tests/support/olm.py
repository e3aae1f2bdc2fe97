"""Olm accounts of test clients: keys as real clients make and sign them."""

import json
from typing import Any

import vodozemac

from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.unpadded_base64 import encode_base64
from tests.support.client import Client


class OlmDevice:
    """An Olm account for one device of a user."""

    def __init__(
        self, user_id: str, device_id: str | None = None, account: vodozemac.Account | None = None
    ) -> None:
        """Without a device ID, the identity key is it, as of a dehydrated device."""
        self.account = account or vodozemac.Account()
        self.user_id = user_id
        self.identity_key = self.account.curve25519_key.to_base64()
        self.device_id = device_id or self.identity_key

    def signed(self, source: dict[str, Any]) -> dict[str, Any]:
        """Return an object with the device's signature."""
        signature = self.account.sign(encode_canonical(source)).to_base64()
        return {**source, "signatures": {self.user_id: {f"ed25519:{self.device_id}": signature}}}

    def device_keys(self, **more: Any) -> dict[str, Any]:
        """Return the identity keys."""
        return self.signed(
            {
                "user_id": self.user_id,
                "device_id": self.device_id,
                "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
                "keys": {
                    f"curve25519:{self.device_id}": self.identity_key,
                    f"ed25519:{self.device_id}": self.account.ed25519_key.to_base64(),
                },
                **more,
            }
        )

    def one_time_keys(self, count: int) -> dict[str, Any]:
        """Make one-time keys, and take them as published."""
        self.account.generate_one_time_keys(count)
        keys = {
            f"signed_curve25519:{key_id}": self.signed({"key": key.to_base64()})
            for key_id, key in self.account.one_time_keys.items()
        }
        self.account.mark_keys_as_published()
        return keys

    def fallback_keys(self) -> dict[str, Any]:
        """Make a fallback key, and take it as published."""
        self.account.generate_fallback_key()
        keys = {
            f"signed_curve25519:{key_id}": self.signed({"key": key.to_base64(), "fallback": True})
            for key_id, key in self.account.fallback_key.items()
        }
        self.account.mark_keys_as_published()
        return keys

    async def encrypts_to(
        self, client: Client, user_id: str, device_id: str, event: dict[str, Any]
    ) -> dict[str, Any]:
        """Claim a key of another device and return an event for it, as `m.room.encrypted`."""
        wanted = {"one_time_keys": {user_id: {device_id: "signed_curve25519"}}}
        claimed = (await client.post("keys/claim", wanted))["one_time_keys"][user_id][device_id]
        [one_time_key] = claimed.values()
        queried = await client.post("keys/query", {"device_keys": {user_id: [device_id]}})
        keys = queried["device_keys"][user_id][device_id]["keys"]
        identity_key = keys[f"curve25519:{device_id}"]
        session = self.account.create_outbound_session(
            vodozemac.Curve25519PublicKey.from_base64(identity_key),
            vodozemac.Curve25519PublicKey.from_base64(one_time_key["key"]),
        )
        kind, ciphertext = session.encrypt(json.dumps(event).encode()).to_parts()
        body = encode_base64(ciphertext)
        return {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": self.identity_key,
            "ciphertext": {identity_key: {"type": kind, "body": body}},
        }

    def decrypts(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return the event in the content of an `m.room.encrypted` that begins a session."""
        message = content["ciphertext"][self.identity_key]
        assert message["type"] == 0
        _, plaintext = self.account.create_inbound_session(
            vodozemac.Curve25519PublicKey.from_base64(content["sender_key"]),
            vodozemac.PreKeyMessage.from_base64(message["body"]),
        )
        event: dict[str, Any] = json.loads(plaintext)
        return event
