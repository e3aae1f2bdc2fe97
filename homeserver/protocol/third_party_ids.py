"""Identifiers of other namespaces: e-mail addresses and phone numbers.

Spec: appendices/#3pid-types
"""

import re
import unicodedata
from typing import Final

from homeserver.protocol.errors import InvalidIdentifier

EMAIL: Final = "email"
MSISDN: Final = "msisdn"

# RFC 5321 section 4.5.3.1: a path has 256 octets, two of them the angle brackets.
MAX_EMAIL_BYTES: Final = 254
# E.164: at most 15 digits with the country code.
_MSISDN: Final = re.compile(r"[0-9]{1,15}")
# What would end an address, or begin something else, where mail is written.
_SPECIAL: Final = frozenset('()<>[]:;,\\"')
_DOMAIN: Final = re.compile(r"[^.@\s](?:[^@\s]*[^.@\s])?")
# client-server-api/#post_matrixclientv3registeremailrequesttoken: client_secret and sid
_OPAQUE: Final = re.compile(r"[0-9a-zA-Z.=_-]{1,255}")


def canonical_email(text: str) -> str:
    """Return the one form of an e-mail address that stands for all that mean the same.

    Mail must go to this form and no other: different addresses may fold to one. Quoted local
    parts and address literals are refused. Raises InvalidIdentifier.
    """
    folded = unicodedata.normalize("NFC", text.strip().casefold())
    local, at, domain = folded.rpartition("@")
    is_plain = not any(
        character in _SPECIAL or character.isspace() or unicodedata.category(character)[0] == "C"
        for character in folded
    )
    if not (at and local and is_plain and "@" not in local and _DOMAIN.fullmatch(domain)):
        raise InvalidIdentifier("this is no e-mail address such as alice@example.org")
    if ".." in folded or local.startswith(".") or local.endswith("."):
        raise InvalidIdentifier("an e-mail address has no empty parts between dots")
    if len(folded.encode()) > MAX_EMAIL_BYTES:
        raise InvalidIdentifier(f"an e-mail address has at most {MAX_EMAIL_BYTES} bytes")
    return folded


def canonical_address(medium: str, address: str) -> str:
    """Return the canonical form of an address of any medium. Raises InvalidIdentifier."""
    if medium == EMAIL:
        return canonical_email(address)
    if medium == MSISDN:
        if not _MSISDN.fullmatch(address):
            raise InvalidIdentifier("a phone number has up to 15 digits and no +")
        return address
    raise InvalidIdentifier("the medium of an address is email or msisdn")


def is_opaque(text: str) -> bool:
    """Whether a text may be a client secret, a session ID or the token of an invite."""
    return _OPAQUE.fullmatch(text) is not None
