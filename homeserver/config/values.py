"""Kinds of values that settings have beside numbers and text."""

import ipaddress
from typing import Any, Final, NoReturn

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: frozen, every setting by name, unknown settings refused."""


class Secret:
    """A password or key; shows itself only when asked."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value:
            raise ValueError("is empty")
        self._value: Final = value

    def reveal(self) -> str:
        """Return the secret."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class IpRange:
    """A range of IP addresses, such as `10.0.0.0/8`; a single address is a range of one."""

    __slots__ = ("network",)

    def __init__(self, text: str) -> None:
        try:
            self.network: Final = ipaddress.ip_network(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is not a range of IP addresses such as 10.0.0.0/8 or fc00::/7"
            ) from None

    def __contains__(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return address in self.network

    def __str__(self) -> str:
        return str(self.network)

    def __repr__(self) -> str:
        return f"IpRange({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IpRange) and other.network == self.network

    def __hash__(self) -> int:
        return hash(self.network)


# Addresses that lead into the operator's own network, or nowhere on the public internet.
# From the IANA registries of special-purpose IPv4 and IPv6 addresses.
PRIVATE_RANGES: Final = tuple(
    IpRange(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)


def about(text: str, **limits: Any) -> msgspec.Meta:
    """Describe a setting, for homeserver.yaml and docs/config.md; `limits` are msgspec's."""
    return msgspec.Meta(description=text, **limits)


def later(feature: str, text: str, **limits: Any) -> msgspec.Meta:
    """Describe a setting that nothing reads before `feature` is there."""
    return msgspec.Meta(description=text, extra={"feature": feature}, **limits)


def refuse(type_: type, value: object) -> NoReturn:
    """Say that a value is not text where a `Secret`, path or range is written as text."""
    raise ValueError(f"expected text, got {type(value).__name__} for {type_.__name__}")
