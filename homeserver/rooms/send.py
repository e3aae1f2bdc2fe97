"""Sending an event to a room that this server is in.

Spec: client-server-api/#sending-events-to-a-room
"""

from collections.abc import Sequence

from homeserver.errors import Forbidden, NotFound
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.identifiers import EventID, RoomID
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.build import Built, Sent
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.redactions import Redactions
from homeserver.rooms.relation_checks import RelationChecks
from homeserver.rooms.transactions import SentTransactions, TransactionKey, redaction_path
from homeserver.rooms.write import RoomWriter
from homeserver.web.requester import Requester


class SendEvent:
    """Sends messages, state and redactions for local users."""

    def __init__(
        self,
        writer: RoomWriter,
        transactions: SentTransactions,
        redactions: Redactions,
        cache: EventCache,
        relation_checks: RelationChecks,
    ) -> None:
        self._writer = writer
        self._transactions = transactions
        self._redactions = redactions
        self._cache = cache
        self._relation_checks = relation_checks

    async def message(
        self,
        requester: Requester,
        room_id: RoomID,
        event_type: str,
        txn_id: str,
        content: JsonObject,
        *,
        origin_server_ts: int | None = None,
    ) -> EventID:
        """Send a message event, once per transaction ID.

        Raises Forbidden, AuthRefusal, InvalidEvent, EventTooLarge, NotFound, and what
        `RelationChecks.check` raises.
        """
        draft = EventDraft(
            type=event_type, sender=requester.user_id, content=content, room_id=room_id
        )
        if event_type == "m.room.redaction":
            redacts = content.get("redacts")
            if isinstance(redacts, str):
                return await self.redaction(requester, room_id, EventID(redacts), txn_id, content)
        return await self._send_once(requester, draft, txn_id, origin_server_ts)

    async def redaction(
        self,
        requester: Requester,
        room_id: RoomID,
        redacts: EventID,
        txn_id: str,
        content: JsonObject,
    ) -> EventID:
        """Redact an event, once per transaction ID.

        Raises NotFound: the room has no such event; Forbidden: the requester may not redact it.
        """
        draft = EventDraft(
            type="m.room.redaction",
            sender=requester.user_id,
            content={key: value for key, value in content.items() if key != "redacts"},
            room_id=room_id,
            redacts=redacts,
        )
        return await self._send_once(requester, draft, txn_id, None)

    async def state(
        self,
        requester: Requester,
        room_id: RoomID,
        event_type: str,
        state_key: str,
        content: JsonObject,
        *,
        origin_server_ts: int | None = None,
    ) -> EventID:
        """Set a state event. The same content by the same sender again changes nothing.

        Raises Forbidden, AuthRefusal, InvalidEvent, EventTooLarge, NotFound.
        """
        draft = EventDraft(
            type=event_type,
            sender=requester.user_id,
            content=content,
            room_id=room_id,
            state_key=state_key,
        )
        sent = Sent(requester.device_id or "", None, origin_server_ts)
        unchanged: list[EventID] = []

        async def build(head: RoomHead) -> Sequence[Built]:
            unchanged[:] = await self._unchanged(head, draft)
            return [] if unchanged else [await self._writer.builder.build(head, draft, sent)]

        built = await self._writer.write(room_id, build)
        return built[0].event.event_id if built else unchanged[0]

    async def _send_once(
        self, requester: Requester, draft: EventDraft, txn_id: str, origin_server_ts: int | None
    ) -> EventID:
        assert draft.room_id is not None
        path = draft.type if draft.redacts is None else redaction_path(draft.redacts)
        key = TransactionKey(
            requester.user_id, requester.device_id or "", draft.room_id, path, txn_id
        )
        sent = Sent(key.device_id, txn_id, origin_server_ts)

        async def send() -> EventID:
            known: list[EventID] = []

            async def build(head: RoomHead) -> Sequence[Built]:
                event_id = await self._transactions.event_of(key, head.room_nid)
                if event_id is not None:
                    known.append(event_id)
                    return []
                if draft.type == "m.room.redaction":
                    await self._check_redaction(head, draft)
                await self._relation_checks.check(head, draft)
                return [await self._writer.builder.build(head, draft, sent)]

            async with self._relation_checks.one_at_a_time(draft):
                built = await self._writer.write(key.room_id, build)
            return built[0].event.event_id if built else known[-1]

        return await self._transactions.once(key, send)

    async def _check_redaction(self, head: RoomHead, draft: EventDraft) -> None:
        """Refuse a redaction that would have no effect: the client believes it had."""
        if head.membership_of(draft.sender) != "join":
            return  # The authorization rules say it better.
        if draft.redacts is None:
            return
        found = await self._redactions.target(head, draft.redacts)
        if found is None:
            raise NotFound("The room has no such event")
        _, target = found
        if target.sender != draft.sender and not head.power_levels.may_redact(draft.sender):
            raise Forbidden("You may not redact the events of others")

    async def _unchanged(self, head: RoomHead, draft: EventDraft) -> list[EventID]:
        assert draft.state_key is not None
        entry = head.state.get((draft.type, draft.state_key))
        if entry is None or head.membership_of(draft.sender) != "join":
            return []
        event = (await self._cache.get([entry.event_nid])).get(entry.event_nid)
        is_same = event is not None and (event.sender, event.content) == (
            draft.sender,
            draft.content,
        )
        return [entry.event_id] if is_same else []
