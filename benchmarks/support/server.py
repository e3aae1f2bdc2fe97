"""The real program in a process of its own, and what it and its PostgreSQL cost."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Program:
    """A running server: where it answers, and its CPU time and memory."""

    def __init__(self, process: subprocess.Popen[str], address: str, start_seconds: float) -> None:
        self._process = process
        self.host, port = address.removeprefix("http://").split(":")
        self.port = int(port)
        self.start_seconds = start_seconds

    def cpu_seconds(self) -> float:
        """CPU time of the server and of its PostgreSQL, ended backends included."""
        return sum(_cpu_seconds(pid) for pid in self._pids())

    def server_memory_mb(self) -> float:
        """Resident memory of the server process alone."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def _pids(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except OSError:
                    continue
                children.setdefault(parent, []).append(int(entry.name))
        found, rest = [], [self._process.pid]
        while rest:
            pid = rest.pop()
            found.append(pid)
            rest += children.get(pid, [])
        return found


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    # utime, stime, and those of children that have ended.
    return sum(int(field) for field in fields[11:15]) / _TICKS


@contextmanager
def running_program(data_dir: Path | None = None) -> Iterator[Program]:
    """Start `homeserver run` on a free port of loopback, with fsync on and without rate limits."""
    with tempfile.TemporaryDirectory(prefix="homeserver-bench-") as folder:
        home = data_dir or Path(folder) / "data"
        Path(folder).chmod(0o755)
        config = Path(folder) / "homeserver.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "rate_limits": {"enabled": False},
                    "logging": {"level": "warning"},
                    "passwords": {"bcrypt_cost": 4},
                }
            )
        )
        command = [sys.executable, "-m", "homeserver", "run", "--config", str(config)]
        command += ["--data-dir", str(home), "--bind", "127.0.0.1:0"]
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "ready" not in line:
                raise RuntimeError(f"the server did not start: {line!r}")
            yield Program(process, line.split()[-1], time.monotonic() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(15)
