"""Section `to_device`."""

from typing import Annotated

from homeserver.config.values import Section, about


class ToDeviceSection(Section, frozen=True, kw_only=True):
    """Messages from device to device, such as the keys of encrypted rooms."""

    max_age_ms: Annotated[
        int,
        about(
            "How long they wait for a device that does not come, or a server that does not answer;"
            " 15552000000 are 180 days. They are lost afterwards.",
            ge=3_600_000,
        ),
    ] = 15_552_000_000
