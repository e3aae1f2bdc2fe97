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
        if not typing or not request.filter.ephemeral.matches(TYPING):
            return {}
        # Whichever are fewer: rooms in which somebody types, or rooms of the user.
        among = typing if len(typing) < len(memberships) else memberships
        found = (
            room_nid
            for room_nid in dict.fromkeys(chain(request.typing_told, among))
            if room_nid in typing and _is_wanted(request, memberships.get(room_nid))
        )
        most = MAX_TYPING - len(_kept_back(request, memberships))
        return {room_nid: typing[room_nid] for room_nid in islice(found, most)}

    async def of_rooms(
        self, context: SyncContext, whole: Collection[int], followed: Collection[int]
    ) -> Mapping[int, Sequence[bytes]]:
        """Return the lists that are not what the client knows; an empty one clears what it knew."""
        request = context.request
        if not context.typing and not request.typing_told:
            return {}
        known = request.typing_told
        rooms = {*whole, *followed}
        found: dict[int, list[bytes]] = {}
        for room_nid in {*context.typing, *known} & rooms:
            users = context.typing.get(room_nid, ())
            is_known = known.get(room_nid, _digest(())) == _digest(users)
            if is_known and (room_nid not in whole or not users):
                continue
            if _is_wanted(request, context.memberships[room_nid]):
                found[room_nid] = [encode({"type": TYPING, "content": {"user_ids": users}})]
        return found


def typing_told(context: SyncContext) -> tuple[TypingTold, ...]:
    """Return what the client knows with this answer."""
    told = _kept_back(context.request, context.memberships)
    told |= {room_nid: _digest(users) for room_nid, users in context.typing.items()}
    return tuple(TypingTold(*each) for each in told.items())


def _is_wanted(request: SyncRequest, membership: MembershipRow | None) -> bool:
    chosen = request.filter
    return (
        membership is not None
        and membership.membership == "join"
        and chosen.ephemeral.matches(TYPING)
        and chosen.admits_room(membership.room_id)
        and chosen.ephemeral.admits_room(membership.room_id)
    )


def _kept_back(request: SyncRequest, memberships: Mapping[int, MembershipRow]) -> dict[int, int]:
    """Return what the client knows of rooms of which it does not want to hear this time."""
    return {
        room_nid: digest
        for room_nid, digest in request.typing_told.items()
        if (row := memberships.get(room_nid)) is not None
        and row.membership == "join"
        and not _is_wanted(request, row)
    }


def _digest(users: tuple[UserID, ...]) -> int:
    # By chance two lists in four billion look the same: then the next change tells.
    return crc32("\n".join(users).encode())
