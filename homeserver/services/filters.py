"""The filters of users. Spec: client-server-api/#filtering"""

from base64 import urlsafe_b64encode
from collections import OrderedDict
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

from homeserver.errors import InvalidParam, NotFound
from homeserver.protocol.filters import CompiledFilter, parse_filter
from homeserver.protocol.identifiers import UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.storage import filters
from homeserver.storage.database import Database

# A compiled filter takes about 3 kB, and a sync in progress needs its one.
MAX_COMPILED: Final = 5_000
# An inline definition of up to this many characters is worth keeping compiled.
_MAX_KEPT_CHARACTERS: Final = 4_096
# 128 bits: a user who looks for two filters with one ID only confuses the own clients.
_ID_BYTES: Final = 16

# (user, filter ID), or (None, inline definition).
_Key: TypeAlias = tuple[UserID | None, str]
_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_EVERYTHING: Final = CompiledFilter(parse_filter(b"{}"))


class Filters:
    """Keeps the filters that users upload, and compiles those that requests name."""

    def __init__(self, database: Database, *, max_compiled: int = MAX_COMPILED) -> None:
        self._database = database
        self._max_compiled = max_compiled
        # Definitions never change under an ID, so nothing here grows stale.
        self._compiled: OrderedDict[_Key, CompiledFilter] = OrderedDict()

    async def add(self, user_id: UserID, definition: JsonObject) -> str:
        """Keep a filter and return its ID; equal definitions have equal IDs.

        Raises InvalidFilter.
        """
        parse_filter(definition)
        encoded = _encode(definition)
        digest = sha256(encoded).digest()[:_ID_BYTES]
        filter_id = urlsafe_b64encode(digest).decode().rstrip("=")
        async with self._database.connection("filters") as connection:
            await filters.add_filter(connection, user_id, filter_id, encoded)
        return filter_id

    async def definition(self, user_id: UserID, filter_id: str) -> bytes:
        """Return a filter as it was uploaded, as JSON. Raises NotFound."""
        async with self._database.connection("filters") as connection:
            definition = await filters.filter_of(connection, user_id, filter_id)
        if definition is None:
            raise NotFound("Unknown filter")
        return definition

    async def compiled(self, user_id: UserID, text: str | None) -> CompiledFilter:
        """Return the filter of a `filter` parameter: an ID, or a definition as JSON.

        None, and the empty text that some clients send for it, let everything through. Raises
        InvalidFilter; InvalidParam: the user has no such filter.
        """
        if not text:
            return _EVERYTHING
        is_inline = text.startswith("{")
        key = (None, text) if is_inline else (user_id, text)
        found = self._compiled.get(key)
        if found is not None:
            self._compiled.move_to_end(key)
            return found
        compiled = CompiledFilter(parse_filter(await self._source(user_id, text)))
        if len(text) <= _MAX_KEPT_CHARACTERS:
            self._compiled[key] = compiled
            if len(self._compiled) > self._max_compiled:
                self._compiled.popitem(last=False)
        return compiled

    async def _source(self, user_id: UserID, text: str) -> bytes:
        if text.startswith("{"):
            return text.encode()
        try:
            return await self.definition(user_id, text)
        except NotFound as error:
            raise InvalidParam("Unknown filter") from error
