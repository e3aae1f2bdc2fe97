"""Messages to the device, in /sync. Spec: client-server-api/#extensions-to-sync"""

from client_api.sync.request import SyncContext
from homeserver.services.to_device_inbox import NOTHING, ToDeviceBatch, ToDeviceInbox


class ToDeviceStream:
    """The member `to_device` of an answer.

    With a token the client says that it has got the answer that the token came with.
    """

    def __init__(self, inbox: ToDeviceInbox) -> None:
        self._inbox = inbox

    async def batch(self, context: SyncContext) -> ToDeviceBatch:
        """Return the messages that are new to the device, as many as one answer holds."""
        request, device_id = context.request, context.viewer.device_id
        if device_id is None:
            return NOTHING
        acknowledged = request.to_device_since
        if acknowledged is None:
            acknowledged = request.since
        return await self._inbox.take_up(
            context.viewer.user_id, device_id, acknowledged, context.now
        )
