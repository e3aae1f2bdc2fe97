"""A room as everybody would have it who has all of its events: the model of receiving.

Other servers make their events here, and answer questions from here.
"""

import asyncio
from collections.abc import Iterable, Sequence
from hashlib import sha256

from homeserver.errors import RemoteError
from homeserver.ports import StateIDs
from homeserver.protocol.auth_rules.check import check_auth, check_state_dependent
from homeserver.protocol.auth_rules.selection import select_auth_events
from homeserver.protocol.errors import AuthRefusal, BadSignature
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.event_builder import EventDraft, build_event
from homeserver.protocol.event_signers import required_signers
from homeserver.protocol.hashing import reference_hash
from homeserver.protocol.identifiers import EventID, RoomID, ServerName, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import RoomVersionRules, rules_of
from homeserver.protocol.signing import SigningKey, signing_key_from_seed, verify_event
from homeserver.protocol.state_resolution.resolve import resolve_loaded
from homeserver.protocol.unpadded_base64 import encode_base64

State = dict[StateKey, EventID]


def key_of(server: str) -> SigningKey:
    """Return the key of a made-up server."""
    return signing_key_from_seed("test", sha256(server.encode()).digest())


class Dag:
    """All events of one room, with the states that the specification gives them."""

    def __init__(self, room_id: RoomID, rules: RoomVersionRules) -> None:
        self.room_id = room_id
        self.rules = rules
        self.events: dict[EventID, Event] = {}
        self.rejected: set[EventID] = set()
        self._before: dict[EventID, State] = {}
        self.serial = 0

    def add(self, event: Event) -> Event:
        """Take an event whose prev events are here."""
        self.events[event.event_id] = event
        self._before[event.event_id] = self.state_at(event.prev_events)
        if event.type != "m.room.create" and not self._is_allowed(event):
            self.rejected.add(event.event_id)
        return event

    def before(self, event_id: EventID) -> State:
        return self._before[event_id]

    def after(self, event_id: EventID) -> State:
        event, state = self.events[event_id], self._before[event_id]
        if event.state_key is None or event_id in self.rejected:
            return state
        return {**state, (event.type, event.state_key): event_id}

    def state_at(self, event_ids: Iterable[EventID]) -> State:
        """Return the resolved state after some events."""
        states = [self.after(each) for each in event_ids]
        if not states:
            return {}
        return resolve_loaded(states, self.events, self.rules, rejected=self.rejected)

    def is_joined(self, user_id: str, state: State) -> bool:
        event_id = state.get(("m.room.member", user_id))
        return event_id is not None and self.events[event_id].membership == "join"

    def auth_chain(self, event_ids: Iterable[EventID]) -> list[Event]:
        """Return everything that is cited, whoever cites it, without the events themselves."""
        pending = [a for each in event_ids for a in self.events[each].auth_events]
        chain: dict[EventID, Event] = {}
        while pending:
            event_id = pending.pop()
            if event_id not in chain:
                chain[event_id] = self.events[event_id]
                pending += self.events[event_id].auth_events
        return list(chain.values())

    def make(
        self,
        sender: str,
        event_type: str,
        content: JsonObject,
        after: Sequence[EventID],
        *,
        state_key: str | None = None,
        redacts: EventID | None = None,
        state: State | None = None,
        ts: int | None = None,
        depth: int | None = None,
        is_added: bool = True,
    ) -> Event:
        """Make an event of a made-up server, as a well-behaved one would, and add it.

        `state`: what its auth events are chosen from, if not what is before it.
        """
        self.serial += 1
        state = self.state_at(after) if state is None else state
        user_id = UserID(sender)
        keys = select_auth_events(event_type, user_id, state_key, content, self.rules)
        server = ServerName(sender.partition(":")[2])
        auth_events = [state[key] for key in keys if key in state]
        event = build_event(
            EventDraft(
                type=event_type,
                sender=user_id,
                content=content,
                room_id=self.room_id,
                state_key=state_key,
                redacts=redacts,
            ),
            rules=self.rules,
            prev_events=after,
            auth_events=auth_events,
            depth=1 + max(self.events[each].depth for each in after) if depth is None else depth,
            origin_server_ts=1_900_000_000_000 + self.serial if ts is None else ts,
            server_name=server,
            signing_key=key_of(server),
            opaque_id=f"{server.replace('.', '_').replace(':', '_')}_{self.serial}",
            reference_hashes={each: self._reference_hash(each) for each in {*after, *auth_events}},
        )
        return self.add(event) if is_added else event

    def _reference_hash(self, event_id: EventID) -> str:
        """Return what room versions 1 and 2 cite; of an unknown event something of that form."""
        known = self.events.get(event_id)
        return encode_base64(reference_hash(known.pdu, self.rules) if known else bytes(32))

    def _is_allowed(self, event: Event) -> bool:
        cited = [self.events[each] for each in event.auth_events]
        create = next(each for each in self.events.values() if each.type == "m.room.create")
        state = {key: self.events[each] for key, each in self._before[event.event_id].items()}
        try:
            check_auth(
                event,
                cited,
                self.rules,
                signed_by=lambda _server: True,
                rejected=self.rejected,
                create_event=create,
            )
            check_state_dependent(event, state, self.rules)
        except AuthRefusal:
            return False
        return True


class DagPeers:
    """Answers every question from models, as the one other server; counts the questions.

    `lies`: answers to take instead, by question name. `is_silent`: no answer at all; `silent`:
    none of these servers, which refuse; `slow`: these answer nothing before `is_over`.
    """

    def __init__(self) -> None:
        self.rooms: dict[RoomID, Dag] = {}
        self.asked: list[str] = []
        self.lies: dict[str, object] = {}
        self.is_silent = False
        self.silent: set[str] = set()
        self.slow: set[str] = set()
        # Whom a question has reached, in order.
        self.asked_of: list[str] = []
        # Set whenever somebody begins to wait for a slow server.
        self.is_awaited = asyncio.Event()
        self.is_over = asyncio.Event()
        # Events that the other server does not give away.
        self.hidden: set[EventID] = set()
        # How much of history it gives at once, and events that it gives otherwise than they are.
        self.page = 100
        self.shown: dict[EventID, JsonObject] = {}

    async def missing_events(
        self,
        server: ServerName,
        room_id: RoomID,
        *,
        latest: Sequence[EventID],
        earliest: Sequence[EventID],
        limit: int,
        min_depth: int,
    ) -> list[JsonObject]:
        if (lie := await self._asked(server, "missing_events")) is not None:
            return lie
        dag = self.rooms[room_id]
        found: list[EventID] = []
        pending = [prev for each in latest for prev in dag.events[each].prev_events]
        while pending and len(found) < limit:
            event_id = pending.pop(0)
            if event_id in found or event_id in earliest or event_id in self.hidden:
                continue
            found.append(event_id)
            pending += dag.events[event_id].prev_events
        return [dag.events[each].pdu for each in reversed(found)]

    async def event(self, server: ServerName, event_id: EventID) -> JsonObject:
        if (lie := await self._asked(server, "event")) is not None:
            return lie
        for dag in self.rooms.values():
            if event_id in dag.events and event_id not in self.hidden:
                return dag.events[event_id].pdu
        raise RemoteError(server, "no such event", status=404)

    async def event_auth(
        self, server: ServerName, room_id: RoomID, event_id: EventID
    ) -> list[JsonObject]:
        if (lie := await self._asked(server, "event_auth")) is not None:
            return lie
        return [each.pdu for each in self.rooms[room_id].auth_chain([event_id])]

    async def state_ids(self, server: ServerName, room_id: RoomID, event_id: EventID) -> StateIDs:
        if (lie := await self._asked(server, "state_ids")) is not None:
            return lie
        dag = self.rooms[room_id]
        ids = list(dag.before(event_id).values())
        return StateIDs(ids, [each.event_id for each in dag.auth_chain(ids)])

    async def state(
        self, server: ServerName, room_id: RoomID, event_id: EventID
    ) -> tuple[list[JsonObject], list[JsonObject]]:
        if (lie := await self._asked(server, "state")) is not None:
            return lie
        dag = self.rooms[room_id]
        ids = list(dag.before(event_id).values())
        return [dag.events[each].pdu for each in ids], [e.pdu for e in dag.auth_chain(ids)]

    async def backfill(
        self, server: ServerName, room_id: RoomID, event_ids: Sequence[EventID], limit: int
    ) -> list[JsonObject]:
        if (lie := await self._asked(server, "backfill")) is not None:
            return lie
        dag = self.rooms[room_id]
        found: list[EventID] = []
        pending = list(event_ids)
        while pending and len(found) < min(limit, self.page):
            event_id = pending.pop(0)
            if event_id in dag.events and event_id not in [*found, *self.hidden]:
                found.append(event_id)
                pending += dag.events[event_id].prev_events
        return [self.shown.get(each, dag.events[each].pdu) for each in found]

    async def timestamp_to_event(
        self, server: ServerName, room_id: RoomID, ts: int, *, forwards: bool
    ) -> tuple[EventID, int]:
        if (lie := await self._asked(server, "timestamp_to_event")) is not None:
            return lie
        times = [(e.origin_server_ts, i) for i, e in self.rooms[room_id].events.items()]
        if forwards:
            found = min((each for each in times if each[0] >= ts), default=None)
        else:
            found = max((each for each in times if each[0] <= ts), default=None)
        if found is None:
            raise RemoteError(server, "no event at that time", status=404)
        return found[1], found[0]

    async def _asked(self, server: str, question: str):
        self.asked.append(question)
        self.asked_of.append(server)
        if self.is_silent or server in self.silent:
            raise RemoteError(ServerName(server), "no answer")
        if server in self.slow:
            self.is_awaited.set()
            await self.is_over.wait()
            raise RemoteError(ServerName(server), "no answer")
        return self.lies.get(question)


class DagSignatures:
    """Verifies by the keys of made-up servers, and of those that are given."""

    def __init__(self, known: dict[str, SigningKey]) -> None:
        self.known = known
        self.verified = 0

    async def verify_events(self, events: Sequence[Event]) -> frozenset[EventID]:
        self.verified += len(events)
        return frozenset(event.event_id for event in events if self._is_signed(event))

    def _is_signed(self, event: Event) -> bool:
        rules = rules_of(event.room_version)
        for server in required_signers(event, rules) or ():
            key = self.known.get(server) or key_of(server)
            try:
                verify_event(event.pdu, rules, server, key.key_id, key.verify_key)
            except BadSignature:
                return False
        return True
