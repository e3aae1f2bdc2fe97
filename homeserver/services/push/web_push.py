"""Web Push without a gateway: encryption and authorization.

Spec: RFC 8291 (aes128gcm, RFC 8188), RFC 8292 (VAPID), MSC4174
"""

import base64
import os
from typing import Final
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# RFC 8291, section 4: "a push service is not required to support more than 4096 octets".
MAX_BODY_BYTES: Final = 4_096
_SALT_BYTES: Final = 16
_KEY_ID_BYTES: Final = 65
_HEADER_BYTES: Final = _SALT_BYTES + 4 + 1 + _KEY_ID_BYTES
# The delimiter of the last record, and the authentication tag.
MAX_PAYLOAD_BYTES: Final = MAX_BODY_BYTES - _HEADER_BYTES - 1 - 16
# RFC 8292, section 2: at most 24 hours; half of it forgives clocks that are wrong.
_TOKEN_SECONDS: Final = 12 * 3600
# The order of P-256.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CURVE: Final = ec.SECP256R1()

_encode: Final = msgspec.json.Encoder().encode


def encrypt(payload: bytes, *, receiver: bytes, auth: bytes) -> bytes:
    """Encrypt a payload of at most MAX_PAYLOAD_BYTES for one subscription.

    `receiver`: its public key, an uncompressed point; `auth`: its authentication secret.
    Raises ValueError: no point of the curve.
    """
    receiver_key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, receiver)
    # A key of this message alone.
    sender_key = ec.generate_private_key(_CURVE)
    sender = _point(sender_key.public_key())
    salt = os.urandom(_SALT_BYTES)
    shared = sender_key.exchange(ec.ECDH(), receiver_key)
    secret = _hkdf(shared, auth, b"WebPush: info\0" + receiver + sender, 32)
    key = _hkdf(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _hkdf(secret, salt, b"Content-Encoding: nonce\0", 12)
    # 2 delimits the last record, and there is only one.
    sealed = AESGCM(key).encrypt(nonce, payload + b"\2", None)
    header = salt + MAX_BODY_BYTES.to_bytes(4, "big") + bytes([len(sender)]) + sender
    return header + sealed


class VapidKey:
    """The key by which push services know this server."""

    def __init__(self, secret: bytes, contact: str | None) -> None:
        """`contact`: a mailto: or https: URL of who runs the server."""
        number = int.from_bytes(secret, "big") % (_ORDER - 1) + 1
        self._key = ec.derive_private_key(number, _CURVE)
        self._contact = contact
        self.public_key: Final = to_base64(_point(self._key.public_key()))

    def authorization(self, url: str, now_ms: int) -> str:
        """Return the `Authorization` header of a request to a push resource."""
        parts = urlsplit(url)
        claims: dict[str, object] = {
            "aud": f"{parts.scheme}://{parts.netloc}",
            "exp": now_ms // 1000 + _TOKEN_SECONDS,
        }
        if self._contact is not None:
            claims["sub"] = self._contact
        signed = b".".join(
            to_base64(_encode(part)).encode() for part in ({"typ": "JWT", "alg": "ES256"}, claims)
        )
        r, s = decode_dss_signature(self._key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = to_base64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return f"vapid t={signed.decode()}.{signature}, k={self.public_key}"


def to_base64(raw: bytes) -> str:
    """Return URL-safe Base64 without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def _hkdf(secret: bytes, salt: bytes, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=label).derive(secret)
