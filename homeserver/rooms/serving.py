"""What other servers may ask about the events of a room: history, states, auth chains.

Who may ask at all is up to the edge: a server that is in the room, and that the room does not deny.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.client_event import join_pdu, split_pdu
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import rules_of
from homeserver.protocol.sync_token import MAX_POSITION
from homeserver.rooms.receive.known import KnownEvents, has_state, is_outlier
from homeserver.rooms.server_visibility import ServerVisibility
from homeserver.storage import event_times, events, received_events, state
from homeserver.storage.database import Database
from homeserver.storage.event_writes import REJECTED
from homeserver.storage.events import PduRecord
from homeserver.storage.received_events import EventFacts

# server-server-api/#post_matrixfederationv1get_missing_eventsroomid gives 10 as the default.
MAX_MISSING: Final = 20
MAX_BACKFILL: Final = 100
# What is visited to find so many: history may be full of what nobody gets.
_MAX_VISITED: Final = 500
_BATCH: Final = 20
# Events have no times beyond: canonical JSON has no greater integers.
_MAX_TS: Final = 2**53
_decode: Final = msgspec.json.Decoder().decode


class ServedEvent(NamedTuple):
    """An event as it goes to another server; `pdu` is JSON."""

    event_id: EventID
    pdu: bytes


class AuthChains:
    """Auth chains of stored events."""

    def __init__(self, database: Database, known: KnownEvents) -> None:
        self._database = database
        self._known = known

    async def of(self, event_ids: Iterable[EventID]) -> list[ServedEvent]:
        """Return everything in the auth chains of events, without the events themselves.

        Unless one of them is in the chain of another. Unknown events have none.
        """
        return await served_events(self._database, await self.nids_of(event_ids))

    async def nids_of(self, event_ids: Iterable[EventID]) -> set[int]:
        """Return the numbers of the same events."""
        facts = await self._known.facts(event_ids)
        async with self._database.connection("auth_chains") as connection:
            edges = await received_events.auth_chains(
                connection, [each.event_nid for each in facts.values()]
            )
        return {nid for edge in edges for nid in edge.auth_nids}


class ServedState(NamedTuple):
    """The state before an event and its auth chain."""

    pdus: list[ServedEvent]
    auth_chain: list[ServedEvent]


class StateBefore:
    """The states of rooms before events."""

    def __init__(self, database: Database, known: KnownEvents) -> None:
        self._database = database
        self._known = known

    async def ids(
        self, room_id: RoomID, event_id: EventID
    ) -> tuple[list[EventID], list[EventID]] | None:
        """Return the IDs of the state before an event and of its auth chain.

        None: the room has no such event, or its state is not known here.
        """
        nids = await self._nids(room_id, event_id)
        if nids is None:
            return None
        async with self._database.connection("state_before") as connection:
            by_nid = await received_events.ids_of(connection, [*nids[0], *nids[1]])
        return [by_nid[nid] for nid in nids[0]], [by_nid[nid] for nid in nids[1]]

    async def pdus(self, room_id: RoomID, event_id: EventID) -> ServedState | None:
        """Return the same with the events."""
        nids = await self._nids(room_id, event_id)
        if nids is None:
            return None
        return ServedState(
            await served_events(self._database, nids[0]),
            await served_events(self._database, nids[1]),
        )

    async def _nids(self, room_id: RoomID, event_id: EventID) -> tuple[list[int], set[int]] | None:
        facts = (await self._known.facts([event_id])).get(event_id)
        if facts is None or not has_state(facts) or facts.flags & REJECTED:
            return None
        async with self._database.connection("state_before") as connection:
            if not await received_events.is_of_room(connection, facts.room_nid, room_id):
                return None
            rows = await state.state_at_snapshot(connection, facts.state_nid or 0)
            nids = [row.event_nid for row in rows]
            edges = await received_events.auth_chains(connection, nids)
        return nids, {nid for edge in edges for nid in edge.auth_nids}


class History:
    """Stretches of the graph of a room's events, as far as another server may see them.

    What it may not see it gets redacted, so that the graph stays whole.
    """

    def __init__(
        self, database: Database, known: KnownEvents, visibility: ServerVisibility
    ) -> None:
        self._database = database
        self._known = known
        self._visibility = visibility

    async def between(
        self,
        server: ServerName,
        room_id: RoomID,
        *,
        latest: Sequence[EventID],
        earliest: Sequence[EventID],
        limit: int,
        min_depth: int = 0,
    ) -> list[ServedEvent]:
        """Return events before `latest` and not before `earliest`, the oldest first.

        Breadth first from `latest`, which are not among them. At most `MAX_MISSING`.
        Spec: server-server-api/#post_matrixfederationv1get_missing_eventsroomid
        """
        starts = await self._facts(room_id, latest)
        prevs = await self._prevs(starts.values())
        found = await self._walk(
            room_id,
            [each for each in prevs if each not in latest],
            limit=min(limit, MAX_MISSING),
            admits=lambda facts: facts.event_id not in earliest and facts.depth >= min_depth,
        )
        return await self._served(server, list(reversed(found)))

    async def before(
        self, server: ServerName, room_id: RoomID, event_ids: Sequence[EventID], limit: int
    ) -> list[ServedEvent]:
        """Return events and what comes before them, the newest first. At most `MAX_BACKFILL`.

        Spec: server-server-api/#get_matrixfederationv1backfillroomid
        """
        found = await self._walk(
            room_id, event_ids, limit=min(limit, MAX_BACKFILL), admits=lambda _facts: True
        )
        return await self._served(server, sorted(found, key=lambda facts: -facts.depth))

    async def event(self, server: ServerName, event_id: EventID) -> ServedEvent | None:
        """Return one event, redacted where the server may not see it; None: not known, rejected."""
        facts = (await self._known.facts([event_id])).get(event_id)
        if facts is None or facts.flags & REJECTED:
            return None
        served = await self._served(server, [facts])
        return served[0] if served else None

    async def closest(
        self, server: ServerName, room_nid: int, ts: int, *, forwards: bool
    ) -> tuple[EventID, int] | None:
        """Return the closest event at a time (ms) or after it (before it), and its time.

        None: the server may see none such.
        """
        ts_in_range = max(-_MAX_TS, min(ts, _MAX_TS))
        read = event_times.events_from if forwards else event_times.events_upto
        place = (ts_in_range, -1 if forwards else MAX_POSITION, 0)
        for _ in range(_MAX_VISITED // _BATCH):
            async with self._database.connection("history") as connection:
                rows = await read(connection, room_nid, place, MAX_POSITION, _BATCH)
                ids = await received_events.ids_of(connection, [row.event_nid for row in rows])
            facts = await self._known.facts(ids.values())
            visible = await self._visibility.visible(server, list(facts.values()))
            for row in rows:
                if row.event_nid in visible:
                    return ids[row.event_nid], row.origin_server_ts
            if len(rows) < _BATCH:
                break
            last = rows[-1]
            place = (last.origin_server_ts, last.pos, last.sub)
        return None

    async def _walk(
        self,
        room_id: RoomID,
        starts: Sequence[EventID],
        *,
        limit: int,
        admits: Callable[[EventFacts], bool],
    ) -> list[EventFacts]:
        found: list[EventFacts] = []
        visited: set[EventID] = set()
        wanted = list(dict.fromkeys(starts))
        while wanted and len(found) < limit and len(visited) < _MAX_VISITED:
            visited.update(wanted)
            facts = await self._facts(room_id, wanted)
            admitted = [facts[each] for each in wanted if each in facts and admits(facts[each])]
            found += [each for each in admitted if not each.flags & REJECTED]
            prevs = await self._prevs(admitted)
            wanted = [each for each in prevs if each not in visited]
        return found[:limit]

    async def _facts(
        self, room_id: RoomID, event_ids: Iterable[EventID]
    ) -> dict[EventID, EventFacts]:
        """Return the facts of the events of the room's graph."""
        facts = await self._known.facts(event_ids)
        rooms = {each.room_nid for each in facts.values()}
        async with self._database.connection("history") as connection:
            own = {
                nid for nid in rooms if await received_events.is_of_room(connection, nid, room_id)
            }
        return {
            event_id: each
            for event_id, each in facts.items()
            if each.room_nid in own and not is_outlier(each)
        }

    async def _prevs(self, facts: Iterable[EventFacts]) -> list[EventID]:
        loaded = await self._known.events(facts)
        return list(dict.fromkeys(prev for each in loaded.values() for prev in each.prev_events))

    async def _served(self, server: ServerName, facts: Sequence[EventFacts]) -> list[ServedEvent]:
        visible = await self._visibility.visible(server, facts)
        served = {
            each.event_id: each
            for each in await served_events(
                self._database, [each.event_nid for each in facts], visible
            )
        }
        return [served[each.event_id] for each in facts if each.event_id in served]


async def served_events(
    database: Database, event_nids: Iterable[int], visible: set[int] | None = None
) -> list[ServedEvent]:
    """Return the PDUs of events; redacted, unless all are `visible`, those that are not."""
    async with database.connection("serve_events") as connection:
        records: Mapping[int, PduRecord] = await events.pdus_by_nid(connection, event_nids)
    return [
        ServedEvent(
            record.event_id,
            _pdu(record) if visible is None or nid in visible else _redacted(record),
        )
        for nid, record in records.items()
    ]


def _pdu(record: PduRecord) -> bytes:
    return join_pdu(
        record.core,
        record.rest,
        room_id=RoomID(record.room_id),
        event_id=record.event_id,
        rules=rules_of(record.room_version),
    )


def _redacted(record: PduRecord) -> bytes:
    rules = rules_of(record.room_version)
    core, rest = split_pdu(redact(_decode(_pdu(record)), rules), rules)
    return _pdu(record._replace(core=core, rest=rest))
