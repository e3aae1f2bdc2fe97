"""The server that is measured: the program as it is installed, without rate limits."""

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.support.processes import CpuSeconds, cpu_seconds
from tests.support.processes import ServerProcess, server_processes

# Everything else is what an operator gets: its own PostgreSQL that waits for the disk, log lines
# in a file. Hashing of passwords is no subject here.
_SETTINGS = {"RATE_LIMITS_ENABLED": "false", "PASSWORDS_BCRYPT_COST": "4"}


@contextmanager
def stopped_server(
    settings: Mapping[str, str] | None = None,
) -> Iterator[tuple[ServerProcess, Path]]:
    """Make a server that was never started, and its data folder; `settings` come on top."""
    folder = Path(tempfile.mkdtemp(prefix="homeserver-bench-"))
    folder.chmod(0o755)  # Started as root, PostgreSQL runs as another user.
    try:
        with server_processes() as make:
            yield make(folder / "data", {**_SETTINGS, **(settings or {})}), folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_server(settings: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """Start a server with an empty database."""
    with stopped_server(settings) as (server, _):
        server.start()
        yield server


def cpu_of(server: ServerProcess) -> CpuSeconds:
    """Read the CPU time that a server and its PostgreSQL have used so far."""
    assert server.postgres_pid is not None
    return cpu_seconds(server.pid, server.postgres_pid)


def options(about: str | None, **defaults: float) -> argparse.Namespace:
    """Read numbers from the command line; `runs=5` makes an option --runs with that default."""
    parser = argparse.ArgumentParser(description=about)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, metavar="N")
    return parser.parse_args()


def run(work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Run the client's side on the fast event loop."""

    async def call() -> None:
        await work(*arguments)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(call())
