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
from homeserver.protocol.event_format import MAX_PREV_EVENTS
from homeserver.protocol.hashing import reference_hash
from homeserver.protocol.identifiers import EventID, ServerName, server_name_of
from homeserver.protocol.join_rules import parse_join_rules
from homeserver.protocol.power_levels import parse_power_levels
from homeserver.protocol.room_versions import EventIDFormat, RoomVersionRules
from homeserver.protocol.signing import SigningKey
from homeserver.protocol.unpadded_base64 import encode_base64
from homeserver.rooms.counting import Counting
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import POWER_LEVELS, RoomHead, StateEntry, with_changes, with_delta
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.redactions import Redactions
from homeserver.rooms.relating import Relating
from homeserver.rooms.row_numbers import RowNumbers
from homeserver.rooms.rows import (
    Placed,
    counted,
    event_row,
    read_row,
    room_write,
    snapshot_row,
    thread_row,
)
from homeserver.rooms.state_keys import StateKeys
from homeserver.storage.event_writes import (
    PARTIAL_STATE,
    PASSED_ON,
    MembershipWrite,
    NewRoomWrite,
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


def passed_on(built: Built) -> Built:
    """Return an event of a user of another server that this one sends to the others."""
    row = built.write.event
    return built._replace(
        write=built.write._replace(event=row._replace(flags=row.flags | PASSED_ON))
    )


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
        policy_servers: PolicyServers,
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._cache = cache
        self._row_numbers = row_numbers
        self._state_keys = state_keys
        self._redactions = redactions
        self._relating = relating
        self._counting = counting
        self._policy_servers = policy_servers
        self._last_creation_ts = 0

    async def begin_room(self, draft: EventDraft, rules: RoomVersionRules) -> Built:
        """Build the create event of a new room. Raises AuthRefusal, InvalidEvent."""
        event = self._sign(draft, rules, None, [], {}, Sent(origin_server_ts=self._creation_ts()))
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
        built = await self.place(empty, event, await self._row_numbers.event(), [], Sent())
        new_room = NewRoomWrite(empty.room_nid, empty.room_id, rules.version)
        return built._replace(write=built.write._replace(new_room=new_room))

    def _creation_ts(self) -> int:
        # Never twice the same: where the room ID is a hash, two rooms of one creator would be one.
        self._last_creation_ts = max(self._clock.now_ms(), self._last_creation_ts + 1)
        return self._last_creation_ts

    async def build(self, head: RoomHead, draft: EventDraft, sent: Sent | None = None) -> Built:
        """Build an event on a head.

        Raises AuthRefusal, InvalidEvent, EventTooLarge, InvalidJson, and what a policy server
        refuses with: then nothing has changed.
        """
        sent = sent or Sent()
        event, entries = await self._permitted(head, draft, sent)
        event = await self._policy_servers.signed(head, event)
        cited = [entry.event_nid for entry in entries]
        built = await self.place(head, event, await self._row_numbers.event(), cited, sent)
        is_own = server_name_of(event.sender) == self._identity.server_name
        # Invites by address may be made in the name of users of other servers.
        return built if is_own else passed_on(built)

    async def propose(self, head: RoomHead, draft: EventDraft) -> Event:
        """Return the event that a draft would be on a head; it is a template, and never sent.

        No policy server is asked, which may sign what is made of it. Raises AuthRefusal,
        InvalidEvent, EventTooLarge, InvalidJson.
        """
        return (await self._permitted(head, draft, Sent()))[0]

    async def _permitted(
        self, head: RoomHead, draft: EventDraft, sent: Sent
    ) -> tuple[Event, list[StateEntry]]:
        """Return an event that the rules allow, and what it cites."""
        if draft.type == "m.room.create":
            raise AuthRefusal(AuthRule.CREATE_PREV_EVENTS, "The room has been created already")
        wanted = select_auth_events(
            draft.type, draft.sender, draft.state_key, draft.content, head.rules
        )
        entries = {key: head.state[key] for key in wanted if key in head.state}
        loaded = await self._load(head, entries)
        auth_ids = [entry.event_id for entry in entries.values()]
        event = self._sign(draft, head.rules, head, auth_ids, loaded.reference_hashes, sent)
        check_in_context(event, head.auth_context(loaded.state.get))
        return event, list(entries.values())

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
            # So many extremities are brought down at once (receive/extremities.py).
            prev_events=[event_id for _, event_id in head.extremities[-MAX_PREV_EVENTS:]]
            if head
            else [],
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

    async def place(
        self, head: RoomHead, event: Event, event_nid: int, auth_nids: list[int], sent: Sent
    ) -> Built:
        """Compose the rows of an event before which the room is in the state of the head.

        The rules have accepted it in that state.
        """
        # The next event of the same write cites it; nobody else knows the number before.
        self._cache.put(event_nid, event)
        related = await self._relating.of(head, event)
        counts = await self._counting.of(head, event, related.thread_nid)
        replaced = (
            None if event.state_key is None else head.state.get((event.type, event.state_key))
        )
        placed = Placed(
            event_nid,
            head.state_nid if head.chain else None,
            auth_nids,
            flags=PARTIAL_STATE if head.is_partial_state else 0,
            replaces_nid=replaced.event_nid if replaced else None,
            device_id=sent.device_id,
            txn_id=sent.txn_id,
        )
        next_head = msgspec.structs.replace(
            counted(head, counts, related.thread_nid),
            version=event_nid,
            depth=event.depth,
            extremities=(*_uncited(head, event), (event_nid, event.event_id)),
        )
        write = EventWrite(
            room_id=head.room_id,
            room=room_write(head, next_head),
            event=event_row(head, event, placed, counts, related),
            relation=related.row(event, event_nid, head.room_nid),
            thread=thread_row(head, event_nid, counts, related),
            read=read_row(head, event, counts, related, self._identity.server_name),
            notifications=counts.rows(head.room_nid, event_nid, related.thread_nid),
            redaction=await self._redactions.of(head, event, event_nid),
        )
        built = Built(event, event_nid, write, next_head)
        if event.state_key is None:
            return built
        return await self._place_state(built, (event.type, event.state_key), replaced)

    async def _place_state(self, built: Built, key: StateKey, replaced: StateEntry | None) -> Built:
        event, event_nid, head = built.event, built.event_nid, built.head
        key_nid = await self._state_keys.nid(key)
        chain, snapshot, parent_nid = with_delta(
            head.chain, await self._row_numbers.state(), {key_nid: event_nid}
        )
        entry = StateEntry(key_nid, event_nid, event.event_id, event.membership)
        next_head = msgspec.structs.replace(
            with_changes(head, {key: entry}, {key: event}, self._identity.server_name), chain=chain
        )
        replaced_event = None
        if replaced is not None:
            replaced_event = (await self._cache.get([replaced.event_nid])).get(replaced.event_nid)
        memberships = []
        if event.membership is not None:
            memberships.append(
                MembershipWrite(0, key[1], head.room_nid, event.membership, event_nid, event.sender)
            )
        write = built.write._replace(
            room=built.write.room._replace(state_nid=snapshot.state_nid),
            snapshots=[snapshot_row(snapshot, head.room_nid, parent_nid)],
            state_changes=[StateChange(key_nid, key, event_nid, event.event_id, event.membership)],
            memberships=memberships,
            replaced_core=split_event(replaced_event, head.rules)[0] if replaced_event else None,
            replaced_id=replaced_event.event_id if replaced_event else None,
        )
        return built._replace(write=write, head=next_head)


class _Loaded(NamedTuple):
    state: dict[StateKey, Event]
    reference_hashes: dict[EventID, str]


def _uncited(head: RoomHead, event: Event) -> list[tuple[int, EventID]]:
    return [entry for entry in head.extremities if entry[1] not in event.prev_events]
