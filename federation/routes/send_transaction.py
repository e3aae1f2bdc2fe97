"""Transactions of other servers. Spec: server-server-api/#transactions"""

from typing import Final

import msgspec

from federation.transactions_in import TransactionsIn
from homeserver.errors import InvalidParam
from homeserver.protocol.edu import MAX_EDUS, MAX_PDUS
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params
from homeserver.web.paths import FEDERATION_V1

# 50 events of 64 KiB, and as much again for messages to devices, which have no limit.
_MAX_BODY_BYTES: Final = 10 * 1024 * 1024


class TransactionPath(Params, frozen=True):
    """The origin's own ID of the transaction."""

    txn_id: str


class Transaction(Body, frozen=True):
    """PDUs and EDUs; `origin` says nothing that the signature does not say better."""

    pdus: list[JsonValue] = msgspec.field(default_factory=list)
    edus: list[JsonValue] = msgspec.field(default_factory=list)
    origin: str | msgspec.UnsetType = msgspec.UNSET


class TransactionResult(msgspec.Struct, frozen=True):
    """What became of the PDUs, by event ID: `{}`, or an `error`."""

    pdus: dict[EventID, JsonObject]


class SendTransactionRoutes:
    """The endpoint `/send`."""

    def __init__(self, transactions: TransactionsIn) -> None:
        self._transactions = transactions

    @endpoint(
        "PUT",
        FEDERATION_V1 / "send/{txn_id}",
        auth=Auth.SERVER_SIGNATURE,
        rate_limit=RateLimit.FEDERATION,
        spec="server-server-api/#put_matrixfederationv1sendtxnid",
        max_body_bytes=_MAX_BODY_BYTES,
    )
    async def put_send(
        self, origin: ServerName, path: TransactionPath, body: Transaction
    ) -> TransactionResult:
        """Push messages representing live activity to another server."""
        if len(body.pdus) > MAX_PDUS or len(body.edus) > MAX_EDUS:
            raise InvalidParam(f"At most {MAX_PDUS} PDUs and {MAX_EDUS} EDUs")
        if body.origin not in (msgspec.UNSET, origin):
            raise InvalidParam("The transaction is of another server than the request")
        return TransactionResult(
            await self._transactions.take(origin, path.txn_id, body.pdus, body.edus)
        )
