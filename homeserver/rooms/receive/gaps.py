"""Events whose prev events are missing: what came between, and the state at the gap.

Spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from homeserver.errors import RemoteError
from homeserver.ports import EventPeers, EventSignatures
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.head import CREATE, RoomHead, StateEntry
from homeserver.rooms.receive.known import KnownEvents, is_outlier, is_rejected
from homeserver.rooms.receive.order import by_prev_events
from homeserver.rooms.receive.outliers import Outliers, Room
from homeserver.rooms.receive.pdus import readable_events
from homeserver.rooms.receive.questions import Questions, Unjudged
from homeserver.rooms.state_keys import StateKeys
from homeserver.storage.received_events import EventFacts
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# Five rounds of twenty: what is older is a gap, which backfill fills when somebody looks there.
MAX_ROUNDS: Final = 5
LIMIT: Final = 20
# A room's state: more members than any known room has.
MAX_STATE: Final = 200_000
# So many missing events are better asked for at once than one by one.
_MANY: Final = 20
# An answer has up to 256 MiB, and takes some times that in memory.
_STATES_AT_ONCE: Final = 4


class Older(NamedTuple):
    """Events that lead up to another one, in order, and the server that has given them."""

    server: ServerName
    events: list[Event]


class Gaps:
    """Asks servers about what comes before an event."""

    def __init__(
        self,
        known: KnownEvents,
        outliers: Outliers,
        state_keys: StateKeys,
        peers: EventPeers,
        signatures: EventSignatures,
    ) -> None:
        self._known = known
        self._outliers = outliers
        self._state_keys = state_keys
        self._peers = peers
        self._signatures = signatures
        self._whole_states = asyncio.Semaphore(_STATES_AT_ONCE)

    async def older(
        self, head: RoomHead, event: Event, gap: Sequence[EventID], questions: Questions
    ) -> Older | None:
        """Return missing events that lead up to an event; as many as are to be had of one server.

        Only its ancestors are taken, whatever the answers hold. Raises Unjudged: the time for
        questions is used up before anything was had.
        """
        asked: set[ServerName] = set()
        while (server := await questions.next_server(asked)) is not None:
            found = list((await self._older_of(server, head, event, gap, questions)).values())
            if not found:
                continue
            verified = await questions.wait(partial(self._signatures.verify_events, found))
            events = [each for each in found if each.event_id in verified]
            if events:
                return Older(server, by_prev_events(events))
        return None

    async def _older_of(
        self,
        server: ServerName,
        head: RoomHead,
        event: Event,
        gap: Sequence[EventID],
        questions: Questions,
    ) -> dict[EventID, Event]:
        found: dict[EventID, Event] = {}
        latest = [event]
        try:
            for _ in range(MAX_ROUNDS):
                if latest == [event] and server != questions.origin:
                    # Others need not have the event, which its origin may have sent to us only.
                    pdus = await questions.ask(
                        server, lambda: self._peers.backfill(server, head.room_id, gap, LIMIT)
                    )
                else:
                    pdus = await self._missing(server, head, latest, questions)
                answered = readable_events(pdus[:LIMIT], head.room_id, head.rules)
                by_id = {each.event_id: each for each in answered if each.event_id not in found}
                taken = await self._ancestors(latest, by_id)
                if not taken:
                    break
                found.update(taken)
                latest = await self._open_ends(found)
                if not latest:
                    break
        except RemoteError as error:
            log.warning(
                "missing events not had",
                server=server,
                event_id=event.event_id,
                reason=str(error),
            )
        return found

    async def _missing(
        self, server: ServerName, head: RoomHead, latest: Sequence[Event], questions: Questions
    ) -> list[JsonObject]:
        return await questions.ask(
            server,
            lambda: self._peers.missing_events(
                server,
                head.room_id,
                latest=[each.event_id for each in latest],
                earliest=[event_id for _, event_id in head.extremities[-LIMIT:]],
                limit=LIMIT,
                min_depth=0,
            ),
        )

    async def _ancestors(
        self, latest: list[Event], answered: Mapping[EventID, Event]
    ) -> dict[EventID, Event]:
        facts = await self._known.facts(answered)
        taken: dict[EventID, Event] = {}
        pending = [each for event in latest for each in event.prev_events]
        while pending:
            event_id = pending.pop()
            event = answered.get(event_id)
            if event is not None and event_id not in taken and is_outlier(facts.get(event_id)):
                taken[event_id] = event
                pending += event.prev_events
        return taken

    async def _open_ends(self, found: Mapping[EventID, Event]) -> list[Event]:
        """Return the events with prev events that are neither found nor stored."""
        prevs = {each for event in found.values() for each in event.prev_events} - found.keys()
        facts = await self._known.facts(prevs)
        missing = {each for each in prevs if is_outlier(facts.get(each))}
        return [event for event in found.values() if missing.intersection(event.prev_events)]

    async def state_before(
        self, head: RoomHead, event: Event, server: ServerName, questions: Questions
    ) -> dict[StateKey, StateEntry]:
        """Return the state before an event as another server tells it. Raises Unjudged.

        `server` is asked first. All of the events are stored afterwards; rejected ones are no
        part of the state.
        """
        asked: set[ServerName] = set()
        while (each := await questions.next_server(asked, server)) is not None:
            try:
                state = await self._state_of(each, head, event, questions)
            except RemoteError as error:
                log.warning(
                    "state not had", server=each, event_id=event.event_id, reason=str(error)
                )
                continue
            if state is not None:
                return state
        raise Unjudged

    async def _state_of(
        self, server: ServerName, head: RoomHead, event: Event, questions: Questions
    ) -> dict[StateKey, StateEntry] | None:
        room, event_id = Room(head.room_id, head.room_nid, head.rules), event.event_id
        answer = await questions.ask(
            server, lambda: self._peers.state_ids(server, head.room_id, event_id)
        )
        wanted = list(dict.fromkeys(answer.pdu_ids))
        if len(wanted) + len(answer.auth_chain_ids) > MAX_STATE:
            log.warning("state too large", server=server, event_id=event_id)
            return None
        missing = await self._outliers.missing(wanted)
        if len(missing) > _MANY:
            await self._store_whole(server, room, event_id, questions)
            missing = await self._outliers.missing(missing)
        if missing:
            await self._outliers.fetch(room, missing, server, questions)
        return await self._entries(head, await self._known.facts(wanted), len(wanted), server)

    async def _store_whole(
        self, server: ServerName, room: Room, event_id: EventID, questions: Questions
    ) -> None:
        # The place is had in the server's own time, or others would wait for those who are slow.
        async def ask() -> tuple[list[JsonObject], list[JsonObject]]:
            async with self._whole_states:
                return await self._peers.state(server, room.room_id, event_id)

        pdus, auth_chain = await questions.ask(server, ask)
        await self._outliers.store_pdus(room, [*auth_chain, *pdus], questions)

    async def _entries(
        self, head: RoomHead, facts: Mapping[EventID, EventFacts], wanted: int, server: ServerName
    ) -> dict[StateKey, StateEntry] | None:
        if len(facts) < wanted:
            log.warning("state not complete", server=server, room_id=head.room_id)
            return None
        chosen: dict[StateKey, EventFacts] = {}
        for each in facts.values():
            is_of_room = each.room_nid == head.room_nid and not is_rejected(each)
            if is_of_room and each.state_key is not None:
                chosen.setdefault((each.type, each.state_key), each)
        create = chosen.get(CREATE)
        if create is None or create.event_nid != head.state[CREATE].event_nid:
            log.warning("state of another room", server=server, room_id=head.room_id)
            return None
        keys = await self._state_keys.nids(chosen)
        return {
            key: StateEntry(keys[key], each.event_nid, each.event_id, each.membership)
            for key, each in chosen.items()
        }
