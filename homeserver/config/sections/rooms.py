"""Section `rooms`."""

from typing import Annotated, Literal

from homeserver.config.values import Section, about
from homeserver.protocol.room_versions import DEFAULT_ROOM_VERSION


class RoomsSection(Section, frozen=True, kw_only=True):
    """Rooms: new ones, and those that users have left."""

    default_version: Annotated[
        str, about("Room version of new rooms unless the client chooses one; in quotes.")
    ] = DEFAULT_ROOM_VERSION
    encrypt_new_rooms: Annotated[
        Literal["off", "invite", "all"],
        about(
            "Which new rooms are encrypted from the start, whatever their creator asks for: none,"
            " those that are joined by invitation (private chats), or all."
        ),
    ] = "off"
    forget_on_leave: Annotated[
        bool,
        about(
            "Whether users forget rooms when they leave them, are kicked or banned: they can no"
            " longer look at what was said there."
        ),
    ] = False
