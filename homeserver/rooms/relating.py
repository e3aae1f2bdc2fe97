"""Where an event belongs by its relation: its row in `relations`, and its thread."""

from typing import NamedTuple

from homeserver.protocol.event import Event
from homeserver.protocol.relations import Relation, relation_of
from homeserver.rooms.head import RoomHead
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import RelationWrite


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
        return RelationWrite(
            event_nid,
            room_nid,
            self.relation.event_id,
            self.relation.rel_type,
            self.relation.key,
            event.sender,
            event.type,
        )


_UNRELATED = Related()


class Relating:
    """Finds the thread of a related event."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, head: RoomHead, event: Event) -> Related:
        """Return the relation of an event that is about to be written.

        A relation to a thread's event belongs to that thread, whatever its type. A thread's root
        may not be in a thread itself. Spec: client-server-api/#threading
        """
        if "m.relates_to" not in event.content or event.state_key is not None:
            return _UNRELATED
        relation = relation_of(event.content)
        if relation is None:
            return _UNRELATED
        async with self._database.connection("relating") as connection:
            parent = await events.event_by_id(connection, relation.event_id)
        if parent is None or parent.room_nid != head.room_nid:
            return Related(relation)
        if relation.rel_type != "m.thread":
            if parent.thread_nid is None:
                return Related(relation)
            async with self._database.connection("relating") as connection:
                roots = await events.events_by_nid(connection, [parent.thread_nid])
            root = roots.get(parent.thread_nid)
            return Related(relation, parent.thread_nid, root.event_id if root else "main")
        if parent.thread_nid is not None or parent.state_key is not None:
            return Related(relation)
        return Related(relation, parent.event_nid, parent.event_id, is_thread_reply=True)
