"""Background work is named, counted, reported and stopped."""

import asyncio

import pytest
from structlog.testing import capture_logs

from homeserver.telemetry.context import bound, bound_facts
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def tasks(clock: FakeClock, metrics: Metrics) -> Tasks:
    return Tasks(clock, metrics)


def ends(metrics: Metrics, name: str, outcome: str) -> float | None:
    labels = {"name": name, "outcome": outcome}
    return metrics.registry.get_sample_value("homeserver_background_task_ends_total", labels)


def running(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value("homeserver_background_tasks", {"name": name})


async def answer() -> int:
    return 42


async def fail() -> int:
    raise KeyError("x")


async def wait() -> None:
    await asyncio.Event().wait()


async def test_a_task_gives_its_result(tasks: Tasks, metrics: Metrics) -> None:
    assert await tasks.spawn("answer", answer()) == 42
    assert ends(metrics, "answer", "done") == 1


async def test_a_failure_is_logged_with_its_task_and_goes_no_further(
    tasks: Tasks, metrics: Metrics
) -> None:
    with capture_logs() as lines:
        assert await tasks.spawn("fail", fail()) is None
    assert [(line["event"], line["task"]) for line in lines] == [("task failed", "fail")]
    assert lines[0]["exc_info"]
    assert ends(metrics, "fail", "failed") == 1


async def test_running_tasks_are_counted(tasks: Tasks, metrics: Metrics) -> None:
    task = tasks.spawn("wait", wait())
    assert running(metrics, "wait") == 1
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert running(metrics, "wait") == 0


async def test_a_task_keeps_the_facts_of_its_caller(tasks: Tasks) -> None:
    async def facts() -> dict[str, str]:
        return dict(bound_facts())

    with bound(request_id="r-1"):
        task = tasks.spawn("facts", facts())
    assert await task == {"request_id": "r-1"}


async def test_periodic_work_runs_now_and_again_after_each_pause(
    tasks: Tasks, clock: FakeClock
) -> None:
    rounds: list[int] = []

    async def work() -> None:
        rounds.append(clock.now_ms())

    started = clock.now_ms()
    tasks.every("work", 10, work)
    await clock.advance(25)
    assert [moment - started for moment in rounds] == [0, 10_000, 20_000]
    await tasks.stop()


async def test_periodic_work_goes_on_after_a_failure(
    tasks: Tasks, clock: FakeClock, metrics: Metrics
) -> None:
    def work() -> asyncio.Future[None]:
        raise KeyError("before the first await")

    with capture_logs() as lines:
        tasks.every("work", 10, work)
        await clock.advance(15)
    assert [line["event"] for line in lines] == ["task failed"] * 2
    assert ends(metrics, "work", "failed") == 2
    await tasks.stop()


async def test_periodic_work_has_no_facts_of_whoever_started_it(
    tasks: Tasks, clock: FakeClock
) -> None:
    seen: list[dict[str, str]] = []

    async def work() -> None:
        seen.append(dict(bound_facts()))

    with bound(request_id="r-1"):
        tasks.every("work", 10, work)
    await clock.advance(1)
    assert seen == [{}]
    await tasks.stop()


async def test_the_stop_cancels_everything_and_waits_for_it(tasks: Tasks, metrics: Metrics) -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("work")

    tasks.spawn("work", work())
    await asyncio.sleep(0)
    await tasks.stop()
    assert cleaned == ["work"]
    assert ends(metrics, "work", "cancelled") == 1


async def test_a_task_that_never_began_is_stopped_without_a_trace(tasks: Tasks) -> None:
    task = tasks.spawn("wait", wait())
    await tasks.stop()
    assert task.cancelled()


async def test_a_task_that_ignores_its_cancellation_is_named(tasks: Tasks) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = tasks.spawn("stubborn", stubborn())
    await asyncio.sleep(0)
    with capture_logs() as lines:
        await tasks.stop(timeout_seconds=0.01)
    assert [line["task"] for line in lines] == ["stubborn"]
    release.set()
    await task


async def test_no_task_starts_after_the_stop(tasks: Tasks) -> None:
    await tasks.stop()
    with pytest.raises(RuntimeError, match="late"):
        tasks.spawn("late", answer())


async def test_a_task_may_stop_the_others_and_itself_go_on(tasks: Tasks) -> None:
    async def stop() -> str:
        await tasks.stop()
        return "stopped"

    assert await tasks.spawn("stop", stop()) == "stopped"
