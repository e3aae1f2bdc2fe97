"""Profiles. Spec: client-server-api/#profiles"""

from typing import Any, Final

from homeserver.protocol.identifiers import UserID
from homeserver.services.profile_access import ProfileAccess
from homeserver.services.profiles import Profiles
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Params, RawBody
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3
from homeserver.web.requester import Requester

_FIELD: Final = "profile/{user_id}/{key_name}"
_UNSTABLE_FIELD: Final = CLIENT_UNSTABLE / f"uk.tcpip.msc4133/{_FIELD}"


class ProfilePath(Params, frozen=True):
    """Whose profile."""

    user_id: UserID


class ProfileFieldPath(Params, frozen=True):
    """Whose profile, and what of it."""

    user_id: UserID
    key_name: str


class ProfileRoutes:
    """`/profile/{userId}` and its fields."""

    def __init__(self, profiles: Profiles, access: ProfileAccess) -> None:
        self._profiles = profiles
        self._access = access

    @endpoint(
        "GET",
        CLIENT_V3 / "profile/{user_id}",
        also=[CLIENT_UNSTABLE / "uk.tcpip.msc4133/profile/{user_id}"],
        auth=Auth.OPTIONAL,
        guests=True,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3profileuserid",
    )
    async def get_profile(self, requester: Requester | None, path: ProfilePath) -> dict[str, Any]:
        """Get all profile information for a user."""
        await self._access.check_may_read(requester, path.user_id)
        return await self._profiles.profile(path.user_id)

    @endpoint(
        "GET",
        CLIENT_V3 / _FIELD,
        also=[_UNSTABLE_FIELD],
        auth=Auth.OPTIONAL,
        guests=True,
        rate_limit=None,
        spec="client-server-api/#get_matrixclientv3profileuseridkeyname",
    )
    async def get_profile_field(
        self, requester: Requester | None, path: ProfileFieldPath
    ) -> dict[str, Any]:
        """Get a profile field for a user."""
        await self._access.check_may_read(requester, path.user_id)
        return await self._profiles.field(path.user_id, path.key_name)

    @endpoint(
        "PUT",
        CLIENT_V3 / _FIELD,
        also=[_UNSTABLE_FIELD],
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        while_suspended=False,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#put_matrixclientv3profileuseridkeyname",
    )
    async def put_profile_field(
        self, requester: Requester, path: ProfileFieldPath, body: RawBody
    ) -> Empty:
        """Set a profile field for a user."""
        self._access.check_may_change(requester, path.user_id, path.key_name)
        await self._profiles.put(path.user_id, path.key_name, body.content)
        return Empty()

    @endpoint(
        "DELETE",
        CLIENT_V3 / _FIELD,
        also=[_UNSTABLE_FIELD],
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        while_suspended=False,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#delete_matrixclientv3profileuseridkeyname",
    )
    async def delete_profile_field(self, requester: Requester, path: ProfileFieldPath) -> Empty:
        """Remove a profile field from a user."""
        self._access.check_may_change(requester, path.user_id, path.key_name)
        await self._profiles.delete(path.user_id, path.key_name)
        return Empty()
