"""Identifiers of the specification: made only by their parsers.

Every parser takes time linear in the length, refuses what is over 255 bytes before it looks
closer, and refuses NUL and lone surrogates, which neither the grammar nor UTF-8 allows.
Spec: appendices/#identifier-grammar
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NewType

from homeserver.protocol.errors import InvalidIdentifier

UserID = NewType("UserID", str)
RoomID = NewType("RoomID", str)
EventID = NewType("EventID", str)
RoomAlias = NewType("RoomAlias", str)
ServerName = NewType("ServerName", str)
DeviceID = NewType("DeviceID", str)
KeyID = NewType("KeyID", str)

# User IDs, room IDs, room aliases and event IDs, sigil and domain included, "MUST NOT exceed
# 255 bytes". Ours for device IDs and key IDs, which have no limit of their own.
MAX_IDENTIFIER_BYTES: Final = 255

# appendices/#server-name. None of the alternatives can eat the ":" before the port, so a
# match never backtracks.
_SERVER_NAME: Final = re.compile(
    r"(?:[0-9A-Za-z.\-]{1,255}|\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?"
)
_DOTTED_QUAD: Final = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(?::.*)?")
_NEW_LOCALPART: Final = re.compile(r"[a-z0-9.=_/+\-]+")
_COMPLIANT_LOCALPART: Final = re.compile(r"[\x21-\x7e]+")
# "!" and a SHA-256 in URL-safe unpadded base64. Spec: rooms/v12/, rooms/v4/#event-ids
_ROOM_ID_WITHOUT_DOMAIN: Final = re.compile(r"![A-Za-z0-9_\-]{43}")


def parse_server_name(text: str) -> ServerName:
    """Check a DNS name, IPv4 literal or bracketed IPv6 literal, with or without a port.

    The port is up to five digits, as in the grammar, so it may be above 65,535.
    Raises InvalidIdentifier. Spec: appendices/#server-name
    """
    match = _SERVER_NAME.fullmatch(text)
    if match is None:
        raise InvalidIdentifier("not a server name")
    ipv6 = match["ipv6"]
    if ipv6 is not None:
        _check_ipv6(ipv6)
    elif text[0].isdigit():
        _check_ipv4(text)
    return ServerName(text)


def split_server_name(server_name: ServerName) -> tuple[str, int | None]:
    """Return the host (IPv6 literals keep their brackets) and the port, if there is one."""
    if server_name.endswith("]"):
        return server_name, None
    host, colon, port = server_name.rpartition(":")
    return (host, int(port)) if colon else (server_name, None)


def parse_user_id(text: str) -> UserID:
    """Check a user ID by the historical grammar, which events and other servers may use.

    Use `is_new_localpart` for users that are being made. Raises InvalidIdentifier.
    Spec: appendices/#historical-user-ids
    """
    _check_localpart_and_domain(text, "@", "user ID")
    return UserID(text)


def user_id(localpart: str, server_name: ServerName) -> UserID:
    """Put a user ID together. Raises InvalidIdentifier: not even a historical user ID."""
    if ":" in localpart:
        raise InvalidIdentifier("a localpart cannot contain a colon")
    return parse_user_id(f"@{localpart}:{server_name}")


def is_new_localpart(localpart: str) -> bool:
    """Whether a new user may have the localpart. Spec: appendices/#user-identifiers"""
    return _NEW_LOCALPART.fullmatch(localpart) is not None


def is_compliant_user_id(user_id: UserID) -> bool:
    """Whether clients should see the user ID outside of events.

    Spec: appendices/#historical-user-ids
    """
    return _COMPLIANT_LOCALPART.fullmatch(localpart_of(user_id)) is not None


def parse_room_alias(text: str) -> RoomAlias:
    """Check a room alias. Raises InvalidIdentifier. Spec: appendices/#room-aliases"""
    _check_localpart_and_domain(text, "#", "room alias")
    return RoomAlias(text)


def parse_room_id(text: str) -> RoomID:
    """Check a room ID of any room version: with a domain, or the hash of a create event.

    Raises InvalidIdentifier. Spec: appendices/#room-ids
    """
    if ":" in text:
        _check_localpart_and_domain(text, "!", "room ID")
    elif _ROOM_ID_WITHOUT_DOMAIN.fullmatch(text) is None:
        raise InvalidIdentifier("not a room ID")
    return RoomID(text)


def has_domain(room_id: RoomID) -> bool:
    """Whether the room ID has the form of room versions 1 to 11."""
    return ":" in room_id


def room_id_of_create_event(event_id: EventID) -> RoomID:
    """Return the room ID that a create event gives its room. Spec: rooms/v12/#event-format"""
    return RoomID("!" + event_id[1:])


def create_event_id_of(room_id: RoomID) -> EventID:
    """Return the ID of the create event behind a room ID without a domain."""
    return EventID("$" + room_id[1:])


def parse_event_id(text: str) -> EventID:
    """Check that a text may be the event ID of some room version.

    Event IDs are opaque, and whether one exists is for a lookup to say, so this looks at the
    sigil, the length and the characters only. Raises InvalidIdentifier.
    Spec: appendices/#event-ids
    """
    _check_size(text, "event ID")
    if len(text) < 2 or text[0] != "$":
        raise InvalidIdentifier("not an event ID")
    return EventID(text)


def parse_event_id_with_domain(text: str) -> EventID:
    """Check an event ID of room versions 1 and 2. Raises InvalidIdentifier."""
    _check_localpart_and_domain(text, "$", "event ID")
    return EventID(text)


def parse_device_id(text: str) -> DeviceID:
    """Check a device ID: opaque, not empty. Raises InvalidIdentifier."""
    _check_size(text, "device ID")
    if not text:
        raise InvalidIdentifier("a device ID cannot be empty")
    return DeviceID(text)


def parse_key_id(text: str) -> KeyID:
    """Check a signing key identifier, `algorithm:name`. Raises InvalidIdentifier.

    Spec: appendices/#signing-details
    """
    _check_size(text, "key ID")
    algorithm, _, name = text.partition(":")
    if not algorithm or not name:
        raise InvalidIdentifier("not a key ID")
    return KeyID(text)


def localpart_of(identifier: UserID | RoomAlias) -> str:
    """Return what stands between the sigil and the domain."""
    return identifier[1 : identifier.index(":")]


def server_name_of(identifier: UserID | RoomAlias | RoomID | EventID) -> ServerName:
    """Return the domain of an identifier.

    Raises InvalidIdentifier: it has none, as event IDs since room version 3 and room IDs
    since room version 12.
    """
    _, colon, domain = identifier.partition(":")
    if not colon:
        raise InvalidIdentifier("the identifier has no domain")
    return ServerName(domain)


def _check_localpart_and_domain(text: str, sigil: str, kind: str) -> None:
    _check_size(text, kind)
    if text[:1] != sigil:
        raise InvalidIdentifier(f"not a {kind}")
    # A localpart has no colon, so the first one ends it; IPv6 literals and ports have more.
    _, colon, domain = text.partition(":")
    if not colon:
        raise InvalidIdentifier(f"not a {kind}")
    parse_server_name(domain)


def _check_size(text: str, kind: str) -> None:
    if len(text) > MAX_IDENTIFIER_BYTES:
        raise InvalidIdentifier(f"the {kind} is longer than {MAX_IDENTIFIER_BYTES} bytes")
    if not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise InvalidIdentifier(f"the {kind} contains a lone surrogate") from None
        if size > MAX_IDENTIFIER_BYTES:
            raise InvalidIdentifier(f"the {kind} is longer than {MAX_IDENTIFIER_BYTES} bytes")
    if "\0" in text:
        raise InvalidIdentifier(f"the {kind} contains NUL")


def _check_ipv6(literal: str) -> None:
    try:
        IPv6Address(literal)
    except AddressValueError:
        raise InvalidIdentifier("not an IPv6 literal") from None


def _check_ipv4(text: str) -> None:
    # RFC 1123 section 2.1: a host name never has the form of a dotted quad, so one that is out
    # of range is no DNS name either.
    quad = _DOTTED_QUAD.fullmatch(text)
    if quad is not None and any(int(number) > 255 for number in quad.groups()):
        raise InvalidIdentifier("not an IPv4 literal")
