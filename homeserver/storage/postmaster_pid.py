"""The file `postmaster.pid`, in which a PostgreSQL says who and where it is."""

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

_FILE: Final = "postmaster.pid"
_MIN_LINES: Final = 5  # PID, folder, start time, port, socket folder; more come later


class Postmaster(msgspec.Struct, frozen=True):
    """What the file says."""

    pid: int
    socket_folder: str
    is_ready: bool


def read_postmaster(cluster: Path) -> Postmaster | None:
    """Read the file of a cluster; None when there is none, or it is just being written."""
    try:
        lines = (cluster / _FILE).read_text().splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < _MIN_LINES or not lines[0].isdigit():
        return None
    return Postmaster(int(lines[0]), lines[4], is_ready=lines[-1].strip() == "ready")


def is_postmaster_of(cluster: Path, pid: int) -> bool:
    """Tell whether a process is the postmaster of a cluster.

    Compares the command line, which every user may read and which its children change.
    """
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return os.fsencode(cluster) in arguments


def disown_stale(cluster: Path) -> None:
    """Make PostgreSQL see that a leftover file is stale.

    Its PID may belong to another process by now, always so after a container restart.
    PostgreSQL ignores its parent's PID, which is ours, and still checks the shared memory
    named in the file, so that survivors of the old postmaster keep the new one away.
    """
    path = cluster / _FILE
    with contextlib.suppress(FileNotFoundError):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
