"""Reports of what users find inappropriate, kept for the administrators.

Spec: client-server-api/#reporting-content
"""

import secrets
from collections.abc import Sequence
from typing import Final

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.rooms.access import Access
from homeserver.storage import events, reports, rooms
from homeserver.storage.database import Database
from homeserver.storage.reports import ReportRow
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics

log = get_logger(__name__)

# Not in the specification: what an administrator can be expected to read. Longer reasons are
# cut, so that no report is lost.
MAX_REASON: Final = 10_000
# "…homeservers MAY add a random delay when generating a response": longer than a report takes.
MAX_DELAY_MS: Final = 100
_PAGE: Final = 100


class Reports:
    """Takes reports, lists and closes them."""

    def __init__(self, database: Database, access: Access, clock: Clock, metrics: Metrics) -> None:
        self._database = database
        self._access = access
        self._clock = clock
        self._metrics = metrics

    async def report_event(
        self, reporter: UserID, room_id: RoomID, event_id: EventID, reason: str | None
    ) -> None:
        """Report an event of a room in which the reporter is joined.

        Raises NotFound, the same in a room that does not exist, in one where the reporter is
        not, and for an event that the reporter cannot see.
        """
        membership = await self._access.membership(reporter, room_id)
        if membership is None or membership.membership != "join":
            raise NotFound("The event was not found or you are not joined to the room")
        access = await self._access.to_members_only(reporter, room_id)
        async with self._database.connection("reported_event") as connection:
            record = await events.event_by_id(connection, event_id)
        if record is None or record.room_nid != access.room_nid or not access.view.may_see(record):
            await self._delay()
            raise NotFound("The event was not found or you are not joined to the room")
        sender = UserID(record.sender)
        await self._store("event", reporter, reason, room_id, event_id, sender)
        await self._delay()

    async def report_room(self, reporter: UserID, room_id: RoomID, reason: str) -> None:
        """Report a room, which the reporter need not be in.

        What does not exist is as good: nobody learns here which rooms there are.
        """
        async with self._database.connection("reported_room") as connection:
            room_nid = await rooms.room_nid_of(connection, room_id)
        if room_nid is not None:
            await self._store("room", reporter, reason, room_id)
        await self._delay()

    async def report_user(self, reporter: UserID, user_id: UserID, reason: str) -> None:
        """Report a user, of this server or another. Who does not exist is as good."""
        async with self._database.connection("reported_user") as connection:
            is_known = await reports.is_user_known(connection, user_id)
        if is_known:
            await self._store("user", reporter, reason, user_id=user_id)
        await self._delay()

    async def page(self, first_nid: int, *, with_closed: bool) -> list[ReportRow]:
        """Return up to 100 reports from a number on, oldest first."""
        async with self._database.connection("reports") as connection:
            return await reports.reports_from(connection, first_nid, _PAGE, with_closed=with_closed)

    async def close(self, report_nids: Sequence[int]) -> list[int]:
        """Mark reports as dealt with; return the numbers of those that were open."""
        async with self._database.connection("close_reports") as connection:
            return await reports.close(connection, list(report_nids), self._clock.now_ms())

    async def _store(
        self,
        kind: str,
        reporter: UserID,
        reason: str | None,
        room_id: RoomID | None = None,
        event_id: EventID | None = None,
        user_id: UserID | None = None,
    ) -> None:
        text = (reason or "")[:MAX_REASON]
        async with self._database.connection("store_report") as connection:
            nid = await reports.insert(
                connection,
                reporter,
                text,
                self._clock.now_ms(),
                room_id=room_id,
                event_id=event_id,
                user_id=user_id,
            )
        self._metrics.reports.labels(kind).inc()
        log.warning("content reported", report=nid, kind=kind)

    async def _delay(self) -> None:
        await self._clock.sleep(secrets.randbelow(MAX_DELAY_MS) / 1000)
