"""Everything of a user at once, as clients asked for it before /sync.

Spec: client-server-api/#get_matrixclientv3initialsync
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.client_events import Viewer, render
from homeserver.rooms.invite_permissions import InvitePermissions
from homeserver.services.presence_news import PresenceNews
from homeserver.services.push_rules import PUSH_RULES, PushRules
from homeserver.services.room_snapshots import RoomSnapshot, RoomSnapshots, account_data_event
from homeserver.storage import account_data, events
from homeserver.storage.account_data import GLOBAL, AccountDataRow
from homeserver.storage.database import Database
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.tail import Tail
from homeserver.streams.user_rooms import UserRooms
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester


class UnreadableRoom(NamedTuple):
    """A room of which a user may only know the own membership, and the event that says so."""

    room_id: RoomID
    membership: str
    event: bytes | None


class UserSnapshot(NamedTuple):
    """The rooms and the account data of a user as of a position of the log."""

    position: int
    rooms: Sequence[RoomSnapshot | UnreadableRoom]
    account_data: list[bytes]
    presence: list[bytes]


# "knock" is not among the memberships that the answer knows.
_PRESENT: Final = frozenset({"join", "invite"})
_PAST: Final = frozenset({"leave", "ban"})


class InitialSync:
    """Reads all the rooms of a user."""

    def __init__(
        self,
        database: Database,
        snapshots: RoomSnapshots,
        user_rooms: UserRooms,
        push_rules: PushRules,
        tail: Tail,
        clock: Clock,
        presence: PresenceNews | None,
        permissions: InvitePermissions,
    ) -> None:
        """`presence` None: none is kept."""
        self._database = database
        self._snapshots = snapshots
        self._user_rooms = user_rooms
        self._push_rules = push_rules
        self._tail = tail
        self._clock = clock
        self._presence = presence
        self._permissions = permissions

    async def of_user(
        self, requester: Requester, *, limit: int, with_left_rooms: bool
    ) -> UserSnapshot:
        """Return the user's rooms, each with up to `limit` events."""
        blocks_invites = await self._permissions.blocks_all(requester.user_id)
        memberships = await self._user_rooms.of_user(requester.user_id)
        position = self._tail.position
        wanted = _PRESENT | _PAST if with_left_rooms else _PRESENT
        if blocks_invites:
            wanted -= {"invite"}
        rooms = [
            await self._room(requester, row, limit, position)
            for row in memberships.values()
            if row.membership in wanted and not row.is_forgotten
        ]
        own = await self._account_data(requester, position)
        return UserSnapshot(position, rooms, own, await self._present(requester, memberships))

    async def _room(
        self, requester: Requester, row: MembershipRow, limit: int, position: int
    ) -> RoomSnapshot | UnreadableRoom:
        if await self._has_been_in(requester, row):
            return await self._snapshots.of_room(requester, row.room_id, limit=limit, upto=position)
        async with self._database.connection("initial_sync") as connection:
            found = await events.events_by_nid(connection, [row.event_nid])
        viewer = Viewer(requester.user_id, requester.device_id, self._clock.now_ms())
        event = found.get(row.event_nid)
        return UnreadableRoom(
            row.room_id,
            row.membership,
            None if event is None else render(event, viewer, row.membership, row.room_id),
        )

    async def _has_been_in(self, requester: Requester, row: MembershipRow) -> bool:
        if row.membership in _PAST:
            return await self._snapshots.is_readable(requester, row.room_id)
        return row.membership == "join"

    async def _present(
        self, requester: Requester, memberships: Mapping[int, MembershipRow]
    ) -> list[bytes]:
        if self._presence is None:
            return []
        states = await self._presence.present(requester.user_id, memberships)
        return [self._presence.event(state) for state in states]

    async def _account_data(self, requester: Requester, position: int) -> list[bytes]:
        async with self._database.connection("initial_sync") as connection:
            rows = await account_data.of_rooms(
                connection, requester.user_id, [GLOBAL], deleted_after=position
            )
        rules = await self._push_rules.as_account_data(requester.user_id)
        rows.append(AccountDataRow(GLOBAL, PUSH_RULES, rules, is_deleted=False))
        return [account_data_event(row) for row in rows if not row.is_deleted]
