"""Devices. Spec: client-server-api/#device-management"""

from typing import Final

from msgspec import Struct

from homeserver.protocol.identifiers import DeviceID
from homeserver.services.device_removal import DeviceRemoval, RemoveDeviceForm, RemoveDevicesForm
from homeserver.services.devices import Device, Devices
from homeserver.web.answers import Empty, JsonBytes
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Body, Params, RequestFacts
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

_CREATED: Final = JsonBytes(b"{}", status=201)


class DevicePath(Params, frozen=True):
    """Which device."""

    device_id: DeviceID


class UpdateDeviceBody(Body, frozen=True):
    """What to change; null counts as absent."""

    display_name: str | None = None


class DevicesAnswer(Struct, frozen=True):
    """All devices of a user."""

    devices: list[Device]


class DeviceRoutes:
    """`/devices` and `/delete_devices`."""

    def __init__(self, devices: Devices, removal: DeviceRemoval) -> None:
        self._devices = devices
        self._removal = removal

    @endpoint(
        "GET",
        CLIENT_V3 / "devices",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        guests=True,
        spec="client-server-api/#get_matrixclientv3devices",
    )
    async def get_devices(self, requester: Requester) -> DevicesAnswer:
        """Get information about all devices for the current user."""
        return DevicesAnswer(await self._devices.all_of(requester.user_id))

    @endpoint(
        "GET",
        CLIENT_V3 / "devices/{device_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        guests=True,
        spec="client-server-api/#get_matrixclientv3devicesdeviceid",
    )
    async def get_device(self, requester: Requester, path: DevicePath) -> Device:
        """Get information on a single device, by device ID."""
        return await self._devices.get(requester.user_id, path.device_id)

    @endpoint(
        "PUT",
        CLIENT_V3 / "devices/{device_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        guests=True,
        spec="client-server-api/#put_matrixclientv3devicesdeviceid",
    )
    async def update_device(
        self, requester: Requester, path: DevicePath, body: UpdateDeviceBody
    ) -> Empty | JsonBytes:
        """Update the metadata on a device; application services may create it as well."""
        user_id, device_id = requester.user_id, path.device_id
        if requester.appservice_id is not None and await self._devices.create(
            user_id, device_id, body.display_name
        ):
            return _CREATED
        await self._devices.rename(user_id, device_id, body.display_name)
        return Empty()

    @endpoint(
        "DELETE",
        CLIENT_V3 / "devices/{device_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#delete_matrixclientv3devicesdeviceid",
    )
    async def delete_device(
        self, requester: Requester, path: DevicePath, body: RemoveDeviceForm, request: RequestFacts
    ) -> Empty:
        """Delete the given device, and invalidate any access token associated with it."""
        await self._removal.remove_one(requester, path.device_id, body, request)
        return Empty()

    @endpoint(
        "POST",
        CLIENT_V3 / "delete_devices",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="client-server-api/#post_matrixclientv3delete_devices",
    )
    async def delete_devices(
        self, requester: Requester, body: RemoveDevicesForm, request: RequestFacts
    ) -> Empty:
        """Delete the given devices, and invalidate any access token associated with them."""
        await self._removal.remove_many(requester, body, request)
        return Empty()
