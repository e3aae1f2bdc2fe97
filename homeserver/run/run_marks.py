"""Runs of nodes on this machine: which of them have ended without saying so.

Each holds a lock on a file of its own, which the operating system lets go when the process is
killed. So whoever is started in its place need not wait until its leases run out.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_LOCK_NAME: Final = ".lock"


class RunMarks:
    """The mark of this run of a node, and those of others that share the folder."""

    def __init__(self, folder: Path, node_id: str) -> None:
        self._folder = folder
        self._node_id = node_id
        self._lock: int | None = None

    def open(self) -> Sequence[str]:
        """Set the mark; return the IDs of nodes of this machine that have died. Blocks.

        Raises OSError.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        # Two that start at once must not take each other's new mark for that of a dead one.
        with _locked(self._folder / _LOCK_NAME):
            # Locks of other machines need not reach this one.
            marks = self._folder.glob(f"{socket.gethostname()}:*")
            dead = [mark.name for mark in marks if _is_dead(mark)]
            self._lock = os.open(
                self._folder / self._node_id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640
            )
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return dead

    def forget(self, node_ids: Sequence[str]) -> None:
        """Remove the marks of dead nodes, of which nothing is left to be done. Blocks."""
        for node_id in node_ids:
            (self._folder / node_id).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the mark of this run, which has given up everything. Blocks."""
        if self._lock is not None:
            (self._folder / self._node_id).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_dead(mark: Path) -> bool:
    try:
        descriptor = os.open(mark, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # It has just been stopped.
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
