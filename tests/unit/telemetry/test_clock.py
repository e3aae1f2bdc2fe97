"""The clock of the machine."""

from homeserver.telemetry.clock import SystemClock


async def test_time_goes_on() -> None:
    clock = SystemClock()
    moment, mark = clock.now_ms(), clock.monotonic()
    await clock.sleep(0.002)
    assert clock.monotonic() - mark >= 0.002
    assert clock.now_ms() >= moment
    assert moment > 1_700_000_000_000


async def test_a_wait_of_less_than_nothing_only_yields() -> None:
    await SystemClock().sleep(-5)
