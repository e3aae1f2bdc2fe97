"""The two orders in which version 2 of the algorithm takes events. Spec: rooms/v2/#definitions"""

import sys
from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush
from typing import Final

from homeserver.protocol.event import Event
from homeserver.protocol.state_resolution.auth_graph import AuthGraph
from homeserver.protocol.state_resolution.plan import EventKey

# The specification's sentinel ∞, "greater than any integer".
_OFF_MAINLINE: Final = sys.maxsize


def reverse_topological_power_order(
    graph: AuthGraph[EventKey],
    events: Mapping[EventKey, Event],
    sender_level: Callable[[EventKey], int],
) -> list[EventKey]:
    """Sort all events of `graph`, earliest first, by Kahn's algorithm.

    `sender_level` is the power level of an event's sender "when looking at their respective
    auth_events". Events on or above a cycle have no topological order and are left out.
    """
    citing: dict[EventKey, list[EventKey]] = {}
    uncounted: dict[EventKey, int] = {}
    for key, auth_events in graph.auth_events.items():
        uncounted[key] = len(auth_events)
        for auth_event in auth_events:
            citing.setdefault(auth_event, []).append(key)

    def rank(key: EventKey) -> tuple[int, int, str, EventKey]:
        event = events[key]
        return (-sender_level(key), event.origin_server_ts, event.event_id, key)

    candidates = [rank(key) for key, count in uncounted.items() if count == 0]
    heapify(candidates)
    ordered: list[EventKey] = []
    while candidates:
        *_, smallest = heappop(candidates)
        ordered.append(smallest)
        for key in citing.get(smallest, ()):
            uncounted[key] -= 1
            if uncounted[key] == 0:
                heappush(candidates, rank(key))
    return ordered


def mainline_order(
    keys: Iterable[EventKey],
    power_levels: EventKey | None,
    graph: AuthGraph[EventKey],
    events: Mapping[EventKey, Event],
) -> list[EventKey]:
    """Sort events by the mainline of a power levels event, or of none.

    `graph` must cover the auth chains of the events and of `power_levels`.
    """
    # From here on also the position of power levels off the mainline that were passed already.
    positions = _mainline(power_levels, graph)

    def rank(key: EventKey) -> tuple[int, int, str]:
        event = events[key]
        return (-_position(key, positions, graph), event.origin_server_ts, event.event_id)

    return sorted(keys, key=rank)


def _mainline(power_levels: EventKey | None, graph: AuthGraph[EventKey]) -> dict[EventKey, int]:
    positions: dict[EventKey, int] = {}
    while power_levels is not None and power_levels not in positions:
        positions[power_levels] = len(positions)
        power_levels = graph.power_levels_of(power_levels)
    return positions


def _position(key: EventKey, positions: dict[EventKey, int], graph: AuthGraph[EventKey]) -> int:
    passed: list[EventKey] = []
    power_levels = graph.power_levels_of(key)
    while power_levels is not None and power_levels not in positions:
        # Holds if the walk comes back here, on a cycle.
        positions[power_levels] = _OFF_MAINLINE
        passed.append(power_levels)
        power_levels = graph.power_levels_of(power_levels)
    position = _OFF_MAINLINE if power_levels is None else positions[power_levels]
    positions.update(dict.fromkeys(passed, position))
    return position
