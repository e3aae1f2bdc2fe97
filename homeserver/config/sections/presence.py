"""Section `presence`."""

from typing import Annotated

from homeserver.config.values import Section, about


class PresenceSection(Section, frozen=True, kw_only=True):
    """Who is online."""

    enabled: Annotated[
        bool,
        about("Whether users who share a room are told of each other's presence."),
    ] = True
    send_to_servers: Annotated[
        bool,
        about("Whether other servers in the same rooms are told of the presence of users here."),
    ] = True
    take_from_servers: Annotated[
        bool,
        about("Whether what other servers tell of the presence of their users is taken."),
    ] = True
