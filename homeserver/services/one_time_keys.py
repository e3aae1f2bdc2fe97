"""Claiming one-time keys. Spec: client-server-api/#post_matrixclientv3keysclaim"""

import asyncio
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from homeserver.errors import InvalidParam
from homeserver.ports import RemoteKeys
from homeserver.protocol.device_keys import InvalidKeys, parse_one_time_keys
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.services.remote_answers import ask_servers, by_server, objects_in
from homeserver.storage.one_time_keys import ClaimRow
from homeserver.streams.key_claim_appender import KeyClaim, KeyClaimAppender
from homeserver.streams.log_writer import LogWriter

# Ours: the devices of a room are claimed in several requests as it is.
MAX_CLAIMS: Final = 5_000

# user ID → device ID → algorithm
Claims: TypeAlias = Mapping[UserID, Mapping[DeviceID, str]]


class OneTimeKeys:
    """Gives each one-time key to whoever claims it first, and to nobody else."""

    def __init__(self, log_writer: LogWriter, remote: RemoteKeys, server_name: ServerName) -> None:
        self._log_writer = log_writer
        self._remote = remote
        self._server_name = server_name
        self._appender = KeyClaimAppender()

    async def claim(self, wanted: Claims, timeout_ms: int) -> JsonObject:
        """Return the answer to claims on devices of any server. Raises InvalidParam."""
        _check_count(wanted)
        local = {each: wanted[each] for each in wanted if self._is_local(each)}
        distant = {each: wanted[each] for each in wanted if each not in local}
        keys, asked = await asyncio.gather(
            self.claim_local(local),
            ask_servers(by_server(distant), self._remote.claim, timeout_ms),
        )
        for server, answer in asked.answers.items():
            for user_id, devices in distant.items():
                if server_name_of(user_id) == server:
                    _take_answer(answer, user_id, devices, keys)
        return {"one_time_keys": keys, "failures": asked.failures}

    async def claim_local(self, wanted: Claims) -> JsonObject:
        """Claim keys of local users: user ID → device ID → `<algorithm>:<key_id>` → key.

        Without devices that are unknown, or have no key of the algorithm. Raises InvalidParam.
        """
        _check_count(wanted)
        claims = [
            KeyClaim(ClaimRow(user_id, device_id, algorithm))
            for user_id, devices in wanted.items()
            for device_id, algorithm in devices.items()
            if self._is_local(user_id)
        ]
        await asyncio.gather(*(self._log_writer.append(self._appender, each) for each in claims))
        keys: JsonObject = {}
        for claim in claims:
            user_id, device_id, algorithm = claim.row
            if claim.claimed is not None:
                name = f"{algorithm}:{claim.claimed.key_id}"
                keys.setdefault(user_id, {})[device_id] = {name: msgspec.Raw(claim.claimed.key)}
        return keys

    def _is_local(self, user_id: UserID) -> bool:
        return server_name_of(user_id) == self._server_name


def _check_count(wanted: Claims) -> None:
    if sum(map(len, wanted.values())) > MAX_CLAIMS:
        raise InvalidParam(f"At most {MAX_CLAIMS} keys are claimed at once")


def _take_answer(
    answer: JsonObject, user_id: UserID, wanted: Mapping[DeviceID, str], keys: JsonObject
) -> None:
    """Take the keys of devices that were asked for; what breaks the schema is left out."""
    by_device = objects_in(objects_in(answer, "one_time_keys"), user_id)
    for device_id, algorithm in wanted.items():
        try:
            given = parse_one_time_keys(by_device.get(device_id, {}))
        except InvalidKeys:
            continue
        for (given_algorithm, key_id), key in given.items():
            if given_algorithm == algorithm:
                keys.setdefault(user_id, {})[device_id] = {f"{algorithm}:{key_id}": key}
