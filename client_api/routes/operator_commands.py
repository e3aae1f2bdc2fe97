"""What the command line asks of a running server."""

import msgspec

from homeserver.services.operator_commands import (
    CLOSE_REPORTS,
    LIST_REPORTS,
    SEND_NOTICE,
    OperatorCommands,
    OperatorForm,
)
from homeserver.web.endpoint import Auth, endpoint

_ROOT = "/_homeserver/admin/v1"


class NoticeAnswer(msgspec.Struct, frozen=True):
    """How many users get the notice."""

    users: int


class ReportAnswer(msgspec.Struct, frozen=True):
    """A report; what it is not about is null, times are in ms."""

    report: int
    reported_ts: int
    reporter: str
    room_id: str | None
    event_id: str | None
    user_id: str | None
    reason: str
    closed_ts: int | None


class ReportsAnswer(msgspec.Struct, frozen=True):
    """Up to 100 reports, oldest first."""

    reports: list[ReportAnswer]


class ClosedAnswer(msgspec.Struct, frozen=True):
    """The numbers of the reports that were open."""

    closed: list[int]


class OperatorRoutes:
    """`/_homeserver/admin/v1/…`. No rate limit: nobody guesses a MAC."""

    def __init__(self, commands: OperatorCommands) -> None:
        self._commands = commands

    @endpoint(
        "POST",
        f"{_ROOT}/{SEND_NOTICE}",
        auth=Auth.NONE,
        rate_limit=None,
        spec="ours/#server-notices",
    )
    async def send_notice(self, body: OperatorForm) -> NoticeAnswer:
        """Send a server notice to some users or to all."""
        return NoticeAnswer(await self._commands.send_notice(body))

    @endpoint(
        "POST",
        f"{_ROOT}/{LIST_REPORTS}",
        auth=Auth.NONE,
        rate_limit=None,
        spec="ours/#reports",
    )
    async def list_reports(self, body: OperatorForm) -> ReportsAnswer:
        """List what users have reported."""
        rows = await self._commands.list_reports(body)
        return ReportsAnswer([ReportAnswer(*row) for row in rows])

    @endpoint(
        "POST",
        f"{_ROOT}/{CLOSE_REPORTS}",
        auth=Auth.NONE,
        rate_limit=None,
        spec="ours/#reports",
    )
    async def close_reports(self, body: OperatorForm) -> ClosedAnswer:
        """Mark reports as dealt with."""
        return ClosedAnswer(await self._commands.close_reports(body))
