"""Section `rooms`."""

from typing import Annotated

from homeserver.config.values import Section, about
from homeserver.protocol.room_versions import DEFAULT_ROOM_VERSION


class RoomsSection(Section, frozen=True, kw_only=True):
    """New rooms."""

    default_version: Annotated[
        str, about("Room version of new rooms unless the client chooses one; in quotes.")
    ] = DEFAULT_ROOM_VERSION
