"""Section `federation`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from homeserver.config.values import PRIVATE_RANGES, IpRange, Section, about


class TrustedKeyServer(Section, frozen=True, kw_only=True):
    """A server that is asked for the keys of servers that do not answer."""

    server_name: Annotated[str, about("Its server name.")]
    verify_keys: Annotated[
        Mapping[str, str],
        about("If set, its own public keys by key ID; otherwise they are fetched over TLS."),
    ] = msgspec.field(default_factory=dict)


class FederationSection(Section, frozen=True, kw_only=True):
    """Talking with other homeservers."""

    enabled: Annotated[
        bool, about("Whether to talk with other homeservers at all, in either direction.")
    ] = True
    allow: Annotated[
        tuple[str, ...] | None,
        about(
            "If set, only servers whose names fit one of these patterns are talked with; * and ?"
            " are wildcards."
        ),
    ] = None
    block: Annotated[
        tuple[str, ...],
        about("Servers that are never talked with, even if they are allowed above."),
    ] = ()
    delegate_to: Annotated[
        str | None,
        about(
            "What /.well-known/matrix/server names: host and port where other servers reach this"
            " one, such as matrix.example.org:443. Absent: there is no such document."
        ),
    ] = None
    ca_files: Annotated[
        tuple[Path, ...],
        about("PEM files of certificate authorities to trust beside the system's."),
    ] = ()
    allowed_ip_ranges: Annotated[
        tuple[IpRange, ...],
        about("Addresses that may be contacted even if they are blocked below."),
    ] = ()
    blocked_ip_ranges: Annotated[
        tuple[IpRange, ...],
        about("Addresses that are never contacted: by default all that are private."),
    ] = PRIVATE_RANGES
    trusted_key_servers: Annotated[
        tuple[TrustedKeyServer, ...],
        about(
            "Servers to ask for keys of servers that are gone; each has server_name and, if"
            " you like, verify_keys. May be empty: then only origins are asked."
        ),
    ] = ()
