"""Proofs that somebody knows the shared secret, over a nonce of this server.

Nonces carry their time and a proof that this server made them, so that any node takes them.
"""

import base64
import hmac
import secrets
from typing import Final

from homeserver.config.values import Secret
from homeserver.errors import Forbidden, InvalidParam, MatrixError
from homeserver.telemetry.clock import Clock

NONCE_LIFETIME_MS: Final = 60_000
_RANDOM_BYTES: Final = 12
_TIME_BYTES: Final = 8
_MAC_BYTES: Final = 16


class SharedSecretProof:
    """Makes nonces and checks MACs."""

    def __init__(self, secret: Secret | None, clock: Clock) -> None:
        """`secret` None: nobody can prove anything."""
        self._secret = secret.reveal().encode() if secret is not None else None
        self._clock = clock

    def nonce(self) -> str:
        """Return a nonce that is good for a minute. Raises MatrixError 400: there is no secret."""
        message = self._clock.now_ms().to_bytes(_TIME_BYTES, "big")
        message += secrets.token_bytes(_RANDOM_BYTES)
        return base64.urlsafe_b64encode(message + self._nonce_mac(message)).decode()

    def check(self, nonce: str, message: bytes, mac: str, algorithm: str) -> None:
        """Check an HMAC in hexadecimal over a message that has the nonce in it.

        Raises MatrixError 400: there is no secret; InvalidParam: the nonce is not good;
        Forbidden: the MAC is wrong.
        """
        self._check_nonce(nonce)
        right = hmac.new(self._key(), message, algorithm).hexdigest()
        if not hmac.compare_digest(right.encode(), mac.lower().encode()):
            raise Forbidden("HMAC incorrect")

    def _check_nonce(self, nonce: str) -> None:
        try:
            raw = base64.b64decode(nonce, altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        message, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._nonce_mac(message)):
            raise InvalidParam("unrecognised nonce")
        made_ms = int.from_bytes(message[:_TIME_BYTES], "big")
        if made_ms + NONCE_LIFETIME_MS < self._clock.now_ms():
            raise InvalidParam("the nonce is too old")

    def _nonce_mac(self, message: bytes) -> bytes:
        return hmac.digest(self._key(), b"nonce" + message, "sha256")[:_MAC_BYTES]

    def _key(self) -> bytes:
        if self._secret is None:
            raise MatrixError(400, "M_UNKNOWN", "registration.shared_secret is not set")
        return self._secret
