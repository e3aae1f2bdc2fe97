"""Account data: what users keep here for their own clients.

Spec: client-server-api/#client-config
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from homeserver.errors import BadJson, InvalidParam, NotFound, TooLarge
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.push_rules import PUSH_RULES, PushRules
from homeserver.storage import account_data, memberships
from homeserver.storage.account_data import GLOBAL
from homeserver.storage.database import Connection, Database, Transaction
from homeserver.streams.log_writer import LogWriter

# The specification has no limits here. Ours are far above what clients need: a list of
# thousands of ignored users, an image pack, some entries for each of ten thousand rooms.
MAX_CONTENT_BYTES: Final = 1024 * 1024
MAX_TOTAL_BYTES: Final = 16 * 1024 * 1024
MAX_ENTRIES: Final = 50_000
MAX_TYPE_BYTES: Final = 255  # as of events: client-server-api/#size-limits

# "Currently, this only includes m.fully_read and m.push_rules."
SERVER_MANAGED: Final = frozenset({"m.fully_read", PUSH_RULES})

# From the present content, None where there is none, to the new one; None changes nothing.
Change: TypeAlias = Callable[[JsonObject | None], JsonObject | None]
_decode: Final = msgspec.json.Decoder(JsonObject).decode
_encode: Final = msgspec.json.Encoder().encode


class AccountData:
    """Keeps account data; `room_id` None stands for the global one.

    An empty content is a deletion (MSC3391): clients are told `{}`, and then it is not found.
    """

    def __init__(self, database: Database, log_writer: LogWriter, push_rules: PushRules) -> None:
        self._database = database
        self._log_writer = log_writer
        self._push_rules = push_rules

    async def content(
        self, user_id: UserID, event_type: str, *, room_id: RoomID | None = None
    ) -> bytes:
        """Return a content as JSON. Raises NotFound."""
        if event_type == PUSH_RULES and room_id is None:
            return await self._push_rules.as_account_data(user_id)
        found = await self.find(user_id, event_type, room_id=room_id)
        if found is None:
            raise NotFound("Account data not found.")
        return found

    async def find(
        self, user_id: UserID, event_type: str, *, room_id: RoomID | None = None
    ) -> bytes | None:
        """Return a content as JSON that this server does not make up itself, None without."""
        async with self._database.connection("account_data") as connection:
            room_nid = await _place(connection, user_id, room_id)
            if room_nid is None:
                return None
            entry = await account_data.entry_of(connection, user_id, room_nid, event_type)
        return None if entry is None or entry.is_deleted else entry.content

    async def put(
        self,
        user_id: UserID,
        event_type: str,
        content: JsonObject,
        *,
        room_id: RoomID | None = None,
    ) -> None:
        """Replace a content on behalf of a client.

        Raises BadJson, with status 405: the server manages the type; InvalidParam: it is too
        long; TooLarge; NotFound: the user has never been in the room.
        """
        _check_type(event_type)
        await self.change(user_id, event_type, lambda _: content, room_id=room_id)

    async def delete(
        self, user_id: UserID, event_type: str, *, room_id: RoomID | None = None
    ) -> None:
        """Delete an entry on behalf of a client; again changes nothing. Raises like `put`."""
        _check_type(event_type)
        await self.change(
            user_id, event_type, lambda present: None if present is None else {}, room_id=room_id
        )

    async def change(
        self, user_id: UserID, event_type: str, change: Change, *, room_id: RoomID | None = None
    ) -> None:
        """Change a content atomically; the next sync of the user on this node has it.

        `change` may be called several times. Raises TooLarge, NotFound, and what it raises.
        """

        async def write(tx: Transaction) -> int | None:
            room_nid = await _place(tx, user_id, room_id)
            if room_nid is None:
                raise NotFound("Unknown room")
            return await _change(tx, user_id, room_nid, event_type, change)

        position = await self._database.run_transaction(write, "account_data")
        if position is not None:
            await self._log_writer.told(position)


async def _change(
    tx: Transaction, user_id: UserID, room_nid: int, event_type: str, change: Change
) -> int | None:
    await account_data.lock(tx, user_id)
    entry = await account_data.entry_of(tx, user_id, room_nid, event_type)
    content = change(None if entry is None or entry.is_deleted else _decode(entry.content))
    if content is None:
        return None
    encoded = _encode(content)
    await _check_size(tx, user_id, len(encoded), 0 if entry is None else len(entry.content))
    return await account_data.put(
        tx, user_id, room_nid, event_type, encoded, is_deleted=not content
    )


async def _check_size(tx: Transaction, user_id: UserID, size: int, replaced_size: int) -> None:
    """Raises TooLarge. What does not grow always passes, so that nobody is stuck at a limit."""
    if size > MAX_CONTENT_BYTES:
        raise TooLarge(f"The content is larger than {MAX_CONTENT_BYTES} bytes")
    if size <= replaced_size:
        return
    usage = await account_data.usage_of(tx, user_id)
    if usage.content_bytes + size - replaced_size > MAX_TOTAL_BYTES:
        raise TooLarge(f"All your account data would be larger than {MAX_TOTAL_BYTES} bytes")
    if replaced_size == 0 and usage.entries >= MAX_ENTRIES:
        raise TooLarge(f"You have {MAX_ENTRIES} entries of account data, deleted ones included")


async def _place(connection: Connection, user_id: UserID, room_id: RoomID | None) -> int | None:
    """Return the room's number, None for a room that the user has nothing to do with.

    Whether such a room exists is not for the user to find out.
    """
    if room_id is None:
        return GLOBAL
    membership = await memberships.membership_of(connection, user_id, room_id)
    return None if membership is None else membership.room_nid


def _check_type(event_type: str) -> None:
    if event_type in SERVER_MANAGED:
        raise BadJson(f"Cannot set {event_type} through this API.", status=405)
    if not 0 < len(event_type.encode()) <= MAX_TYPE_BYTES:
        raise InvalidParam(f"The type must have 1 to {MAX_TYPE_BYTES} bytes")
