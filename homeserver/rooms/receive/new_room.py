"""Rooms that come here by a join through another server.

Spec: server-server-api/#joining-rooms
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from homeserver.protocol.auth_rules.check import check_auth
from homeserver.protocol.create import room_creation, rules_of_create
from homeserver.protocol.errors import AuthRefusal, InvalidEvent, UnsupportedRoomVersion
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.protocol.join_rules import parse_join_rules
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.power_levels import parse_power_levels
from homeserver.protocol.room_versions import RoomVersionRules
from homeserver.rooms.build import Built
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import CREATE, RoomHead, StateEntry
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.judge import Judge
from homeserver.rooms.receive.judge_anew import ROOT_HEIGHT, Course, JudgeAnew
from homeserver.rooms.receive.known import (
    KnownEvents,
    is_extremity_material,
    is_outlier,
    is_rejected,
)
from homeserver.rooms.receive.outliers import Outliers, Room
from homeserver.rooms.receive.pdus import readable_slices
from homeserver.rooms.receive.place import Placing, Site
from homeserver.rooms.receive.states import RoomState, RoomStates
from homeserver.rooms.receive.take import Incoming, TakeEvents
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.rooms.rows import snapshot_row
from homeserver.rooms.state_keys import StateKeys
from homeserver.rooms.write import RoomWriter
from homeserver.storage import joined_rooms, judged_anew, received_events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import PARTIAL_STATE
from homeserver.storage.joined_rooms import Arrival, CompletedMember, PartialJoin
from homeserver.storage.judged_anew import Since
from homeserver.storage.received_events import EventFacts
from homeserver.storage.state import SnapshotLink
from homeserver.streams.entries import ROOM_COMPLETED
from homeserver.streams.log_writer import LogWriter
from homeserver.streams.tail import Tail
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)


class NewRoom:
    """Makes a room of what another server has answered to a join, and completes it."""

    def __init__(
        self,
        database: Database,
        writer: RoomWriter,
        heads: Heads,
        cache: EventCache,
        known: KnownEvents,
        judge: Judge,
        judge_anew: JudgeAnew,
        outliers: Outliers,
        states: RoomStates,
        placing: Placing,
        take_events: TakeEvents,
        row_numbers: RowNumbers,
        state_keys: StateKeys,
        log_writer: LogWriter,
        tail: Tail,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._writer = writer
        self._heads = heads
        self._cache = cache
        self._known = known
        self._judge = judge
        self._judge_anew = judge_anew
        self._outliers = outliers
        self._states = states
        self._placing = placing
        self._take_events = take_events
        self._row_numbers = row_numbers
        self._state_keys = state_keys
        self._log_writer = log_writer
        self._tail = tail
        self._server_name = server_name

    async def accept(
        self,
        rules: RoomVersionRules,
        join_event: Event,
        state_pdus: Sequence[JsonObject],
        auth_pdus: Sequence[JsonObject],
        *,
        server: ServerName,
        servers_in_room: Sequence[ServerName] = (),
        partial: bool = False,
    ) -> None:
        """Store a room with a local user's join, or put it right after an absence.

        `join_event` is as `server` has answered it, its signatures verified.
        `state_pdus` are the state before the join. What of them has no valid signature or no
        authorization is left out. `partial`: members were omitted, and `servers_in_room` says who
        is in the room. A room that this server is in already takes the join like any event.
        Raises InvalidEvent: the answer is of another room, or no whole one; AuthRefusal: its own
        state does not allow the join. Then nothing has changed.
        """
        room_id = join_event.room_id
        head = await self._heads.head(room_id)
        if head is not None and head.local_joined:
            await self._join_here(join_event, server)
            return
        state = await readable_slices(state_pdus, room_id, rules)
        events = [*await readable_slices(auth_pdus, room_id, rules), *state]
        create = _create_event(events, room_id, rules)
        async with self._database.connection("join_room") as connection:
            room_nid = await joined_rooms.ensure_room(
                connection, await self._row_numbers.room(), room_id, rules.version
            )
        room = Room(room_id, room_nid, rules)
        await self._outliers.store(room, events)
        entries = await self._entries(room, state)
        if CREATE not in entries or entries[CREATE].event_id != create.event_id:
            raise InvalidEvent("the state has not the room's create event")

        async def build(head: RoomHead | None) -> Sequence[Built]:
            if head is not None and head.local_joined:
                # Through another node, meanwhile: nobody shall be thrown out of the room.
                return []
            base = head or _empty_head(room, create)
            built = await self._build(base, create, join_event, entries, partial=partial)
            async with self._database.connection("join_room") as connection:
                await received_events.open_gap(
                    connection, room_nid, built.event_nid, await self._gap(join_event)
                )
            arrival = Arrival(
                room_nid,
                built.event_nid,
                built.head.chain[0].state_nid,
                servers_in_room if partial else None,
            )
            return [built._replace(write=built.write._replace(arrival=arrival))]

        if not await self._writer.write_joined(room_id, build):
            await self._join_here(join_event, server)

    async def _join_here(self, join_event: Event, server: ServerName) -> None:
        """Take a join like any event. Raises InvalidEvent."""
        if await self._take_events.take(join_event.room_id, [Incoming(join_event, server)]):
            raise InvalidEvent("the join cannot be judged")
        facts = (await self._known.facts([join_event.event_id])).get(join_event.event_id)
        if facts is None or not is_extremity_material(facts):
            raise InvalidEvent("the rules of the room do not allow the join here")

    async def complete(
        self, join: PartialJoin, state_pdus: Sequence[JsonObject], auth_pdus: Sequence[JsonObject]
    ) -> None:
        """Put what was omitted into a room. `state_pdus` are the whole state before the join.

        Raises InvalidEvent: the answer is of another room.
        """
        head = await self._heads.head(join.room_id)
        if head is None:
            return
        room = Room(join.room_id, join.room_nid, head.rules)
        state = await readable_slices(state_pdus, join.room_id, head.rules)
        events = [*await readable_slices(auth_pdus, join.room_id, head.rules), *state]
        create = _create_event(events, join.room_id, head.rules)
        if create.event_id != head.state[CREATE].event_id:
            raise InvalidEvent("the state has not the room's create event")
        await self._outliers.store(room, events)
        entries = await self._entries(room, state)
        (facts,) = (await self._known.facts([join.join_event_id])).values()
        before = await self._states.before(facts)
        omitted = {key: each for key, each in entries.items() if key not in before.entries}
        senders = {event.event_id: event.sender for event in state}
        members = [
            CompletedMember(
                entry.key_nid,
                entry.event_nid,
                key[1] if key[0] == "m.room.member" else None,
                entry.membership,
                senders[entry.event_id],
            )
            for key, entry in omitted.items()
        ]
        key: StateKey = ("m.room.member", facts.state_key or "")
        own_nid = await self._state_keys.nid(key)
        own = StateEntry(own_nid, join.join_nid, join.join_event_id, facts.membership)
        course = Course(before, omitted, key, own)
        # Most of it without the lock, which stops what is sent to the room.
        await self._judge_since(head, join, course)
        slot = self._heads.slot(join.room_id)
        async with slot.lock:
            if slot.written is not None:
                await asyncio.wait([slot.written])
            position, is_done = None, False
            while not is_done:  # Each time around another node has written to the room.
                position, is_done = await self._complete(head, join, members, course)
            slot.forget()
        if position is not None:
            await self._log_writer.told(position)

    async def _judge_since(self, head: RoomHead, join: PartialJoin, course: Course) -> Since | None:
        async with self._database.transaction(
            "accepted_since", isolation="repeatable_read", readonly=True
        ) as tx:
            since = await judged_anew.accepted_since(tx, join, course.position)
        if since is not None:
            await self._judge_anew.go_on(head, course, since)
        return since

    async def _complete(
        self,
        head: RoomHead,
        join: PartialJoin,
        members: Sequence[CompletedMember],
        course: Course,
    ) -> tuple[int | None, bool]:
        """Judge what came since a join, and complete the room unless more comes meanwhile.

        Returns the position, and whether that is so.
        """
        since = await self._judge_since(head, join, course)
        if since is None:
            return None, True
        undoing = await self._judge_anew.corrections(head, course, since.extremities)
        async with self._database.transaction("complete_room") as tx:
            if not await judged_anew.hold_room(tx, join.room_nid, since.version):
                return None, False
            if not await joined_rooms.is_open(tx, join):
                return None, True
            if undoing is not None:
                await judged_anew.undo(tx, join, undoing)
            position = await joined_rooms.complete(
                tx, join, members, server_name=self._server_name, kind=ROOM_COMPLETED
            )
            if undoing is not None and position is not None:
                await judged_anew.tell(tx, join.room_nid, undoing, position)
        return position, True

    async def abandon(self, join: PartialJoin) -> bool:
        """Wait no longer for the members of a room that no local user is in; whether it is so.

        Nobody tells this server about them then.
        """
        head = await self._heads.head(join.room_id)
        if head is None or head.local_joined:
            return False
        async with self._database.transaction("abandon_room") as tx:
            position = await joined_rooms.abandon(
                tx, join, server_name=self._server_name, kind=ROOM_COMPLETED
            )
        if position is not None:
            await self._log_writer.told(position)
        return True

    async def _entries(self, room: Room, events: Iterable[Event]) -> dict[StateKey, StateEntry]:
        """Return the accepted ones of the state events by their keys; of two the first."""
        by_id = {event.event_id: event for event in events}
        facts = await self._known.facts(by_id)
        chosen: dict[StateKey, EventFacts] = {}
        for event_id, each in facts.items():
            if each.room_nid != room.room_nid or is_rejected(each) or each.state_key is None:
                continue
            if chosen.setdefault((each.type, each.state_key), each) is each:
                self._cache.put(each.event_nid, by_id[event_id])
        keys = await self._state_keys.nids(chosen)
        return {
            key: StateEntry(keys[key], each.event_nid, each.event_id, each.membership)
            for key, each in chosen.items()
        }

    async def _build(
        self,
        head: RoomHead,
        create: Event,
        event: Event,
        entries: Mapping[StateKey, StateEntry],
        *,
        partial: bool,
    ) -> Built:
        cited = await self._judge.cited(event)
        if cited is None:
            raise InvalidEvent("an auth event of the join is not in the answer")
        check_auth(
            event,
            cited.events,
            head.rules,
            signed_by=lambda _server: True,
            rejected=cited.rejected,
            create_event=create,
        )
        supplement = cited.events if partial else ()
        refusal = await self._judge.by_state(event, entries, head, supplement)
        if refusal is not None:
            raise AuthRefusal(refusal.rule, refusal.reason)
        facts = await self._known.facts([event.event_id])
        stored = facts.get(event.event_id)
        nid = stored.event_nid if stored else await self._row_numbers.event()
        link = SnapshotLink(
            await self._row_numbers.state(),
            ROOT_HEIGHT,
            {entry.key_nid: entry.event_nid for entry in entries.values()},
        )
        before = RoomState(entries, (link,), (snapshot_row(link, head.room_nid, None),))
        key = ("m.room.member", event.state_key or "")
        own = StateEntry(await self._state_keys.nid(key), nid, event.event_id, event.membership)
        after = await self._states.with_changes(before, head.room_nid, {key: own})
        flags = PARTIAL_STATE if partial else 0
        site = Site(nid, cited.nids, before, after, after, ((nid, event.event_id),), flags)
        built = await self._placing.accepted(head, event, site)
        next_head = msgspec.structs.replace(built.head, is_partial_state=partial)
        return built._replace(head=next_head)

    async def _gap(self, event: Event) -> list[EventID]:
        # One that is stored as a part of the state has no place in the timeline yet.
        facts = await self._known.facts(event.prev_events)
        return [each for each in event.prev_events if is_outlier(facts.get(each))]


def _create_event(events: Iterable[Event], room_id: RoomID, rules: RoomVersionRules) -> Event:
    """Return the create event. Raises InvalidEvent: there is none of this room and version."""
    for event in events:
        if event.type == "m.room.create" and event.state_key == "" and event.room_id == room_id:
            try:
                version = rules_of_create(event.content).version
            except UnsupportedRoomVersion:
                continue
            if version == rules.version:
                return event
    raise InvalidEvent("the answer has no create event of the room and its version")


def _empty_head(room: Room, create: Event) -> RoomHead:
    creation = room_creation(create, room.rules)
    return RoomHead(
        room_nid=room.room_nid,
        room_id=room.room_id,
        rules=room.rules,
        version=0,
        depth=0,
        extremities=(),
        state={},
        chain=(),
        creation=creation,
        power_levels=parse_power_levels(creation, None, room.rules),
        join_rules=parse_join_rules(None, room.rules),
        joined=0,
        invited=0,
        local_joined=frozenset(),
        notify_seq=0,
        highlight_seq=0,
        threads={},
    )
