"""Verifying e-mail addresses: whoever opens the link in a mail can read mail to the address.

Spec: client-server-api/#adding-account-administrative-contact-information
"""

import hashlib
import hmac
import secrets
from enum import Enum
from typing import Annotated, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from homeserver.config.sections.third_party_ids import ThirdPartyIdsSection
from homeserver.errors import (
    InvalidParam,
    MatrixError,
    ThreepidDenied,
    ThreepidInUse,
    ThreepidMediumNotSupported,
    ThreepidNotFound,
)
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.glob import compile_globs
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.third_party_ids import EMAIL, canonical_email, is_opaque
from homeserver.services.mail import Mail, Message
from homeserver.storage import third_party_ids, validation_sessions
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.storage.validation_sessions import SessionKey, SessionRow
from homeserver.telemetry.clock import Clock
from homeserver.web.endpoint import RateLimit
from homeserver.web.params import Body
from homeserver.web.rate_limit import RateLimiter

# Where the links in mails lead, below the public base URL.
LINK_PATH: Final = "_matrix/client/unstable/org.homeserver/email/confirm"
# Of a 256-bit token nobody guesses any; more is an attack or a broken mail program.
_MAX_WRONG_TOKENS: Final = 10
_MAX_LINK: Final = 2_048
# What fits into the column; no client counts that far.
_MAX_ATTEMPT: Final = 2**53


class Purpose(Enum):
    """What an address is verified for, as the mail tells its reader."""

    REGISTER = "register"
    ADD = "add"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a name


class EmailTokenForm(Body, frozen=True):
    """What a client sends to have an e-mail address verified.

    An identity server that is named is ignored, "when the homeserver handles 3PID verification".
    """

    client_secret: str
    email: str
    send_attempt: Annotated[int, msgspec.Meta(ge=-_MAX_ATTEMPT, le=_MAX_ATTEMPT)]
    next_link: str | None = None


class Validated(msgspec.Struct, frozen=True):
    """An address that somebody has verified; the time in milliseconds since 1970."""

    sid: str
    medium: str
    address: str
    validated_ts: int


class Link(msgspec.Struct, frozen=True):
    """What the link in a mail stands for."""

    purpose: Purpose
    address: str
    # Where to lead the browser after the confirmation.
    next_link: str | None


class ValidationSessions:
    """Sends links to addresses and knows which were opened."""

    def __init__(
        self,
        settings: ThirdPartyIdsSection,
        mail: Mail,
        database: Database,
        rate_limiter: RateLimiter,
        clock: Clock,
        *,
        server_name: ServerName,
        base_url: str,
        lifetime_ms: int,
    ) -> None:
        """`base_url`: where browsers reach this server, with a slash at the end."""
        self._settings = settings
        self._allowed = compile_globs(settings.allowed_addresses or ("*",))
        self._mail = mail
        self._database = database
        self._rate_limiter = rate_limiter
        self._clock = clock
        self._server_name = server_name
        self._base_url = base_url
        self._lifetime_ms = lifetime_ms

    @property
    def is_offered(self) -> bool:
        """Whether addresses can be verified at all."""
        return self._mail.is_configured

    def require_allowed(self, address: str) -> None:
        """Raises ThreepidDenied: users of this server may not have the address."""
        if not self._allowed.matches(address):
            raise ThreepidDenied

    async def begin(self, form: EmailTokenForm, purpose: Purpose) -> str:
        """Send a mail unless this attempt was made before; return the session ID.

        Raises ThreepidMediumNotSupported, InvalidParam, ThreepidDenied, LimitExceeded; and, where
        accounts are not concealed, ThreepidInUse, ThreepidNotFound.
        """
        if not self.is_offered:
            raise ThreepidMediumNotSupported("This server cannot send e-mail")
        if not is_opaque(form.client_secret):
            raise InvalidParam("client_secret has 1 to 255 of the characters 0-9a-zA-Z.=_-")
        try:
            address = canonical_email(form.email)
        except InvalidIdentifier as error:
            raise InvalidParam(f"email: {error}") from error
        next_link = self._checked_link(form.next_link)
        self.require_allowed(address)
        key = SessionKey(EMAIL, address, _hash(form.client_secret), purpose.value)

        async def work(tx: Transaction) -> str:
            return await self._begin(tx, key, form.send_attempt, next_link)

        sid = await self._database.run_transaction(work, "begin_validation")
        self._mail.wake()
        return sid

    async def look(self, sid: str, token: str) -> Link:
        """Return what a link stands for. Raises MatrixError 400: nothing, or no longer."""
        async with self._database.connection("validation_link") as connection:
            row = await self._row_of_link(connection, sid, token)
        return Link(Purpose(row.purpose), row.address, row.next_link)

    async def confirm(self, sid: str, token: str) -> Link:
        """Take note that a link was opened. Raises MatrixError 400, as `look` does."""
        now_ms = self._clock.now_ms()
        async with self._database.connection("confirm_address") as connection:
            row = await self._row_of_link(connection, sid, token)
            await validation_sessions.set_validated(
                connection, sid, now_ms, now_ms + self._lifetime_ms
            )
        return Link(Purpose(row.purpose), row.address, row.next_link)

    async def validated(self, sid: str, client_secret: str, purpose: Purpose) -> Validated | None:
        """Return the address that a client has had verified; None: no such session, or not yet."""
        async with self._database.connection("validated_address") as connection:
            row = await validation_sessions.session_of(connection, sid, self._clock.now_ms())
        if row is None or row.validated_ts is None or row.purpose != purpose.value:
            return None
        if not hmac.compare_digest(row.secret_hash, _hash(client_secret)):
            return None
        return Validated(row.sid, row.medium, row.address, row.validated_ts)

    async def take(self, tx: Transaction, validated: Validated) -> bool:
        """Use a session up; False: it is used up."""
        return await validation_sessions.take(tx, validated.sid)

    async def _begin(
        self, tx: Transaction, key: SessionKey, attempt: int, next_link: str | None
    ) -> str:
        now_ms = self._clock.now_ms()
        expires_ts = now_ms + self._lifetime_ms
        owner = await third_party_ids.user_of(tx, key.medium, key.address)
        reason = _reason_against(Purpose(key.purpose), is_owned=owner is not None)
        if reason is not None and not self._settings.accounts_concealed:
            raise ThreepidInUse if reason == "in_use" else ThreepidNotFound
        sid = secrets.token_urlsafe(24)
        row = await validation_sessions.insert_or_lock(tx, sid, key, now_ms, expires_ts)
        # "The server will only send an email if the send_attempt is a number greater than the
        # most recent one which it has seen".
        if attempt <= row.last_attempt:
            return row.sid
        self._rate_limiter.take(RateLimit.MAIL, key.address)
        token = None if reason is not None else secrets.token_urlsafe(32)
        await validation_sessions.add_attempt(
            tx,
            row.sid,
            attempt,
            token_hash=None if token is None else _hash(token),
            next_link=next_link,
            expires_ts=expires_ts,
        )
        message = self._refusal(key, reason) if token is None else self._link(key, row, token)
        await self._mail.put(tx, msgspec.structs.replace(message, expires_ts=expires_ts))
        return row.sid

    def _link(self, key: SessionKey, row: SessionRow, token: str) -> Message:
        query = urlencode({"sid": row.sid, "token": token})
        link = f"{self._base_url}{LINK_PATH}?{query}"
        return self._message("validation", key.address, {"purpose": key.purpose, "link": link})

    def _refusal(self, key: SessionKey, reason: str | None) -> Message:
        return self._message("refusal", key.address, {"reason": reason})

    def _message(self, template: str, to: str, values: dict[str, str | None]) -> Message:
        text = self._mail.templates.render(template, {**values, "server_name": self._server_name})
        return Message(to=to, subject=text.subject, text=text.text, html=text.html)

    async def _row_of_link(self, connection: Connection, sid: str, token: str) -> SessionRow:
        row = await validation_sessions.session_of(connection, sid, self._clock.now_ms())
        if row is None or row.wrong_tokens >= _MAX_WRONG_TOKENS:
            raise MatrixError(400, "M_SESSION_EXPIRED", "This link is used up or has expired")
        digest = _hash(token)
        if not any(hmac.compare_digest(digest, known) for known in row.token_hashes):
            await validation_sessions.count_wrong_token(connection, sid)
            raise MatrixError(400, "M_TOKEN_INCORRECT", "This link is not complete")
        return row

    def _checked_link(self, link: str | None) -> str | None:
        """Return a link that browsers may be led to; None: they stay. Raises InvalidParam."""
        if not link:
            return None
        try:
            parts = urlsplit(link)
            host = parts.hostname
        except ValueError as error:
            raise InvalidParam("next_link is no URL") from error
        is_plain = link.isascii() and link.isprintable() and " " not in link and "\\" not in link
        if parts.scheme not in ("http", "https") or not host or not is_plain:
            raise InvalidParam("next_link must be a URL that begins with https:// or http://")
        if len(link) > _MAX_LINK:
            raise InvalidParam(f"next_link has more than {_MAX_LINK} characters")
        return link if host in self._settings.next_link_hosts else None


def _reason_against(purpose: Purpose, *, is_owned: bool) -> str | None:
    """Return why no token is sent; None: it is."""
    if purpose is Purpose.RESET_PASSWORD:
        return None if is_owned else "unknown"
    return "in_use" if is_owned else None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
