"""What clients may not send because of the event that it relates to.

Everything else that breaks the rules of relations is accepted and ignored.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from homeserver.errors import DuplicateAnnotation, MatrixError
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.relations import (
    ANNOTATION,
    THREAD,
    AnnotationIdentity,
    Relation,
    annotation_identity,
    relation_of,
)
from homeserver.rooms.head import RoomHead
from homeserver.rooms.relating import Relating, may_be_root
from homeserver.storage import relations
from homeserver.storage.database import Database


class RelationChecks:
    """Refuses threads in threads, and second annotations."""

    def __init__(self, database: Database, relating: Relating) -> None:
        self._database = database
        self._relating = relating
        # Annotations on their way, and how many wait for each.
        self._annotating: dict[AnnotationIdentity, tuple[asyncio.Lock, int]] = {}

    async def check(self, head: RoomHead, draft: EventDraft) -> None:
        """Check a message on a head. Costs nothing for one without a relation.

        Raises DuplicateAnnotation; MatrixError M_UNKNOWN: no thread can start there.
        Spec: client-server-api/#validation-of-mthread-relationships,
        client-server-api/#avoiding-duplicate-annotations
        """
        if "m.relates_to" not in draft.content or draft.state_key is not None:
            return
        relation = relation_of(draft.content)
        if relation is None or head.membership_of(draft.sender) != "join":
            return  # Of who is not in the room the authorization rules say it better.
        if relation.rel_type == THREAD:
            await self._check_root(head, relation)
        elif relation.rel_type == ANNOTATION and relation.key is not None:
            await self._check_annotation(head, draft, relation, relation.key)

    @contextlib.asynccontextmanager
    async def one_at_a_time(self, draft: EventDraft) -> AsyncIterator[None]:
        """Let nobody else on this node send the same annotation meanwhile.

        The next write to a room is checked before the one in front of it is committed. Between
        nodes the loser of the compare-and-set is checked again.
        """
        identity = annotation_identity(draft.type, draft.sender, draft.content)
        if identity is None:
            yield
            return
        lock, waiting = self._annotating.get(identity, (asyncio.Lock(), 0))
        self._annotating[identity] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._annotating.pop(identity)
            if waiting > 1:
                self._annotating[identity] = (lock, waiting - 1)

    async def _check_root(self, head: RoomHead, relation: Relation) -> None:
        parent = await self._relating.parent(head, relation)
        if parent is not None and not may_be_root(parent):
            raise MatrixError(
                400, "M_UNKNOWN", "A thread cannot start off an event that relates to another"
            )

    async def _check_annotation(
        self, head: RoomHead, draft: EventDraft, relation: Relation, key: str
    ) -> None:
        async with self._database.connection("relation_checks") as connection:
            is_second = await relations.has_annotated(
                connection,
                head.room_nid,
                relation.event_id,
                sender=draft.sender,
                event_type=draft.type,
                key=key,
            )
        if is_second:
            raise DuplicateAnnotation
