"""Section `room_directory`."""

from typing import Annotated, Literal

from homeserver.config.values import Section, about


class DirectoryRule(Section, frozen=True, kw_only=True):
    """A rule; its patterns may use * and ?, and all of them must match."""

    action: Annotated[Literal["allow", "deny"], about("What follows from a match.")]
    user: Annotated[str, about("Pattern of the user ID.")] = "*"
    room: Annotated[str, about("Pattern of the room ID.")] = "*"
    alias: Annotated[str, about("Pattern of the alias, or of any alias of the room.")] = "*"


class RoomDirectorySection(Section, frozen=True, kw_only=True):
    """The public list of rooms, and room aliases."""

    requires_login: Annotated[
        bool, about("Whether the list is kept from those who are not logged in.")
    ] = False
    over_federation: Annotated[bool, about("Whether users of other servers may read the list.")] = (
        True
    )
    publication_rules: Annotated[
        tuple[DirectoryRule, ...],
        about(
            "Who may publish which rooms in the list. The first rule that matches decides;"
            " without any rule everything is allowed, otherwise no match means deny. Each has"
            " action (allow, deny) and patterns: user, room, alias."
        ),
    ] = ()
    alias_rules: Annotated[
        tuple[DirectoryRule, ...],
        about("Who may make which aliases; the same form."),
    ] = ()
