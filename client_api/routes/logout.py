"""Logging out. Spec: client-server-api/#login"""

from homeserver.services.devices import Devices
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester


class LogoutRoutes:
    """`/logout` and `/logout/all`, which locked users may call as well."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    @endpoint(
        "POST",
        CLIENT_V3 / "logout",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        # Not on the specification's list, but a guest too may end its session.
        guests=True,
        while_locked=True,
        spec="client-server-api/#post_matrixclientv3logout",
    )
    async def log_out(self, requester: Requester) -> Empty:
        """Invalidate a user access token."""
        await self._devices.log_out(requester)
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "logout/all",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        guests=True,
        while_locked=True,
        spec="client-server-api/#post_matrixclientv3logoutall",
    )
    async def log_out_everywhere(self, requester: Requester) -> Empty:
        """Invalidate all access tokens for a user."""
        await self._devices.log_out_everywhere(requester.user_id)
        return Empty()
