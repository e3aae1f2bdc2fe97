"""Programs of the system that a test wants but does not need."""

import shutil
import subprocess
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Return where a program is; skip the test if this machine does not have it."""
    # Debian keeps servers in folders that are not in every PATH.
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed on this machine")
    return path


def passes(*arguments: str | Path) -> None:
    """Run a checker; the test fails with its output when it finds a fault."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
