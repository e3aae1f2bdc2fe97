"""Section `outgoing_http`."""

from typing import Annotated

from homeserver.config.values import PRIVATE_RANGES, IpRange, Section, about


class OutgoingHttpSection(Section, frozen=True, kw_only=True):
    """Requests to anything but homeservers: push gateways, previewed pages, identity servers.

    Application services are trusted: they are called wherever their files say.
    """

    allowed_ip_ranges: Annotated[
        tuple[IpRange, ...],
        about("Addresses that may be contacted even if they are blocked below."),
    ] = ()
    blocked_ip_ranges: Annotated[
        tuple[IpRange, ...],
        about("Addresses that are never contacted: by default all that are private."),
    ] = PRIVATE_RANGES
    verify_tls: Annotated[
        bool, about("Whether certificates are checked. Off is for tests only.")
    ] = True
