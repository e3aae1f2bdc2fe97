"""Telling other servers again who is still there, before they take the user for lost.

Each node tells the destinations that it sends to, of the users of all nodes: which of them are
there is known to every node by the log.
"""

from typing import Final
from zlib import crc32

from federation.sending.router import Router
from homeserver.protocol.identifiers import ServerName, server_name_of
from homeserver.storage.presence import PresenceState
from homeserver.streams.presence_index import PresenceIndex
from homeserver.telemetry.clock import Clock

# Other servers forget users of whom they do not hear for half an hour. Twice in it, since what is
# told may be lost: with a node that goes, or a server that does not answer at the moment.
REPEAT_MS: Final = 14 * 60_000
# Looking at ten thousand users takes some ms.
ROUND_SECONDS: Final = 5.0


class PresenceRepeats:
    """Spreads users over the time, by their IDs, so that no server gets all at once."""

    def __init__(
        self, index: PresenceIndex, router: Router, clock: Clock, own_name: ServerName
    ) -> None:
        self._index = index
        self._router = router
        self._clock = clock
        self._own_name = own_name
        self._told_ms = clock.now_ms()

    async def tell(self) -> None:
        """Tell of those local users whose time has come since the last round."""
        after_ms, self._told_ms = self._told_ms, self._clock.now_ms()
        due = [
            self._as_seen(state)
            for state in (await self._index.present()).values()
            if server_name_of(state.user_id) == self._own_name
            and _turn(state, self._told_ms) > _turn(state, after_ms)
        ]
        if due:
            await self._router.repeat_presence(due)

    def _as_seen(self, state: PresenceState) -> PresenceState:
        return state._replace(last_active_ts=self._index.last_active_ts(state))


def _turn(state: PresenceState, now_ms: int) -> int:
    """Return a number that grows by one when it is time to tell of a user again."""
    return (now_ms - crc32(state.user_id.encode()) % REPEAT_MS) // REPEAT_MS
