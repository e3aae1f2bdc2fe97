"""Dehydrated devices. Spec: MSC3814"""

from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType, field

from homeserver.protocol.identifiers import DeviceID
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.services.dehydrated_devices import DehydratedDevices, NewDehydratedDevice
from homeserver.services.device_keys import KeysForm
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params, Query
from homeserver.web.paths import CLIENT_UNSTABLE
from homeserver.web.requester import Requester

_PATH: Final = "org.matrix.msc3814.v1/dehydrated_device"
# The device with hundreds of one-time keys.
_MAX_BODY_BYTES: Final = 1024 * 1024


class DehydratedDevicePath(Params, frozen=True):
    """Which device."""

    device_id: DeviceID


class PutDehydratedDeviceBody(Body, frozen=True):
    """The device and its keys; these are as in /keys/upload."""

    device_id: DeviceID
    device_data: JsonObject
    device_keys: JsonObject
    initial_device_display_name: str | None = None
    one_time_keys: JsonValue = UNSET
    fallback_keys: JsonValue = UNSET


class MessagesBody(Body, frozen=True):
    """After which messages; null counts as absent."""

    next_batch: str | None = None


class MessagesQuery(Query, frozen=True):
    """After which messages."""

    start: str | UnsetType = field(default=UNSET, name="from")


class DeviceIDAnswer(Struct, frozen=True):
    """Which device."""

    device_id: DeviceID


class DehydratedDeviceAnswer(Struct, frozen=True):
    """The device as a client left it here."""

    device_id: DeviceID
    device_data: Raw


class MessagesAnswer(Struct, frozen=True):
    """Messages to the device, and where to go on."""

    events: list[Raw]
    next_batch: str | UnsetType


class DehydratedDeviceRoutes:
    """`/dehydrated_device`."""

    def __init__(self, dehydrated_devices: DehydratedDevices) -> None:
        self._dehydrated_devices = dehydrated_devices

    @endpoint(
        "PUT",
        CLIENT_UNSTABLE / _PATH,
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        max_body_bytes=_MAX_BODY_BYTES,
        spec="MSC3814",
    )
    async def put_dehydrated_device(
        self, requester: Requester, body: PutDehydratedDeviceBody
    ) -> DeviceIDAnswer:
        """Leave a device here that collects room keys, in the place of the one before."""
        new = NewDehydratedDevice(
            device_id=body.device_id,
            device_data=body.device_data,
            display_name=body.initial_device_display_name,
            keys=KeysForm(body.device_keys, body.one_time_keys, body.fallback_keys),
        )
        await self._dehydrated_devices.put(requester.user_id, new)
        return DeviceIDAnswer(body.device_id)

    @endpoint(
        "GET",
        CLIENT_UNSTABLE / _PATH,
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="MSC3814",
    )
    async def get_dehydrated_device(self, requester: Requester) -> DehydratedDeviceAnswer:
        """Get the dehydrated device of the user."""
        found = await self._dehydrated_devices.get(requester.user_id)
        return DehydratedDeviceAnswer(found.device_id, Raw(found.device_data))

    @endpoint(
        "DELETE",
        CLIENT_UNSTABLE / _PATH,
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="MSC3814",
    )
    async def delete_dehydrated_device(self, requester: Requester) -> DeviceIDAnswer:
        """Delete the dehydrated device of the user."""
        return DeviceIDAnswer(await self._dehydrated_devices.delete(requester.user_id))

    @endpoint(
        "GET",
        CLIENT_UNSTABLE / f"{_PATH}/{{device_id}}/events",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="MSC3814",
    )
    async def get_dehydrated_device_events(
        self, requester: Requester, path: DehydratedDevicePath, query: MessagesQuery
    ) -> MessagesAnswer:
        """Get the messages to the dehydrated device, page by page; the last one has no token."""
        start = None if query.start is UNSET else query.start
        page = await self._dehydrated_devices.messages(requester.user_id, path.device_id, start)
        next_batch = page.next_batch if page.has_more else UNSET
        return MessagesAnswer([Raw(event) for event in page.events], next_batch)

    @endpoint(
        "POST",
        CLIENT_UNSTABLE / f"{_PATH}/{{device_id}}/events",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        spec="MSC3814",
    )
    async def post_dehydrated_device_events(
        self, requester: Requester, path: DehydratedDevicePath, body: MessagesBody
    ) -> MessagesAnswer:
        """Get the messages to the dehydrated device until there are none, as it was once said."""
        page = await self._dehydrated_devices.messages(
            requester.user_id, path.device_id, body.next_batch
        )
        return MessagesAnswer([Raw(event) for event in page.events], page.next_batch)
