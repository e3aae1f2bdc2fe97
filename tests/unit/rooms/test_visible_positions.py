from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.history_visibility import HistoryVisibility
from homeserver.protocol.identifiers import EventID, UserID
from homeserver.rooms.visibility import RoomView
from homeserver.rooms.visible_positions import visible_positions
from homeserver.storage.events import EventRecord

LAST = 40


def message(pos: int) -> EventRecord:
    """Return a message at a position."""
    facts: dict[str, Any] = dict.fromkeys(EventRecord._fields)
    facts |= {"event_id": EventID("$x"), "pos": pos, "type": "m.room.message"}
    return EventRecord(**facts)


@st.composite
def views(draw: st.DrawFn) -> RoomView:
    """Views in which each position changes at most one thing, as events do."""
    positions = draw(st.lists(st.integers(1, LAST), unique=True).map(sorted))
    visibility_positions, visibilities = [0], [HistoryVisibility.SHARED]
    membership_positions, memberships = [0], [None]
    joined_until: float = 0
    for pos in positions:
        if draw(st.booleans()):
            visibility_positions.append(pos)
            visibilities.append(draw(st.sampled_from(HistoryVisibility)))
        else:
            if memberships[-1] == "join":
                joined_until = pos
            membership_positions.append(pos)
            memberships.append(draw(st.sampled_from(["join", "leave", "invite", "ban"])))
    if memberships[-1] == "join":
        joined_until = float("inf")
    return RoomView(
        UserID("@alice:hs"),
        visibility_positions,
        visibilities,
        membership_positions,
        memberships,
        joined_until,
    )


@given(views(), st.integers(0, LAST + 5))
def test_a_message_is_in_a_stretch_exactly_when_it_may_be_seen(view: RoomView, upto: int) -> None:
    spans = visible_positions(view, upto)
    changes = {*view.visibility_positions, *view.membership_positions}
    for pos in set(range(1, LAST + 10)) - changes:
        is_inside = any(first <= pos <= last for first, last in spans)
        assert is_inside == (pos <= upto and view.may_see(message(pos))), pos


@given(views(), st.integers(0, LAST + 5))
def test_stretches_are_in_order_and_do_not_touch(view: RoomView, upto: int) -> None:
    spans = visible_positions(view, upto)
    ends = [end for span in spans for end in span]
    assert ends == sorted(ends)
    assert all(later[0] > sooner[1] + 1 for sooner, later in pairwise(spans))
