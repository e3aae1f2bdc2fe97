"""Section `federation`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from homeserver.config.values import PRIVATE_RANGES, IpRange, Section, about, later

_FEATURE = "federation"


class TrustedKeyServer(Section, frozen=True, kw_only=True):
    """A server that is asked for the keys of servers that do not answer."""

    server_name: Annotated[str, about("Its server name.")]
    verify_keys: Annotated[
        Mapping[str, str],
        about("If set, its own public keys by key ID; otherwise they are fetched over TLS."),
    ] = msgspec.field(default_factory=dict)


class FederationSection(Section, frozen=True, kw_only=True):
    """Talking with other homeservers."""

    ca_files: Annotated[
        tuple[Path, ...],
        later(_FEATURE, "PEM files of certificate authorities to trust beside the system's."),
    ] = ()
    allowed_ip_ranges: Annotated[
        tuple[IpRange, ...],
        later(_FEATURE, "Addresses that may be contacted even if they are blocked below."),
    ] = ()
    blocked_ip_ranges: Annotated[
        tuple[IpRange, ...],
        later(_FEATURE, "Addresses that are never contacted: by default all that are private."),
    ] = PRIVATE_RANGES
    trusted_key_servers: Annotated[
        tuple[TrustedKeyServer, ...],
        later(
            _FEATURE,
            "Servers to ask for keys of servers that are gone; each has server_name and, if"
            " you like, verify_keys. May be empty: then only origins are asked.",
        ),
    ] = ()
