"""Restricted joins: who may come in because of another room, and by whose authority.

Spec: client-server-api/#restricted-rooms
"""

from homeserver.errors import Forbidden, UnableToGrantJoin
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.head import RoomHead
from homeserver.storage import memberships
from homeserver.storage.database import Database


class RestrictedJoins:
    """Adds the authorising user to joins that need one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def authorised(self, head: RoomHead, user_id: UserID, content: JsonObject) -> JsonObject:
        """Return the content of a join event as the room's join rules want it.

        Raises Forbidden: no condition holds; UnableToGrantJoin: nobody here could invite.
        """
        content = {
            key: value
            for key, value in content.items()
            if key != "join_authorised_via_users_server"
        }
        if not head.join_rules.admits_authorised or head.membership_of(user_id) in (
            "invite",
            "join",
            "ban",
        ):
            return content
        if not await self.is_admitted(head.join_rules.allowed_rooms(), user_id):
            raise Forbidden("You do not belong to any of the rooms or spaces that may join")
        return {**content, "join_authorised_via_users_server": self.authority(head)}

    async def is_admitted(self, allowed_rooms: tuple[RoomID, ...], user_id: UserID) -> bool:
        """Whether the user is in one of the rooms, as far as this server knows them."""
        async with self._database.connection("restricted_joins") as connection:
            rows = await memberships.memberships_of(connection, user_id)
        joined = {row.room_id for row in rows if row.membership == "join"}
        return any(room_id in joined for room_id in allowed_rooms)

    def authority(self, head: RoomHead) -> UserID:
        """Return a local user who may let others in. Raises UnableToGrantJoin: there is none."""
        for user_id in sorted(head.local_joined):
            if head.power_levels.may_invite(user_id):
                return user_id
        raise UnableToGrantJoin
