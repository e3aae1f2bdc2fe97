"""Writing presence: what this node has seen of its users, and the end of what dead nodes saw.

Only changes are written, those of a second in one transaction. Spec: client-server-api/#presence
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from homeserver.protocol.identifiers import UserID
from homeserver.services.presence_rules import Choice, is_told, updated_local
from homeserver.services.presence_sessions import ACTIVE_MS, PresenceSessions, SeenChange
from homeserver.storage import accounts, log, presence, presence_nodes
from homeserver.storage.accounts import AccountRow
from homeserver.storage.database import Database, Transaction
from homeserver.storage.presence import PresenceRow
from homeserver.streams.log_writer import LogWriter
from homeserver.telemetry.clock import Clock

# How late others learn that somebody came or went, and how much is written at once.
FLUSH_SECONDS: Final = 1.0
# What a node has seen counts until it has failed to say three times that it is alive.
BEAT_SECONDS: Final = 15.0
ALIVE_MS: Final = 45_000
# Of users in one transaction.
MAX_USERS: Final = 500


class Written(NamedTuple):
    """Rows as they were written, of whom others are told, and at which last position."""

    rows: Sequence[PresenceRow]
    told: Sequence[UserID]
    position: int | None


class PresenceWriter:
    """Keeps the table of presence up with what is seen of local users."""

    def __init__(
        self,
        database: Database,
        log_writer: LogWriter,
        sessions: PresenceSessions,
        clock: Clock,
        *,
        node_id: str,
    ) -> None:
        """`node_id`: of this run of the process; no other run may ever have it."""
        self._database = database
        self._log_writer = log_writer
        self._sessions = sessions
        self._clock = clock
        self._node_id = node_id
        self._alive_until_ms = 0
        # One at a time, so that what is written last is what was seen last.
        self._writing = asyncio.Lock()

    async def flush(self) -> None:
        """Write what has changed since the last time."""
        async with self._writing:
            if self._clock.now_ms() >= self._alive_until_ms:
                await self._stay_alive()
            await self._drop_barred()
            changes = self._sessions.changes()
            while changes:
                batch, changes = changes[:MAX_USERS], changes[MAX_USERS:]
                try:
                    await self._write(batch, {})
                except BaseException:
                    self._sessions.failed([*batch, *changes])
                    raise

    async def choose(self, user_id: UserID, device: str, choice: Choice) -> int | None:
        """Write what a user sets by hand; return its position, None if nobody is told of it."""
        async with self._writing:
            if self._clock.now_ms() >= self._alive_until_ms:
                await self._stay_alive()
            if choice.presence != "offline":
                self._sessions.choose(user_id, device)
            own = self._sessions.changes_of(user_id)
            try:
                return await self._write(own, {user_id: choice})
            except BaseException:
                self._sessions.failed(own)
                raise

    async def beat(self) -> None:
        """Say that this node is alive, and end what was seen by nodes that are not."""
        async with self._writing:
            await self._stay_alive()
            await self._end_dead_nodes()

    async def _end_dead_nodes(self) -> None:
        while True:
            now_ms = self._clock.now_ms()
            async with self._database.connection("presence") as connection:
                dead = await presence_nodes.dead_nodes(connection, now_ms)
                users = await presence_nodes.users_of_nodes(connection, dead, MAX_USERS)
                if not users:
                    await presence_nodes.forget_dead(connection, dead, now_ms)
                    return
            written = await self._database.run_transaction(
                partial(self._end_nodes, dead=dead, user_ids=users), "presence"
            )
            self._tell(written)

    async def _stay_alive(self) -> None:
        now_ms = self._clock.now_ms()
        async with self._database.connection("presence") as connection:
            was_known = await presence_nodes.stay_alive(
                connection, self._node_id, now_ms + ALIVE_MS
            )
        if not was_known or now_ms >= self._alive_until_ms:
            # Another node may have ended what this one has seen.
            self._sessions.rewrite()
        self._alive_until_ms = now_ms + ALIVE_MS

    async def _drop_barred(self) -> None:
        """Take users as gone whose account has changed so that they have no presence."""
        suspects = self._sessions.take_suspects()
        if not suspects:
            return
        async with self._database.connection("presence") as connection:
            for user_id in suspects:
                # Somebody has changed the account: that is rare.
                account = await accounts.account_of(connection, user_id)
                if account is None or is_barred(account):
                    self._sessions.drop(user_id)

    async def _write(
        self, changes: Sequence[SeenChange], choices: Mapping[UserID, Choice]
    ) -> int | None:
        written = await self._database.run_transaction(
            partial(self._write_seen, changes=changes, choices=choices), "presence"
        )
        for row in written.rows:
            self._sessions.told(row.user_id, row.presence)
        self._tell(written)
        return written.position

    async def _write_seen(
        self,
        tx: Transaction,
        *,
        changes: Sequence[SeenChange],
        choices: Mapping[UserID, Choice],
    ) -> Written:
        by_user = {change.user_id: change for change in changes}
        locked = await presence.lock(tx, {*by_user, *choices}, is_local=True)
        connected = {str(c.user_id): c.seen for c in changes if c.seen is not None}
        gone = [user_id for user_id in by_user if user_id not in connected]
        if connected:
            await presence_nodes.put(tx, self._node_id, connected)
        if gone:
            await presence_nodes.remove(tx, self._node_id, gone)
        now_ms = self._clock.now_ms()
        seen = await presence_nodes.seen(tx, locked.keys(), now_ms)
        forced = {change.user_id for change in changes if change.is_profile_new}
        rows = []
        for row in locked.values():
            change, choice = by_user.get(row.user_id), choices.get(row.user_id)
            active_ts = max(change.last_active_ts if change else 0, choice.ts if choice else 0)
            rows.append(updated_local(row, seen.get(row.user_id), choice, active_ts, now_ms))
            if choice is not None and choice.ts - row.last_active_ts >= ACTIVE_MS // 2:
                # The other nodes learn from it that the user is active.
                forced.add(row.user_id)
        return await store(tx, locked, rows, told_anyway=forced)

    async def _end_nodes(
        self, tx: Transaction, *, dead: Collection[str], user_ids: Collection[str]
    ) -> Written:
        locked = await presence.lock(tx, user_ids, is_local=True)
        now_ms = self._clock.now_ms()
        await presence_nodes.remove_dead(tx, dead, user_ids, now_ms)
        seen = await presence_nodes.seen(tx, user_ids, now_ms)
        rows = [
            updated_local(row, seen.get(row.user_id), None, 0, now_ms) for row in locked.values()
        ]
        return await store(tx, locked, rows)

    def _tell(self, written: Written) -> None:
        if written.position is not None:
            self._log_writer.announce(written.position)


def is_barred(account: AccountRow) -> bool:
    """Whether the user of an account is offline, whatever clients do."""
    return account.is_locked or account.is_suspended or account.deactivated_ts is not None


async def store(
    tx: Transaction,
    old: Mapping[str, PresenceRow],
    new: Sequence[PresenceRow],
    *,
    told_anyway: Collection[str] = (),
) -> Written:
    """Replace locked rows, at positions of their own where there is something to tell.

    The last act of a transaction.
    """
    told = [
        row.user_id for row in new if row.user_id in told_anyway or is_told(old[row.user_id], row)
    ]
    base_pos = await log.take_positions(tx, len(told)) if told else 0
    places = {user_id: base_pos + place for place, user_id in enumerate(told, start=1)}
    rows = [row._replace(pos=places.get(row.user_id, row.pos)) for row in new]
    if rows:
        await presence.write(tx, rows)
    return Written(rows, told, base_pos + len(told) if told else None)
