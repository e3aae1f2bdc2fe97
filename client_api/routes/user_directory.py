"""Searching for users. Spec: client-server-api/#user-directory"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from homeserver.protocol.identifiers import UserID
from homeserver.services.user_directory import UserDirectory
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

DEFAULT_LIMIT: Final = 10


class SearchBody(Body, frozen=True):
    """Whom to look for."""

    search_term: str
    limit: Annotated[int, Meta(ge=0)] = DEFAULT_LIMIT


class User(msgspec.Struct, frozen=True):
    """A user, with what there is of a profile."""

    user_id: UserID
    display_name: str | UnsetType = UNSET
    avatar_url: str | UnsetType = UNSET


class SearchAnswer(msgspec.Struct, frozen=True):
    """The users found, best first."""

    results: list[User]
    limited: bool


class UserDirectoryRoutes:
    """The directory of users."""

    def __init__(self, directory: UserDirectory) -> None:
        self._directory = directory

    @endpoint(
        "POST",
        CLIENT_V3 / "user_directory/search",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.SEARCH,
        spec="client-server-api/#post_matrixclientv3user_directorysearch",
    )
    async def post_search(self, requester: Requester, body: SearchBody) -> SearchAnswer:
        """Search the user directory."""
        found = await self._directory.search(requester, body.search_term, body.limit)
        return SearchAnswer(
            [
                User(user.user_id, user.display_name or UNSET, user.avatar_url or UNSET)
                for user in found.users
            ],
            found.is_limited,
        )
