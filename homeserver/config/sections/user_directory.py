"""Section `user_directory`."""

from typing import Annotated

from homeserver.config.values import Section, about


class UserDirectorySection(Section, frozen=True, kw_only=True):
    """Searching for users."""

    enabled: Annotated[bool, about("Whether a search finds anybody.")] = True
    finds_all_accounts: Annotated[
        bool,
        about(
            "Whether users find every account of this server. Otherwise they find those with whom"
            " they share a room, and the members of rooms that anybody may join or read."
        ),
    ] = False
