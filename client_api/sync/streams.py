"""What a noun adds to /sync besides timelines and state: one stream each.

A stream answers at once and as of the context's position; adding one is a file in
`client_api/sync/` and a line in `homeserver/run/sync_layer.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

from client_api.sync.request import SyncContext

# The member of a room to which a stream adds events.
RoomPart: TypeAlias = Literal["ephemeral", "account_data"]


class RoomStream(Protocol):
    """Events of joined rooms that stand in no timeline: receipts, typing, tags."""

    @property
    def part(self) -> RoomPart:
        """The member of the room's section to which the events belong."""
        ...

    async def of_rooms(
        self, context: SyncContext, whole: Collection[int], followed: Collection[int]
    ) -> Mapping[int, Sequence[bytes]]:
        """Return events as JSON by room number.

        Rooms without any are left out, unless there is another reason to tell of the room.

        For `whole` rooms everything there is, for `followed` ones what is new since the context's
        `since`. A part `account_data` is asked for rooms that the user has left, too, as whole.
        """
        ...


class GlobalStream(Protocol):
    """A top-level member of the answer: account data, to-device messages, presence."""

    async def sections(self, context: SyncContext) -> Mapping[str, bytes]:
        """Return members of the answer as JSON, by name; those that are empty are left out.

        An answer with none of them, and without rooms, is one that may wait.
        """
        ...

    async def always(self, context: SyncContext) -> Mapping[str, bytes]:
        """Return members that every answer has, such as the counts of one-time keys."""
        ...
