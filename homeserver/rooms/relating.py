"""Where an event belongs by its relation: its row in `relations`, and its thread."""

from collections import OrderedDict
from typing import Final, NamedTuple

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import EventID
from homeserver.protocol.relations import (
    REPLACEMENT,
    THREAD,
    Relation,
    has_replacement,
    relation_of,
)
from homeserver.rooms.head import RoomHead
from homeserver.storage import relations
from homeserver.storage.database import Database
from homeserver.storage.event_writes import VOID_EDIT, RelationWrite
from homeserver.storage.relations import ParentFacts

# About 300 bytes each.
MAX_PARENTS: Final = 10_000


class Related(NamedTuple):
    """An event's relation, and the thread that it belongs to (None: the main timeline).

    `thread_id` is what receipts call that part of the timeline.
    """

    relation: Relation | None = None
    thread_nid: int | None = None
    thread_id: str = "main"
    # The event is itself a message of the thread, not an edit of one or a reaction to one.
    is_thread_reply: bool = False

    def row(self, event: Event, event_nid: int, room_nid: int) -> RelationWrite | None:
        """Return the row of the relation."""
        if self.relation is None:
            return None
        is_edit = self.relation.rel_type == REPLACEMENT
        is_void = is_edit and not has_replacement(event.type, event.content)
        return RelationWrite(
            event_nid,
            room_nid,
            self.relation.event_id,
            self.relation.rel_type,
            VOID_EDIT if is_void else self.relation.key,
            event.sender,
            event.type,
        )


_UNRELATED = Related()


class Relating:
    """Finds the thread of a related event."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Nothing of the facts ever changes, but that a redacted event loses its own relation:
        # it stays no root of a thread then.
        self._parents: OrderedDict[EventID, ParentFacts] = OrderedDict()

    async def of(self, head: RoomHead, event: Event) -> Related:
        """Return the relation of an event that is about to be written.

        A relation to a thread's event belongs to that thread, whatever its type. A thread's root
        may have no relation itself. Spec: client-server-api/#threading
        """
        if "m.relates_to" not in event.content or event.state_key is not None:
            return _UNRELATED
        relation = relation_of(event.content)
        if relation is None:
            return _UNRELATED
        parent = await self.parent(head, relation)
        if parent is None:
            return Related(relation)
        if relation.rel_type != THREAD:
            return Related(relation, parent.thread_nid, parent.thread_id or "main")
        if not may_be_root(parent):
            return Related(relation)
        return Related(relation, parent.event_nid, relation.event_id, is_thread_reply=True)

    async def parent(self, head: RoomHead, relation: Relation) -> ParentFacts | None:
        """Return the facts of the event that is related to. None: it is not of this room."""
        facts = self._parents.get(relation.event_id)
        if facts is None:
            async with self._database.connection("relating") as connection:
                facts = await relations.parent_facts(connection, relation.event_id)
            if facts is None:
                return None
            self._parents[relation.event_id] = facts
            if len(self._parents) > MAX_PARENTS:
                self._parents.popitem(last=False)
        else:
            self._parents.move_to_end(relation.event_id)
        return facts if facts.room_nid == head.room_nid else None


def may_be_root(parent: ParentFacts) -> bool:
    """Say whether a thread may start off an event: "any event without a `rel_type`"."""
    return parent.rel_type is None
