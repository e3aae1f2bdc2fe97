"""Forgetting rooms. Spec: client-server-api/#post_matrixclientv3roomsroomidforget"""

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.membership import must_have_left
from homeserver.storage import log, memberships
from homeserver.storage.database import Database, Transaction
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.entries import ROOM_FORGOTTEN
from homeserver.streams.log_writer import LogWriter


class ForgetRoom:
    """Hides rooms that users have left from them."""

    def __init__(self, database: Database, log_writer: LogWriter) -> None:
        self._database = database
        self._log_writer = log_writer

    async def forget(self, user_id: UserID, room_id: RoomID) -> None:
        """Forget a room; again changes nothing.

        Raises NotFound: the user has never been there; MatrixError: the user has not left.
        """
        async with self._database.connection("forget_room") as connection:
            found = await memberships.membership_of(connection, user_id, room_id)
        row = _left(found, room_id, user_id)
        if row.is_forgotten:
            return

        async def write(tx: Transaction) -> int:
            # The log first: its writer holds it, too, when it writes memberships.
            position = await log.append_user_change(
                tx, user_id, ROOM_FORGOTTEN, room_nid=row.room_nid
            )
            await memberships.forget(tx, user_id, row.room_nid)
            # An invite may have come meanwhile, which nobody may miss.
            _left(await memberships.membership_of(tx, user_id, room_id), room_id, user_id)
            return position

        position = await self._database.run_transaction(write, "forget_room")
        await self._log_writer.told(position)


def _left(row: MembershipRow | None, room_id: RoomID, user_id: UserID) -> MembershipRow:
    """Return the membership of who has left. Raises NotFound, MatrixError."""
    must_have_left(row.membership if row is not None else None, room_id, user_id)
    assert row is not None
    return row
