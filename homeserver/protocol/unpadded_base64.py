"""Base64 as Matrix writes it. Spec: appendices/#unpadded-base64"""

import binascii
from typing import Final

from homeserver.protocol.errors import InvalidBase64

_TO_URLSAFE: Final = str.maketrans("+/", "-_")
_FROM_URLSAFE: Final = str.maketrans("-_", "+/")


def encode_base64(raw: bytes) -> str:
    """Encode in the standard alphabet, without padding."""
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").decode("ascii")


def encode_urlsafe_base64(raw: bytes) -> str:
    """Encode in the URL-safe alphabet, without padding."""
    return encode_base64(raw).translate(_TO_URLSAFE)


def decode_base64(text: str) -> bytes:
    """Decode either alphabet, with or without padding, "to ensure maximum interoperability".

    Raises InvalidBase64: another character, or a length that no bytes encode to.
    """
    digits = text.rstrip("=").translate(_FROM_URLSAFE)
    try:
        return binascii.a2b_base64(digits + "=" * (-len(digits) % 4), strict_mode=True)
    except ValueError:  # binascii.Error, or not ASCII
        raise InvalidBase64("not base64") from None
