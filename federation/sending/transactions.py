"""Making and sending transactions. Spec: server-server-api/#transactions"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

import msgspec

from federation.sending.devices import DeviceUpdates
from federation.sending.outbox import (
    DeviceItem,
    DurableItem,
    Outbox,
    PduItem,
    SigningKeyItem,
    WaitingEdu,
)
from federation.transport.client import FederationClient, path_of
from federation.transport.failures import (
    RemoteBackingOff,
    RemoteNotAllowed,
    RemoteRefusal,
)
from homeserver.protocol.edu import MAX_EDUS, MAX_PDUS, edu_to_json, edu_type_of
from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.event_cache import EventCache
from homeserver.storage import to_device
from homeserver.storage.database import Database
from homeserver.storage.to_device import OutboundRow
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics
from homeserver.web.paths import FEDERATION_V1

log = get_logger(__name__)

# Of the 100 EDUs: messages to devices can be large, and the others wait less long.
MAX_TO_DEVICE: Final = 40
MAX_TO_DEVICE_BYTES: Final = 2 * 1024 * 1024
# The other server may take long over 50 events.
_TIMEOUT_MS: Final = 60_000
_TXN_ID_LENGTH: Final = 32
# The refusals that are about this server and not about what is sent.
_NOT_NOW: Final = frozenset({401, 403, 404, 405, 408})
_encode: Final = msgspec.json.Encoder().encode


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction carries."""

    durable: Sequence[DurableItem] = ()
    messages: Sequence[OutboundRow] = ()
    ephemeral: Sequence[tuple[Hashable, WaitingEdu]] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.durable or self.messages or self.ephemeral)

    @property
    def size(self) -> int:
        """How many items there are, PDUs and EDUs together."""
        return len(self.durable) + len(self.messages) + len(self.ephemeral)


class Transactions:
    """Turns contents into requests."""

    def __init__(
        self,
        database: Database,
        client: FederationClient,
        cache: EventCache,
        devices: DeviceUpdates,
        clock: Clock,
        metrics: Metrics,
        own_name: ServerName,
    ) -> None:
        self._database = database
        self._client = client
        self._cache = cache
        self._devices = devices
        self._clock = clock
        self._metrics = metrics
        self._own_name = own_name

    async def fill(self, outbox: Outbox, durable: Sequence[DurableItem]) -> Contents:
        """Return the next contents for a destination: these items, and what else there is."""
        room = MAX_EDUS - sum(not isinstance(item, PduItem) for item in durable)
        if outbox.max_items is not None:
            room = max(0, outbox.max_items - len(durable))
        messages: Sequence[OutboundRow] = ()
        if outbox.has_to_device and room:
            messages = await self._messages(outbox, min(room, MAX_TO_DEVICE))
        ephemeral = outbox.take_ephemeral(room - len(messages), self._clock.monotonic())
        return Contents(durable=durable, messages=messages, ephemeral=ephemeral)

    async def send(self, destination: ServerName, contents: Contents) -> None:
        """Send contents and wait for the answer. Raises RemoteError, InvalidJson."""
        body = await self._body(contents)
        # The same contents are the same transaction, should they be sent again.
        digest = hashlib.sha256(_encode([body["pdus"], body["edus"]])).hexdigest()
        answer = await self._put(destination, digest[:_TXN_ID_LENGTH], body)
        for item_type, count in Counter(_types_of(contents)).items():
            self._metrics.federation_sent.labels(item_type).inc(count)
        self._note_refusals(destination, answer)

    def given_up(self, contents: Contents) -> None:
        """Count what a destination will never take."""
        for item_type in _types_of(contents):
            self._metrics.federation_refused.labels(item_type).inc()

    async def acknowledged(self, destination: ServerName, contents: Contents) -> None:
        """Forget messages to devices that have arrived."""
        if contents.messages:
            async with self._database.connection("outbound_to_device") as connection:
                await to_device.delete_outbound(connection, destination, contents.messages[-1].pos)

    async def _put(self, destination: ServerName, txn_id: str, body: JsonObject) -> JsonObject:
        started, outcome = self._clock.monotonic(), "failed"
        try:
            answer = await self._client.put(
                destination,
                path_of(FEDERATION_V1, "send", txn_id),
                body=body,
                timeout_ms=_TIMEOUT_MS,
            )
            outcome = "arrived"
        except (RemoteNotAllowed, RemoteBackingOff):
            outcome = "not sent"
            raise
        except RemoteRefusal as refusal:
            outcome = "failed" if may_pass_later(refusal) else "refused"
            raise
        except InvalidJson:
            outcome = "refused"
            raise
        finally:
            seconds = self._clock.monotonic() - started
            self._metrics.federation_transaction_seconds.labels(outcome).observe(seconds)
        return answer

    def _note_refusals(self, destination: ServerName, answer: JsonObject) -> None:
        results = answer.get("pdus")
        if not isinstance(results, dict):
            return
        for event_id, result in results.items():
            if isinstance(result, dict) and "error" in result:
                self._metrics.federation_refused.labels(_PDU).inc()
                log.info("pdu refused by destination", destination=destination, event_id=event_id)

    async def _messages(self, outbox: Outbox, limit: int) -> Sequence[OutboundRow]:
        # Whatever comes while they are read is announced anew.
        outbox.has_to_device = False
        async with self._database.connection("outbound_to_device") as connection:
            rows = await to_device.outbound_of(connection, outbox.destination, 0, limit)
        taken: list[OutboundRow] = []
        size = 0
        for row in rows:
            size += len(row.edu)
            if taken and size > MAX_TO_DEVICE_BYTES:
                break
            taken.append(row)
        if len(taken) < len(rows) or len(rows) == limit:
            outbox.has_to_device = True
        return taken

    async def _body(self, contents: Contents) -> JsonObject:
        nids = [item.event_nid for item in contents.durable if isinstance(item, PduItem)]
        events = await self._cache.get(nids)
        devices = [item for item in contents.durable if isinstance(item, DeviceItem)]
        users = [item.user_id for item in contents.durable if isinstance(item, SigningKeyItem)]
        edus = [edu_to_json(each) for each in await self._devices.of(devices, users)]
        edus += [
            {"edu_type": "m.direct_to_device", "content": msgspec.json.decode(row.edu)}
            for row in contents.messages
        ]
        edus += [edu_to_json(waiting.edu) for _, waiting in contents.ephemeral]
        return {
            "origin": self._own_name,
            "origin_server_ts": self._clock.now_ms(),
            "pdus": [_outgoing(events[nid].pdu) for nid in nids if nid in events],
            "edus": edus,
        }


def room_for(outbox: Outbox) -> int:
    """Return how many durable items the next transaction may have."""
    return MAX_PDUS if outbox.max_items is None else outbox.max_items


def may_pass_later(refusal: RemoteRefusal) -> bool:
    """Whether the same transaction may be taken some time: it is not the reason."""
    return refusal.is_temporary or refusal.status in _NOT_NOW


def _types_of(contents: Contents) -> Iterator[str]:
    """Yield the type of each item, PDU or type of an EDU."""
    for item in contents.durable:
        yield _TYPES[type(item)]
    for _ in contents.messages:
        yield "m.direct_to_device"
    for _, waiting in contents.ephemeral:
        yield edu_type_of(waiting.edu)


_PDU: Final = "pdu"
_TYPES: Final[dict[type[DurableItem], str]] = {
    PduItem: _PDU,
    DeviceItem: "m.device_list_update",
    SigningKeyItem: "m.signing_key_update",
}


def _outgoing(pdu: JsonObject) -> JsonObject:
    """Leave out what is not signed: it concerns clients of this server."""
    return {name: value for name, value in pdu.items() if name != "unsigned"}
