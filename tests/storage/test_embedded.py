"""The embedded PostgreSQL: made, shared, adopted, recovered and stopped."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.postgres_programs import EmbeddedPostgresFailed
from tests.support.apart import run_apart

QUICK = {"fsync": "off"}
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
Make = Callable[..., EmbeddedPostgres]


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short, unlike pytest's own folders: a socket's path may have 107 bytes.
    path = Path(tempfile.mkdtemp(prefix="pg-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    """Make supervisors of clusters; what they started is stopped after the test."""
    made: list[EmbeddedPostgres] = []

    def make_one(path: Path = folder / "postgres", **settings: str) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(path, settings={**QUICK, **settings}))
        return made[-1]

    yield make_one
    for postgres in made:
        postgres.stop()


def ask(postgres: EmbeddedPostgres, query: str) -> str:
    async def work() -> str:
        connection = await asyncpg.connect(postgres.dsn)
        try:
            return str(await connection.fetchval(query))
        finally:
            await connection.close()

    return run_apart(work())


def is_running(pid: int | None) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # empty: it ended, unawaited
    except FileNotFoundError:
        return False


def start_in_a_process_that_is_killed(path: Path) -> None:
    program = (
        "import os, pathlib; from homeserver.storage.embedded import EmbeddedPostgres;"
        f"EmbeddedPostgres(pathlib.Path({str(path)!r}), settings={QUICK}).start();"
        "os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGKILL


def kill_all(postgres: EmbeddedPostgres) -> None:
    """Kill the postmaster; its children see that and die."""
    pid = postgres.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while is_running(pid):
        os.sched_yield()


def test_cluster_is_made_in_utf8_ordered_by_code_point_and_knows_case(make: Make) -> None:
    postgres = make()
    postgres.start()
    assert ask(postgres, "SHOW server_encoding") == "UTF8"
    assert ask(postgres, "SELECT 'Z' < 'a'") == "True"
    assert ask(postgres, "SELECT lower('ÄŁ')") == "äł"
    assert ask(postgres, "SHOW data_checksums") == "on"


def test_commits_are_durable_by_default(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder / "postgres")
    postgres.start()
    try:
        settings = ("fsync", "synchronous_commit", "full_page_writes")
        assert {ask(postgres, f"SHOW {name}") for name in settings} == {"on"}
    finally:
        postgres.stop()


def test_no_port_is_opened(make: Make) -> None:
    postgres = make()
    postgres.start()
    assert ask(postgres, "SHOW listen_addresses") == ""


def test_only_its_own_user_reaches_the_socket(make: Make, folder: Path) -> None:
    make().start()
    assert (folder / "postgres" / "socket").stat().st_mode & 0o777 == 0o700


def test_operators_settings_go_over_ours(make: Make) -> None:
    postgres = make(max_connections="33")
    postgres.start()
    assert ask(postgres, "SHOW max_connections") == "33"


def test_stop_ends_it_and_its_data_is_there_at_the_next_start(make: Make) -> None:
    postgres = make()
    postgres.start()
    ask(postgres, "CREATE TABLE notes AS SELECT 7 AS id")
    pid = postgres.pid
    assert postgres.stop()
    assert not is_running(pid)
    postgres.start()
    assert ask(postgres, "SELECT id FROM notes") == "7"


def test_start_and_stop_may_be_repeated(make: Make) -> None:
    postgres = make()
    assert not postgres.stop()
    assert postgres.start() == postgres.start()
    assert postgres.stop()
    assert not postgres.stop()


def test_last_user_stops_it(make: Make) -> None:
    first, second = make(), make()
    assert first.start() == second.start()
    assert not first.stop()
    assert ask(second, "SELECT 1") == "1"
    assert second.stop()


def test_cluster_of_a_killed_homeserver_is_adopted(make: Make, folder: Path) -> None:
    start_in_a_process_that_is_killed(folder / "postgres")
    postgres = make()
    pid = postgres.pid
    assert is_running(pid)
    postgres.start()
    assert postgres.pid == pid
    assert ask(postgres, "SELECT 1") == "1"
    assert postgres.stop()
    assert not is_running(pid)


def test_everything_killed_recovers_with_all_commits(make: Make) -> None:
    postgres = make()
    postgres.start()
    ask(postgres, "CREATE TABLE notes AS SELECT 7 AS id")
    kill_all(postgres)
    again = make()
    again.start()
    assert ask(again, "SELECT id FROM notes") == "7"


@pytest.mark.parametrize("same_user", [True, pytest.param(False, marks=ROOT_ONLY)])
def test_pid_of_a_killed_cluster_may_belong_to_another_process(
    make: Make, folder: Path, same_user: bool
) -> None:
    postgres = make()
    postgres.start()
    kill_all(postgres)
    pid_file = folder / "postgres" / "cluster" / "postmaster.pid"
    user = pid_file.stat().st_uid if same_user else 0
    with subprocess.Popen(["sleep", "600"], user=user) as other:
        try:
            lines = pid_file.read_text().splitlines()
            pid_file.write_text("\n".join([str(other.pid), *lines[1:]]))
            again = make()
            assert again.pid is None
            again.start()
            assert ask(again, "SELECT 1") == "1"
        finally:
            other.kill()


def test_ensure_running_starts_it_again_at_the_same_address(make: Make) -> None:
    postgres = make()
    dsn = postgres.start()
    old = postgres.pid
    postgres.ensure_running()
    assert postgres.pid == old
    kill_all(postgres)
    postgres.ensure_running()
    assert postgres.pid not in (None, old)
    assert postgres.dsn == dsn
    assert ask(postgres, "SELECT 1") == "1"


def test_half_made_cluster_is_made_anew(make: Make, folder: Path) -> None:
    unfinished = folder / "postgres" / "cluster.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    postgres = make()
    postgres.start()
    assert ask(postgres, "SELECT 1") == "1"
    assert not unfinished.exists()


def test_long_path_has_its_socket_elsewhere(make: Make, folder: Path) -> None:
    postgres = make(folder / ("long" * 30) / "postgres")
    postgres.start()
    socket_folder = Path(ask(postgres, "SHOW unix_socket_directories"))
    assert not socket_folder.is_relative_to(folder)
    postgres.stop()
    assert not socket_folder.exists()


def test_failure_tells_what_postgres_said(make: Make) -> None:
    postgres = make(shared_buffers="nonsense")
    with pytest.raises(EmbeddedPostgresFailed, match="shared_buffers"):
        postgres.start()
    assert postgres.pid is None


def test_cluster_of_an_unknown_version_is_refused(make: Make, folder: Path) -> None:
    cluster = folder / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    shutil.chown(cluster, "nobody" if os.geteuid() == 0 else os.geteuid())
    (cluster / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresFailed, match="PostgreSQL 9"):
        make().start()


def test_interrupt_from_the_terminal_does_not_reach_it(make: Make) -> None:
    postgres = make()
    postgres.start()
    assert postgres.pid is not None
    assert os.getsid(postgres.pid) != os.getsid(0)


@ROOT_ONLY
def test_root_runs_it_as_another_user_below_a_private_folder(make: Make, folder: Path) -> None:
    assert folder.stat().st_mode & 0o077 == 0
    postgres = make()
    postgres.start()
    assert (folder / "postgres" / "cluster").owner() == "nobody"
    assert Path(f"/proc/{postgres.pid}").owner() == "nobody"


@ROOT_ONLY
def test_cluster_that_was_given_to_root_is_taken_back(make: Make, folder: Path) -> None:
    postgres = make()
    postgres.start()
    postgres.stop()
    for path in (folder / "postgres").rglob("*"):
        os.chown(path, 0, 0)
    postgres.start()
    assert ask(postgres, "SELECT 1") == "1"


@ROOT_ONLY
def test_missing_user_is_reported(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder / "postgres", run_as="no-such-user")
    with pytest.raises(EmbeddedPostgresFailed, match="no-such-user"):
        postgres.start()
