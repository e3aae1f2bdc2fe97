"""At which positions of a timeline a user may see messages, as stretches.

The same answer as `RoomView.may_see`, for statements that choose among many events.
Spec: client-server-api/#room-history-visibility
"""

from bisect import bisect_right

from homeserver.protocol.history_visibility import may_see_with
from homeserver.rooms.visibility import RoomView
from homeserver.storage.relations import Spans


def visible_positions(view: RoomView, upto: int) -> Spans:
    """Return the stretches up to a position within which every message is visible.

    For the state events that change the visibility or the membership themselves it may be
    otherwise: they stand at the ends of stretches.
    """
    changes = sorted({*view.visibility_positions, *view.membership_positions})
    spans: list[tuple[int, int]] = []
    for before, last in zip(changes, [*changes[1:], upto], strict=True):
        last = min(last, upto)
        if last <= before or not _may_see_after(view, before):
            continue
        if spans and spans[-1][1] == before:
            spans[-1] = (spans[-1][0], last)
        else:
            spans.append((before + 1, last))
    return spans


def _may_see_after(view: RoomView, change: int) -> bool:
    """Whether a message right after a change, and so before the next one, is visible."""
    visibility = view.visibilities[bisect_right(view.visibility_positions, change) - 1]
    membership = view.memberships[bisect_right(view.membership_positions, change) - 1]
    return may_see_with([visibility], [membership], joined_since=view.joined_until > change + 1)
