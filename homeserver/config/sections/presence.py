"""Section `presence`."""

from typing import Annotated

from homeserver.config.values import Section, about


class PresenceSection(Section, frozen=True, kw_only=True):
    """Who is online."""

    enabled: Annotated[
        bool,
        about("Whether users who share a room are told of each other's presence."),
    ] = True
