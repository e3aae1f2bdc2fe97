"""What the command line asks of a running server, proved by the shared secret.

Our own: `POST /_homeserver/admin/v1/…` with a nonce of `/_synapse/admin/v1/register`.
"""

from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec

from homeserver.errors import BadJson
from homeserver.protocol.canonical_json import encode_canonical
from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.identifiers import UserID, parse_user_id
from homeserver.protocol.json_types import JsonObject
from homeserver.services.reports import Reports
from homeserver.services.server_notices import ServerNotices
from homeserver.services.shared_secret_proof import SharedSecretProof
from homeserver.storage.reports import ReportRow
from homeserver.web.params import Body

# What a bigint column takes.
_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Command = TypeVar("_Command", bound=msgspec.Struct)

SEND_NOTICE: Final = "notices"
LIST_REPORTS: Final = "reports/list"
CLOSE_REPORTS: Final = "reports/close"
MAX_NOTICE_CHARACTERS: Final = 20_000  # far below the size of an event, whatever the characters


class OperatorForm(Body, frozen=True):
    """A command; `mac` is `proof_message` under HMAC-SHA256 in hexadecimal."""

    nonce: str
    mac: str
    command: JsonObject


class SendNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice; `to` None: for everybody."""

    text: str
    to: list[str] | None = None


class ListReports(msgspec.Struct, frozen=True, kw_only=True):
    """Up to 100 reports from a number on."""

    first: _Number = 0
    with_closed: bool = False


class CloseReports(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of reports that are dealt with."""

    reports: list[_Number]


class OperatorCommands:
    """Carries out commands of whoever knows the shared secret.

    All of them raise InvalidParam, Forbidden: the proof is wrong; MatrixError 400: there is no
    secret; BadJson.
    """

    def __init__(self, proof: SharedSecretProof, notices: ServerNotices, reports: Reports) -> None:
        self._proof = proof
        self._notices = notices
        self._reports = reports

    async def send_notice(self, form: OperatorForm) -> int:
        """Queue a notice and return for how many users. Raises NotFound, Exclusive."""
        wanted = self._checked(form, SEND_NOTICE, SendNotice)
        if not 0 < len(wanted.text) <= MAX_NOTICE_CHARACTERS:
            raise BadJson(f"text has 1 to {MAX_NOTICE_CHARACTERS} characters")
        if wanted.to is None:
            return await self._notices.notify_all(wanted.text)
        users: list[UserID] = [parse_user_id(each) for each in wanted.to]
        return await self._notices.notify(users, wanted.text)

    async def list_reports(self, form: OperatorForm) -> list[ReportRow]:
        """Return reports, oldest first."""
        wanted = self._checked(form, LIST_REPORTS, ListReports)
        return await self._reports.page(wanted.first, with_closed=wanted.with_closed)

    async def close_reports(self, form: OperatorForm) -> list[int]:
        """Mark reports as dealt with; return those that were open."""
        return await self._reports.close(self._checked(form, CLOSE_REPORTS, CloseReports).reports)

    def _checked(self, form: OperatorForm, operation: str, type_: type[_Command]) -> _Command:
        try:
            message = proof_message(form.nonce, operation, form.command)
        except InvalidJson as error:
            raise BadJson(f"command: {error}") from error
        self._proof.check(form.nonce, message, form.mac, "sha256")
        try:
            return msgspec.convert(form.command, type_)
        except msgspec.ValidationError as error:
            raise BadJson(f"command: {error}") from error


def proof_message(nonce: str, operation: str, command: JsonObject) -> bytes:
    """Return what a proof is over: nonce, operation and Canonical JSON, with NUL in between."""
    return b"\0".join((nonce.encode(), operation.encode(), encode_canonical(command)))
