"""Tags of rooms, which are account data of type `m.tag`. Spec: client-server-api/#room-tagging"""

from typing import Final

import msgspec

from homeserver.errors import InvalidParam
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.services.account_data import AccountData

MAX_TAG_BYTES: Final = 255  # "The name of a tag MUST NOT exceed 255 bytes."
_TYPE: Final = "m.tag"
_decode: Final = msgspec.json.Decoder(JsonObject).decode


class Tags:
    """Tags rooms, for one user each."""

    def __init__(self, account_data: AccountData) -> None:
        self._account_data = account_data

    async def of_room(self, user_id: UserID, room_id: RoomID) -> JsonObject:
        """Return the contents of a room's tags by name."""
        content = await self._account_data.find(user_id, _TYPE, room_id=room_id)
        return {} if content is None else _tags(_decode(content))

    async def put(self, user_id: UserID, room_id: RoomID, tag: str, content: JsonObject) -> None:
        """Add a tag or replace its content.

        Raises InvalidParam: the name or `order` is not as specified; NotFound: the user has never
        been in the room; TooLarge.
        """
        if not 0 < len(tag.encode()) <= MAX_TAG_BYTES:
            raise InvalidParam(f"A tag must have 1 to {MAX_TAG_BYTES} bytes")
        _check_order(content)

        def add(present: JsonObject | None) -> JsonObject:
            present = present or {}
            return {**present, "tags": {**_tags(present), tag: content}}

        await self._account_data.change(user_id, _TYPE, add, room_id=room_id)

    async def remove(self, user_id: UserID, room_id: RoomID, tag: str) -> None:
        """Take a tag away; again changes nothing. Raises NotFound."""

        def remove(present: JsonObject | None) -> JsonObject | None:
            tags = _tags(present or {})
            if present is None or tag not in tags:
                return None
            return {**present, "tags": {name: tags[name] for name in tags if name != tag}}

        await self._account_data.change(user_id, _TYPE, remove, room_id=room_id)


def _tags(content: JsonObject) -> JsonObject:
    # Clients may put any content by the API of account data as well.
    tags = content.get("tags")
    return tags if isinstance(tags, dict) else {}


def _check_order(content: JsonObject) -> None:
    order = content.get("order", 0)
    # bool is an int to Python.
    if isinstance(order, bool) or not isinstance(order, int | float) or not 0 <= order <= 1:
        raise InvalidParam("order must be a number between 0 and 1")
