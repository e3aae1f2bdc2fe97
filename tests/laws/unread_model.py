"""What is unread, counted event by event: slow and obvious.

Every event of the room is judged by the push rules for the user alone, and counts unless the
user has read it: by a receipt, by sending a message after it, or by joining after it.
"""

from collections import Counter
from typing import Any, NamedTuple, TypeAlias

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.push_rules.conditions import PushEvent, RoomFacts, UserFacts
from homeserver.protocol.push_rules.defaults import default_rules
from homeserver.protocol.push_rules.evaluate import CompiledRules
from homeserver.storage import events
from homeserver.storage.events import EventRecord, Place
from tests.support.node import Node

RULES = CompiledRules(default_rules(with_polls=True))

# By thread, the main timeline being "main"; what is not there has none.
Counts: TypeAlias = dict[str, dict[str, int]]


class AcceptedReceipt(NamedTuple):
    """A receipt that the server has taken; `thread_id` None: for the whole room."""

    user_id: UserID
    room_id: RoomID
    event_id: EventID
    thread_id: str | None


async def counted_unread(
    node: Node, user_id: UserID, room_id: RoomID, receipts: list[AcceptedReceipt]
) -> Counts:
    """Return the counts of a room."""
    head = await node.rooms.heads.head(room_id)
    assert head is not None
    async with node.base.database.connection() as connection:
        timeline = await events.timeline_forwards(
            connection, head.room_nid, Place(0, 0), Place(2**62, 0), 10_000
        )
    ids = {record.event_nid: record.event_id for record in timeline}
    reads = _Reads(timeline, ids, user_id)
    for receipt in receipts:
        if (receipt.user_id, receipt.room_id) == (user_id, room_id):
            reads.take(receipt)
    whole = await node.rooms.cache.get(ids)
    facts = RoomFacts(head.joined, head.power_levels)
    notified: Counter[str] = Counter()
    highlighted: Counter[str] = Counter()
    for record in timeline:
        if reads.covers(record) or record.redaction_id is not None:
            continue
        outcome = RULES.evaluate(PushEvent(whole[record.event_nid]), facts, UserFacts(user_id))
        notified[_part(record, ids)] += outcome.notify
        highlighted[_part(record, ids)] += outcome.highlight
    return {
        part: {"notification_count": count, "highlight_count": highlighted[part]}
        for part, count in notified.items()
        if count
    }


class _Reads:
    """Up to where the parts of a room are read."""

    def __init__(self, timeline: list[EventRecord], ids: dict[int, EventID], user_id: str) -> None:
        self._places = {record.event_id: (record.pos or 0, record.sub) for record in timeline}
        self._ids = ids
        self._whole = (0, 0)
        self._parts: dict[str, tuple[int, int]] = {}
        is_joined = False
        for record in timeline:
            if record.type == "m.room.member" and record.state_key == user_id:
                joins = b'"membership":"join"' in record.core
                if joins and not is_joined:
                    self._whole = self._places[record.event_id]
                is_joined = joins
            elif record.sender == user_id and record.state_key is None:
                self._read(_part(record, ids), self._places[record.event_id])

    def take(self, receipt: AcceptedReceipt) -> None:
        place = self._places[receipt.event_id]
        if receipt.thread_id is None:
            self._whole = max(self._whole, place)
        else:
            self._read(receipt.thread_id, place)

    def covers(self, record: EventRecord) -> bool:
        read = max(self._whole, self._parts.get(_part(record, self._ids), (0, 0)))
        return self._places[record.event_id] <= read

    def _read(self, part: str, place: tuple[int, int]) -> None:
        self._parts[part] = max(self._parts.get(part, (0, 0)), place)


def _part(record: EventRecord, ids: dict[int, EventID]) -> str:
    return "main" if record.thread_nid is None else ids[record.thread_nid]


def told_unread(room: dict[str, Any]) -> Counts:
    """Return the counts that /sync tells of a room."""
    counts = {"main": room["unread_notifications"], **room.get("unread_thread_notifications", {})}
    return {part: count for part, count in counts.items() if count["notification_count"]}
