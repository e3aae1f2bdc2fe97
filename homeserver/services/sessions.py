"""Sessions: what begins with a login or registration and ends with a logout.

Spec: client-server-api/#relationship-between-access-tokens-and-devices
"""

import secrets
import string
from typing import Final, Protocol

import msgspec

from homeserver.errors import Forbidden, UserDeactivated, UserLocked
from homeserver.protocol.identifiers import DeviceID, UserID
from homeserver.services.account_changes import AccountChanges
from homeserver.services.devices import shortened_name
from homeserver.services.token_issue import IssuedTokens, TokenIssuer
from homeserver.storage import access_tokens, accounts, devices, refresh_tokens
from homeserver.storage.database import Database, Transaction
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import DEVICE_CHANGED, TOKENS_REVOKED
from homeserver.telemetry.clock import Clock

_DEVICE_ID_LENGTH: Final = 10  # 26^10: a user's devices never meet


class ReservedDeviceIDs(Protocol):
    """Knows the device IDs that a user cannot have: the public keys of cross-signing."""

    async def is_reserved(self, user_id: UserID, device_id: DeviceID) -> bool:
        """Whether the device ID is the same as one of the user's cross-signing key IDs."""
        ...


class WantedSession(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks of its new session."""

    # None: the server chooses one.
    device_id: DeviceID | None = None
    # For a new device; a known one keeps its name.
    display_name: str | None = None
    can_refresh: bool = False


class OpenedSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that has begun."""

    user_id: UserID
    device_id: DeviceID
    tokens: IssuedTokens


class Sessions:
    """Begins sessions."""

    def __init__(
        self,
        database: Database,
        issuer: TokenIssuer,
        changes: AccountChanges,
        reserved: ReservedDeviceIDs,
        clock: Clock,
    ) -> None:
        self._database = database
        self._issuer = issuer
        self._changes = changes
        self._reserved = reserved
        self._clock = clock

    async def open(self, user_id: UserID, wanted: WantedSession) -> OpenedSession:
        """Log a user in who has proven who it is.

        A known device loses its old tokens. Raises Forbidden: there is no such account, or the
        device ID is reserved; UserDeactivated, UserLocked.
        """
        device_id = wanted.device_id or new_device_id()
        if wanted.device_id is not None and await self._reserved.is_reserved(user_id, device_id):
            raise Forbidden("This device ID is the ID of a cross-signing key")

        async def work(tx: Transaction) -> tuple[IssuedTokens, int | None]:
            return await self._begin(tx, user_id, device_id, wanted)

        tokens, position = await self._database.run_transaction(work, "open_session")
        if position is not None:
            await self._changes.committed(user_id, position)
        return OpenedSession(user_id=user_id, device_id=device_id, tokens=tokens)

    async def _begin(
        self, tx: Transaction, user_id: UserID, device_id: DeviceID, wanted: WantedSession
    ) -> tuple[IssuedTokens, int | None]:
        """Return the tokens and, if there is something to announce, its position."""
        await _require_active(tx, user_id)
        now_ms = self._clock.now_ms()
        name = shortened_name(wanted.display_name)
        is_new = await devices.add(tx, user_id, device_id, name, now_ms)
        had_tokens = not is_new and await revoke_tokens_of_device(tx, user_id, device_id)
        tokens = await self._issuer.issue(
            tx, user_id, device_id, now_ms, can_refresh=wanted.can_refresh
        )
        if not is_new and not had_tokens:
            return tokens, None
        kind = DEVICE_CHANGED if is_new else TOKENS_REVOKED
        return tokens, await append_user_change(tx, user_id, kind, device_id=device_id)


async def revoke_tokens_of_device(tx: Transaction, user_id: UserID, device_id: DeviceID) -> bool:
    """Delete the tokens of a device that stays; False: it had none."""
    had_refresh = await refresh_tokens.delete_of_device(tx, user_id, device_id)
    had_access = await access_tokens.delete_of_device(tx, user_id, device_id)
    return had_refresh or had_access


def new_device_id() -> DeviceID:
    """Return a device ID for a client that did not bring one."""
    letters = (secrets.choice(string.ascii_uppercase) for _ in range(_DEVICE_ID_LENGTH))
    return DeviceID("".join(letters))


async def _require_active(tx: Transaction, user_id: UserID) -> None:
    account = await accounts.lock_account(tx, user_id)
    if account is None:
        raise Forbidden("There is no such account")
    if account.deactivated_ts is not None:
        raise UserDeactivated
    if account.is_locked:
        raise UserLocked
