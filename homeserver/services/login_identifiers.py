"""Whom a login or a password means. Spec: client-server-api/#identifier-types"""

from typing import NamedTuple, Protocol, TypeAlias

from homeserver.errors import InvalidParam, MissingParam
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject, JsonValue


class NamedUser(NamedTuple):
    """A user by user ID or localpart."""

    name: str


class AddressedUser(NamedTuple):
    """A user by e-mail address or phone number."""

    medium: str
    address: str


LoginIdentifier: TypeAlias = NamedUser | AddressedUser


class KnownAddresses(Protocol):
    """Knows which account has which e-mail address or phone number."""

    async def user_of(self, medium: str, address: str) -> UserID | None:
        """Return the user with an address in canonical form."""
        ...


class NoAddresses:
    """Knows no address: for a server that does not verify any."""

    async def user_of(self, medium: str, address: str) -> UserID | None:
        """Nobody has it."""
        return None


def parse_identifier(members: JsonObject) -> LoginIdentifier | None:
    """Read `identifier`, or the members that stood for it before; None: neither is there.

    Raises InvalidParam, MissingParam.
    """
    identifier = members.get("identifier")
    if identifier is None:
        # COMPAT(clients of r0.3): `user`, or `medium` and `address`, beside `type`.
        if members.get("user") is not None:
            return NamedUser(_text(members, "user"))
        return _addressed(members) if members.get("medium") is not None else None
    if not isinstance(identifier, dict):
        raise InvalidParam("identifier must be an object")
    return _of_kind(identifier, identifier.get("type"))


def _of_kind(identifier: JsonObject, kind: JsonValue) -> LoginIdentifier:
    match kind:
        case "m.id.user":
            return NamedUser(_text(identifier, "user"))
        case "m.id.thirdparty":
            return _addressed(identifier)
        case "m.id.phone":
            digits = "".join(filter(str.isdigit, _text(identifier, "phone")))
            return AddressedUser("msisdn", digits)
        # The specification's own example of a login with an address has no type.
        case None if "medium" in identifier:
            return _addressed(identifier)
        case None:
            raise MissingParam("identifier has no type")
        case _:
            raise InvalidParam("identifier has an unknown type")


def _addressed(members: JsonObject) -> AddressedUser:
    return AddressedUser(_text(members, "medium"), _text(members, "address"))


def _text(members: JsonObject, name: str) -> str:
    value = members.get(name)
    if value is None:
        raise MissingParam(f"{name} is missing")
    if not isinstance(value, str):
        raise InvalidParam(f"{name} must be text")
    return value
