"""Events outside of the timeline: auth events and state that other servers are asked for."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from homeserver.errors import RemoteError
from homeserver.ports import EventPeers, EventSignatures
from homeserver.protocol.auth_rules.check import check_auth
from homeserver.protocol.client_event import split_event
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, ServerName, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.rooms.receive.judge import Cited
from homeserver.rooms.receive.known import KnownEvents, is_rejected
from homeserver.rooms.receive.order import by_auth_events
from homeserver.rooms.receive.pdus import readable_events, readable_slices
from homeserver.rooms.receive.questions import Questions, Unjudged
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.storage import received_events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import OUTLIER, REJECTED, EventRow
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# An auth chain that is longer is an attack, or a room that nobody can be helped with.
MAX_AUTH_CHAIN: Final = 10_000
# What one answer did not bring is asked for one by one, so many in all for one event.
MAX_SINGLE: Final = 100
_AT_ONCE: Final = 5
# This much parsing and judging is done between two turns of the event loop.
_SLICE: Final = 200
# Each round that fails means that others have stored some of the same events meanwhile.
_MAX_ROUNDS: Final = 10
# In a warning, of the servers whose events are left out: those with the most.
_MAX_NAMED_SERVERS: Final = 10


class _Overtaken(Exception):
    """An event that is about to be stored has been stored by somebody else."""


class Room(NamedTuple):
    """The room that events are for."""

    room_id: RoomID
    room_nid: int
    rules: RoomVersionRules


class Outliers:
    """Fetches, verifies, judges and stores events that are not part of the timeline."""

    def __init__(
        self,
        database: Database,
        known: KnownEvents,
        row_numbers: RowNumbers,
        peers: EventPeers,
        signatures: EventSignatures,
        clock: Clock,
    ) -> None:
        self._database = database
        self._known = known
        self._row_numbers = row_numbers
        self._peers = peers
        self._signatures = signatures
        self._clock = clock

    async def complete_auth(
        self, room: Room, event: Event, server: ServerName, questions: Questions | None = None
    ) -> None:
        """Store the auth chain of an event as far as it is not stored. Raises Unjudged.

        `server` is asked first; without `questions`, nobody else.
        """
        missing = await self.missing(event.auth_events)
        questions = questions or Questions(self._clock, server)
        asked: set[ServerName] = set()
        while missing:
            each = await questions.next_server(asked, server)
            if each is None:
                raise Unjudged
            await self._ask_for_auth(room, event, each, questions)
            missing = await self.missing(missing)

    async def _ask_for_auth(
        self, room: Room, event: Event, server: ServerName, questions: Questions
    ) -> None:
        try:
            pdus = await questions.ask(
                server, lambda: self._peers.event_auth(server, room.room_id, event.event_id)
            )
        except RemoteError as error:
            log.warning("auth chain not had", event_id=event.event_id, reason=str(error))
            pdus = []
        if len(pdus) > MAX_AUTH_CHAIN:
            log.warning("auth chain too long", server=server, event_id=event.event_id)
            pdus = []
        await self.store_pdus(room, pdus, questions)
        await self.fetch(room, await self.missing(event.auth_events), server, questions)

    async def missing(self, event_ids: Collection[EventID]) -> list[EventID]:
        """Return which events are not stored."""
        facts = await self._known.facts(event_ids)
        return [each for each in dict.fromkeys(event_ids) if each not in facts]

    async def fetch(
        self,
        room: Room,
        event_ids: Collection[EventID],
        server: ServerName,
        questions: Questions,
    ) -> None:
        """Ask for single events, and for what they cite, and store what comes of it.

        Raises Unjudged: the time for questions is used up.
        """
        fetched: dict[EventID, Event] = {}
        asked: set[EventID] = set()
        wanted = list(event_ids)
        while wanted and len(asked) + len(wanted) <= MAX_SINGLE:
            asked.update(wanted)
            pdus = await self._single(wanted, server, questions)
            events = readable_events(pdus, room.room_id, room.rules)
            fetched.update((event.event_id, event) for event in events)
            cited = {each for event in fetched.values() for each in event.auth_events}
            wanted = await self.missing(cited - fetched.keys() - asked)
        await self.store(room, list(fetched.values()), questions)

    async def _single(
        self, event_ids: Sequence[EventID], server: ServerName, questions: Questions
    ) -> list[JsonObject]:
        """Return what one server gives of some events, if it has the time."""
        found: list[JsonObject] = []
        for start in range(0, len(event_ids), _AT_ONCE):
            few = event_ids[start : start + _AT_ONCE]
            try:
                pdus = await questions.ask(server, partial(self._few, server, few))
            except RemoteError as error:
                log.warning("events not had", server=server, reason=str(error))
                break
            found += [pdu for pdu in pdus if pdu is not None]
        return found

    async def _few(
        self, server: ServerName, event_ids: Sequence[EventID]
    ) -> list[JsonObject | None]:
        return await asyncio.gather(*(self._one(server, each) for each in event_ids))

    async def _one(self, server: ServerName, event_id: EventID) -> JsonObject | None:
        try:
            return await self._peers.event(server, event_id)
        except RemoteError as error:
            log.warning("event not had", event_id=event_id, reason=str(error))
            return None

    async def store_pdus(
        self, room: Room, pdus: Sequence[JsonObject], questions: Questions | None = None
    ) -> None:
        """Store what another server has answered."""
        events = await readable_slices(pdus, room.room_id, room.rules)
        await self.store(room, events, questions)

    async def store(
        self, room: Room, events: Sequence[Event], questions: Questions | None = None
    ) -> None:
        """Store events with a valid signature whose auth chains are complete, rejected or not.

        Whatever else there is among them is left out, with what cites it. Raises Unjudged: the
        keys could not be had in the time of the `questions`.
        """
        by_id = {event.event_id: event for event in events}
        known = await self._known.facts(by_id)
        new = [event for event_id, event in by_id.items() if event_id not in known]
        if not new:
            return
        if questions is None:
            verified = await self._signatures.verify_events(new)
        else:
            verified = await questions.wait(lambda: self._signatures.verify_events(new))
        _warn_of_unverified(room, [event for event in new if event.event_id not in verified])
        new = [event for event in new if event.event_id in verified]
        for _ in range(_MAX_ROUNDS):
            if await self._insert(await self._judged(room, new)):
                return
            # Somebody else stores some of them at this moment. They have other numbers there.
            known = await self._known.facts(event.event_id for event in new)
            new = [event for event in new if event.event_id not in known]
        log.warning("events are stored by others all the time", room_id=room.room_id)

    async def _insert(self, rows: Sequence[EventRow]) -> bool:
        """Store all of some rows, which cite each other by their numbers, or none."""
        try:
            async with self._database.transaction("store_outliers") as tx:
                if await received_events.insert_outliers(tx, rows) < len(rows):
                    raise _Overtaken
        except _Overtaken:
            return False
        return True

    async def _judged(self, room: Room, events: Sequence[Event]) -> list[EventRow]:
        ordered = by_auth_events(events)
        base = await self._stored(room, ordered)
        nids = dict(zip((e.event_id for e in ordered), await self._nids(len(ordered)), strict=True))
        rows = []
        for number, event in enumerate(ordered):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            cited = base.cited(event)
            if cited is None:
                continue
            flags = OUTLIER
            if _refusal(room, event, cited, base.create):
                flags |= REJECTED
                base.rejected.add(event.event_id)
            base.add(event, nids[event.event_id])
            rows.append(outlier_row(room, event, nids[event.event_id], cited.nids, flags))
        return rows

    async def _nids(self, count: int) -> list[int]:
        return await self._row_numbers.outliers(count) if count else []

    async def _stored(self, room: Room, events: Sequence[Event]) -> "_Base":
        """Load what the events cite and is not among them."""
        wanted = {each for event in events for each in event.auth_events}
        if room.rules.room_id_is_create_hash:
            wanted.add(EventID(f"${room.room_id[1:]}"))
        facts = await self._known.facts(wanted - {event.event_id for event in events})
        loaded = await self._known.events(facts.values())
        base = _Base({}, {}, set(), None)
        for event_id, event in loaded.items():
            base.add(event, facts[event_id].event_nid)
            if is_rejected(facts[event_id]):
                base.rejected.add(event_id)
        return base


class _Base:
    """The events that others may cite, with their numbers."""

    def __init__(
        self,
        events: dict[EventID, Event],
        nids: dict[EventID, int],
        rejected: set[EventID],
        create: Event | None,
    ) -> None:
        self._events = events
        self._nids = nids
        self.rejected = rejected
        self.create = create

    def add(self, event: Event, event_nid: int) -> None:
        self._events[event.event_id] = event
        self._nids[event.event_id] = event_nid
        if event.type == "m.room.create" and event.event_id not in self.rejected:
            self.create = event

    def cited(self, event: Event) -> Cited | None:
        wanted = list(dict.fromkeys(event.auth_events))
        if any(each not in self._events for each in wanted):
            return None
        return Cited(
            [self._events[each] for each in wanted],
            [self._nids[each] for each in wanted],
            frozenset(each for each in wanted if each in self.rejected),
        )


def _warn_of_unverified(room: Room, events: Sequence[Event]) -> None:
    """Say once that events are left out: their servers may be gone, and their keys with them."""
    if events:
        servers = Counter(server_name_of(event.sender) for event in events)
        log.warning(
            "events without verified signatures left out",
            room_id=room.room_id,
            count=len(events),
            server_count=len(servers),
            servers=[server for server, _ in servers.most_common(_MAX_NAMED_SERVERS)],
        )


def _refusal(room: Room, event: Event, cited: Cited, create: Event | None) -> bool:
    try:
        check_auth(
            event,
            cited.events,
            room.rules,
            signed_by=lambda _server: True,
            rejected=cited.rejected,
            create_event=create,
        )
    except AuthRefusal:
        return True
    return False


def outlier_row(
    room: Room, event: Event, event_nid: int, auth_nids: Iterable[int], flags: int
) -> EventRow:
    """Return the row of an event outside of the timeline."""
    core, rest = split_event(event, room.rules)
    return EventRow(
        event_nid,
        event.event_id,
        room.room_nid,
        event.depth,
        event.type,
        event.sender,
        event.state_key,
        event.origin_server_ts,
        flags,
        None,
        None,
        None,
        0,
        0,
        None,
        None,
        list(auth_nids),
        core,
        rest,
    )
