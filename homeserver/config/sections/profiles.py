"""Section `profiles`."""

from typing import Annotated, Literal

from homeserver.config.values import Section, about


class ProfilesSection(Section, frozen=True, kw_only=True):
    """Display names, avatars and what else users tell about themselves."""

    readable_by: Annotated[
        Literal["anybody", "users", "acquaintances"],
        about(
            "Who may read a profile: anybody, users who are logged in, or only those of them who"
            " share a room with the user. In a room that anybody may join or read, every user is"
            " an acquaintance."
        ),
    ] = "anybody"
    fixed_fields: Annotated[
        tuple[str, ...],
        about("Fields that users cannot change, such as displayname or avatar_url."),
    ] = ()
