"""Keeping the user directory up to date: a follower of the log.

Of users of this server it knows the profile, of others what their membership events tell.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import msgspec

from homeserver.ports import MemberProfiles
from homeserver.protocol.history_visibility import HistoryVisibility, parse_history_visibility
from homeserver.protocol.identifiers import ServerName, UserID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.services.user_directory_words import words_of_name, words_of_user_id
from homeserver.storage import events, joined_rooms, room_summary, user_directory
from homeserver.storage.database import Database, Transaction
from homeserver.storage.user_directory import DirectoryName
from homeserver.streams.entries import (
    PROFILE_CHANGED,
    ROOM_COMPLETED,
    EventEntry,
    LogEntry,
    UserEntry,
)
from homeserver.streams.follower import Stretch

FOLLOWER_NAME: Final = "user_directory"
# Names of other servers' users may fill an event; a list of results should not.
MAX_NAME_LENGTH: Final = 256
_OPENING: Final = ("m.room.join_rules", "m.room.history_visibility")
_decode: Final = msgspec.json.Decoder().decode


class _Member(NamedTuple):
    """A join: by which event, in which room."""

    room_nid: int
    event_nid: int


class UserDirectoryIndex:
    """Writes down the names that the log tells of, and which rooms are open."""

    def __init__(
        self, database: Database, profiles: MemberProfiles, server_name: ServerName
    ) -> None:
        self._database = database
        self._profiles = profiles
        self._suffix = f":{server_name}"

    def concerns(self, entry: LogEntry) -> bool:
        """Whether an entry may change a name, or whether a room is open."""
        if isinstance(entry, UserEntry):
            return entry.kind in (PROFILE_CHANGED, ROOM_COMPLETED)
        return isinstance(entry, EventEntry) and (
            entry.redaction is not None
            or any(
                change.membership == "join" or change.key[0] in _OPENING
                for change in entry.state_changes
            )
        )

    async def handle(self, stretch: Stretch) -> None:
        """Write what the entries tell."""
        told = [entry for entry in stretch.entries if isinstance(entry, EventEntry)]
        joins = _joins(told)
        for user_id, join in await self._completed(stretch):
            joins[user_id].insert(0, join)
        here = {user_id for user_id in joins if user_id.endswith(self._suffix)}
        here |= {
            UserID(entry.user_id)
            for entry in stretch.entries
            if isinstance(entry, UserEntry) and entry.kind == PROFILE_CHANGED
        }
        names = [await self.name_of_account(user_id) for user_id in sorted(here)]
        elsewhere = {user_id: join for user_id, join in joins.items() if user_id not in here}
        rooms = {
            entry.room_nid
            for entry in told
            if entry.redaction is not None
            or any(change.key[0] in _OPENING for change in entry.state_changes)
        }
        redacted = [entry.redaction.event_nid for entry in told if entry.redaction is not None]
        async with stretch.done() as tx:
            if rooms:
                await _note_open_rooms(tx, rooms)
            if elsewhere:
                names += await _names_told(tx, elsewhere)
            if names:
                await user_directory.put_names(tx, names)
            if redacted:
                await user_directory.forget_names(tx, redacted)

    async def _completed(self, stretch: Stretch) -> list[tuple[UserID, _Member]]:
        """Return the joins of whoever is in rooms whose members have become known."""
        room_nids = {
            entry.room_nid
            for entry in stretch.entries
            if isinstance(entry, UserEntry)
            and entry.kind == ROOM_COMPLETED
            and entry.room_nid is not None
        }
        if not room_nids:
            return []
        async with self._database.connection("user_directory") as connection:
            rows = await joined_rooms.joined_members(connection, list(room_nids))
        return [(user_id, _Member(room_nid, nid)) for user_id, room_nid, nid in rows]

    async def name_of_account(self, user_id: UserID) -> DirectoryName:
        """Return what the directory is to know of a user of this server."""
        return _name(user_id, await self._profiles.member_fields(user_id))


def _joins(entries: Iterable[EventEntry]) -> dict[UserID, list[_Member]]:
    """Return the joins of each user, and changes of the name of who is joined, oldest first."""
    joins: dict[UserID, list[_Member]] = defaultdict(list)
    for entry in entries:
        for change in entry.state_changes:
            if change.membership == "join" and change.event_nid is not None:
                joins[UserID(change.key[1])].append(_Member(entry.room_nid, change.event_nid))
    return joins


async def _names_told(tx: Transaction, joins: dict[UserID, list[_Member]]) -> list[DirectoryName]:
    rooms = {join.room_nid for each in joins.values() for join in each}
    open_rooms = await user_directory.open_among(tx, rooms)
    # The newest that an open room tells, or the newest.
    chosen = {
        user_id: max(enumerate(each), key=lambda place: (place[1].room_nid in open_rooms, place))[1]
        for user_id, each in joins.items()
    }
    told = await events.events_by_nid(tx, [join.event_nid for join in chosen.values()])
    return [
        _name(user_id, _decode(told[join.event_nid].core)["content"], join)
        for user_id, join in chosen.items()
        if join.event_nid in told
    ]


def _name(user_id: UserID, fields: JsonObject, told: _Member | None = None) -> DirectoryName:
    display_name = _text(fields.get("displayname"))
    avatar_url = _text(fields.get("avatar_url"))
    if avatar_url is not None and not avatar_url.startswith("mxc://"):
        avatar_url = None
    return DirectoryName(
        user_id,
        display_name,
        avatar_url,
        words_of_user_id(user_id),
        words_of_name(display_name) if display_name is not None else (),
        told.room_nid if told is not None else None,
        told.event_nid if told is not None else None,
    )


async def _note_open_rooms(tx: Transaction, room_nids: Collection[int]) -> None:
    """Look at the present state: what comes later in the log is looked at again then."""
    opened = {
        row.room_nid
        for row in await room_summary.state_contents(tx, room_nids, _OPENING)
        if _opens(row.type, _decode(row.core)["content"])
    }
    closed = [room_nid for room_nid in room_nids if room_nid not in opened]
    await user_directory.set_open_rooms(tx, opened, closed)


def _opens(event_type: str, content: JsonObject) -> bool:
    if event_type == "m.room.join_rules":
        return content.get("join_rule") == "public"
    return parse_history_visibility(content) is HistoryVisibility.WORLD_READABLE


def _text(value: JsonValue) -> str | None:
    """Return a text as PostgreSQL can store it."""
    if not isinstance(value, str) or not value.strip("\0 "):
        return None
    return value.replace("\0", "")[:MAX_NAME_LENGTH]
