"""The keys of this server, as other servers see them."""

from collections.abc import Iterable
from typing import Final

from homeserver.config.sections.signing import OldVerifyKey
from homeserver.protocol.identifiers import KeyID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.server_keys import VerifyKey, build_key_document
from homeserver.protocol.signing import SigningKey
from homeserver.telemetry.clock import Clock

# Never, as far as this server's own keys concern itself.
_ALWAYS: Final = 2**53 - 1


class OwnKeys:
    """The key that this server signs with, and those that it used before."""

    def __init__(
        self,
        server_name: ServerName,
        key: SigningKey,
        old_keys: Iterable[OldVerifyKey],
        clock: Clock,
        *,
        validity_ms: int,
    ) -> None:
        self.server_name: Final = server_name
        self.signing_key: Final = key
        self._old_keys = {each.key_id: (each.key, each.expired_ts) for each in old_keys}
        # A key that is in use again is no old one.
        self._old_keys.pop(key.key_id, None)
        self._clock = clock
        self._validity_ms = validity_ms
        self._document: JsonObject | None = None
        self._renew_ts = 0

    def document(self) -> JsonObject:
        """Return the signed document, which is good for at least half of the validity.

        Spec: server-server-api/#get_matrixkeyv2server
        """
        now_ms = self._clock.now_ms()
        if self._document is None or now_ms >= self._renew_ts:
            # The same answer for a while, so that caches and notaries can compare.
            self._renew_ts = now_ms + self._validity_ms // 2
            self._document = build_key_document(
                self.server_name,
                self.signing_key,
                old_keys=self._old_keys,
                valid_until_ts=now_ms + self._validity_ms,
            )
        return self._document

    def verify_keys(self) -> list[VerifyKey]:
        """Return all keys with which this server has signed events."""
        current = VerifyKey(
            server_name=self.server_name,
            key_id=self.signing_key.key_id,
            key=self.signing_key.verify_key,
            valid_until_ts=_ALWAYS,
        )
        old = [
            VerifyKey(
                server_name=self.server_name,
                key_id=KeyID(key_id),
                key=key,
                valid_until_ts=expired_ts,
                expired_ts=expired_ts,
            )
            for key_id, (key, expired_ts) in self._old_keys.items()
        ]
        return [current, *old]
