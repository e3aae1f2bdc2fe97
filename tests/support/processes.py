"""The program itself, as an operator runs it: a child process that may be killed."""

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.postmaster_pid import is_postmaster_of, read_postmaster

ROOT = Path(__file__).resolve().parents[2]
_READY = "homeserver is ready: "
# A start replays at most what PostgreSQL had not checkpointed; a stop drains for at most 10 s.
_STOP_SECONDS = 60
# More than one test needs, and few enough that many processes find ports.
_PORTS_KEPT = 200


def free_port() -> int:
    """Return a TCP port that nobody listens on, and that no other test process takes.

    Below those that systems give to outgoing connections: a server that is killed finds its port
    free when it comes back.
    """
    for _ in range(1000):
        port = random.randint(15_000, 32_000)
        if not _reserved_ports().add(port):
            continue
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no free port was found")


class _ReservedPorts:
    """The ports that this process took last.

    Between the choice and the use another process could choose the same: a lock on byte n of a
    file says that port n is taken.
    """

    def __init__(self) -> None:
        path = Path(tempfile.gettempdir()) / f"homeserver-test-ports-{os.getuid()}"
        # Open until the process ends, which frees the ports.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._ports: deque[int] = deque()

    def add(self, port: int) -> bool:
        """Take a port; False: it has been taken."""
        if port in self._ports:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        self._ports.append(port)
        if len(self._ports) > _PORTS_KEPT:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._ports.popleft())
        return True


@cache
def _reserved_ports() -> _ReservedPorts:
    return _ReservedPorts()


class ServerProcess:
    """`homeserver run` in a folder of its own, on one port however often it is started.

    `settings` are environment variables without their prefix: {"RATE_LIMITS_ENABLED": "false"}.
    Servers that share a data folder share its embedded database and its signing key.
    """

    def __init__(
        self,
        data_dir: Path,
        settings: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        log_path: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._data_dir = data_dir
        self._settings = {f"HOMESERVER_{name}": value for name, value in (settings or {}).items()}
        self._log_path = log_path or data_dir.with_name(f"{data_dir.name}-{self.port}.log")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        self.begin_start()
        self.wait_until_ready()

    def begin_start(self) -> None:
        """Start it and return at once."""
        assert self._process is None, "it runs already"
        # Run by name: the working folder is nobody's, so that no homeserver.yaml is found there.
        command = [sys.executable, "-m", "homeserver", "run"]
        command += ["--data-dir", str(self._data_dir)]
        # Who sets the listeners has one on the port among them.
        if "HOMESERVER_LISTENERS" not in self._settings:
            command += ["--bind", f"127.0.0.1:{self.port}"]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HOMESERVER_")}
        self._data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**inherited, **self._settings, "PYTHONPATH": str(ROOT)},
                cwd=self._data_dir.parent,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        """Wait for the line that it prints when it answers; its end, or silence, is a failure."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(_READY):
            code = self._process.wait(_STOP_SECONDS)
            self._forget()
            raise AssertionError(f"the server ended with {code}:\n{self.log_tail()}")
        assert self.url in line

    @property
    def pid(self) -> int:
        """The process ID while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def postgres_pid(self) -> int | None:
        """The process ID of the embedded PostgreSQL; None when none is running."""
        cluster = self._data_dir / "postgres" / "cluster"
        postmaster = read_postmaster(cluster)
        if postmaster is None or not is_postmaster_of(cluster, postmaster.pid):
            return None
        return postmaster.pid

    def kill(self) -> None:
        """Kill it with SIGKILL; an embedded PostgreSQL lives on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._forget()

    def kill_postgres(self) -> int:
        """Kill the embedded PostgreSQL with SIGKILL and return what its process ID was."""
        pid = self.postgres_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> int:
        """Stop it with SIGTERM and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(_STOP_SECONDS)
        self._forget()
        return code

    def close(self) -> None:
        """End it, however the test went."""
        if self._process is not None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()

    def close_postgres(self) -> None:
        """End an embedded PostgreSQL that a killed server has left running."""
        if self.postgres_pid is not None:
            postgres = EmbeddedPostgres(self._data_dir / "postgres")
            postgres.start()
            postgres.stop()

    @property
    def log(self) -> str:
        """What it has logged, of all its starts."""
        return self._log_path.read_text(errors="replace")

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.splitlines()[-lines:])

    def _forget(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None


@contextmanager
def server_processes() -> Iterator[Callable[..., ServerProcess]]:
    """Make servers that are ended at the end of the block; none of them is started."""
    made: list[ServerProcess] = []

    def make(
        data_dir: Path, settings: Mapping[str, str] | None = None, *, port: int | None = None
    ) -> ServerProcess:
        made.append(ServerProcess(data_dir, settings, port=port))
        return made[-1]

    try:
        yield make
    finally:
        for server in made:
            server.close()
        for server in made:
            server.close_postgres()
