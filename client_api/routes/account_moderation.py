"""Server administration. Spec: client-server-api/#server-administration"""

from typing import Final

import msgspec

from homeserver.protocol.identifiers import UserID
from homeserver.services.account_moderation import AccountModeration, Whois
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V1, CLIENT_V3
from homeserver.web.requester import Requester

_LOCK: Final = "admin/lock/{user_id}"
_SUSPEND: Final = "admin/suspend/{user_id}"
# What MSC4323 was called before v1.18.
_UNSTABLE: Final = "uk.timedout.msc4323"


class AdminPath(Params, frozen=True):
    """Whose account."""

    user_id: UserID


class LockedBody(Body, frozen=True):
    """Whether the account is to be locked."""

    locked: bool


class SuspendedBody(Body, frozen=True):
    """Whether the account is to be suspended."""

    suspended: bool


class LockedAnswer(msgspec.Struct, frozen=True):
    """Whether the account is locked."""

    locked: bool


class SuspendedAnswer(msgspec.Struct, frozen=True):
    """Whether the account is suspended."""

    suspended: bool


class AccountModerationRoutes:
    """`/admin/lock`, `/admin/suspend` and `/admin/whois`."""

    def __init__(self, moderation: AccountModeration) -> None:
        self._moderation = moderation

    @endpoint(
        "GET",
        CLIENT_V3 / "admin/whois/{user_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3adminwhoisuserid",
    )
    async def get_whois(self, requester: Requester, path: AdminPath) -> Whois:
        """Get information about a particular user."""
        return await self._moderation.whois(requester, path.user_id)

    @endpoint(
        "GET",
        CLIENT_V1 / _LOCK,
        also=[CLIENT_UNSTABLE / f"{_UNSTABLE}/{_LOCK}"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        admin=True,
        spec="client-server-api/#get_matrixclientv1adminlockuserid",
    )
    async def get_locked(self, requester: Requester, path: AdminPath) -> LockedAnswer:
        """Get information about the locked status of a particular user."""
        return LockedAnswer(await self._moderation.is_locked(requester, path.user_id))

    @endpoint(
        "PUT",
        CLIENT_V1 / _LOCK,
        also=[CLIENT_UNSTABLE / f"{_UNSTABLE}/{_LOCK}"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        admin=True,
        spec="client-server-api/#put_matrixclientv1adminlockuserid",
    )
    async def put_locked(
        self, requester: Requester, path: AdminPath, body: LockedBody
    ) -> LockedAnswer:
        """Set the locked status of a particular user."""
        await self._moderation.set_locked(requester, path.user_id, is_locked=body.locked)
        return LockedAnswer(body.locked)

    @endpoint(
        "GET",
        CLIENT_V1 / _SUSPEND,
        also=[CLIENT_UNSTABLE / f"{_UNSTABLE}/{_SUSPEND}"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        admin=True,
        spec="client-server-api/#get_matrixclientv1adminsuspenduserid",
    )
    async def get_suspended(self, requester: Requester, path: AdminPath) -> SuspendedAnswer:
        """Get information about the suspended status of a particular user."""
        return SuspendedAnswer(await self._moderation.is_suspended(requester, path.user_id))

    @endpoint(
        "PUT",
        CLIENT_V1 / _SUSPEND,
        also=[CLIENT_UNSTABLE / f"{_UNSTABLE}/{_SUSPEND}"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        admin=True,
        spec="client-server-api/#put_matrixclientv1adminsuspenduserid",
    )
    async def put_suspended(
        self, requester: Requester, path: AdminPath, body: SuspendedBody
    ) -> SuspendedAnswer:
        """Set the suspended status of a particular user."""
        await self._moderation.set_suspended(requester, path.user_id, is_suspended=body.suspended)
        return SuspendedAnswer(body.suspended)
