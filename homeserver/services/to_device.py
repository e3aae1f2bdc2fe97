"""Sending messages to devices. Spec: client-server-api/#send-to-device-messaging"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

import msgspec

from homeserver.errors import BadJson, InvalidParam, TooLarge
from homeserver.protocol.canonical_json import check_canonical
from homeserver.protocol.edu import MAX_MESSAGE_ID_LENGTH, DirectToDevice
from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID, server_name_of
from homeserver.protocol.json_types import JsonObject
from homeserver.storage import to_device
from homeserver.storage.database import Database
from homeserver.storage.to_device import (
    CancelledRequest,
    OutboundEdu,
    ToDeviceTarget,
    ToDeviceWrite,
)
from homeserver.streams.log_writer import LogWriter, Lost
from homeserver.streams.to_device_appender import ToDeviceAppender
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

# The specification has no limits here. An event may have as many bytes; a room key takes 2 kB.
MAX_CONTENT_BYTES: Final = 65_536
# Clients send to some hundred devices at once, and again to the next ones.
MAX_MESSAGES: Final = 5_000
MAX_TYPE_BYTES: Final = 255  # as of events: client-server-api/#size-limits
# How long until another node is done with the same request.
_RETRY_SECONDS: Final = 0.02

# Requests that are cancelled when another device was faster: client-server-api/#key-requests
_CANCELLABLE: Final = frozenset({"m.room_key_request", "m.secret.request"})
# A device that was not seen for so long before a request has not got it: longer than a sync waits,
# and than `services/last_seen.py` lags behind.
_AWAY_MS: Final = 10 * 60_000

_encode: Final = msgspec.json.Encoder().encode


class _Request(msgspec.Struct):
    action: str = ""
    request_id: str = ""
    requesting_device_id: str = ""


_decode_request: Final = msgspec.json.Decoder(_Request).decode


class ToDevice:
    """Takes messages to devices, of clients and of other servers."""

    def __init__(
        self, database: Database, log_writer: LogWriter, clock: Clock, server_name: ServerName
    ) -> None:
        self._database = database
        self._log_writer = log_writer
        self._clock = clock
        self._server_name = server_name
        self._appender = ToDeviceAppender()

    async def send(
        self,
        requester: Requester,
        event_type: str,
        txn_id: str,
        messages: Mapping[UserID, Mapping[str, JsonObject]],
    ) -> None:
        """Send messages by user ID and device ID, `*` being all devices of the user.

        Once, however often it is called under one transaction ID; whoever does not exist is left
        out. Raises InvalidParam: the type is too long; TooLarge; BadJson: what goes to another
        server must be canonical JSON.
        """
        if not 0 < len(event_type.encode()) <= MAX_TYPE_BYTES:
            raise InvalidParam(f"The type must have 1 to {MAX_TYPE_BYTES} bytes")
        if sum(map(len, messages.values())) > MAX_MESSAGES:
            raise TooLarge(f"One request may have {MAX_MESSAGES} messages")
        digest = _digest(requester.user_id, requester.device_id or "", event_type, txn_id)
        outbound: dict[ServerName, dict[UserID, Mapping[str, JsonObject]]] = {}
        targets: list[ToDeviceTarget] = []
        for user_id, by_device in messages.items():
            checked = _targets(user_id, by_device)
            destination = server_name_of(user_id)
            if destination == self._server_name:
                targets += checked
            elif checked:
                _check_canonical(by_device)
                outbound.setdefault(destination, {})[user_id] = by_device
        sender = requester.user_id
        edus = [
            OutboundEdu(destination, _edu_content(sender, event_type, digest, of_server))
            for destination, of_server in outbound.items()
        ]
        await self._write(sender, event_type, digest, targets, edus)

    async def receive(self, origin: ServerName, edu: DirectToDevice) -> None:
        """Take the messages of another server to local devices, once each message ID.

        What is too large is dropped, as is what is not for users of this server.
        """
        if not 0 < len(edu.type.encode()) <= MAX_TYPE_BYTES:
            return
        targets = [
            ToDeviceTarget(user_id, device_id, content)
            for user_id, by_device in edu.messages.items()
            if user_id.endswith(f":{self._server_name}") and "\0" not in user_id
            for device_id, content in ((each, _encode(by_device[each])) for each in by_device)
            if len(content) <= MAX_CONTENT_BYTES and "\0" not in device_id
        ]
        digest = _digest(origin, edu.message_id)
        await self._write(edu.sender, edu.type, digest, targets[:MAX_MESSAGES], [])

    async def _write(
        self,
        sender: UserID,
        event_type: str,
        digest: bytes,
        targets: list[ToDeviceTarget],
        outbound: list[OutboundEdu],
    ) -> None:
        if not targets and not outbound:
            return
        now_ms = self._clock.now_ms()
        write = ToDeviceWrite(digest, sender, event_type, now_ms, targets, outbound)
        await self._append(write)
        cancelled = _cancelled(targets) if event_type in _CANCELLABLE else []
        if cancelled:
            async with self._database.connection("cancelled_to_device") as connection:
                await to_device.delete_cancelled(
                    connection, sender, event_type, cancelled, _AWAY_MS
                )

    async def _append(self, write: ToDeviceWrite) -> None:
        while True:
            try:
                return await self._log_writer.append(self._appender, write)
            except Lost:
                # A client that has tried elsewhere in the meantime. Afterwards it is known whether
                # that has succeeded.
                await self._clock.sleep(_RETRY_SECONDS)


def _cancelled(targets: Sequence[ToDeviceTarget]) -> list[CancelledRequest]:
    """Return which requests are cancelled, as their JSON has what tells them from others."""
    found: list[CancelledRequest] = []
    for target in targets:
        try:
            request = _decode_request(target.content)
        except msgspec.MsgspecError:
            continue
        if request.action == "request_cancellation":
            found.append(
                CancelledRequest(
                    target.user_id,
                    target.device_id,
                    b'"request_id":' + _encode(request.request_id),
                    b'"requesting_device_id":' + _encode(request.requesting_device_id),
                )
            )
    return found


def _targets(user_id: UserID, by_device: Mapping[str, JsonObject]) -> list[ToDeviceTarget]:
    targets = [
        ToDeviceTarget(user_id, DeviceID(device_id), _encode(content))
        for device_id, content in by_device.items()
    ]
    if any(len(target.content) > MAX_CONTENT_BYTES for target in targets):
        raise TooLarge(f"A message is larger than {MAX_CONTENT_BYTES} bytes")
    return targets


def _check_canonical(by_device: Mapping[str, JsonObject]) -> None:
    """Raises BadJson: other servers could not take the transaction that it would be part of."""
    try:
        for content in by_device.values():
            check_canonical(content)
    except InvalidJson as error:
        raise BadJson(f"A message to another server cannot be sent: {error}") from error


def _edu_content(
    sender: UserID,
    event_type: str,
    digest: bytes,
    messages: Mapping[UserID, Mapping[str, JsonObject]],
) -> bytes:
    return _encode(
        {
            "sender": sender,
            "type": event_type,
            "message_id": digest.hex()[:MAX_MESSAGE_ID_LENGTH],
            "messages": messages,
        }
    )


def _digest(*parts: str) -> bytes:
    return sha256(_encode(parts)).digest()
