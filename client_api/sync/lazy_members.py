"""Which member events a lazily loading client still needs.

Spec: client-server-api/#lazy-loading-room-members
"""

from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from client_api.sync.request import SyncContext
from client_api.sync.timelines import TimelineStretch
from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.heads import Heads
from homeserver.storage import sync_reads
from homeserver.storage.database import Database
from homeserver.storage.event_writes import PARTIAL_STATE
from homeserver.storage.events import EventRecord
from homeserver.web.requester import Requester

_Device: TypeAlias = tuple[str, str | None]
# About 300 bytes for each member that a device knows; a device that is forgotten is only sent
# some members again.
MAX_DEVICES: Final = 2_000
MAX_MEMBERS: Final = 5_000


class MemberNid(NamedTuple):
    """A user's member event in some room."""

    user_id: str
    event_nid: int


class _Known(NamedTuple):
    event_nid: int
    # The position of the answer in which it was sent.
    sent_at: int


class LazyMembers:
    """Remembers which member events each device has been sent.

    A member counts as known only when the client has come back with the token of an answer that
    had it (or of a later one): asking with the same token twice gives the same answer.
    """

    def __init__(self) -> None:
        self._devices: OrderedDict[_Device, OrderedDict[tuple[int, str], _Known]] = OrderedDict()

    def unknown(
        self, requester: Requester, since: int | None, room_nid: int, members: Iterable[MemberNid]
    ) -> list[MemberNid]:
        """Return those members that the device may not know as of `since`."""
        known = self._devices.get((requester.user_id, requester.device_id))
        if known is None or since is None:
            return list(members)
        return [
            member
            for member in members
            if (found := known.get((room_nid, member.user_id))) is None
            or found.event_nid != member.event_nid
            or found.sent_at > since
        ]

    def sent(
        self, requester: Requester, now: int, room_nid: int, members: Iterable[MemberNid]
    ) -> None:
        """Remember what an answer with the token `now` contains."""
        device = (requester.user_id, requester.device_id)
        known = self._devices.setdefault(device, OrderedDict())
        self._devices.move_to_end(device)
        for member in members:
            key = (room_nid, member.user_id)
            before = known.get(key)
            if before is None or before.event_nid != member.event_nid:
                known[key] = _Known(member.event_nid, now)
        while len(known) > MAX_MEMBERS:
            known.popitem(last=False)
        while len(self._devices) > MAX_DEVICES:
            self._devices.popitem(last=False)


class SenderMembers:
    """Finds the member events of a timeline's senders in the heads of rooms."""

    def __init__(self, database: Database, heads: Heads) -> None:
        self._database = database
        self._heads = heads

    async def of_timeline(
        self, context: SyncContext, room_id: RoomID, stretch: TimelineStretch
    ) -> list[MemberNid]:
        """Return what a lazily loading client needs for a timeline; nothing for others."""
        if not context.request.filter.lazy_load_members or not stretch.records:
            return []
        head = await self._heads.head(room_id)
        if head is None:
            return []
        found = []
        for sender in dict.fromkeys(record.sender for record in stretch.records):
            entry = head.state.get(("m.room.member", sender))
            if entry is not None:
                found.append(MemberNid(sender, entry.event_nid))
        unplaced = unplaced_senders(stretch.records, {member.user_id for member in found})
        if unplaced:
            async with self._database.connection("sync_senders") as connection:
                cited = await sync_reads.cited_sender_members(connection, unplaced)
            found += [MemberNid(*each) for each in cited]
        return found


def unplaced_senders(records: Sequence[EventRecord], known: Container[str]) -> list[int]:
    """Return the events whose senders are not known to be in the room, as its state is incomplete.

    Their auth events have the senders' memberships.
    """
    shown = {record.state_key for record in records if record.type == "m.room.member"}
    return [
        record.event_nid
        for record in records
        if record.flags & PARTIAL_STATE
        and record.sender not in known
        and record.sender not in shown
    ]
