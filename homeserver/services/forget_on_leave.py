"""Forgetting rooms when they are left: a follower of the log, where the operator wants it.

Spec: client-server-api/#mforget_forced_upon_leave-capability
"""

from typing import Final

from homeserver.errors import MatrixError
from homeserver.protocol.identifiers import RoomID, ServerName, UserID
from homeserver.services.forget_room import ForgetRoom
from homeserver.streams.entries import EventEntry, LogEntry
from homeserver.streams.follower import Stretch

FOLLOWER_NAME: Final = "forget_on_leave"
_LEFT: Final = frozenset({"leave", "ban"})


class ForgetOnLeave:
    """Forgets rooms for local users who have left, been kicked or banned."""

    def __init__(self, forget_room: ForgetRoom, server_name: ServerName) -> None:
        self._forget_room = forget_room
        self._suffix = f":{server_name}"

    def concerns(self, entry: LogEntry) -> bool:
        """Whether a local user is out of a room now."""
        return isinstance(entry, EventEntry) and bool(self._who_left(entry))

    async def handle(self, stretch: Stretch) -> None:
        """Forget the rooms; once more does no harm."""
        for entry in stretch.entries:
            assert isinstance(entry, EventEntry)
            for user_id in self._who_left(entry):
                await self._forget(user_id, entry.room_id)

    async def _forget(self, user_id: UserID, room_id: RoomID) -> None:
        try:
            await self._forget_room.forget(user_id, room_id)
        except MatrixError:
            # The user has come back meanwhile, or is invited again.
            return

    def _who_left(self, entry: EventEntry) -> list[UserID]:
        return [
            UserID(change.key[1])
            for change in entry.state_changes
            if change.key[0] == "m.room.member"
            and change.membership in _LEFT
            and change.key[1].endswith(self._suffix)
        ]
