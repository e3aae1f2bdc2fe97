"""What a client asks of /sync, and what everything in one answer has in common."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from homeserver.protocol.filters import CompiledFilter
from homeserver.protocol.identifiers import UserID
from homeserver.rooms.client_events import Viewer
from homeserver.storage.memberships import MembershipRow
from homeserver.web.requester import Requester

# The key under which the state is given: before the timeline, after it, or after it by the name
# of the proposal, which is the only one that Element asks for.
StateKeyName: TypeAlias = Literal["state", "state_after", "org.matrix.msc4222.state_after"]


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request; `since` is None for an initial sync."""

    requester: Requester
    filter: CompiledFilter
    since: int | None
    # In which rooms somebody types to the client's knowledge, with a digest of the list.
    typing_told: Mapping[int, int] = {}
    # Up to where the device has got its messages, where that is not `since`.
    to_device_since: int | None = None
    full_state: bool = False
    state_key: StateKeyName = "state"
    timeout_ms: int = 0

    @property
    def has_state_after(self) -> bool:
        """Whether the state is that after the timeline."""
        return self.state_key != "state"


class SyncContext(NamedTuple):
    """An answer in the making: everything in it is as of position `now`.

    Of `ignored` users the viewer gets neither invites nor events, but state events.
    """

    request: SyncRequest
    viewer: Viewer
    now: int
    memberships: Mapping[int, MembershipRow]
    ignored: frozenset[UserID] = frozenset()
    # Who types in the rooms where anybody does and the client may know.
    typing: Mapping[int, tuple[UserID, ...]] = {}

    @property
    def since(self) -> int | None:
        """The position that the client has seen; None for nothing."""
        return self.request.since
