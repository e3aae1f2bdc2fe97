"""A clock that stands still until a test moves it."""

import asyncio
import heapq
from itertools import count


class FakeClock:
    """Implements `homeserver.telemetry.clock.Clock`; begins on 2023-11-14."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = now_ms
        self._elapsed = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._somebody_sleeps = asyncio.Event()

    def now_ms(self) -> int:
        return self._start_ms + round(self._elapsed * 1000)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wakes: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), wakes))
        self._somebody_sleeps.set()
        await wakes

    async def sleeping(self) -> None:
        """Wait until some task waits for the time to pass."""
        while all(wakes.done() for _, _, wakes in self._sleepers):
            self._somebody_sleeps.clear()
            await self._somebody_sleeps.wait()

    def tick(self, seconds: float) -> None:
        """Move the time at once and wake whom it concerns; they run when the test awaits."""
        self._move_to(self._elapsed + seconds)

    async def advance(self, seconds: float) -> None:
        """Let time pass: each sleeper wakes at its own moment, and may go to sleep again."""
        end = self._elapsed + seconds
        await _let_others_run()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._move_to(self._sleepers[0][0])
            await _let_others_run()
        self._move_to(end)
        await _let_others_run()

    def _move_to(self, moment: float) -> None:
        self._elapsed = max(self._elapsed, moment)
        while self._sleepers and self._sleepers[0][0] <= moment:
            _, _, wakes = heapq.heappop(self._sleepers)
            if not wakes.done():
                wakes.set_result(None)


async def _let_others_run() -> None:
    # A woken task may hand on to others before it sleeps again.
    for _ in range(20):
        await asyncio.sleep(0)
