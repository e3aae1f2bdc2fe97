"""Who is typing, in /sync. Spec: client-server-api/#typing-notifications"""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, islice
from typing import Final
from zlib import crc32

from client_api.sync.encode import encode
from client_api.sync.request import SyncContext, SyncRequest
from client_api.sync.streams import RoomPart
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.sync_token import MAX_TYPING, TypingTold
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.ephemeral import TypingUsers

TYPING: Final = "m.typing"


class TypingStream:
    """The events `m.typing`: the whole list of a room whenever it is not what the client knows.

    What it knows stands in its token, so that no node needs to remember whom it has told what.
    """

    def __init__(self, users: TypingUsers) -> None:
        self._users = users

    @property
    def part(self) -> RoomPart:
        """Where the events belong."""
        return "ephemeral"

    @property
    def serial(self) -> int:
        """A number that grows with every change in any room."""
        return self._users.serial

    def told_in(
        self, request: SyncRequest, memberships: Mapping[int, MembershipRow]
    ) -> Mapping[int, tuple[UserID, ...]]:
        """Return who types in the rooms where the client is to know it, as many as a token names.

        Those first of which the client knows already.
        """
        typing = self._users.rooms
        matcher = request.filter.ephemeral
        if not typing or not matcher.matches(TYPING):
            return {}
        # Whichever are fewer: rooms in which somebody types, or rooms of the user.
        among = typing if len(typing) < len(memberships) else memberships
        candidates = dict.fromkeys(chain(request.typing_told, among))
        found = (
            room_nid
            for room_nid in candidates
            if room_nid in typing
            and (row := memberships.get(room_nid)) is not None
            and row.membership == "join"
            and request.filter.admits_room(row.room_id)
            and matcher.admits_room(row.room_id)
        )
        return {room_nid: typing[room_nid] for room_nid in islice(found, MAX_TYPING)}

    async def of_rooms(
        self, context: SyncContext, whole: Collection[int], followed: Collection[int]
    ) -> Mapping[int, Sequence[bytes]]:
        """Return the lists that are not what the client knows; an empty one clears what it knew."""
        request = context.request
        if not context.typing and not request.typing_told:
            return {}
        if not request.filter.ephemeral.matches(TYPING):
            return {}
        rooms = {*whole, *followed}
        found: dict[int, list[bytes]] = {}
        for room_nid in {*context.typing, *request.typing_told} & rooms:
            users = context.typing.get(room_nid, ())
            is_known = room_nid not in whole or not users
            if is_known and request.typing_told.get(room_nid, _digest(())) == _digest(users):
                continue
            found[room_nid] = [
                encode({"type": TYPING, "content": {"user_ids": users}}),
            ]
        return found


def typing_told(context: SyncContext) -> tuple[TypingTold, ...]:
    """Return what the client knows with this answer."""
    return tuple(TypingTold(nid, _digest(users)) for nid, users in context.typing.items())


def _digest(users: tuple[UserID, ...]) -> int:
    # By chance two lists in four billion look the same: then the next change tells.
    return crc32("\n".join(users).encode())
