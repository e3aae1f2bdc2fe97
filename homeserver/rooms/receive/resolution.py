"""State resolution over the stored events of a room.

Spec: server-server-api/#room-state-resolution
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from homeserver.protocol.event import Event, StateKey, StateMap
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.protocol.state_resolution.auth_graph import (
    AuthGraph,
    shared_events,
    undecided_events,
)
from homeserver.protocol.state_resolution.plan import Plan, plan
from homeserver.protocol.state_resolution.resolve import (
    events_to_replay,
    graph_roots,
    resolve,
    supporting_events,
)
from homeserver.rooms.event_cache import EventCache
from homeserver.storage import received_events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import REJECTED
from homeserver.storage.received_events import AuthEdge

# A replayed event costs about 30 µs: longer work is for a thread.
_MANY: Final = 300


class Resolved(NamedTuple):
    """The resolved state as event numbers, and those of its events that had to be loaded."""

    state: Mapping[StateKey, int]
    events: Mapping[int, Event]


class _Graph(NamedTuple):
    graph: AuthGraph[int]
    rejected: frozenset[int]


class StateResolver:
    """Loads what state resolution needs, step by step, and resolves."""

    def __init__(self, database: Database, cache: EventCache) -> None:
        self._database = database
        self._cache = cache

    async def resolve(
        self,
        states: Sequence[StateMap[int]],
        rules: RoomVersionRules,
        unsaved: AuthEdge | None = None,
    ) -> Resolved:
        """Merge states, which map state keys to the numbers of stored events.

        `unsaved`: one of the events that is in the event cache, but not stored yet.
        """
        conflict = plan(states, rules)
        if conflict.is_settled:
            return Resolved(conflict.unconflicted, {})
        loaded = await self._graph(graph_roots(conflict, rules), unsaved)
        graph = loaded.graph
        undecided = undecided_events(conflict, graph) if graph.auth_events else frozenset[int]()
        shared = await self._shared(conflict, undecided, unsaved)
        replayed = events_to_replay(conflict, graph, rules, undecided - shared)
        events = await self._cache.get(replayed)
        events |= await self._cache.get(supporting_events(conflict, graph, rules, events))
        if len(replayed) > _MANY:
            state = await asyncio.to_thread(
                resolve,
                conflict,
                replayed,
                graph=graph,
                events=events,
                rules=rules,
                rejected=loaded.rejected,
            )
        else:
            state = resolve(
                conflict,
                replayed,
                graph=graph,
                events=events,
                rules=rules,
                rejected=loaded.rejected,
            )
        return Resolved(state, events)

    async def _shared(
        self, conflict: Plan[int], undecided: frozenset[int], unsaved: AuthEdge | None
    ) -> frozenset[int]:
        if not undecided:
            return undecided
        # Rare, and dear in a large room: the auth chains of all of the unconflicted state.
        whole = await self._graph(frozenset(conflict.unconflicted.values()), unsaved)
        return frozenset(shared_events(conflict, whole.graph, undecided))

    async def _graph(self, roots: frozenset[int], unsaved: AuthEdge | None) -> _Graph:
        if not roots:
            return _Graph(AuthGraph(auth_events={}, power_levels=frozenset()), frozenset())
        is_cited = unsaved is not None and unsaved.event_nid in roots
        stored = roots.union(unsaved.auth_nids) if unsaved is not None and is_cited else roots
        async with self._database.connection("auth_chains") as connection:
            edges = await received_events.auth_chains(connection, stored)
        if unsaved is not None and is_cited:
            edges.append(unsaved)
        return _Graph(
            AuthGraph(
                auth_events={edge.event_nid: edge.auth_nids for edge in edges},
                power_levels={edge.event_nid for edge in edges if edge.is_power_levels},
            ),
            frozenset(edge.event_nid for edge in edges if edge.flags & REJECTED),
        )
