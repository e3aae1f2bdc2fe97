"""The staged PDUs of rooms: reading them, ending their wait, and having them wait for longer."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.errors import InvalidEvent
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.head import RoomHead
from homeserver.rooms.receive.known import KnownEvents, has_state, is_outlier
from homeserver.rooms.receive.order import by_prev_events
from homeserver.rooms.receive.pdus import received_event, stored_pdu
from homeserver.rooms.receive.server_acls import ServerAcls
from homeserver.storage import inbound_pdus
from homeserver.storage.database import Database
from homeserver.storage.inbound_pdus import StagedPdu
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# PDUs that are read at once; they follow each other in one or two statements.
BATCH: Final = 100
# What cannot be judged is tried again after 10 s, 20 s, …: given up after about five minutes.
_FIRST_PAUSE_MS: Final = 10_000
MAX_ATTEMPTS: Final = 6
# Events that were just staged, so that they are not parsed again; about 3 kB each.
_MAX_EXPECTED: Final = 5_000
# PDUs of one server that lack something, in one room: about 3 MB, at the worst 64 MB.
MAX_HELD: Final = 1_000
# PDUs of one server in one room, held or not: a room that takes them in more slowly than they
# come, as after a large fork, must not be a way to fill the disk.
MAX_STAGED: Final = 5_000
# Those held last are looked through when something comes that they may have waited for.
_MAX_RECALLED: Final = 500
# Some hundred bytes each, 4 kB at the most.
_MAX_NEEDS: Final = 20_000

_decode = msgspec.json.Decoder(dict[str, object]).decode


class Needs(NamedTuple):
    """Which events have to be stored before one is judged: the first ones with their states."""

    prev_events: frozenset[EventID]
    auth_events: frozenset[EventID]


class Staging:
    """The staging area as this node sees it."""

    def __init__(
        self, database: Database, known: KnownEvents, acls: ServerAcls, clock: Clock
    ) -> None:
        self._database = database
        self._known = known
        self._acls = acls
        self._clock = clock
        self._expected: OrderedDict[EventID, Event] = OrderedDict()
        self._needs: OrderedDict[int, Needs] = OrderedDict()

    async def add(self, origin: ServerName, events: Sequence[Event]) -> bool:
        """Keep events durably; False: none of them, because too many wait."""
        async with self._database.connection("stage_pdus") as connection:
            is_staged = await inbound_pdus.stage(
                connection,
                origin,
                self._clock.now_ms(),
                [(event.room_id, event.event_id, stored_pdu(event)) for event in events],
                limit=MAX_STAGED,
            )
        if is_staged:
            for event in events:
                self._expected[event.event_id] = event
            while len(self._expected) > _MAX_EXPECTED:
                self._expected.popitem(last=False)
        return is_staged

    async def due(self, room_id: RoomID) -> list[StagedPdu]:
        """Return the oldest PDUs of a room that are due."""
        async with self._database.connection("inbound_pdus") as connection:
            return await inbound_pdus.of_room(connection, room_id, self._clock.now_ms(), BATCH)

    async def read(self, inbound_nids: Collection[int]) -> list[StagedPdu]:
        """Return those of some PDUs that are still staged."""
        async with self._database.connection("inbound_pdus") as connection:
            return await inbound_pdus.read(connection, inbound_nids)

    async def events(self, head: RoomHead, staged: Sequence[StagedPdu]) -> list[Event]:
        """Return the events that are not stored, each once, in the order to take them in.

        Those of servers that the room denies by now are left out: a server that expects it could
        have events wait for one that comes later, by another way.
        """
        facts = await self._known.facts(each.event_id for each in staged)
        origins = {each.origin for each in staged}
        allowed = {origin for origin in origins if await self._acls.allows(head, origin)}
        events: dict[EventID, Event] = {}
        for each in staged:
            if each.origin not in allowed:
                log.warning("pdu of denied server", origin=each.origin, event_id=each.event_id)
            elif is_outlier(facts.get(each.event_id)) and each.event_id not in events:
                event = self._expected.get(each.event_id) or _read(each, head)
                if event is not None:
                    events[each.event_id] = event
        return by_prev_events(list(events.values()))

    async def end(self, room_id: RoomID, staged: Iterable[StagedPdu]) -> bool:
        """Delete PDUs of a room that are dealt with. Whether others of it are held."""
        ended = list(staged)
        for each in ended:
            self._expected.pop(each.event_id, None)
            self._needs.pop(each.inbound_nid, None)
        async with self._database.connection("inbound_pdus") as connection:
            return await inbound_pdus.unstage(
                connection, room_id, self._clock.now_ms(), [each.inbound_nid for each in ended]
            )

    async def put_off(self, room_id: RoomID, staged: Sequence[StagedPdu]) -> None:
        """Have PDUs tried again later that have failed, or give them up."""
        later = [each for each in staged if each.attempts + 1 < MAX_ATTEMPTS]
        given_up = [each for each in staged if each.attempts + 1 >= MAX_ATTEMPTS]
        for each in given_up:
            log.warning("pdu given up", origin=each.origin, event_id=each.event_id)
        if given_up:
            await self.end(room_id, given_up)
        now = self._clock.now_ms()
        async with self._database.connection("inbound_pdus") as connection:
            await inbound_pdus.postpone(
                connection,
                [each.inbound_nid for each in later],
                [now + (_FIRST_PAUSE_MS << each.attempts) for each in later],
            )

    @contextlib.asynccontextmanager
    async def put_off_if_failing(
        self, room_id: RoomID, staged: Sequence[StagedPdu]
    ) -> AsyncIterator[None]:
        """Put PDUs off should the block raise: one bad event must not stop a room."""
        has_failed = True
        try:
            yield
            has_failed = False
        except asyncio.CancelledError:
            has_failed = False
            raise
        finally:
            if has_failed:
                await self.put_off(room_id, staged)

    async def put_off_unless_complete(
        self, room_id: RoomID, staged: Sequence[StagedPdu], lacking: Collection[int]
    ) -> None:
        """Put PDUs off; but have those tried now that were `lacking` something and no longer do.

        It may have come another way while it was asked for.
        """
        await self.put_off(room_id, staged)
        await self._release_complete(
            {each.inbound_nid: _needs_of(each) for each in staged if each.inbound_nid in lacking}
        )

    async def lacking(self, staged: Sequence[StagedPdu]) -> set[int]:
        """Return the numbers of those PDUs that lack other events."""
        needs = {each.inbound_nid: _needs_of(each) for each in staged}
        return needs.keys() - await self._complete(needs)

    async def admit(
        self, room_id: RoomID, origin: ServerName, staged: Sequence[StagedPdu]
    ) -> list[StagedPdu]:
        """Return those of an origin's PDUs that may be held, and delete the others."""
        async with self._database.connection("inbound_pdus") as connection:
            held = await inbound_pdus.count_held(connection, room_id, origin, self._clock.now_ms())
        admitted = list(staged[: max(0, MAX_HELD - held)])
        if len(admitted) < len(staged):
            count = len(staged) - len(admitted)
            log.warning("too many pdus are held", origin=origin, room_id=room_id, dropped=count)
            await self.end(room_id, staged[len(admitted) :])
        return admitted

    async def hold(self, inbound_nids: Collection[int], until_ms: int) -> None:
        """Have PDUs left alone until a time (server clock, ms); 0: they are due."""
        if inbound_nids:
            async with self._database.connection("inbound_pdus") as connection:
                await inbound_pdus.hold(connection, inbound_nids, until_ms)

    async def recall(self, room_id: RoomID, arrived: Collection[EventID]) -> bool:
        """Have those held PDUs tried now that have waited for events. Whether there are any.

        Whichever node holds them; only those that lack nothing any more.
        """
        async with self._database.connection("inbound_pdus") as connection:
            held = await inbound_pdus.held_in(
                connection, room_id, self._clock.now_ms(), _MAX_RECALLED
            )
        await self._learn_needs([nid for nid in held if nid not in self._needs])
        waiting = {
            nid: needs
            for nid in held
            if (needs := self._needs.get(nid)) is not None
            and not (needs.prev_events | needs.auth_events).isdisjoint(arrived)
        }
        return await self._release_complete(waiting)

    async def _learn_needs(self, inbound_nids: Sequence[int]) -> None:
        for start in range(0, len(inbound_nids), BATCH):
            for each in await self.read(inbound_nids[start : start + BATCH]):
                self._needs[each.inbound_nid] = _needs_of(each)
        while len(self._needs) > _MAX_NEEDS:
            self._needs.popitem(last=False)

    async def _release_complete(self, waiting: Mapping[int, Needs]) -> bool:
        complete = await self._complete(waiting)
        await self.hold(complete, 0)
        return bool(complete)

    async def _complete(self, waiting: Mapping[int, Needs]) -> set[int]:
        """Return the numbers of the PDUs that lack nothing."""
        facts = await self._known.facts(
            {each for needs in waiting.values() for part in needs for each in part}
        )
        return {
            nid
            for nid, needs in waiting.items()
            if needs.auth_events <= facts.keys()
            and all(has_state(facts.get(each)) for each in needs.prev_events)
        }


def _read(staged: StagedPdu, head: RoomHead) -> Event | None:
    try:
        return received_event(msgspec.json.decode(staged.pdu), head.rules)
    except InvalidEvent as error:
        log.error("staged pdu cannot be read", event_id=staged.event_id, reason=str(error))
        return None


def _needs_of(staged: StagedPdu) -> Needs:
    pdu = _decode(staged.pdu)
    return Needs(_cited(pdu, "prev_events"), _cited(pdu, "auth_events"))


def _cited(pdu: JsonObject, key: str) -> frozenset[EventID]:
    """Return the IDs of what a PDU cites, whose form was checked when it was staged."""
    cited = pdu.get(key)
    if not isinstance(cited, list):
        return frozenset()
    # Versions 1 and 2 cite events as [event ID, {"sha256": …}].
    return frozenset(each[0] if isinstance(each, list) else each for each in cited)
