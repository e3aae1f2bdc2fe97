"""From a draft to an event and everything that is written with it.

Step 3 of sending: the draft is placed on the head, hashed, signed, judged by the authorization
rules, counted by the push rules; what comes out is one write and the next head.
"""

import secrets
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from homeserver.protocol.auth_rules.check import check_in_context
from homeserver.protocol.auth_rules.create import check_create
from homeserver.protocol.auth_rules.rule_names import AuthRule
from homeserver.protocol.auth_rules.selection import select_auth_events
from homeserver.protocol.client_event import split_event
from homeserver.protocol.create import room_creation
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.event_builder import EventDraft, build_event
from homeserver.protocol.hashing import reference_hash
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.protocol.join_rules import parse_join_rules
from homeserver.protocol.power_levels import parse_power_levels
from homeserver.protocol.room_versions import EventIDFormat, RoomVersionRules
from homeserver.protocol.signing import SigningKey
from homeserver.protocol.unpadded_base64 import encode_base64
from homeserver.rooms.counting import Counting, Counts
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import (
    CREATE,
    POWER_LEVELS,
    RoomHead,
    StateEntry,
    with_delta,
    with_local_member,
)
from homeserver.rooms.redactions import Redactions
from homeserver.rooms.relating import Related, Relating
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.rooms.state_keys import StateKeys
from homeserver.storage.event_writes import (
    EventRow,
    MembershipWrite,
    NewRoomWrite,
    ReadWrite,
    RoomWrite,
    SnapshotWrite,
    ThreadWrite,
)
from homeserver.streams.entries import StateChange
from homeserver.streams.event_appender import EventWrite
from homeserver.telemetry.clock import Clock


class Sent(NamedTuple):
    """By which device and transaction ID a draft came, for `unsigned` and idempotence."""

    device_id: str | None = None
    txn_id: str | None = None
    # Application services may set the time. Spec: application-service-api/#timestamp-massaging
    origin_server_ts: int | None = None


class Built(NamedTuple):
    """An event that is ready to be written, and the head that stands when it is."""

    event: Event
    event_nid: int
    write: EventWrite
    head: RoomHead


class Identity(NamedTuple):
    """Who signs the events of this server."""

    server_name: ServerName
    signing_key: SigningKey


class EventBuilder:
    """Builds events on heads. It writes nothing."""

    def __init__(
        self,
        identity: Identity,
        clock: Clock,
        cache: EventCache,
        row_numbers: RowNumbers,
        state_keys: StateKeys,
        redactions: Redactions,
        relating: Relating,
        counting: Counting,
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._cache = cache
        self._row_numbers = row_numbers
        self._state_keys = state_keys
        self._redactions = redactions
        self._relating = relating
        self._counting = counting

    async def begin_room(self, draft: EventDraft, rules: RoomVersionRules) -> Built:
        """Build the create event of a new room. Raises AuthRefusal, InvalidEvent."""
        event = self._sign(draft, rules, None, [], {}, Sent())
        check_create(event, rules)
        creation = room_creation(event, rules)
        empty = RoomHead(
            room_nid=await self._row_numbers.room(),
            room_id=event.room_id,
            rules=rules,
            version=0,
            depth=0,
            extremities=(),
            state={},
            chain=(),
            creation=creation,
            power_levels=parse_power_levels(creation, None, rules),
            join_rules=parse_join_rules(None, rules),
            joined=0,
            invited=0,
            local_joined=frozenset(),
            notify_seq=0,
            highlight_seq=0,
            threads={},
        )
        built = await self._place(empty, event, {}, Sent())
        new_room = NewRoomWrite(empty.room_nid, empty.room_id, rules.version)
        return built._replace(write=built.write._replace(new_room=new_room))

    async def build(self, head: RoomHead, draft: EventDraft, sent: Sent | None = None) -> Built:
        """Build an event on a head.

        Raises AuthRefusal, InvalidEvent, EventTooLarge, InvalidJson: then nothing has changed.
        """
        if draft.type == "m.room.create":
            raise AuthRefusal(AuthRule.CREATE_PREV_EVENTS, "The room has been created already")
        sent = sent or Sent()
        wanted = select_auth_events(
            draft.type, draft.sender, draft.state_key, draft.content, head.rules
        )
        entries = {key: head.state[key] for key in wanted if key in head.state}
        loaded = await self._load(head, entries)
        auth_ids = [entry.event_id for entry in entries.values()]
        event = self._sign(draft, head.rules, head, auth_ids, loaded.reference_hashes, sent)
        check_in_context(event, head.auth_context(loaded.state.get))
        return await self._place(head, event, loaded.state, sent)

    async def _load(self, head: RoomHead, entries: Mapping[StateKey, StateEntry]) -> "_Loaded":
        by_nid = {entry.event_nid: key for key, entry in entries.items()}
        if POWER_LEVELS in head.state:
            by_nid.setdefault(head.state[POWER_LEVELS].event_nid, POWER_LEVELS)
        needs_hashes = head.rules.event_id_format is EventIDFormat.SERVER_CHOSEN
        prev_nids = [nid for nid, _ in head.extremities] if needs_hashes else []
        events = await self._cache.get([*by_nid, *prev_nids])
        hashes = {}
        if needs_hashes:
            hashes = {
                event.event_id: encode_base64(reference_hash(event.pdu, head.rules))
                for event in events.values()
            }
        state = {key: events[nid] for nid, key in by_nid.items() if nid in events}
        return _Loaded(state, hashes)

    def _sign(
        self,
        draft: EventDraft,
        rules: RoomVersionRules,
        head: RoomHead | None,
        auth_events: list[EventID],
        reference_hashes: Mapping[EventID, str],
        sent: Sent,
    ) -> Event:
        is_chosen = rules.event_id_format is EventIDFormat.SERVER_CHOSEN
        return build_event(
            draft,
            rules=rules,
            prev_events=[event_id for _, event_id in head.extremities] if head else [],
            auth_events=auth_events,
            depth=head.depth + 1 if head else 1,
            origin_server_ts=self._clock.now_ms()
            if sent.origin_server_ts is None
            else sent.origin_server_ts,
            server_name=self._identity.server_name,
            signing_key=self._identity.signing_key,
            opaque_id=secrets.token_urlsafe(15) if is_chosen else None,
            reference_hashes=reference_hashes,
        )

    async def _place(
        self, head: RoomHead, event: Event, auth_state: Mapping[StateKey, Event], sent: Sent
    ) -> Built:
        """Compose the rows of an event that the rules have accepted, and the next head."""
        event_nid = await self._row_numbers.event()
        # The next event of the same write cites it; nobody else knows the number before.
        self._cache.put(event_nid, event)
        related = await self._relating.of(head, event)
        counts = await self._counting.of(head, event, related.thread_nid)
        next_head = _counted(head, counts, related.thread_nid)
        next_head = msgspec.structs.replace(
            next_head,
            version=event_nid,
            depth=event.depth,
            extremities=((event_nid, event.event_id),),
        )
        write = EventWrite(
            room_id=head.room_id,
            room=_room_write(head, next_head),
            event=_row(head, event, event_nid, auth_state, counts, related, sent),
            relation=related.row(event, event_nid, head.room_nid),
            thread=_thread_write(head, event_nid, counts, related),
            read=_read_write(head, event, counts, related, self._identity.server_name),
            notifications=counts.rows(head.room_nid, event_nid, related.thread_nid),
            redaction=await self._redactions.of(head, event, event_nid),
        )
        if event.state_key is None:
            return Built(event, event_nid, write, next_head)
        return await self._place_state(Built(event, event_nid, write, next_head), event.state_key)

    async def _place_state(self, built: Built, state_key: str) -> Built:
        event, head = built.event, built.head
        key = (event.type, state_key)
        key_nid = await self._state_keys.nid(key)
        replaced = head.state.get(key)
        chain, snapshot, parent_nid = with_delta(
            head.chain, await self._row_numbers.state(), {key_nid: built.event_nid}
        )
        entry = StateEntry(key_nid, built.event_nid, event.event_id, event.membership)
        next_head = _with_state(head, event, key, entry, replaced, self._identity)
        next_head = msgspec.structs.replace(next_head, chain=chain)
        replaced_event = None
        if replaced is not None:
            found = await self._cache.get([replaced.event_nid])
            replaced_event = found.get(replaced.event_nid)
        write = built.write._replace(
            room=built.write.room._replace(state_nid=snapshot.state_nid),
            event=built.write.event._replace(replaces_nid=replaced.event_nid if replaced else None),
            snapshots=[
                SnapshotWrite(
                    snapshot.state_nid,
                    head.room_nid,
                    parent_nid,
                    snapshot.height,
                    list(snapshot.delta.keys()),
                    list(snapshot.delta.values()),
                )
            ],
            state_changes=[
                StateChange(key_nid, key, built.event_nid, event.event_id, event.membership)
            ],
            membership=_membership_write(built, state_key),
            replaced_core=split_event(replaced_event, head.rules)[0] if replaced_event else None,
            replaced_id=replaced_event.event_id if replaced_event else None,
        )
        return built._replace(write=write, head=next_head)


class _Loaded(NamedTuple):
    state: dict[StateKey, Event]
    reference_hashes: dict[EventID, str]


def _room_write(head: RoomHead, next_head: RoomHead) -> RoomWrite:
    return RoomWrite(
        head.room_nid,
        head.version,
        next_head.version,
        next_head.depth,
        [nid for nid, _ in next_head.extremities],
        head.state_nid if head.chain else 0,
        next_head.notify_seq,
        next_head.highlight_seq,
    )


def _row(
    head: RoomHead,
    event: Event,
    event_nid: int,
    auth_state: Mapping[StateKey, Event],
    counts: Counts,
    related: Related,
    sent: Sent,
) -> EventRow:
    core, rest = split_event(event, head.rules)
    cited = set(event.auth_events)
    return EventRow(
        event_nid,
        event.event_id,
        head.room_nid,
        event.depth,
        event.type,
        event.sender,
        event.state_key,
        event.origin_server_ts,
        0,
        head.state_nid if head.chain else None,
        None,
        related.thread_nid,
        counts.notify_seq,
        counts.highlight_seq,
        sent.device_id,
        sent.txn_id,
        [head.state[key].event_nid for key, event in auth_state.items() if event.event_id in cited],
        core,
        rest,
    )


def _thread_write(
    head: RoomHead, event_nid: int, counts: Counts, related: Related
) -> ThreadWrite | None:
    if related.thread_nid is None:
        return None
    return ThreadWrite(
        0,
        head.room_nid,
        related.thread_nid,
        event_nid,
        related.is_thread_reply,
        counts.notify_seq,
        counts.highlight_seq,
    )


def _read_write(
    head: RoomHead, event: Event, counts: Counts, related: Related, server_name: ServerName
) -> ReadWrite | None:
    """A local sender has read what stands before the own message, or before the own join."""
    if not event.sender.endswith(f":{server_name}"):
        return None
    if event.state_key is not None:
        is_joining = event.membership == "join" and event.state_key == event.sender
        if not is_joining or head.membership_of(event.sender) == "join":
            return None
        return ReadWrite(0, event.sender, head.room_nid, "", head.notify_seq, head.highlight_seq)
    return ReadWrite(
        0,
        event.sender,
        head.room_nid,
        related.thread_id,
        counts.notify_seq,
        counts.highlight_seq,
    )


def _membership_write(built: Built, user_id: str) -> MembershipWrite | None:
    event = built.event
    if event.membership is None:
        return None
    return MembershipWrite(
        0, user_id, built.head.room_nid, event.membership, built.event_nid, event.sender
    )


def _counted(head: RoomHead, counts: Counts, thread_nid: int | None) -> RoomHead:
    if thread_nid is None:
        if counts.notify_seq == head.notify_seq and counts.highlight_seq == head.highlight_seq:
            return head
        return msgspec.structs.replace(
            head, notify_seq=counts.notify_seq, highlight_seq=counts.highlight_seq
        )
    threads = {**head.threads, thread_nid: (counts.notify_seq, counts.highlight_seq)}
    return msgspec.structs.replace(head, threads=threads)


def _with_state(
    head: RoomHead,
    event: Event,
    key: StateKey,
    entry: StateEntry,
    replaced: StateEntry | None,
    identity: Identity,
) -> RoomHead:
    changes: dict[str, object] = {"state": {**head.state, key: entry}}
    if event.type == "m.room.member":
        before = replaced.membership if replaced else None
        changes["joined"] = head.joined + (entry.membership == "join") - (before == "join")
        changes["invited"] = head.invited + (entry.membership == "invite") - (before == "invite")
        changes["local_joined"] = with_local_member(
            head.local_joined, key[1], entry.membership, identity.server_name
        )
    elif key == CREATE:
        changes["creation"] = room_creation(event, head.rules)
    elif key == POWER_LEVELS:
        changes["power_levels"] = parse_power_levels(head.creation, event.content, head.rules)
    elif key == ("m.room.join_rules", ""):
        changes["join_rules"] = parse_join_rules(event.content, head.rules)
    return msgspec.structs.replace(head, **changes)
