"""Events whose prev events are missing: what came between, and the state at the gap.

Spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import Mapping
from typing import Final

from homeserver.errors import RemoteError
from homeserver.ports import EventPeers, EventSignatures
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.rooms.head import CREATE, RoomHead, StateEntry
from homeserver.rooms.receive.known import KnownEvents, is_outlier, is_rejected
from homeserver.rooms.receive.order import by_prev_events
from homeserver.rooms.receive.outliers import Outliers, Room, Unjudged
from homeserver.rooms.receive.pdus import readable_events
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


class Gaps:
    """Asks the server that has sent an event about what comes before it."""

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

    async def older(self, head: RoomHead, event: Event, server: ServerName) -> list[Event]:
        """Return missing events that lead up to an event, in order; as many as are to be had.

        Only its ancestors are taken, whatever the answers hold.
        """
        found: dict[EventID, Event] = {}
        latest = [event]
        for _ in range(MAX_ROUNDS):
            try:
                pdus = await self._peers.missing_events(
                    server,
                    head.room_id,
                    latest=[each.event_id for each in latest],
                    earliest=[event_id for _, event_id in head.extremities[-LIMIT:]],
                    limit=LIMIT,
                    min_depth=0,
                )
            except RemoteError as error:
                log.warning(
                    "missing events not had",
                    server=server,
                    event_id=event.event_id,
                    reason=str(error),
                )
                break
            answered = readable_events(pdus[:LIMIT], head.room_id, head.rules)
            by_id = {each.event_id: each for each in answered if each.event_id not in found}
            taken = await self._ancestors(latest, by_id)
            if not taken:
                break
            found.update(taken)
            latest = await self._open_ends(found)
            if not latest:
                break
        verified = await self._signatures.verify_events(list(found.values()))
        return by_prev_events([each for each in found.values() if each.event_id in verified])

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
        self, head: RoomHead, event: Event, server: ServerName
    ) -> dict[StateKey, StateEntry]:
        """Return the state before an event as another server tells it. Raises Unjudged.

        All of its events are stored afterwards; rejected ones are no part of it.
        """
        room = Room(head.room_id, head.room_nid, head.rules)
        try:
            answer = await self._peers.state_ids(server, head.room_id, event.event_id)
            wanted = list(dict.fromkeys(answer.pdu_ids))
            if len(wanted) + len(answer.auth_chain_ids) > MAX_STATE:
                log.warning("state too large", server=server, event_id=event.event_id)
                raise Unjudged
            missing = await self._outliers.missing(wanted)
            if len(missing) > _MANY:
                pdus, auth_chain = await self._peers.state(server, head.room_id, event.event_id)
                await self._outliers.store_pdus(room, [*auth_chain, *pdus])
                missing = await self._outliers.missing(missing)
        except RemoteError as error:
            log.warning("state not had", server=server, event_id=event.event_id, reason=str(error))
            raise Unjudged from error
        if missing:
            await self._outliers.fetch(room, missing, server)
        return await self._entries(head, await self._known.facts(wanted), len(wanted))

    async def _entries(
        self, head: RoomHead, facts: Mapping[EventID, EventFacts], wanted: int
    ) -> dict[StateKey, StateEntry]:
        if len(facts) < wanted:
            raise Unjudged
        chosen: dict[StateKey, EventFacts] = {}
        for each in facts.values():
            is_of_room = each.room_nid == head.room_nid and not is_rejected(each)
            if is_of_room and each.state_key is not None:
                chosen.setdefault((each.type, each.state_key), each)
        create = chosen.get(CREATE)
        if create is None or create.event_nid != head.state[CREATE].event_nid:
            log.warning("state of another room", room_id=head.room_id)
            raise Unjudged
        keys = await self._state_keys.nids(chosen)
        return {
            key: StateEntry(keys[key], each.event_nid, each.event_id, each.membership)
            for key, each in chosen.items()
        }
