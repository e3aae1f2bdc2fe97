"""Removing devices, which users have to confirm. Spec: client-server-api/#device-management"""

import msgspec

from homeserver.errors import MissingParam
from homeserver.protocol.identifiers import DeviceID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.devices import Devices
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.uia import UiaRequest, body_without_auth
from homeserver.web.params import Body, RequestFacts
from homeserver.web.requester import Requester


class RemoveDeviceForm(Body, frozen=True):
    """The confirmation that a device is to be removed."""

    auth: JsonObject | None = None


class RemoveDevicesForm(Body, frozen=True):
    """The devices to remove."""

    # Required, unless the session knows them: a request after a fallback page has only `auth`.
    devices: list[DeviceID] | None = None
    auth: JsonObject | None = None


class DeviceRemoval:
    """Removes devices; application services need no confirmation."""

    def __init__(self, reauthentication: Reauthentication, devices: Devices) -> None:
        self._reauthentication = reauthentication
        self._devices = devices

    async def remove_one(
        self,
        requester: Requester,
        device_id: DeviceID,
        form: RemoveDeviceForm,
        facts: RequestFacts,
    ) -> None:
        """Remove one device. Raises UiaRequired, Forbidden."""
        if requester.appservice_id is None:
            request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
            await self._reauthentication.confirm(requester, f"remove device {device_id}", request)
        await self._devices.remove(requester.user_id, [device_id])

    async def remove_many(
        self, requester: Requester, form: RemoveDevicesForm, facts: RequestFacts
    ) -> None:
        """Remove several devices. Raises UiaRequired, Forbidden, MissingParam."""
        if form.devices is None and form.auth is None:
            raise MissingParam("devices is missing")
        if requester.appservice_id is None:
            request = UiaRequest(auth=form.auth, body=body_without_auth(form), facts=facts)
            completed = await self._reauthentication.confirm(requester, "remove devices", request)
            form = msgspec.json.decode(completed.body, type=RemoveDevicesForm)
        if form.devices is None:
            raise MissingParam("devices is missing")
        await self._devices.remove(requester.user_id, form.devices)
