"""Encryption keys, put together."""

import msgspec

from client_api.routes.cross_signing import CrossSigningRoutes
from client_api.routes.keys import KeyRoutes
from homeserver.ports import RemoteKeys
from homeserver.protocol.identifiers import ServerName
from homeserver.run.foundation import Foundation
from homeserver.services.cross_signing import CrossSigning
from homeserver.services.device_keys import DeviceKeyUploads
from homeserver.services.device_lists import DeviceLists
from homeserver.services.federated_keys import FederatedKeys
from homeserver.services.key_queries import KeyQueries
from homeserver.services.key_signatures import KeySignatures
from homeserver.services.one_time_keys import OneTimeKeys
from homeserver.services.reauthentication import Reauthentication
from homeserver.services.remote_devices import RemoteDevices
from homeserver.streams.device_list_index import DeviceListIndex
from homeserver.streams.key_counts import KeyCounts


class KeysLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What /sync and the edges use of keys."""

    uploads: DeviceKeyUploads
    queries: KeyQueries
    one_time_keys: OneTimeKeys
    device_lists: DeviceLists
    counts: KeyCounts
    federated: FederatedKeys
    remote_devices: RemoteDevices


def keys_layer(base: Foundation, remote: RemoteKeys) -> KeysLayer:
    """Put the keys together, once in a node: caches of theirs follow the log."""
    server_name = ServerName(base.config.server.name)
    index = DeviceListIndex(
        base.database, base.tail, base.user_rooms, base.notifier, base.tasks, server_name
    )
    one_time_keys = OneTimeKeys(base.log_writer, remote, server_name)
    remote_devices = RemoteDevices(base.database, base.log_writer, remote, base.tasks, server_name)
    return KeysLayer(
        uploads=DeviceKeyUploads(base.database, base.log_writer),
        queries=KeyQueries(base.database, remote, remote_devices, server_name),
        one_time_keys=one_time_keys,
        device_lists=DeviceLists(base.database, base.user_rooms, base.partial_rooms, index),
        counts=KeyCounts(base.database, base.tail),
        federated=FederatedKeys(base.database, one_time_keys, server_name),
        remote_devices=remote_devices,
    )


def keys_routes(
    base: Foundation, keys: KeysLayer, reauthentication: Reauthentication
) -> list[object]:
    """Put the operations on keys together."""
    server_name = ServerName(base.config.server.name)
    cross_signing = CrossSigning(base.database, base.log_writer, reauthentication)
    signatures = KeySignatures(base.database, base.log_writer, server_name)
    return [
        KeyRoutes(
            keys.uploads,
            keys.queries,
            keys.one_time_keys,
            keys.device_lists,
            base.tail,
            base.reader,
        ),
        CrossSigningRoutes(cross_signing, signatures),
    ]
