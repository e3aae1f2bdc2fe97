"""Orders in which received events can be taken: what is cited before what cites it."""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID


def by_prev_events(events: Sequence[Event]) -> list[Event]:
    """Sort events so that each follows its prev events; otherwise by depth.

    Events on a cycle, or behind one, are left out.
    """
    return _ordered(events, lambda event: event.prev_events)


def by_auth_events(events: Sequence[Event]) -> list[Event]:
    """Sort events so that each follows its auth events; otherwise by depth.

    Events on a cycle, or behind one, are left out.
    """
    return _ordered(events, lambda event: event.auth_events)


def _ordered(events: Sequence[Event], cited: Callable[[Event], Sequence[EventID]]) -> list[Event]:
    by_id = {event.event_id: event for event in events}
    citing: dict[EventID, list[EventID]] = {}
    uncounted: dict[EventID, int] = {}
    for event in by_id.values():
        known = [each for each in set(cited(event)) if each in by_id]
        uncounted[event.event_id] = len(known)
        for each in known:
            citing.setdefault(each, []).append(event.event_id)
    ready = [(by_id[each].depth, each) for each, count in uncounted.items() if count == 0]
    heapify(ready)
    ordered: list[Event] = []
    while ready:
        _, event_id = heappop(ready)
        ordered.append(by_id[event_id])
        for each in citing.get(event_id, ()):
            uncounted[each] -= 1
            if uncounted[each] == 0:
                heappush(ready, (by_id[each].depth, each))
    return ordered
