"""Section `listeners`."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from homeserver.config.values import IpRange, Section, about

Api: TypeAlias = Literal["client", "federation", "media", "admin", "health", "metrics"]

_LOOPBACK_NAMES = ("localhost", "ip6-localhost")


class Listener(Section, frozen=True, kw_only=True):
    """An address where the server answers HTTP; there may be any number."""

    address: Annotated[
        str, about("IP address or host name to listen on; 0.0.0.0 and :: mean all.")
    ] = "127.0.0.1"
    port: Annotated[int, about("TCP port; 0 takes a free one.", ge=0, le=65535)] = 8008
    unix_socket: Annotated[
        Path | None, about("Listen on this Unix socket instead of address and port.")
    ] = None
    unix_socket_mode: Annotated[
        str, about("Permissions of the socket, in octal and quotes.", pattern="^0?[0-7]{3}$")
    ] = "0660"
    tls_certificate: Annotated[
        Path | None, about("PEM file with the certificate and its chain. Needs tls_key.")
    ] = None
    tls_key: Annotated[Path | None, about("PEM file with the certificate's private key.")] = None
    serves: Annotated[
        tuple[Api, ...],
        about(
            "Which APIs are answered here: client, federation, media, admin, health, metrics."
            " Take metrics, and admin where you can, out where the address is public."
        ),
    ] = ("client", "federation", "media", "admin", "health", "metrics")
    trusted_proxies: Annotated[
        tuple[IpRange, ...],
        about(
            "Reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed. Whatever"
            " connects to a Unix socket is believed."
        ),
    ] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect, and no proxy is announced."""
        if self.unix_socket is not None or self.trusted_proxies:
            return False
        if self.address in _LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.address).is_loopback
        except ValueError:
            return False

    @property
    def base_url(self) -> str:
        """The address in a URL, without a path; of a TCP listener only."""
        scheme = "http" if self.tls_certificate is None else "https"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{scheme}://{host}:{self.port}"
