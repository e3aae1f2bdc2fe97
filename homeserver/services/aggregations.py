"""What the children of events come to, bundled with the events.

Spec: client-server-api/#aggregations-of-child-events
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.protocol.relations import REFERENCE, REPLACEMENT, THREAD
from homeserver.rooms.access import RoomAccess
from homeserver.rooms.client_events import NO_BUNDLES, Bundles, Viewer, render
from homeserver.rooms.erasure import Erasure, could_read
from homeserver.rooms.visibility import RoomView
from homeserver.rooms.visible_positions import visible_positions
from homeserver.storage import events, relations
from homeserver.storage.database import Database
from homeserver.storage.event_writes import HAS_CHILDREN
from homeserver.storage.events import EventRecord
from homeserver.storage.relations import ChildrenSummary, Parent, Spans, ThreadSummary
from homeserver.streams.personal_rules import PersonalRuleIndex

_encode: Final = msgspec.json.Encoder().encode


class Sight(NamedTuple):
    """What a reader may see of a room, and in which form events of it are told.

    `view` None: a member who has been joined at all `visible` positions. `room_id` None: the form
    of /sync, where it is known.
    """

    visible: Spans
    view: RoomView | None
    room_id: RoomID | None

    def membership_at(self, pos: int | None) -> str:
        """Return the reader's membership after a position."""
        return "join" if self.view is None else self.view.membership_at(pos or 0)


class SeenParent(NamedTuple):
    """An event of which somebody is to be told, with its children."""

    record: EventRecord
    sight: Sight


class Aggregations:
    """Sums up the children of events in the name of readers."""

    def __init__(
        self, database: Database, personal_rules: PersonalRuleIndex, erasure: Erasure
    ) -> None:
        self._database = database
        self._personal_rules = personal_rules
        self._erasure = erasure

    async def of_page(
        self, access: RoomAccess, viewer: Viewer, records: Iterable[EventRecord]
    ) -> Bundles:
        """Return the bundles of those events of a room that have children."""
        parents = [record for record in records if may_have_bundle(record)]
        if not parents:
            return NO_BUNDLES
        sight = sight_of(access)
        return await self.of(viewer, [SeenParent(record, sight) for record in parents])

    async def of(self, viewer: Viewer, parents: Sequence[SeenParent]) -> Bundles:
        """Return the bundles of events of any rooms; what has no children should not be asked.

        Two statements, however many there are; none for none.
        """
        if not parents:
            return NO_BUNDLES
        ignored = await self.ignored_by(viewer.user_id)
        wanted = [Parent(each.record.event_nid, each.sight.visible) for each in parents]
        async with self._database.connection("aggregations") as connection:
            found = await relations.summaries(connection, viewer.user_id, ignored, wanted)
            nids = set(_shown_in(found.values()))
            records = await events.events_by_nid(connection, nids) if nids else {}
        bundling = _Bundling(viewer, found, records, await self._erasure.erased())
        bundles = {
            each.record.event_nid: bundling.bundle(each.record.event_nid, each.sight)
            for each in parents
        }
        return {nid: bundle for nid, bundle in bundles.items() if bundle is not None}

    async def ignored_by(self, user_id: UserID) -> Collection[UserID]:
        """Return those whose messages a user does not want to see."""
        personal = await self._personal_rules.of_user(user_id)
        return personal.ignored if personal is not None else ()


def may_have_bundle(record: EventRecord) -> bool:
    """Whether somebody has related to an event. State events get no bundles."""
    return bool(record.flags & HAS_CHILDREN) and record.state_key is None


def sight_of(access: RoomAccess) -> Sight:
    """Return what somebody sees who has access to a room."""
    visible = visible_positions(access.view, access.timeline_upto)
    return Sight(visible, access.view, access.room_id)


def _shown_in(summaries: Iterable[ChildrenSummary]) -> Iterable[int]:
    for summary in summaries:
        if summary.edit_nid is not None:
            yield summary.edit_nid
        if summary.thread is not None:
            yield summary.thread.latest_nid


class _Bundling(NamedTuple):
    """Renders bundles from what has been read."""

    viewer: Viewer
    summaries: Mapping[int, ChildrenSummary]
    records: Mapping[int, EventRecord]
    # Erased users, with the positions at which they were erased.
    erased: Mapping[str, int]

    def bundle(self, event_nid: int, sight: Sight) -> bytes | None:
        """Return the object of bundles of an event, None without any."""
        summary = self.summaries.get(event_nid)
        if summary is None:
            return None
        members = self._members(summary, sight)
        if summary.thread is not None:
            thread = self._thread(summary.thread, sight)
            if thread is not None:
                members[THREAD] = thread
        return _joined(members)

    def _members(self, summary: ChildrenSummary, sight: Sight) -> dict[str, bytes]:
        members = {}
        if (edit := self._event(summary.edit_nid, sight, None)) is not None:
            members[REPLACEMENT] = edit
        if summary.references:
            members[REFERENCE] = _chunk(summary.references)
        return members

    def _thread(self, thread: ThreadSummary, sight: Sight) -> bytes | None:
        # The newest message starts no thread itself: "careful to avoid loops".
        summary = self.summaries.get(thread.latest_nid)
        nested = _joined(self._members(summary, sight)) if summary is not None else None
        latest = self._event(thread.latest_nid, sight, nested)
        if latest is None:
            return None
        return b'{"latest_event":%b,"count":%d,"current_user_participated":%b}' % (
            latest,
            thread.replies,
            b"true" if thread.is_participant else b"false",
        )

    def _event(self, event_nid: int | None, sight: Sight, bundle: bytes | None) -> bytes | None:
        record = self.records.get(event_nid) if event_nid is not None else None
        # It may have been redacted a moment ago.
        if record is None or record.redaction_id is not None:
            return None
        erased_pos = self.erased.get(record.sender)
        is_hidden = (
            erased_pos is not None
            and sight.view is not None
            and not could_read(sight.view, record.pos or 0, erased_pos)
        )
        if is_hidden:
            return None
        membership = sight.membership_at(record.pos)
        return render(record, self.viewer, membership, sight.room_id, bundle)


def _joined(members: Mapping[str, bytes]) -> bytes | None:
    if not members:
        return None
    return b"{%b}" % b",".join(b'"%b":%b' % (n.encode(), value) for n, value in members.items())


def _chunk(event_ids: Iterable[EventID]) -> bytes:
    return _encode({"chunk": [{"event_id": event_id} for event_id in event_ids]})
