"""Messages to devices, put together."""

from typing import Final

from client_api.routes.dehydrated_devices import DehydratedDeviceRoutes
from client_api.routes.to_device import ToDeviceRoutes
from homeserver.protocol.identifiers import ServerName
from homeserver.run.account_layer import AccountLayer
from homeserver.run.foundation import Foundation
from homeserver.services.dehydrated_devices import DehydratedDevices
from homeserver.services.to_device import ToDevice
from homeserver.services.to_device_expiry import ToDeviceExpiry

_EXPIRY_SECONDS: Final = 3600.0


def to_device_of(base: Foundation) -> ToDevice:
    """Put together what takes messages, of clients and of other servers."""
    server_name = ServerName(base.config.server.name)
    return ToDevice(base.database, base.log_writer, base.clock, server_name)


def to_device_routes(base: Foundation, accounts: AccountLayer) -> list[object]:
    """Put the operations together, and delete old messages in the background."""
    expiry = ToDeviceExpiry(base.database, base.config.to_device, base.clock)
    base.tasks.every("old to-device messages", _EXPIRY_SECONDS, expiry.delete)
    dehydrated_devices = DehydratedDevices(
        base.database,
        accounts.changes,
        base.tail,
        base.clock,
    )
    return [ToDeviceRoutes(to_device_of(base)), DehydratedDeviceRoutes(dehydrated_devices)]
