"""`homeserver run` as a process: its start from nothing, its signals, its death."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homeserver.storage.postmaster_pid import is_postmaster_of, read_postmaster

_CLUSTER = Path("data/postgres/cluster")
Server = subprocess.Popen[str]
Run = Callable[..., Server]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    """Start servers; those that still run are stopped after the test."""
    started: list[Server] = []

    def run_one(*options: str) -> Server:
        command = [sys.executable, "-m", "homeserver", "run", "--bind", "127.0.0.1:0", *options]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        server = subprocess.Popen(
            command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(server)
        return server

    yield run_one
    for server in started:
        if server.poll() is None:
            server.terminate()
        server.communicate(timeout=60)
    assert running_postmaster(folder) is None


def running_postmaster(folder: Path) -> int | None:
    cluster = folder / _CLUSTER
    postmaster = read_postmaster(cluster)
    if postmaster is None or not is_postmaster_of(cluster, postmaster.pid):
        return None
    return postmaster.pid


def address_of(server: Server) -> str:
    """Wait until the server is ready and return where it is."""
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line.startswith("homeserver is ready: "), server.communicate()
    return line.removeprefix("homeserver is ready: ").strip()


def versions_at(address: str) -> list[str]:
    with urllib.request.urlopen(f"{address}/_matrix/client/versions", timeout=60) as response:
        versions: list[str] = json.load(response)["versions"]
    return versions


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_runs_from_an_empty_folder_until_a_signal(
    run: Run, folder: Path, number: int
) -> None:
    server = run()
    assert "v1.1" in versions_at(address_of(server))
    assert running_postmaster(folder) is not None
    server.send_signal(number)
    assert server.wait(timeout=60) == 0
    assert running_postmaster(folder) is None


def test_idle_connections_do_not_hold_up_the_stop(run: Run) -> None:
    server = run()
    host, _, port = address_of(server).removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port))):
        server.terminate()
        assert server.wait(timeout=60) == 0


def test_killed_server_starts_again_as_it_was(run: Run, folder: Path) -> None:
    first = run()
    address_of(first)
    key = (folder / "data" / "signing.key").read_text()
    pid = running_postmaster(folder)
    first.kill()
    first.wait()
    assert running_postmaster(folder) == pid
    second = run()
    assert versions_at(address_of(second))
    assert running_postmaster(folder) == pid
    assert (folder / "data" / "signing.key").read_text() == key


def test_signal_during_the_start_leaves_nothing_running(run: Run, folder: Path) -> None:
    server = run()
    while not (folder / "data").exists() and server.poll() is None:
        time.sleep(0.001)
    server.terminate()
    server.wait(timeout=60)
    assert running_postmaster(folder) is None


def test_database_dies_and_the_server_recovers(run: Run, folder: Path) -> None:
    server = run()
    address = address_of(server)
    pid = running_postmaster(folder)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for _ in range(5000):
        if running_postmaster(folder) not in (pid, None) and is_ready(address):
            return
        time.sleep(0.02)
    pytest.fail("the server did not get ready again")


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=60) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_taken_address_is_explained_without_a_traceback(run: Run, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = run("--bind", f"127.0.0.1:{port}")
        _, errors = server.communicate(timeout=60)
    assert server.returncode == 1
    assert "in use" in errors
    assert "Traceback" not in errors
    assert running_postmaster(folder) is None


def test_missing_database_is_explained_without_a_traceback(run: Run, folder: Path) -> None:
    text = "database: {dsn: 'postgresql://u:hunter2@127.0.0.1:1/x', startup_wait_ms: 0}"
    (folder / "homeserver.yaml").write_text(text)
    server = run()
    _, errors = server.communicate(timeout=60)
    assert server.returncode == 1
    assert "PostgreSQL cannot be used" in errors
    assert "Traceback" not in errors
    assert "hunter2" not in errors
