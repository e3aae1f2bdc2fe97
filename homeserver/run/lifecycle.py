"""The life of the process: the event loop, the signals that end it, and its exit code."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# Orchestrators wait 10 s or more between SIGTERM and SIGKILL; what has not ended by itself
# before is ended here, so that the exit is ours and the log says why.
_STOP_SECONDS: Final = 9.5
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
# The interpreter's own are for small programs: with them a tenth of the CPU time of a busy
# server goes into looking for cycles, of which requests make hardly any.
GC_THRESHOLDS: Final = (10_000, 20, 50)


def run_until_stopped(serve: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run `serve` until it ends or SIGTERM or SIGINT comes; return the exit code.

    The signal cancels `serve`, which drains in its `finally`: it has 9.5 seconds, then the
    process exits with 1. So does a second signal, at once. Exceptions of `serve` pass through.
    """
    stop = _Stop()
    try:
        gc.set_threshold(*GC_THRESHOLDS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve_until_signal(serve, stop))
    finally:
        # Only now: closing the loop waits for threads, which may be stuck as well.
        stop.is_over()


async def _serve_until_signal(serve: Callable[[], Coroutine[Any, Any, None]], stop: "_Stop") -> int:
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.on_signal, number, main)
    try:
        await serve()
    except asyncio.CancelledError:
        if not stop.has_begun:
            raise
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return 0


class _Stop:
    """What signals do."""

    def __init__(self) -> None:
        # A thread, because a loop that is stuck would not notice.
        self._deadline = threading.Timer(_STOP_SECONDS, _give_up, ["the stop took too long"])
        self._deadline.daemon = True
        self.has_begun = False

    def on_signal(self, number: int, main: asyncio.Task[Any]) -> None:
        """Begin to stop; at the second signal, stop at once."""
        if self.has_begun:
            _give_up("second signal")
        self.has_begun = True
        log.info("stopping", signal=signal.Signals(number).name)
        self._deadline.start()
        main.cancel()

    def is_over(self) -> None:
        """Take the deadline away: the rest is up to the interpreter."""
        self._deadline.cancel()


def _give_up(reason: str) -> None:
    log.error("exiting without cleaning up", reason=reason)
    sys.stderr.flush()
    os._exit(1)
