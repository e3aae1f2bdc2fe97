"""Searching for users. Spec: client-server-api/#user-directory"""

from typing import Final, NamedTuple

from homeserver.config.sections.user_directory import UserDirectorySection
from homeserver.services.user_directory_index import UserDirectoryIndex
from homeserver.services.user_directory_words import words_to_search
from homeserver.storage import user_directory
from homeserver.storage.database import Database
from homeserver.storage.user_directory import FoundUser
from homeserver.streams.user_rooms import UserRooms
from homeserver.web.requester import Requester

MAX_LIMIT: Final = 50
# A search may first have to list accounts that have never been in a room; so many at a time.
_BATCH: Final = 500


class FoundUsers(NamedTuple):
    """Users, best first, and whether there are more."""

    users: list[FoundUser]
    is_limited: bool


class UserDirectory:
    """Finds users by words of their display names and user IDs."""

    def __init__(
        self,
        database: Database,
        user_rooms: UserRooms,
        index: UserDirectoryIndex,
        section: UserDirectorySection,
    ) -> None:
        self._database = database
        self._user_rooms = user_rooms
        self._index = index
        self._section = section

    async def search(self, requester: Requester, term: str, limit: int) -> FoundUsers:
        """Find users whom the requester may know of: see section `user_directory`.

        The names are those of a moment ago: the index follows the log. Memberships count at once.
        """
        words = words_to_search(term)
        if not self._section.enabled or not words or limit <= 0:
            return FoundUsers([], is_limited=False)
        if self._section.finds_all_accounts:
            await self._list_accounts()
        limit = min(limit, MAX_LIMIT)
        memberships = await self._user_rooms.of_user(requester.user_id)
        joined = [nid for nid, row in memberships.items() if row.membership == "join"]
        async with self._database.connection("user_directory") as connection:
            found = await user_directory.search(
                connection,
                words,
                joined,
                limit + 1,
                all_accounts=self._section.finds_all_accounts,
            )
        return FoundUsers(found[:limit], is_limited=len(found) > limit)

    async def _list_accounts(self) -> None:
        """List those that no membership and no profile has told the index of."""
        while True:
            async with self._database.connection("user_directory") as connection:
                missing = await user_directory.accounts_not_listed(connection, _BATCH)
            if not missing:
                return
            names = [await self._index.name_of_account(user_id) for user_id in missing]
            async with self._database.transaction("user_directory") as tx:
                await user_directory.put_names(tx, names)
