"""From a received event to the rows that are written with it, wherever in the room it stands."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from homeserver.protocol.auth_rules.redaction import may_apply_redaction
from homeserver.protocol.client_event import split_event, split_pdu
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.event_format import event_from_pdu
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.protocol.redaction import redact
from homeserver.rooms.build import Built
from homeserver.rooms.counting import Counting, Counts
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import PARSED_KEYS, RoomHead, StateEntry, with_changes
from homeserver.rooms.receive.states import RoomState, changes_between
from homeserver.rooms.redactions import Redactions
from homeserver.rooms.relating import Related, Relating
from homeserver.rooms.rows import Placed, counted, event_row, read_row, room_write, thread_row
from homeserver.storage import received_events
from homeserver.storage.database import Database
from homeserver.storage.event_writes import MembershipWrite, RedactionWrite, SnapshotWrite
from homeserver.streams.entries import StateChange
from homeserver.streams.event_appender import EventWrite


class Site(NamedTuple):
    """Where an accepted event stands, and what the room is after it.

    `current` is the resolved state of `extremities`.
    """

    event_nid: int
    auth_nids: list[int]
    before: RoomState
    after: RoomState
    current: RoomState
    extremities: tuple[tuple[int, EventID], ...]
    flags: int = 0


class Placing:
    """Composes writes. It judges nothing and writes nothing but what waits for a redaction."""

    def __init__(
        self,
        database: Database,
        cache: EventCache,
        redactions: Redactions,
        relating: Relating,
        counting: Counting,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._cache = cache
        self._redactions = redactions
        self._relating = relating
        self._counting = counting
        self._server_name = server_name

    async def accepted(self, head: RoomHead, event: Event, site: Site) -> Built:
        """Compose an event that clients are shown, with every change of the current state."""
        self._cache.put(site.event_nid, event)
        related = await self._relating.of(head, event)
        counts = await self._counting.of(head, event, related.thread_nid)
        changes = changes_between(head.state, site.current.entries)
        next_head = msgspec.structs.replace(
            counted(head, counts, related.thread_nid),
            version=site.event_nid,
            depth=event.depth if len(site.extremities) == 1 else max(head.depth, event.depth),
            extremities=site.extremities,
        )
        loaded = await self._events_of(changes)
        parsed = {key: each for key, each in loaded.items() if key in PARSED_KEYS}
        if changes:
            next_head = with_changes(next_head, changes, parsed, self._server_name)
        next_head = msgspec.structs.replace(next_head, chain=site.current.chain)
        replaced = await self._replaced(event, site.before)
        placed = Placed(
            site.event_nid,
            site.before.state_nid,
            site.auth_nids,
            flags=site.flags,
            replaces_nid=replaced[0] if replaced else None,
        )
        write = EventWrite(
            room_id=head.room_id,
            room=room_write(head, next_head),
            event=event_row(head, event, placed, counts, related),
            snapshots=_snapshots(site.before, site.after, site.current),
            state_changes=_state_changes(head, changes),
            memberships=_memberships(head, changes, loaded, event, site.event_nid),
            relation=related.row(event, site.event_nid, head.room_nid),
            thread=thread_row(head, site.event_nid, counts, related),
            # A local user's join may come back from another server.
            read=read_row(head, event, counts, related, self._server_name),
            notifications=counts.rows(head.room_nid, site.event_nid, related.thread_nid),
            redaction=await self._redactions.of(head, event, site.event_nid),
            replaced_core=split_event(replaced[1], head.rules)[0] if replaced else None,
            replaced_id=replaced[1].event_id if replaced else None,
        )
        built = Built(event, site.event_nid, write, next_head)
        await self._keep_redaction(built)
        return await self.with_late_redaction(built)

    async def invisible(
        self,
        head: RoomHead,
        event: Event,
        event_nid: int,
        auth_nids: list[int],
        before: RoomState,
        flags: int,
    ) -> Built:
        """Compose an event that is rejected or soft-failed: stored, and nothing else."""
        placed = Placed(event_nid, before.state_nid, auth_nids, flags=flags)
        next_head = msgspec.structs.replace(head, version=event_nid)
        counts = Counts(head.notify_seq, head.highlight_seq)
        write = EventWrite(
            room_id=head.room_id,
            room=room_write(head, next_head),
            event=event_row(head, event, placed, counts, Related()),
            snapshots=_snapshots(before),
        )
        return Built(event, event_nid, write, next_head)

    async def with_late_redaction(self, built: Built) -> Built:
        """Apply a redaction that came before its event. Spec: rooms/v3/#handling-redactions"""
        head, event = built.head, built.event
        async with self._database.connection("waiting_redactions") as connection:
            waiting = await received_events.waiting_redactions(
                connection, head.room_nid, [event.event_id]
            )
        redactions = await self._cache.get(nid for _, nid in waiting)
        for nid, redaction in redactions.items():
            if may_apply_redaction(redaction, event, head.power_levels):
                return self._redacted(built, nid, redaction)
        return built

    def _redacted(self, built: Built, by_nid: int, redaction: Event) -> Built:
        rules = built.head.rules
        event = event_from_pdu(redact(built.event.pdu, rules), rules)
        core, rest = split_pdu(event.pdu, rules)
        self._cache.put(built.event_nid, event)
        write = built.write._replace(
            event=built.write.event._replace(core=core, rest=rest),
            redaction=RedactionWrite(0, built.head.room_nid, built.event_nid, by_nid, core, rest),
            redacted_by=(redaction.event_id, split_event(redaction, rules)[0]),
            relation=None,
        )
        return built._replace(event=event, write=write)

    async def _keep_redaction(self, built: Built) -> None:
        """Have a redaction wait whose target is not known here."""
        event = built.event
        if event.type != "m.room.redaction" or event.redacts is None or built.write.redaction:
            return
        if await self._redactions.target(built.head, event.redacts) is None:
            async with self._database.connection("waiting_redactions") as connection:
                await received_events.await_redaction(connection, event.redacts, built.event_nid)

    async def _events_of(
        self, changes: Mapping[StateKey, StateEntry | None]
    ) -> dict[StateKey, Event]:
        wanted = {
            entry.event_nid: key
            for key, entry in changes.items()
            if entry is not None and (key in PARSED_KEYS or key[0] == "m.room.member")
        }
        events = await self._cache.get(wanted)
        return {wanted[nid]: event for nid, event in events.items()}

    async def _replaced(self, event: Event, before: RoomState) -> tuple[int, Event] | None:
        if event.state_key is None:
            return None
        entry = before.entries.get((event.type, event.state_key))
        if entry is None:
            return None
        found = await self._cache.get([entry.event_nid])
        return (entry.event_nid, found[entry.event_nid]) if found else None


def _snapshots(*states: RoomState) -> list[SnapshotWrite]:
    return list({row.state_nid: row for each in states for row in each.rows}.values())


def _state_changes(
    head: RoomHead, changes: Mapping[StateKey, StateEntry | None]
) -> list[StateChange]:
    return [
        StateChange(head.state[key].key_nid, key, None, None, None)
        if entry is None
        else StateChange(entry.key_nid, key, entry.event_nid, entry.event_id, entry.membership)
        for key, entry in changes.items()
    ]


def _memberships(
    head: RoomHead,
    changes: Mapping[StateKey, StateEntry | None],
    events: Mapping[StateKey, Event],
    event: Event,
    event_nid: int,
) -> Sequence[MembershipWrite]:
    """Return the memberships that changed; who has none any more has left, by this event."""
    rows = []
    for key, entry in changes.items():
        if key[0] != "m.room.member":
            continue
        if entry is None or entry.membership is None:
            row = MembershipWrite(0, key[1], head.room_nid, "leave", event_nid, event.sender)
        else:
            row = MembershipWrite(
                0, key[1], head.room_nid, entry.membership, entry.event_nid, events[key].sender
            )
        rows.append(row)
    return rows
