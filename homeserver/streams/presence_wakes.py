"""Wake-ups for presence alone, of which there are only as many as are affordable.

Presence changes far more often than anybody looks at it, and each change in a room of thousands
concerns thousands of waiting requests. Whoever is woken for something else is told at once.
"""

from collections.abc import Sequence
from typing import Final

from homeserver.streams.entries import LogEntry, PresenceEntry
from homeserver.streams.notifier import Notifier
from homeserver.streams.tail import Tail
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.tasks import Tasks

# Answering a request that waits, and taking the next one, costs about 0.3 ms of CPU: with this
# pause after each, presence takes up to a tenth of a core, and among fifty who wait nobody notices.
PAUSE_SECONDS: Final = 0.003
# For those who chat in the largest rooms.
MAX_PAUSE_SECONDS: Final = 30.0


class PresenceWakes:
    """Wakes the requests that wait: at once after a quiet time, else after a pause.

    The pause grows with the number of requests that the last wake-up concerned.
    """

    def __init__(self, tail: Tail, notifier: Notifier, tasks: Tasks, clock: Clock) -> None:
        self._notifier = notifier
        self._tasks = tasks
        self._clock = clock
        self._not_before = clock.monotonic()
        self._is_waking = False
        tail.follow(self._take)

    def _take(self, entries: Sequence[LogEntry]) -> None:
        if self._is_waking or not any(isinstance(entry, PresenceEntry) for entry in entries):
            return
        self._is_waking = True
        self._tasks.spawn("presence wake-up", self._wake())

    async def _wake(self) -> None:
        try:
            await self._clock.sleep(self._not_before - self._clock.monotonic())
        finally:
            self._is_waking = False
        woken = self._notifier.wake_owed()
        pause = min(woken * PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        self._not_before = self._clock.monotonic() + pause
