"""Background work: named, kept alive, reported when it fails, stopped at shutdown."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.metrics import Metrics

log = get_logger(__name__)

_Result = TypeVar("_Result")


class Tasks:
    """Starts background tasks and owns them until they end.

    The only place, with `web.dispatch`, that catches everything: a failure is logged with
    its traceback and counted, and nothing else stops.
    """

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._running: set[asyncio.Task[Any]] = set()
        self._is_stopped = False

    def spawn(self, name: str, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result | None]:
        """Run `work` in the background; the task's result is None when it failed.

        `name` is constant in the code: it labels a metric. The task inherits the facts of
        its caller, so that its logs carry the request ID. Raises RuntimeError after `stop`.
        """
        return self._start(name, work, context=None)

    def every(
        self, name: str, seconds: float, work: Callable[[], Awaitable[None]]
    ) -> asyncio.Task[None]:
        """Run `work` now and then again `seconds` after each end, whether it failed or not."""
        return self._start(name, self._repeat(name, seconds, work), context=Context())

    async def stop(self, timeout_seconds: float = 5.0) -> None:
        """Cancel everything and wait for the ends; takes no more work afterwards."""
        self._is_stopped = True
        running = [task for task in self._running if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        if not running:
            return
        _, stubborn = await asyncio.wait(running, timeout=timeout_seconds)
        for task in stubborn:
            log.error("task ignored its cancellation", task=task.get_name())

    def _start(
        self, name: str, work: Coroutine[Any, Any, _Result], context: Context | None
    ) -> asyncio.Task[Any]:
        if self._is_stopped:
            work.close()
            raise RuntimeError(f"no task may start after the stop: {name}")
        task = asyncio.create_task(  # noqa: TID251 - this is the place that everybody uses
            self._guard(name, work), name=name, context=context
        )
        self._running.add(task)
        self._metrics.tasks_running.labels(name).inc()
        task.add_done_callback(lambda ended: self._forget(name, work, ended))
        return task

    def _forget(self, name: str, work: Coroutine[Any, Any, Any], task: asyncio.Task[Any]) -> None:
        # A task that is cancelled before its first step never awaits its coroutine.
        work.close()
        self._running.discard(task)
        self._metrics.tasks_running.labels(name).dec()

    async def _guard(self, name: str, work: Awaitable[_Result]) -> _Result | None:
        outcome = "failed"
        try:
            result = await work
            outcome = "done"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception:
            log.exception("task failed", task=name)
            return None
        finally:
            self._metrics.task_ends.labels(name, outcome).inc()
        return result

    async def _repeat(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._guard(name, _call(work))
            await self._clock.sleep(seconds)


async def _call(work: Callable[[], Awaitable[None]]) -> None:
    # A call that fails before its first await must fail inside the guard too.
    await work()
