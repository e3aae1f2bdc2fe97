"""Taking transactions of other servers: each once, those of one server one after the other."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from federation.edus import ReceivedEdus
from homeserver.protocol.identifiers import EventID, ServerName
from homeserver.protocol.json_types import JsonObject, JsonValue
from homeserver.rooms.receive.stage import ReceiveEvents

# Answers are repeated to servers that have not got them. Who is forgotten sends again what is
# known: events by their IDs, messages to devices by theirs; the rest says the same twice.
_MAX_ORIGINS: Final = 10_000

PduResults = dict[EventID, JsonObject]


class _Origin:
    """What a server has sent last."""

    __slots__ = ("answer", "lock", "txn_id")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.txn_id: str | None = None
        self.answer: PduResults = {}


class TransactionsIn:
    """The entrance for transactions."""

    def __init__(self, receive: ReceiveEvents, edus: ReceivedEdus) -> None:
        self._receive = receive
        self._edus = edus
        self._origins: OrderedDict[ServerName, _Origin] = OrderedDict()

    async def take(
        self,
        origin: ServerName,
        txn_id: str,
        pdus: Sequence[JsonValue],
        edus: Sequence[JsonValue],
    ) -> PduResults:
        """Return what became of the PDUs; the same for the same transaction.

        Raises DatabaseUnavailable: it is to be sent again.
        """
        remembered = self._origin(origin)
        async with remembered.lock:
            if remembered.txn_id == txn_id:
                return remembered.answer
            answer = await self._receive.stage(origin, pdus) if pdus else {}
            await self._edus.take(origin, edus)
            remembered.txn_id, remembered.answer = txn_id, answer
            return answer

    def _origin(self, origin: ServerName) -> _Origin:
        found = self._origins.get(origin)
        if found is None:
            found = self._origins[origin] = _Origin()
            while len(self._origins) > _MAX_ORIGINS:
                self._origins.popitem(last=False)
        self._origins.move_to_end(origin)
        return found
