"""The presence of users of other servers, as these tell it.

Spec: server-server-api/#presence
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Final

from homeserver.protocol import edu
from homeserver.protocol.identifiers import ServerName, UserID, server_name_of
from homeserver.services.presence_rules import MAX_STATUS_LENGTH, is_told
from homeserver.services.presence_writer import MAX_USERS, Written, store
from homeserver.storage import presence
from homeserver.storage.database import Database, Transaction
from homeserver.storage.presence import PresenceRow
from homeserver.streams.log_writer import LogWriter
from homeserver.telemetry.clock import Clock

# A server that says nothing more of a user who is online has lost the user, or itself. Servers
# that are alive say it again before, as this one does.
SILENT_MS: Final = 30 * 60_000
# The same said again is written this often, so that the user is not taken for lost.
_CONFIRM_MS: Final = 60_000


class RemotePresence:
    """Keeps what other servers say."""

    def __init__(self, database: Database, log_writer: LogWriter, clock: Clock) -> None:
        self._database = database
        self._log_writer = log_writer
        self._clock = clock

    async def receive(self, origin: ServerName, updates: Iterable[edu.PresenceUpdate]) -> None:
        """Take what a server says of users of its own who are in rooms that this server knows.

        Of several updates of one user the last counts; at most 500 users at once.
        """
        of_origin = {
            update.user_id: update for update in updates if server_name_of(update.user_id) == origin
        }
        received = dict(list(of_origin.items())[:MAX_USERS])
        if not received:
            return
        async with self._database.connection("presence") as connection:
            known = await presence.in_any_room(connection, received)
        received = {user_id: update for user_id, update in received.items() if user_id in known}
        await self._write(partial(self._received, updates=received))

    async def end_silent(self) -> None:
        """Take users as offline of whom their servers have not said anything for too long."""
        before_ts = self._clock.now_ms() - SILENT_MS
        while True:
            async with self._database.connection("presence") as connection:
                silent = await presence.stale_remote(connection, before_ts, MAX_USERS)
            if not silent:
                return
            await self._write(partial(self._ended, user_ids=silent, before_ts=before_ts))

    async def _write(self, work: Callable[[Transaction], Awaitable[Written]]) -> None:
        written = await self._database.run_transaction(work, "presence")
        if written.position is not None:
            self._log_writer.announce(written.position)

    async def _received(
        self, tx: Transaction, *, updates: Mapping[UserID, edu.PresenceUpdate]
    ) -> Written:
        locked = await presence.lock(tx, updates, is_local=False)
        now_ms = self._clock.now_ms()
        rows = [
            row
            for old in locked.values()
            for row in [_updated_remote(old, updates[old.user_id], now_ms)]
            if is_told(old, row) or now_ms - old.updated_ts >= _CONFIRM_MS
        ]
        return await store(tx, locked, rows)

    async def _ended(
        self, tx: Transaction, *, user_ids: Collection[str], before_ts: int
    ) -> Written:
        locked = await presence.lock(tx, user_ids, is_local=False)
        now_ms = self._clock.now_ms()
        rows = [
            row._replace(presence="offline", currently_active=False, updated_ts=now_ms)
            for row in locked.values()
            if row.updated_ts < before_ts
        ]
        return await store(tx, locked, rows)


def _updated_remote(row: PresenceRow, update: edu.PresenceUpdate, now_ms: int) -> PresenceRow:
    last_active_ts = row.last_active_ts
    if update.last_active_ago is not None:
        last_active_ts = max(now_ms - update.last_active_ago, 0)
    return row._replace(
        presence=update.presence,
        currently_active=update.currently_active and update.presence == "online",
        status_msg=_storable(update.status_msg),
        last_active_ts=last_active_ts,
        updated_ts=now_ms,
    )


def _storable(status_msg: str | None) -> str | None:
    """Return what PostgreSQL and UTF-8 can hold of a text from elsewhere, as long as ours may be.

    None if that is nothing.
    """
    if status_msg is None:
        return None
    text = status_msg.replace("\0", "").encode(errors="ignore").decode()
    return text[:MAX_STATUS_LENGTH] or None
