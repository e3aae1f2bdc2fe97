"""Registration by whoever knows the shared secret, as existing tools do it.

Not in the specification: `/_synapse/admin/v1/register`, which scripts for new users, test rigs
and operators' tools expect.
"""

from homeserver.config.values import Secret
from homeserver.protocol.identifiers import UserID
from homeserver.services.accounts import Accounts
from homeserver.services.passwords import Passwords
from homeserver.services.sessions import OpenedSession, Sessions, WantedSession
from homeserver.services.shared_secret_proof import SharedSecretProof
from homeserver.services.user_names import UserNames
from homeserver.storage.accounts import NewAccountRow
from homeserver.telemetry.clock import Clock
from homeserver.web.params import Body


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

    A nonce may be shown twice within its minute, but then the user exists already.
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
        self._proof = SharedSecretProof(secret, clock)
        self._names = names
        self._accounts = accounts
        self._passwords = passwords
        self._sessions = sessions
        self._clock = clock

    def nonce(self) -> str:
        """Return a nonce for one registration within a minute. Raises MatrixError 400."""
        return self._proof.nonce()

    async def register(self, form: SharedSecretForm) -> OpenedSession:
        """Register a user and log it in.

        Raises MatrixError 400, InvalidParam, Forbidden: the MAC is wrong; InvalidUsername,
        UserInUse, Exclusive, WeakPassword.
        """
        self._proof.check(form.nonce, _signed(form), form.mac, "sha1")
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


def _signed(form: SharedSecretForm) -> bytes:
    role = "admin" if form.admin else "notadmin"
    parts = [form.nonce, form.username, form.password, role]
    if form.user_type:
        parts.append(form.user_type)
    return "\0".join(parts).encode()
