"""Who has which devices, with which keys. Spec: client-server-api/#post_matrixclientv3keysquery"""

from collections.abc import Mapping, Sequence

from homeserver.ports import RemoteKeys
from homeserver.protocol.device_keys import (
    InvalidKeys,
    Usage,
    add_signatures,
    parse_cross_signing_key,
    parse_device_keys,
    visible_to,
)
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import (
    DeviceID,
    ServerName,
    UserID,
    parse_device_id,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.services.key_objects import decode, encode
from homeserver.services.local_keys import VisibleKeys, read_keys
from homeserver.services.remote_answers import ask_servers, by_server, objects_in
from homeserver.services.remote_devices import RemoteDevices
from homeserver.storage import cross_signing, remote_devices
from homeserver.storage.database import Connection, Database
from homeserver.storage.remote_devices import RemoteListRow


class KeyQueries:
    """Answers `keys/query`: from here, from lists that are known, from other servers."""

    def __init__(
        self,
        database: Database,
        remote: RemoteKeys,
        remote_devices: RemoteDevices,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._remote = remote
        self._remote_devices = remote_devices
        self._server_name = server_name

    async def query(
        self, viewer: UserID, wanted: Mapping[UserID, Sequence[DeviceID]], timeout_ms: int
    ) -> bytes:
        """Return the answer as JSON; no devices named: all of the user's."""
        local = {each: wanted[each] for each in wanted if self._is_local(each)}
        distant = {each: wanted[each] for each in wanted if each not in local}
        async with self._database.connection("keys_query") as connection:
            keys = await read_keys(connection, local, viewer)
            known = await self._read_known(connection, distant, keys)
        unknown = {each: distant[each] for each in distant if each not in known}
        asked = await ask_servers(by_server(unknown), self._remote.query, timeout_ms)
        for server, answer in asked.answers.items():
            _take_answer(answer, [each for each in unknown if server_name_of(each) == server], keys)
        if unknown:
            # "When a server wishes to determine a remote user's device list for the first time":
            # from here on it is kept.
            answered = [each for each in unknown if server_name_of(each) in asked.answers]
            await self._remote_devices.keep(answered, unknown.keys() - set(answered))
        if distant:
            async with self._database.connection("keys_query") as connection:
                await _add_own_signatures(connection, viewer, list(distant), keys)
        return _encoded(keys, asked.failures)

    async def _read_known(
        self,
        connection: Connection,
        wanted: Mapping[UserID, Sequence[DeviceID]],
        keys: VisibleKeys,
    ) -> set[UserID]:
        """Take what is known of users of other servers, and return of whom."""
        if not wanted:
            return set()
        lists = await remote_devices.fresh_lists(connection, self._server_name, list(wanted))
        for user_id, row in lists.items():
            _take_list(row, wanted[user_id], keys)
        return set(lists)

    def _is_local(self, user_id: UserID) -> bool:
        return server_name_of(user_id) == self._server_name


def _take_list(row: RemoteListRow, device_ids: Sequence[DeviceID], keys: VisibleKeys) -> None:
    keys.device_keys[row.user_id] = {
        device.device_id: encode(_with_name(decode(device.keys), device.display_name))
        for device in row.devices
        if device.keys is not None and (not device_ids or device.device_id in device_ids)
    }
    if row.master_key is not None:
        keys.master_keys[row.user_id] = row.master_key
    if row.self_signing_key is not None:
        keys.self_signing_keys[row.user_id] = row.self_signing_key


def _take_answer(answer: JsonObject, users: Sequence[UserID], keys: VisibleKeys) -> None:
    """Take what a server says of its users; what breaks the schema is left out."""
    by_user = objects_in(answer, "device_keys")
    masters, self_signing = (
        objects_in(answer, "master_keys"),
        objects_in(answer, "self_signing_keys"),
    )
    for user_id in users:
        if user_id in by_user:
            keys.device_keys[user_id] = {
                DeviceID(device_id): encode(checked)
                for device_id, source in objects_in(by_user, user_id).items()
                if (checked := _checked_device(source, user_id, device_id)) is not None
            }
        for usage, found, taken in (
            (Usage.MASTER, masters, keys.master_keys),
            (Usage.SELF_SIGNING, self_signing, keys.self_signing_keys),
        ):
            key = _checked_cross_signing(found.get(user_id), user_id, usage)
            if key is not None:
                taken[user_id] = encode(key)


def _checked_device(source: JsonObject, user_id: UserID, device_id: str) -> JsonObject | None:
    try:
        parse_device_keys(source, user_id, parse_device_id(device_id))
    except (InvalidKeys, InvalidIdentifier):
        return None
    unsigned = source.get("unsigned")
    name = unsigned.get("device_display_name") if isinstance(unsigned, dict) else None
    signed = {name: value for name, value in source.items() if name != "unsigned"}
    return _with_name(visible_to(signed, user_id, None), name if isinstance(name, str) else None)


def _checked_cross_signing(source: JsonValue, user_id: UserID, usage: Usage) -> JsonObject | None:
    try:
        key = parse_cross_signing_key(source, user_id, usage)
    except InvalidKeys:
        return None
    return visible_to(key.source, user_id, None)


def _with_name(source: JsonObject, display_name: str | None) -> JsonObject:
    if display_name is None:
        return source
    return {**source, "unsigned": {"device_display_name": display_name}}


async def _add_own_signatures(
    connection: Connection, viewer: UserID, users: Sequence[UserID], keys: VisibleKeys
) -> None:
    """Add what the viewer has signed of master keys of other servers' users."""
    for row in await cross_signing.signatures_by(connection, viewer, users):
        master = keys.master_keys.get(row.target_id)
        if master is None:
            continue
        source = decode(master)
        if f"ed25519:{row.public_key}" in source["keys"]:
            signed = add_signatures(source, {viewer: decode(row.signatures)})
            keys.master_keys[row.target_id] = encode(signed)


def _encoded(keys: VisibleKeys, failures: Mapping[ServerName, JsonObject]) -> bytes:
    devices = {user_id: _joined(each) for user_id, each in keys.device_keys.items()}
    members = {
        "failures": encode(failures),
        "device_keys": _joined(devices),
        "master_keys": _joined(keys.master_keys),
        "self_signing_keys": _joined(keys.self_signing_keys),
        "user_signing_keys": _joined(keys.user_signing_keys),
    }
    return _joined(members)


def _joined(
    members: Mapping[str, bytes] | Mapping[UserID, bytes] | Mapping[DeviceID, bytes],
) -> bytes:
    return b"{" + b",".join(encode(name) + b":" + value for name, value in members.items()) + b"}"
