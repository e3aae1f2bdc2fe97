"""The signals that end the process."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

_PROGRAM = """
import asyncio, sys
from homeserver.config.sections.logs import LoggingSection
from homeserver.run import lifecycle
from homeserver.telemetry.log import configure_logging

configure_logging(LoggingSection())
lifecycle._STOP_SECONDS = {stop_seconds}

async def serve():
    try:
        print("ready", flush=True)
        {body}
    finally:
        {cleaning}

sys.exit(lifecycle.run_until_stopped(serve))
"""
_FOREVER = "await asyncio.Event().wait()"
_CLEANING = "await asyncio.sleep(0); print('clean', flush=True)"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process whose `serve` is made of the given lines; wait until it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start_one(
        body: str = _FOREVER, cleaning: str = _CLEANING, stop_seconds: float = 60
    ) -> "subprocess.Popen[str]":
        program = _PROGRAM.format(body=body, cleaning=cleaning, stop_seconds=stop_seconds)
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_it_clean_up_and_exit_with_zero(start: Start, number: int) -> None:
    process = start()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "clean\n")


def test_second_signal_ends_it_at_once(start: Start) -> None:
    process = start(cleaning="print('cleaning', flush=True); await asyncio.sleep(600)")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 1


@pytest.mark.parametrize(
    "cleaning",
    [
        "await asyncio.sleep(600)",
        "import time; time.sleep(600)",
        "asyncio.get_running_loop().run_in_executor(None, __import__('time').sleep, 600)",
    ],
)
def test_cleaning_up_that_takes_too_long_is_cut_off(start: Start, cleaning: str) -> None:
    process = start(cleaning=cleaning, stop_seconds=0.2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "exiting without cleaning up" in errors


def test_end_without_a_signal_is_the_end_of_the_process(start: Start) -> None:
    process = start(body="pass")
    assert process.wait(timeout=60) == 0


def test_failure_passes_through(start: Start) -> None:
    process = start(body="raise LookupError('no such thing')")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "LookupError: no such thing" in errors
