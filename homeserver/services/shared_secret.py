"""Registration by whoever knows the shared secret, as existing tools do it.

Not in the specification: `/_synapse/admin/v1/register`, which scripts for new users, test rigs
and operators' tools expect.
"""

import base64
import hmac
import secrets
from typing import Final

from homeserver.config.values import Secret
from homeserver.errors import Forbidden, InvalidParam, MatrixError
from homeserver.protocol.identifiers import UserID
from homeserver.services.accounts import Accounts
from homeserver.services.passwords import Passwords
from homeserver.services.sessions import OpenedSession, Sessions, WantedSession
from homeserver.services.user_names import UserNames
from homeserver.storage.accounts import NewAccountRow
from homeserver.telemetry.clock import Clock
from homeserver.web.params import Body

NONCE_LIFETIME_MS: Final = 60_000
_RANDOM_BYTES: Final = 12
_TIME_BYTES: Final = 8
_MAC_BYTES: Final = 16


class SharedSecretForm(Body, frozen=True):
    """What a tool sends; `mac` is the HMAC-SHA1 in hexadecimal."""

    nonce: str
    username: str
    password: str
    mac: str
    admin: bool | None = None
    user_type: str | None = None


class SharedSecretRegistration:
    """Registers users, administrators too, for whoever knows the secret.

    Nonces carry their time and a proof that this server made them, so that any node takes
    them. One may be shown twice within its minute, but then the user exists already.
    """

    def __init__(
        self,
        secret: Secret | None,
        names: UserNames,
        accounts: Accounts,
        passwords: Passwords,
        sessions: Sessions,
        clock: Clock,
    ) -> None:
        """`secret` None: nobody may register like this."""
        self._secret = secret.reveal().encode() if secret is not None else None
        self._names = names
        self._accounts = accounts
        self._passwords = passwords
        self._sessions = sessions
        self._clock = clock

    def nonce(self) -> str:
        """Return a nonce for one registration within a minute. Raises MatrixError 400."""
        message = self._clock.now_ms().to_bytes(_TIME_BYTES, "big")
        message += secrets.token_bytes(_RANDOM_BYTES)
        return base64.urlsafe_b64encode(message + self._nonce_mac(message)).decode()

    async def register(self, form: SharedSecretForm) -> OpenedSession:
        """Register a user and log it in.

        Raises MatrixError 400, InvalidParam, Forbidden: the MAC is wrong; InvalidUsername,
        UserInUse, Exclusive, WeakPassword.
        """
        self._check_nonce(form.nonce)
        if not hmac.compare_digest(self._mac(form).encode(), form.mac.lower().encode()):
            raise Forbidden("HMAC incorrect")
        user_id: UserID = await self._names.available(form.username)
        self._passwords.check_strength(form.password)
        await self._accounts.create(
            NewAccountRow(
                user_id,
                self._clock.now_ms(),
                await self._passwords.hash(form.password),
                is_admin=form.admin is True,
                user_type=form.user_type,
            )
        )
        return await self._sessions.open(user_id, WantedSession())

    def _mac(self, form: SharedSecretForm) -> str:
        role = "admin" if form.admin else "notadmin"
        parts = [form.nonce, form.username, form.password, role]
        if form.user_type:
            parts.append(form.user_type)
        return hmac.new(self._key(), "\0".join(parts).encode(), "sha1").hexdigest()

    def _check_nonce(self, nonce: str) -> None:
        try:
            raw = base64.b64decode(nonce, altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        message, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._nonce_mac(message)):
            raise InvalidParam("unrecognised nonce")
        made_ms = int.from_bytes(message[:_TIME_BYTES], "big")
        if made_ms + NONCE_LIFETIME_MS < self._clock.now_ms():
            raise InvalidParam("the nonce is too old")

    def _nonce_mac(self, message: bytes) -> bytes:
        return hmac.digest(self._key(), b"nonce" + message, "sha256")[:_MAC_BYTES]

    def _key(self) -> bytes:
        if self._secret is None:
            raise MatrixError(400, "M_UNKNOWN", "Shared secret registration is not enabled")
        return self._secret
