"""The numbers of state keys in memory. They never change."""

from collections import OrderedDict
from collections.abc import Iterable

from homeserver.protocol.event import StateKey
from homeserver.storage import rooms
from homeserver.storage.database import Database

# About 200 bytes each. Most are the member keys of users.
MAX_KEYS = 100_000


class StateKeys:
    """Looks up, or gives out, the numbers of (type, state key) pairs."""

    def __init__(self, database: Database, *, max_keys: int = MAX_KEYS) -> None:
        self._database = database
        self._max_keys = max_keys
        self._nids: OrderedDict[StateKey, int] = OrderedDict()

    async def nid(self, key: StateKey) -> int:
        """Return the number of one state key."""
        found = self._nids.get(key)
        if found is not None:
            return found
        return (await self.nids([key]))[key]

    async def nids(self, keys: Iterable[StateKey]) -> dict[StateKey, int]:
        """Return the numbers of state keys; those not in memory take one or two statements."""
        wanted = list(dict.fromkeys(keys))
        missing = [key for key in wanted if key not in self._nids]
        if missing:
            async with self._database.connection("state_keys") as connection:
                self._nids.update(await rooms.intern_state_keys(connection, missing))
        found = {key: self._nids[key] for key in wanted}
        while len(self._nids) > self._max_keys:
            self._nids.popitem(last=False)
        return found
