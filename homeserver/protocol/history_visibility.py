"""Who may see an event. Spec: client-server-api/#room-history-visibility"""

from collections.abc import Iterable
from enum import Enum

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject


class HistoryVisibility(Enum):
    """The values of `m.room.history_visibility`."""

    WORLD_READABLE = "world_readable"
    SHARED = "shared"
    INVITED = "invited"
    JOINED = "joined"


def parse_history_visibility(content: JsonObject | None) -> HistoryVisibility:
    """Read the content of `m.room.history_visibility`, or None where the room has no such event.

    "If no history_visibility is set, or if the value is not understood, the visibility is
    assumed to be shared."
    """
    value = content.get("history_visibility") if content is not None else None
    if not isinstance(value, str):
        return HistoryVisibility.SHARED
    try:
        return HistoryVisibility(value)
    except ValueError:
        return HistoryVisibility.SHARED


def may_see(
    event: Event,
    user_id: UserID,
    *,
    visibility: HistoryVisibility,
    membership: str | None,
    joined_since: bool,
) -> bool:
    """Whether the history visibility of the room lets a user, guest or not, see an event.

    `visibility` and `membership` (of this user; None: no member event) are of the room state
    *before* the event; what the event itself changes is taken from its content.
    `joined_since`: the user was a joined member at some point after the event, which includes
    now and includes a join that has ended since.
    This is the whole answer for one event; whether the user may ask for the room's history at
    all is the endpoint's rule.
    """
    visibilities = [visibility]
    memberships = [membership]
    # "For m.room.history_visibility events themselves, the user should be allowed to see the
    # event if the history_visibility before or after the event would allow them to see it."
    if event.type == "m.room.history_visibility" and event.state_key == "":
        visibilities.append(parse_history_visibility(event.content))
    # "Likewise, for the user's own m.room.member events, … their membership before or after"
    elif event.type == "m.room.member" and event.state_key == user_id:
        memberships.append(event.membership)
    return may_see_with(visibilities, memberships, joined_since=joined_since)


def may_see_with(
    visibilities: Iterable[HistoryVisibility],
    memberships: Iterable[str | None],
    *,
    joined_since: bool,
) -> bool:
    """The same for who has taken the values before (and after) the event already."""
    memberships = tuple(memberships)
    return any(
        _may_see_at(visibility, membership, joined_since=joined_since)
        for visibility in visibilities
        for membership in memberships
    )


def _may_see_at(
    visibility: HistoryVisibility, membership: str | None, *, joined_since: bool
) -> bool:
    # 1. "If the history_visibility was set to world_readable, allow."
    if visibility is HistoryVisibility.WORLD_READABLE:
        return True
    # 2. "If the user's membership was join, allow."
    if membership == "join":
        return True
    # 3. "If history_visibility was set to shared, and the user joined the room at any point
    #    after the event was sent, allow."
    if visibility is HistoryVisibility.SHARED and joined_since:
        return True
    # 4. "If the user's membership was invite, and the history_visibility was set to invited,
    #    allow." 5. "Otherwise, deny."
    return visibility is HistoryVisibility.INVITED and membership == "invite"
