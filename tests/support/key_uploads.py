"""Keys of clients on the server: uploads, queries and claims, and real cross-signing keys."""

import secrets
from typing import Any

from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.signing import SigningKey, signing_key_from_seed
from tests.support.client import Client
from tests.support.olm import OlmDevice


def device_of(client: Client) -> OlmDevice:
    """Make an Olm account for the device of a client."""
    return OlmDevice(client.user_id, client.device_id)


class CrossSigner:
    """The three cross-signing keys of a user."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self._master, self._self_signing, self._user_signing = (
            signing_key_from_seed("x", secrets.token_bytes(32)) for _ in range(3)
        )
        self.master_key = self._key("master", self._master)
        self.self_signing_key = self.signs_as_master(self._key("self_signing", self._self_signing))
        self.user_signing_key = self.signs_as_master(self._key("user_signing", self._user_signing))

    @property
    def public_key(self) -> str:
        """The public part of the master key."""
        return self._master.verify_key

    @property
    def keys(self) -> dict[str, Any]:
        """What a client uploads."""
        return {
            "master_key": self.master_key,
            "self_signing_key": self.self_signing_key,
            "user_signing_key": self.user_signing_key,
        }

    def signs_as_master(self, source: dict[str, Any]) -> dict[str, Any]:
        return self._signs(source, self._master)

    def signs_device(self, source: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of device keys with the signature of the self-signing key."""
        return self._signs(source, self._self_signing)

    def signs_user(self, master_key: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of somebody's master key with the signature of the user-signing key."""
        return self._signs(master_key, self._user_signing)

    def _key(self, usage: str, key: SigningKey) -> dict[str, Any]:
        keys = {f"ed25519:{key.verify_key}": key.verify_key}
        return {"user_id": self.user_id, "usage": [usage], "keys": keys}

    def _signs(self, source: dict[str, Any], key: SigningKey) -> dict[str, Any]:
        signatures = dict(source.get("signatures", {}))
        covered = {name: each for name, each in source.items() if name != "signatures"}
        signature = key.sign(encode_canonical(covered))
        own = {**signatures.get(self.user_id, {}), f"ed25519:{key.verify_key}": signature}
        return {**source, "signatures": {**signatures, self.user_id: own}}


async def uploads_keys(
    client: Client, *, one_time: int = 0, with_fallback: bool = False
) -> OlmDevice:
    """Give the device of a client its keys."""
    device = device_of(client)
    body: dict[str, Any] = {"device_keys": device.device_keys()}
    if one_time:
        body["one_time_keys"] = device.one_time_keys(one_time)
    if with_fallback:
        body["fallback_keys"] = device.fallback_keys()
    await client.post("keys/upload", body)
    return device


async def queries(client: Client, *others: Client) -> Any:
    """Return the answer of keys/query about all devices of users."""
    wanted: dict[str, list[str]] = {other.user_id: [] for other in others}
    return await client.post("keys/query", {"device_keys": wanted})


async def claims(client: Client, other: Client) -> dict[str, Any]:
    """Claim one key of another client's device; empty when there is none."""
    wanted = {other.user_id: {other.device_id: "signed_curve25519"}}
    answer = await client.post("keys/claim", {"one_time_keys": wanted})
    key: dict[str, Any] = answer["one_time_keys"].get(other.user_id, {}).get(other.device_id, {})
    return key
