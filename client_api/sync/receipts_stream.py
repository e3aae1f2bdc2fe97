"""Receipts in /sync. Spec: client-server-api/#receipts"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from client_api.sync.encode import encode
from client_api.sync.request import SyncContext
from client_api.sync.streams import RoomPart
from homeserver.protocol.json_types import JsonObject
from homeserver.storage import receipts
from homeserver.storage.database import Database
from homeserver.storage.receipts import PUBLIC, UNTHREADED, ReceiptRow
from homeserver.streams.entries import ReceiptEntry
from homeserver.streams.tail import Tail

RECEIPT: Final = "m.receipt"
# Of rooms that the client does not know yet, the newest receipts of others: more than fit beside
# the newest messages, and fewer of each room when there are many. The own ones are always told.
MAX_OTHERS: Final = 10_000
MOST_OF_ROOM: Final = 500
LEAST_OF_ROOM: Final = 20


class _Receipt(Protocol):
    """What rows and entries have in common."""

    @property
    def room_nid(self) -> int: ...
    @property
    def user_id(self) -> str: ...
    @property
    def receipt_type(self) -> str: ...
    @property
    def thread_id(self) -> str: ...
    @property
    def event_id(self) -> str: ...
    @property
    def ts(self) -> int: ...


class ReceiptsStream:
    """The events `m.receipt`: of each room the receipts that are new to the client."""

    def __init__(self, database: Database, tail: Tail) -> None:
        self._database = database
        self._tail = tail

    @property
    def part(self) -> RoomPart:
        """Where the events belong."""
        return "ephemeral"

    async def of_rooms(
        self, context: SyncContext, whole: Collection[int], followed: Collection[int]
    ) -> Mapping[int, Sequence[bytes]]:
        """Return the receipts that the user may know of.

        A room where an own receipt is new appears even when the filter keeps the receipt back:
        its unread counts have changed.
        """
        found: dict[int, list[_Receipt]] = {}
        for receipt in await self._new(context, followed):
            found.setdefault(receipt.room_nid, []).append(receipt)
        for row in await self._all(context, whole):
            found.setdefault(row.room_nid, []).append(row)
        user_id = context.viewer.user_id
        return {
            room_nid: _events(of_room) if _is_wanted(context, room_nid) else []
            for room_nid, of_room in found.items()
            if _is_wanted(context, room_nid) or any(each.user_id == user_id for each in of_room)
        }

    async def _new(self, context: SyncContext, followed: Collection[int]) -> Iterable[_Receipt]:
        since, now, user_id = context.since, context.now, context.viewer.user_id
        if since is None or not followed:
            return []
        if since < self._tail.floor:
            async with self._database.connection("sync_receipts") as connection:
                return await receipts.new_receipts(connection, user_id, list(followed), since, now)
        entries = [
            entry
            for entry in self._tail.entries_after(since)
            if isinstance(entry, ReceiptEntry)
            and entry.pos <= now
            and (entry.receipt_type == PUBLIC or entry.user_id == user_id)
        ]
        if not entries:
            return []
        rooms = frozenset(followed)
        return [entry for entry in entries if entry.room_nid in rooms]

    async def _all(self, context: SyncContext, whole: Collection[int]) -> Sequence[ReceiptRow]:
        rooms = [room_nid for room_nid in whole if _is_wanted(context, room_nid)]
        if not rooms:
            return []
        others = max(LEAST_OF_ROOM, min(MAX_OTHERS // len(rooms), MOST_OF_ROOM))
        async with self._database.connection("sync_receipts") as connection:
            return await receipts.newest_receipts(
                connection, context.viewer.user_id, rooms, context.now, others
            )


def _is_wanted(context: SyncContext, room_nid: int) -> bool:
    matcher = context.request.filter.ephemeral
    return matcher.matches(RECEIPT) and matcher.admits_room(context.memberships[room_nid].room_id)


def _events(of_room: Iterable[_Receipt]) -> list[bytes]:
    """Return one event for each thread: "batched into one event per room and thread".

    A user may have read an event both by itself and as part of the room.
    """
    # Of several receipts of a user in one place the last one counts.
    last = {(each.thread_id, each.receipt_type, each.user_id): each for each in of_room}
    contents: dict[str, dict[str, dict[str, dict[str, JsonObject]]]] = {}
    for receipt in last.values():
        metadata: JsonObject = {"ts": receipt.ts}
        if receipt.thread_id != UNTHREADED:
            metadata["thread_id"] = receipt.thread_id
        content = contents.setdefault(receipt.thread_id, {})
        by_type = content.setdefault(receipt.event_id, {})
        by_type.setdefault(receipt.receipt_type, {})[receipt.user_id] = metadata
    return [encode({"type": RECEIPT, "content": content}) for content in contents.values()]
