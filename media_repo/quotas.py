"""How much a user may upload. Spec: client-server-api/#content-repo-security-considerations"""

from collections.abc import Sequence
from typing import Final

from homeserver.config.sections.media import UploadLimit
from homeserver.errors import Forbidden
from homeserver.protocol.identifiers import UserID
from homeserver.storage import media as media_table
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.telemetry.clock import Clock


class Quotas:
    """Refuses uploads beyond the configured limits."""

    def __init__(self, limits: Sequence[UploadLimit], database: Database, clock: Clock) -> None:
        self._limits: Final = tuple(limits)
        self._database = database
        self._clock = clock

    @property
    def are_set(self) -> bool:
        """Whether there is any limit."""
        return bool(self._limits)

    async def check_early(self, user_id: UserID, announced_bytes: int | None) -> None:
        """Refuse, before it is read, what will be refused anyway. Raises Forbidden."""
        if self._limits:
            async with self._database.connection("media quota") as connection:
                await self._check(connection, user_id, announced_bytes or 0)

    async def check(self, tx: Transaction, user_id: UserID, byte_count: int) -> None:
        """Refuse content that is about to be added in the transaction. Raises Forbidden.

        Uploads of one user that end at the same time are counted one after the other.
        """
        if self._limits:
            await media_table.lock_uploader(tx, user_id)
            await self._check(tx, user_id, byte_count)

    async def _check(self, connection: Connection, user_id: UserID, byte_count: int) -> None:
        now_ts = self._clock.now_ms()
        for limit in self._limits:
            since_ts = now_ts - limit.period_seconds * 1000
            usage = await media_table.usage_since(connection, user_id, since_ts)
            if limit.max_files is not None and usage.files + 1 > limit.max_files:
                raise Forbidden(f"You may upload {limit.max_files} files {_time(limit)}")
            if limit.max_bytes is not None and usage.byte_count + byte_count > limit.max_bytes:
                raise Forbidden(f"You may upload {limit.max_bytes} bytes {_time(limit)}")


def _time(limit: UploadLimit) -> str:
    return f"in {limit.period_seconds} seconds"
