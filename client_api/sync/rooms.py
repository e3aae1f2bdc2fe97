"""The rooms of an answer: which of them, in which section, with what.

Spec: client-server-api/#get_matrixclientv3sync
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from client_api.sync.bundles import LimitedRoom, SyncBundles
from client_api.sync.encode import encode, event_list, joined_object
from client_api.sync.event_bytes import EventBytes
from client_api.sync.lazy_members import SenderMembers
from client_api.sync.request import SyncContext
from client_api.sync.room_choice import RoomChoice, RoomChoices
from client_api.sync.state_blocks import StateBlocks
from client_api.sync.streams import RoomPart, RoomStream
from client_api.sync.stripped import StrippedRooms
from client_api.sync.summaries import Summaries, Summary, changes_summary
from client_api.sync.timelines import Timelines, TimelineStretch, stretch_of
from client_api.sync.unread_members import unread_members
from homeserver.protocol.identifiers import EventID
from homeserver.rooms.client_events import Bundles
from homeserver.rooms.erasure import Erasure
from homeserver.rooms.outside_endings import ending_record
from homeserver.rooms.visibility import RoomView, Visibility
from homeserver.storage.events import EventRecord
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.outside_memberships import NO_EVENT
from homeserver.streams.read_states import Unread
from homeserver.streams.unread import UnreadCounts


class _Parts(NamedTuple):
    """The parts of one joined or left room."""

    membership: MembershipRow
    stretch: TimelineStretch
    state: Sequence[EventRecord]
    summary: Summary | None = None
    view: RoomView | None = None
    unread: Unread | None = None


_Extras: TypeAlias = dict[RoomPart, list[bytes]]
_PARTS: Final[tuple[RoomPart, ...]] = ("ephemeral", "account_data")
_OWN_PART: Final[RoomPart] = "account_data"
_NO_EXTRAS: Final[_Extras] = {}


class RoomSections:
    """Assembles the member `rooms` of an answer."""

    def __init__(
        self,
        choices: RoomChoices,
        timelines: Timelines,
        state_blocks: StateBlocks,
        summaries: Summaries,
        stripped: StrippedRooms,
        visibility: Visibility,
        erasure: Erasure,
        unread: UnreadCounts,
        members: SenderMembers,
        bundles: SyncBundles,
        *,
        streams: Sequence[RoomStream] = (),
    ) -> None:
        self._choices = choices
        self._timelines = timelines
        self._state_blocks = state_blocks
        self._summaries = summaries
        self._stripped = stripped
        self._visibility = visibility
        self._erasure = erasure
        self._unread = unread
        self._members = members
        self._bundles = bundles
        self._streams = streams

    async def encoded(self, context: SyncContext) -> dict[str, bytes]:
        """Return the sections that have rooms, by name: join, invite, knock, leave."""
        choice = await self._choices.of(context)
        extras = await self._extras(context, choice)
        news = {row.room_nid: row for row in choice.changed}
        told = {row.room_nid for row in (*choice.whole, *choice.left)}
        for room_nid in extras:
            if room_nid not in told:
                news.setdefault(room_nid, context.memberships[room_nid])
        parts = [
            *await self._whole_rooms(context, choice),
            *[await self._changed_room(context, row, choice) for row in news.values()],
            *[await self._left_room(context, row) for row in choice.left],
        ]
        sections: dict[str, bytes] = {}
        thread_ids = await self._thread_ids(context, parts)
        limited = [
            LimitedRoom(part.membership, part.stretch, part.view)
            for part in parts
            if part.stretch.is_limited
        ]
        bundles = await self._bundles.of_rooms(context, limited, new=choice.new)
        joined = {
            str(part.membership.room_id): self._encode(
                context, part, extras.get(part.membership.room_nid, _NO_EXTRAS), bundles, thread_ids
            )
            for part in parts
            if part.membership.membership == "join"
        }
        left = {
            str(part.membership.room_id): self._encode(
                context, part, extras.get(part.membership.room_nid, _NO_EXTRAS), bundles
            )
            for part in parts
            if part.membership.membership != "join"
        }
        if joined:
            sections["join"] = joined_object(joined)
        if choice.invited:
            rooms = await self._stripped.encoded(context, choice.invited, "invite_state")
            sections["invite"] = joined_object(rooms)
        if choice.knocked:
            rooms = await self._stripped.encoded(context, choice.knocked, "knock_state")
            sections["knock"] = joined_object(rooms)
        if left:
            sections["leave"] = joined_object(left)
        return sections

    async def _whole_rooms(self, context: SyncContext, choice: RoomChoice) -> list[_Parts]:
        """Assemble rooms of which the client knows nothing, or nothing that it can rely on."""
        rows = {row.room_nid: row for row in choice.whole}
        if not rows:
            return []
        upto = dict.fromkeys(rows, context.now)
        stretches = await self._whole_timelines(context, choice)
        views: dict[int, RoomView] = {}
        for room_nid, stretch in stretches.items():
            # The timeline may begin before the join: with what the user must not see, or saw as
            # no member.
            if stretch.start <= rows[room_nid].pos:
                view = await self._visibility.view(room_nid, context.viewer.user_id)
                views[room_nid] = view
                stretches[room_nid] = await self._seen(stretch, view, context.now)
        if context.since is not None:
            # Who comes back knows some of it already: it does not follow on what is known.
            for room_nid in choice.new:
                stretches[room_nid] = stretches[room_nid]._replace(is_limited=True)
        summaries = await self._summaries.of_rooms(context, rows)
        heroes = {room_nid: summary.heroes or () for room_nid, summary in summaries.items()}
        blocks = await self._state_blocks.full(context, stretches, upto, heroes)
        unread = await self._unread.of_user(context.viewer.user_id, list(rows))
        return [
            _Parts(
                row,
                stretches[room_nid],
                blocks[room_nid],
                summaries.get(room_nid),
                views.get(room_nid),
                unread.get(room_nid),
            )
            for room_nid, row in rows.items()
        ]

    async def _whole_timelines(
        self, context: SyncContext, choice: RoomChoice
    ) -> dict[int, TimelineStretch]:
        now = context.now
        # With `full_state` "the timeline will still be limited by the since parameter".
        known = [row.room_nid for row in choice.whole if row.room_nid not in choice.new]
        new = [row.room_nid for row in choice.whole if row.room_nid in choice.new]
        stretches = await self._timelines.of_rooms(context, new, 0, now) if new else {}
        for room_nid in known:
            stretches[room_nid] = await self._timelines.of_room(
                context, room_nid, context.since, now
            )
        return stretches

    async def _changed_room(
        self, context: SyncContext, row: MembershipRow, choice: RoomChoice
    ) -> _Parts:
        """Assemble what is new in a room that the client follows."""
        stretch = await self._timelines.of_room(context, row.room_nid, context.since, context.now)
        members = await self._members.of_timeline(context, row.room_id, stretch)
        is_complete_now = row.room_nid in choice.completed
        state = await self._state_blocks.changed(
            context, row.room_nid, context.now, stretch, members, is_complete_now=is_complete_now
        )
        summary = None
        if is_complete_now or changes_summary(stretch.records) or changes_summary(state):
            found = await self._summaries.of_rooms(context, [row.room_nid])
            summary = found[row.room_nid]
        view: RoomView | None = None
        if any(
            record.type == "m.room.member" and record.state_key == context.viewer.user_id
            for record in stretch.records
        ):
            view = await self._visibility.view(row.room_nid, context.viewer.user_id)
        unread = self._unread.known(context.viewer.user_id, row.room_nid)
        if unread is None:
            counts = await self._unread.of_user(context.viewer.user_id, [row.room_nid])
            unread = counts[row.room_nid]
        return _Parts(row, stretch, state, summary, view, unread)

    async def _left_room(self, context: SyncContext, row: MembershipRow) -> _Parts:
        """Assemble a room that the user has left or been banned from.

        Up to when the user was last joined; what ended an invite or came after the leave (a ban)
        is told by the user's own membership event alone.
        """
        view = await self._visibility.view(row.room_nid, context.viewer.user_id)
        upto = int(min(row.pos, view.joined_until))
        if upto == 0 or _was_told(context, upto):
            own = await self._own_event(row, context)
            return _Parts(row, own, _with_own_event(context, (), own), view=view)
        was_joined = context.since is not None and view.membership_at(context.since) == "join"
        since = context.since if was_joined else 0
        stretch = await self._timelines.of_room(context, row.room_nid, since, upto)
        stretch = await self._seen(stretch, view, upto)
        state: Sequence[EventRecord]
        if was_joined and not context.request.full_state:
            state = await self._state_blocks.changed(context, row.room_nid, upto, stretch, ())
        else:
            whole = await self._state_blocks.full(
                context, {row.room_nid: stretch}, {row.room_nid: upto}, {}
            )
            state = whole[row.room_nid]
        if upto < row.pos:
            own = await self._own_event(row, context)
            state = _with_own_event(context, state, own)
            stretch = stretch._replace(records=[*stretch.records, *own.records])
        return _Parts(row, stretch, state, view=view)

    async def _seen(self, stretch: TimelineStretch, view: RoomView, upto: int) -> TimelineStretch:
        visible = _visible(stretch, view, upto)
        return visible._replace(records=await self._erasure.as_seen(visible.records, view))

    async def _own_event(self, row: MembershipRow, context: SyncContext) -> TimelineStretch:
        if row.event_nid == NO_EVENT:
            ending = ending_record(row, context.viewer.user_id)
            records = [] if ending is None else [ending]
        else:
            records = await self._timelines.of_events([row.event_nid])
        return stretch_of(records, context.now, is_limited=False)

    async def _extras(self, context: SyncContext, choice: RoomChoice) -> dict[int, _Extras]:
        """Ask every stream of rooms for its events."""
        if not self._streams:
            return {}
        whole = {row.room_nid for row in choice.whole}
        chosen = context.request.filter
        followed = [
            room_nid
            for room_nid, row in context.memberships.items()
            if row.membership == "join"
            and room_nid not in whole
            and chosen.admits_room(row.room_id)
        ]
        left = {row.room_nid for row in choice.left}
        extras: dict[int, _Extras] = {}
        for stream in self._streams:
            # Of a room that they have left, users are told what they keep about it themselves.
            told = whole | left if stream.part == _OWN_PART else whole
            for room_nid, found in (await stream.of_rooms(context, told, followed)).items():
                extras.setdefault(room_nid, {}).setdefault(stream.part, []).extend(found)
        return extras

    async def _thread_ids(
        self, context: SyncContext, parts: Sequence[_Parts]
    ) -> Mapping[int, EventID] | None:
        """Return the IDs of the threads that have unread counts; None: nobody asks for them."""
        if not context.request.filter.unread_thread_notifications:
            return None
        return await self._unread.thread_ids(
            {nid for part in parts if part.unread is not None for nid in part.unread.threads}
        )

    def _encode(
        self,
        context: SyncContext,
        parts: _Parts,
        extras: _Extras,
        bundles: Bundles,
        thread_ids: Mapping[int, EventID] | None = None,
    ) -> bytes:
        rendering = EventBytes(context)
        view = parts.view
        timeline = [
            rendering.of_record(
                record,
                view.membership_at(record.pos or 0) if view else "join",
                bundles.get(record.event_nid),
            )
            for record in parts.stretch.records
        ]
        state = [
            rendering.of_record(record, view.membership_at(record.pos or 0) if view else None)
            for record in parts.state
        ]
        members = [
            b'"timeline":{"events":[%b],"limited":%b,"prev_batch":%b}'
            % (
                b",".join(timeline),
                b"true" if parts.stretch.is_limited else b"false",
                encode(parts.stretch.prev_batch),
            ),
            b'"%b":%b' % (context.request.state_key.encode(), event_list(state)),
        ]
        is_joined = parts.membership.membership == "join"
        members += [
            b'"%b":%b' % (part.encode(), event_list(extras.get(part, ())))
            for part in (_PARTS if is_joined else (_OWN_PART,))
        ]
        if is_joined:
            if parts.summary is not None:
                members.append(b'"summary":' + parts.summary.encoded())
            if parts.unread is not None:
                members += unread_members(parts.unread, thread_ids)
        return b"{" + b",".join(members) + b"}"


def _was_told(context: SyncContext, upto: int) -> bool:
    """Whether the client knows the room up to a position, at which the user was joined last."""
    return context.since is not None and upto <= context.since and not context.request.full_state


def _with_own_event(
    context: SyncContext, state: Sequence[EventRecord], own: TimelineStretch
) -> Sequence[EventRecord]:
    """Return the state after the timeline, which ends with the user's own membership event.

    With `state_after` "clients MUST NOT update their local state with events in `timeline`".
    """
    if not context.request.has_state_after:
        return state
    keys = {(record.type, record.state_key) for record in own.records}
    return [*(each for each in state if (each.type, each.state_key) not in keys), *own.records]


def _visible(stretch: TimelineStretch, view: RoomView, upto: int) -> TimelineStretch:
    """Leave out what the user may not see; older events are then out of reach as well."""
    seen = [record for record in stretch.records if view.may_see(record)]
    if len(seen) == len(stretch.records):
        return stretch
    is_limited = stretch.is_limited and bool(seen) and seen[0] is stretch.records[0]
    if not seen:
        return stretch_of((), upto, is_limited=False)
    return stretch_of(seen, upto, is_limited=is_limited)
