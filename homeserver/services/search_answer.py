"""The results of a search as clients get them: with surroundings, bundles and state."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.client_events import Bundles, Viewer, render_all
from homeserver.rooms.erasure import Erasure
from homeserver.rooms.read_state import ReadState
from homeserver.services.aggregations import Aggregations, SeenParent, may_have_bundle, sight_of
from homeserver.services.search_context import ContextRequest, Neighbours, SearchContext
from homeserver.storage import events, state, sync_reads
from homeserver.storage.database import Database
from homeserver.storage.events import EventRecord, Place
from homeserver.storage.search import Candidate


class ResultContext(NamedTuple):
    """What surrounds a result, in client format; see `Neighbours`."""

    start: Place
    end: Place
    before: list[bytes]
    after: list[bytes]
    profiles: dict[str, JsonObject] | None


class Result(NamedTuple):
    """An event that was found, in client format."""

    rank: float
    event: bytes
    context: ResultContext | None


class Shown(NamedTuple):
    """The results, and the senders of all events in them by room."""

    results: list[Result]
    senders: Mapping[int, Collection[str]]


class SearchAnswers:
    """Renders results in the name of users."""

    def __init__(
        self,
        database: Database,
        context: SearchContext,
        read_state: ReadState,
        aggregations: Aggregations,
        erasure: Erasure,
    ) -> None:
        self._database = database
        self._context = context
        self._read_state = read_state
        self._aggregations = aggregations
        self._erasure = erasure

    async def results(
        self,
        viewer: Viewer,
        wanted: ContextRequest | None,
        rooms: Mapping[int, RoomAccess],
        chosen: Sequence[tuple[Candidate, EventRecord]],
    ) -> Shown:
        """Return results of any rooms, with their surroundings if these are wanted.

        Left out is what an erased user has said and the viewer was not there to read.
        """
        chosen = await self._readable(rooms, chosen)
        around: dict[int, Neighbours] = {}
        if wanted is not None:
            for _, event in chosen:
                # One after the other: a search shall not take all connections to the database.
                around[event.event_nid] = await self._context.around(
                    rooms[event.room_nid], event, wanted
                )
        shown: dict[int, list[EventRecord]] = defaultdict(list)
        for _, event in chosen:
            found = around.get(event.event_nid)
            neighbours = (*found.before, *found.after) if found is not None else ()
            shown[event.room_nid] += (event, *neighbours)
        rendering = _Rendering(viewer, rooms, await self._bundles(viewer, rooms, shown))
        return Shown(
            [
                rendering.result(candidate, event, around.get(event.event_nid))
                for candidate, event in chosen
            ],
            {nid: {event.sender for event in some} for nid, some in shown.items()},
        )

    async def state(
        self, viewer: Viewer, rooms: Mapping[int, RoomAccess], shown: Shown, *, is_lazy: bool
    ) -> dict[RoomID, list[bytes]]:
        """Return the state of the rooms of the results, lazily only the senders' membership."""
        found = {}
        for nid, senders in shown.senders.items():
            access = rooms[nid]
            # One after the other, like the surroundings.
            if is_lazy:
                records = await self._lazy_state(access, senders)
                found[access.room_id] = render_all(records, viewer, access.view, access.room_id)
            else:
                found[access.room_id] = await self._read_state.all(access, viewer)
        return found

    async def _lazy_state(
        self, access: RoomAccess, senders: Collection[str]
    ) -> Collection[EventRecord]:
        nid = access.room_nid
        async with self._database.connection("search") as connection:
            by_room = await sync_reads.state_nids_of_rooms(
                connection, {nid: access.upto}, with_members=False
            )
            members = await state.member_nids_at(connection, nid, list(senders), access.upto)
            wanted = [*by_room.get(nid, ()), *members]
            return (await events.events_by_nid(connection, wanted)).values()

    async def _readable(
        self, rooms: Mapping[int, RoomAccess], chosen: Sequence[tuple[Candidate, EventRecord]]
    ) -> Sequence[tuple[Candidate, EventRecord]]:
        readable: set[int] = set()
        for nid in {event.room_nid for _, event in chosen}:
            found = [event for _, event in chosen if event.room_nid == nid]
            seen = await self._erasure.as_seen(found, rooms[nid].view)
            readable |= {a.event_nid for a, b in zip(found, seen, strict=True) if a is b}
        return [each for each in chosen if each[1].event_nid in readable]

    async def _bundles(
        self,
        viewer: Viewer,
        rooms: Mapping[int, RoomAccess],
        shown: Mapping[int, Sequence[EventRecord]],
    ) -> Bundles:
        # An event may surround several results.
        parents: dict[int, SeenParent] = {}
        for nid, some in shown.items():
            sight = sight_of(rooms[nid])
            parents |= {e.event_nid: SeenParent(e, sight) for e in some if may_have_bundle(e)}
        return await self._aggregations.of(viewer, list(parents.values()))


class _Rendering(NamedTuple):
    viewer: Viewer
    rooms: Mapping[int, RoomAccess]
    bundles: Bundles

    def result(self, candidate: Candidate, event: EventRecord, around: Neighbours | None) -> Result:
        context = None
        if around is not None:
            context = ResultContext(
                around.start,
                around.end,
                self._all(around.before),
                self._all(around.after),
                around.profiles,
            )
        return Result(candidate.rank, self._all([event])[0], context)

    def _all(self, records: Sequence[EventRecord]) -> list[bytes]:
        if not records:
            return []
        access = self.rooms[records[0].room_nid]
        return render_all(records, self.viewer, access.view, access.room_id, self.bundles)
