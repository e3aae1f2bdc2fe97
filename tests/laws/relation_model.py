"""What the children of events come to, in the obvious way: by looking at every event."""

import random
from collections.abc import Collection
from typing import Any, NamedTuple

from homeserver.errors import MatrixError
from homeserver.protocol.errors import ProtocolError
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.relations import may_replace, relation_of, replacement_order
from homeserver.web.requester import Requester
from tests.support.node import Node
from tests.support.relations import edit, in_thread, reaction, reference, relating

Bundle = dict[str, Any]


class Told(NamedTuple):
    """An event that was sent, and whether it has been redacted."""

    event: Event
    is_redacted: bool = False

    def relates(self, rel_type: str, to: Event) -> bool:
        """Whether it still relates to an event in this way."""
        relation = None if self.is_redacted else relation_of(self.event.content)
        if relation is None:
            return False
        return (relation.rel_type, relation.event_id) == (rel_type, to.event_id)


class RelatedRoom:
    """A room in which users relate events to each other at random, through any of the nodes."""

    def __init__(
        self, room_id: RoomID, nodes: list[Node], users: list[Requester], seed: int
    ) -> None:
        self.room_id = room_id
        self.sent: dict[EventID, Told] = {}
        self._nodes = nodes
        self._users = users
        self._random = random.Random(seed)
        self._count = 0

    async def act(self) -> None:
        """Send or redact something; refusals are part of life."""
        try:
            if self.sent and self._random.random() < 0.15:
                await self._redact()
            else:
                await self._send(self._content())
        except (MatrixError, ProtocolError):
            pass

    def _content(self) -> dict[str, Any]:
        text = str(self._count)
        if not self.sent or self._random.random() < 0.15:
            return {"msgtype": "m.text", "body": text}
        # The first events get most of the children.
        known = list(self.sent)
        target = known[min(self._random.randrange(len(known)) for _ in range(3))]
        contents = [
            (edit(target, text), 4),
            (relating("m.replace", target), 1),
            (in_thread(target, text), 4),
            (reaction(target, self._random.choice("+-")), 2),
            (reference(target, text), 3),
        ]
        return self._random.choices([c for c, _ in contents], [w for _, w in contents])[0]

    async def _send(self, content: dict[str, Any]) -> None:
        self._count += 1
        event_type = self._random.choices(["m.room.message", "org.example.other"], [9, 1])[0]
        # Few different times, so that some are equal.
        ts = 1_000 + self._random.randrange(2)
        node, who = self._random.choice(self._nodes), self._random.choice(self._users)
        event_id = await node.rooms.send.message(
            who, self.room_id, event_type, f"t{self._count}", content, origin_server_ts=ts
        )
        self.sent[event_id] = Told(
            Event(
                event_id=event_id,
                room_id=self.room_id,
                room_version="12",
                type=event_type,
                sender=who.user_id,
                content=content,
                origin_server_ts=ts,
                depth=1,
                prev_events=(),
                auth_events=(),
                pdu={},
            )
        )

    async def _redact(self) -> None:
        self._count += 1
        target = self._random.choice(list(self.sent))
        node, who = self._random.choice(self._nodes), self._random.choice(self._users)
        await node.rooms.send.redaction(who, self.room_id, target, f"r{self._count}", {})
        self.sent[target] = self.sent[target]._replace(is_redacted=True)

    def bundle(
        self,
        event_id: EventID,
        reader: UserID,
        visible: Collection[EventID],
        ignored: Collection[UserID],
    ) -> Bundle:
        """Return what the event's children come to: IDs in the place of events."""
        told = self.sent[event_id]
        shown = [
            each
            for each in self.sent.values()
            if each.event.event_id in visible and each.event.sender not in ignored
        ]
        bundle: Bundle = {}
        edits = [
            each.event for each in shown if not each.is_redacted and _replaces(told, each.event)
        ]
        if edits:
            bundle["m.replace"] = max(edits, key=replacement_order).event_id
        references = [e.event.event_id for e in shown if e.relates("m.reference", told.event)]
        if references:
            bundle["m.reference"] = references
        replies = [each.event for each in shown if each.relates("m.thread", told.event)]
        if replies:
            writers = {
                each.event.sender
                for each in self.sent.values()
                if each.relates("m.thread", told.event)
            }
            bundle["m.thread"] = {
                "latest_event": replies[-1].event_id,
                "count": len(replies),
                "current_user_participated": reader in writers | {told.event.sender},
            }
        return bundle

    def threads(self, visible: Collection[EventID], ignored: Collection[UserID]) -> list[EventID]:
        """Return the roots of the threads, those with the newest messages first."""
        newest: dict[EventID, None] = {}
        roots = set()
        for told in self.sent.values():
            relation = None if told.is_redacted else relation_of(told.event.content)
            if relation is None or relation.rel_type != "m.thread":
                continue
            newest.pop(relation.event_id, None)
            newest[relation.event_id] = None
            if told.event.event_id in visible and told.event.sender not in ignored:
                roots.add(relation.event_id)
        return [root for root in reversed(newest) if root in roots & set(visible)]


def _replaces(told: Told, edit_: Event) -> bool:
    original = told.event
    if told.is_redacted:
        return False
    return may_replace(original, edit_, original_is_redacted=False)
