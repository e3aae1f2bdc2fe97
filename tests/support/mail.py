"""A mail server on loopback that a test controls, and what clients do with its mail."""

import asyncio
import contextlib
import re
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from homeserver.config.sections.mail import EmailSection

_LINK = re.compile(r"https?://\S+")


class Mailbox:
    """What the mail server has taken; `refusals` are its next answers, before it takes more."""

    def __init__(self) -> None:
        self.port = 0
        self.refusals: list[str] = []
        self.attempts = 0
        self.recipients: list[str] = []
        self._arrived: asyncio.Queue[EmailMessage] = asyncio.Queue()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.attempts += 1
        if self.refusals:
            return self.refusals.pop(0)
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.recipients += envelope.rcpt_tos
        self._arrived.put_nowait(message)
        return "250 OK"

    async def next(self) -> EmailMessage:
        """Return the next mail, when it is there."""
        return await asyncio.wait_for(self._arrived.get(), 60)

    async def next_text(self) -> str:
        return text_of(await self.next())

    @property
    def is_empty(self) -> bool:
        return self._arrived.empty()

    def section(self, **settings: Any) -> EmailSection:
        """Return the configuration of a homeserver that uses this mail server."""
        return EmailSection(
            **{
                "smtp_host": "localhost",
                "smtp_port": self.port,
                "security": "none",
                "sender": "Matrix <matrix@example.org>",
                **settings,
            }
        )


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def link_of(text: str) -> dict[str, str]:
    """Return what the link in a mail carries."""
    found = _LINK.search(text)
    assert found is not None, text
    return {name: values[0] for name, values in parse_qs(urlsplit(found[0]).query).items()}


def _login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (b"matrix", b"secret"))


@contextlib.asynccontextmanager
async def mail_server(
    *, tls: ssl.SSLContext | None = None, wants_login: bool = False
) -> AsyncIterator[Mailbox]:
    """Run a mail server; with `tls` it wants STARTTLS, `wants_login` as matrix with secret."""
    box = Mailbox()
    connections: list[SMTP] = []

    def connect() -> SMTP:
        with warnings.catch_warnings():
            # It warns of logins without TLS, and cannot be told not to.
            warnings.simplefilter("ignore")
            connection = SMTP(
                box,
                hostname="mail.test",
                tls_context=tls,
                require_starttls=tls is not None,
                auth_required=wants_login,
                auth_require_tls=False,
                authenticator=_login if wants_login else None,
                loop=asyncio.get_running_loop(),
                enable_SMTPUTF8=True,
            )
        connections.append(connection)
        return connection

    factory: Callable[[], SMTP] = connect
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        for connection in connections:
            if connection.transport is not None:
                connection.transport.close()
        await server.wait_closed()
