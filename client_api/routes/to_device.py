"""Sending messages to devices. Spec: client-server-api/#send-to-device-messaging"""

from typing import Final

from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.to_device import ToDevice
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3
from homeserver.web.requester import Requester

# Some hundred room keys, each encrypted for one device, take less than 1 MB.
_MAX_BODY_BYTES: Final = 4 * 1024 * 1024


class SendToDevicePath(Params, frozen=True):
    """What is sent, once under each transaction ID."""

    event_type: str
    txn_id: str


class SendToDeviceBody(Body, frozen=True):
    """The messages by user ID and device ID; `*` stands for all devices of the user."""

    messages: dict[UserID, dict[str, JsonObject]]


class ToDeviceRoutes:
    """`PUT /sendToDevice/…`."""

    def __init__(self, to_device: ToDevice) -> None:
        self._to_device = to_device

    @endpoint(
        "PUT",
        CLIENT_V3 / "sendToDevice/{event_type}/{txn_id}",
        # COMPAT(clients before v1.0): the name that it had as a proposal.
        also=[CLIENT_UNSTABLE / "sendToDevice/{event_type}/{txn_id}"],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.KEYS,
        guests=True,
        max_body_bytes=_MAX_BODY_BYTES,
        spec="client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid",
    )
    async def put_send_to_device(
        self, requester: Requester, path: SendToDevicePath, body: SendToDeviceBody
    ) -> Empty:
        """Send an event to a given set of devices."""
        await self._to_device.send(requester, path.event_type, path.txn_id, body.messages)
        return Empty()
