"""Sending e-mail: a queue in the database, emptied by every node.

    mail.is_configured                     whether there is a mail server at all
    text = mail.templates.render("push", values)     mail_push.txt, mail_push.html
    await mail.send(Message(to=…, subject=text.subject, text=text.text, html=text.html))

or, to send it exactly when a transaction of the caller's commits:

    await mail.put(tx, message)
    …
    mail.wake()                            after the commit; without it, seconds later

A mail is sent at least once: when a node dies after the mail server has taken it and before
that is recorded, it goes out again with the same Message-ID.
"""

import secrets
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Final

import aiosmtplib
import msgspec

from homeserver.config.sections.mail import EmailSection
from homeserver.services.mail_templates import MailTemplates
from homeserver.storage import mail_queue
from homeserver.storage.database import Database, Transaction
from homeserver.storage.mail_queue import MailRow, NewMailRow
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.tasks import Tasks

log = get_logger(__name__)

# How long a mail server may be away before mail to it is given up, unless the mail says less.
LIFETIME_MS: Final = 24 * 3600 * 1000
# Waits between attempts; the last one repeats.
_RETRY_MS: Final = (5_000, 30_000, 120_000, 600_000, 1_800_000)
# Longer than all steps of a delivery may take together: then another node tries.
_CLAIM_MS: Final = 300_000


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A mail to one address."""

    to: str
    subject: str
    text: str
    html: str | None = None
    # Such as List-Unsubscribe; From, To, Subject, Date and Message-ID are ours.
    headers: Mapping[str, str] = {}
    # Milliseconds since 1970: nobody wants the mail after that. None: after LIFETIME_MS.
    expires_ts: int | None = None


class _Refused(Exception):
    """The mail server refuses a mail; `is_final`: it will never take it."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final


class Mail:
    """Sends mail through the configured mail server."""

    def __init__(
        self, settings: EmailSection, database: Database, tasks: Tasks, clock: Clock
    ) -> None:
        self.templates: Final = MailTemplates(settings.templates_dir)
        self._settings = settings
        self._database = database
        self._tasks = tasks
        self._clock = clock
        self._tls_context: ssl.SSLContext | None = None
        self._is_delivering = False
        self._is_woken = False

    @property
    def is_configured(self) -> bool:
        """Whether mail can be sent."""
        return self._settings.smtp_host is not None

    async def send(self, message: Message) -> None:
        """Put a mail into the queue and begin to send it; returns before it is sent."""
        async with self._database.connection("queue_mail") as connection:
            await self.put(connection, message)
        self.wake()

    async def put(self, tx: Transaction, message: Message) -> None:
        """Put a mail into the queue, to be sent when the transaction is committed."""
        assert self.is_configured, "there is no mail server"
        now_ms = self._clock.now_ms()
        domain = _sender(self._settings).domain
        expires_ts = message.expires_ts
        row = NewMailRow(
            recipient=message.to,
            subject=message.subject,
            text_body=message.text,
            html_body=message.html,
            headers=[part for pair in message.headers.items() for part in pair],
            message_id=f"<{secrets.token_hex(16)}@{domain}>",
            next_ts=now_ms,
            expires_ts=now_ms + LIFETIME_MS if expires_ts is None else expires_ts,
        )
        await mail_queue.insert(tx, row)

    def wake(self) -> None:
        """Send what waits, in the background."""
        if self._is_delivering:
            self._is_woken = True
        else:
            self._tasks.spawn("send mail", self.deliver())

    async def deliver(self) -> None:
        """Send all mail that is due; to be called every few seconds."""
        if self._is_delivering or not self.is_configured:
            return
        self._is_delivering = True
        try:
            self._is_woken = True
            while self._is_woken:
                self._is_woken = False
                while await self._deliver_next():
                    pass
        finally:
            self._is_delivering = False

    async def _deliver_next(self) -> bool:
        now_ms = self._clock.now_ms()
        async with self._database.connection("claim_mail") as connection:
            row = await mail_queue.claim(connection, now_ms, now_ms + _CLAIM_MS)
        if row is None:
            return False
        if row.expires_ts > now_ms and not await self._is_done(row):
            return True
        async with self._database.connection("forget_mail") as connection:
            await mail_queue.delete(connection, row.mail_nid)
        return True

    async def _is_done(self, row: MailRow) -> bool:
        """Try to send a mail; False: it has to be tried again, at a time that is stored."""
        try:
            await self._transmit(row)
        except _Refused as refused:
            # The address stays out of the log: it is nobody's business but the user's.
            log.warning(
                "mail not sent",
                mail_nid=row.mail_nid,
                attempts=row.attempts,
                reason=refused.reason,
                is_final=refused.is_final,
            )
            if refused.is_final:
                return True
            wait_ms = _RETRY_MS[min(row.attempts, len(_RETRY_MS)) - 1]
            async with self._database.connection("postpone_mail") as connection:
                await mail_queue.postpone(connection, row.mail_nid, self._clock.now_ms() + wait_ms)
            return False
        log.info("mail sent", mail_nid=row.mail_nid)
        return True

    async def _transmit(self, row: MailRow) -> None:
        settings = self._settings
        if self._tls_context is None and settings.security != "none":
            self._tls_context = _tls_context(settings)
        try:
            await aiosmtplib.send(
                _as_mime(row, settings, self._clock.now_ms()),
                sender=_sender(settings).addr_spec,
                recipients=[row.recipient],
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                username=settings.username,
                password=settings.password.reveal() if settings.password is not None else None,
                use_tls=settings.security == "tls",
                start_tls=settings.security == "starttls",
                tls_context=self._tls_context,
                timeout=settings.timeout_ms / 1000,
            )
        except aiosmtplib.SMTPException as error:
            raise _refusal_of(error) from error
        except (OSError, TimeoutError) as error:
            raise _Refused(type(error).__name__, is_final=False) from error
        except ValueError as error:
            raise _Refused("the mail cannot be written", is_final=True) from error


def _refusal_of(error: aiosmtplib.SMTPException) -> _Refused:
    """Say whether to try again: a mail server's 5xx is about the mail or its recipient.

    A refused login is about the configuration, which somebody will mend.
    """
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return _Refused("the mail server refuses the login", is_final=False)
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        code = error.recipients[0].code
        return _Refused(f"recipient refused with {code}", is_final=code >= 500)
    if isinstance(error, aiosmtplib.SMTPSenderRefused):
        return _Refused(f"sender refused with {error.code}", is_final=False)
    if isinstance(error, aiosmtplib.SMTPDataError | aiosmtplib.SMTPRecipientRefused):
        return _Refused(f"refused with {error.code}", is_final=error.code >= 500)
    # Of the others, only an address that needs SMTPUTF8 is about the mail; it expires.
    return _Refused(type(error).__name__, is_final=False)


def _as_mime(row: MailRow, settings: EmailSection, now_ms: int) -> EmailMessage:
    """Write a mail. Raises ValueError: a header has a line break."""
    message = EmailMessage(policy=SMTP)
    message["From"] = _sender(settings)
    message["To"] = Address(addr_spec=row.recipient)
    message["Subject"] = row.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(now_ms / 1000, UTC))
    message["Message-ID"] = row.message_id
    # RFC 3834: nobody's absence notice shall answer.
    message["Auto-Submitted"] = "auto-generated"
    for name, value in zip(row.headers[::2], row.headers[1::2], strict=True):
        message[name] = value
    message.set_content(row.text_body)
    if row.html_body is not None:
        message.add_alternative(row.html_body, subtype="html")
    return message


def _sender(settings: EmailSection) -> Address:
    name, address = parseaddr(settings.sender or "")
    return Address(display_name=name, addr_spec=address)


def _tls_context(settings: EmailSection) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for path in settings.ca_files:
        context.load_verify_locations(path)
    return context
