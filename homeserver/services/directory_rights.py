"""Who may speak for a room in the directory of this server."""

from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.heads import Heads
from homeserver.web.requester import Requester


class DirectoryRights:
    """Knows who curates the aliases and the listing of rooms.

    The specification leaves it open; it names the creator and administrators as examples.
    Whoever may set the canonical alias decides already what the room is called.
    """

    def __init__(self, heads: Heads) -> None:
        self._heads = heads

    async def may_curate(self, requester: Requester, room_id: RoomID) -> bool:
        """Whether a user may list or hide a room, and delete others' aliases of it."""
        if requester.is_admin:
            return True
        head = await self._heads.head(room_id)
        return (
            head is not None
            and head.membership_of(requester.user_id) == "join"
            and head.power_levels.may_send(
                requester.user_id, "m.room.canonical_alias", is_state=True
            )
        )
