"""Section `server_notices`."""

from typing import Annotated

from homeserver.config.values import Section, about


class ServerNoticesSection(Section, frozen=True, kw_only=True):
    """What the server says to its users, in a room with each; see `homeserver notice`."""

    localpart: Annotated[
        str | None,
        about(
            "The user ID that notices come from, up to the colon: the server makes this account,"
            " and nobody can log in with it. Absent: there are no notices."
        ),
    ] = "server-notices"
    display_name: Annotated[str, about("The name of that account.")] = "Server notices"
    avatar_url: Annotated[str | None, about("Its picture, and that of the rooms: mxc://…")] = None
    room_name: Annotated[str, about("The name of the rooms.")] = "Server notices"
