"""What a user is told of the presence of others: of those who share a room, and the user's own.

Spec: client-server-api/#presence
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from homeserver.protocol.identifiers import UserID
from homeserver.storage import presence
from homeserver.storage.database import Database
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.presence import PresenceState
from homeserver.streams.presence_index import PresenceIndex
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock

PRESENCE: Final = "m.presence"

_encode: Final = msgspec.json.Encoder().encode


class PresenceNews:
    """Finds what is to be told, as of the tail's position or later; nothing is left out."""

    def __init__(self, database: Database, tail: Tail, index: PresenceIndex, clock: Clock) -> None:
        self._database = database
        self._tail = tail
        self._index = index
        self._clock = clock

    async def present(
        self, user_id: UserID, memberships: Mapping[int, MembershipRow]
    ) -> list[PresenceState]:
        """Return who is not offline, those first who have been what they are for longest."""
        async with self._database.connection("presence") as connection:
            return await presence.present_in(connection, user_id, _joined(memberships))

    async def since(
        self, user_id: UserID, memberships: Mapping[int, MembershipRow], since: int
    ) -> list[PresenceState]:
        """Return what has changed, in the order of the changes.

        And those whom the user has met since, in whichever room, if they are not offline.
        """
        if not (since >= self._tail.floor and self._index.knows_changes_after(since)):
            return await self._since_from_database(user_id, memberships, since)
        joined = _joined(memberships)
        found = self._index.changes_after(since, user_id, frozenset(joined))
        present = await self._index.present()
        for other in self._newcomers(joined, since):
            if other in present:
                found.setdefault(other, present[other])
        entered = [nid for nid in joined if memberships[nid].pos > since]
        if entered:
            async with self._database.connection("presence") as connection:
                states = await presence.present_in(connection, user_id, entered)
            found = {str(state.user_id): state for state in states} | found
        return sorted(found.values(), key=lambda state: state.pos)

    def event(self, state: PresenceState) -> bytes:
        """Return the event `m.presence`, as JSON."""
        return _encode({"type": PRESENCE, "sender": state.user_id, "content": self._content(state)})

    def _content(self, state: PresenceState) -> dict[str, object]:
        """Return the content of the event; the profile of users of other servers is not in it."""
        content: dict[str, object] = {
            "presence": state.presence,
        }
        if (ago := self.last_active_ago_ms(state)) is not None:
            # "The last active time must be up to date whenever the server gives a presence event
            # to the client."
            content["last_active_ago"] = ago
        if state.presence == "online":
            content["currently_active"] = state.currently_active
        if state.status_msg is not None:
            content["status_msg"] = state.status_msg
        if state.displayname is not None:
            content["displayname"] = msgspec.Raw(state.displayname)
        if state.avatar_url is not None:
            content["avatar_url"] = msgspec.Raw(state.avatar_url)
        return content

    def last_active_ago_ms(self, state: PresenceState) -> int | None:
        """Return for how long a user has not done anything; None: was never seen to."""
        last_active_ts = self._index.last_active_ts(state)
        return max(self._clock.now_ms() - last_active_ts, 0) if last_active_ts else None

    async def _since_from_database(
        self, user_id: UserID, memberships: Mapping[int, MembershipRow], since: int
    ) -> list[PresenceState]:
        joined = _joined(memberships)
        entered = [nid for nid in joined if memberships[nid].pos > since]
        async with self._database.connection("presence") as connection:
            states = await presence.new_in(connection, user_id, joined, since)
            if entered:
                states += await presence.present_in(connection, user_id, entered)
        by_user = {state.user_id: state for state in states}
        return sorted(by_user.values(), key=lambda state: state.pos)

    def _newcomers(self, joined: Collection[int], since: int) -> Iterable[str]:
        """Yield who has come into rooms after a position that the tail has."""
        for room_nid in joined:
            if self._tail.last_position_of(room_nid) <= since:
                continue
            for entry in self._tail.room_entries(room_nid, since, self._tail.position):
                for change in entry.state_changes:
                    if change.key[0] == "m.room.member" and change.membership == "join":
                        yield change.key[1]


def _joined(memberships: Mapping[int, MembershipRow]) -> list[int]:
    return [nid for nid, row in memberships.items() if row.membership == "join"]
