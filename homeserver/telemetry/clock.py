"""The time, as something that is handed in."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What tells the time and waits; tests hand in one that they move themselves."""

    def now_ms(self) -> int:
        """Return the wall-clock time in milliseconds since 1970, as in `origin_server_ts`."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a wait of zero or less only yields to other tasks."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now_ms(self) -> int:
        """Return the wall-clock time in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        return time.monotonic()  # noqa: TID251 - this is the clock that everybody takes

    async def sleep(self, seconds: float) -> None:
        """Wait; a wait of zero or less only yields to other tasks."""
        await asyncio.sleep(max(seconds, 0))
