"""Run a program as another user: `python -I -S unprivileged.py UID GID REACH PROGRAM ARGUMENT…`

PostgreSQL refuses to run as root, so a homeserver that root started runs it as somebody else.
With REACH `1` the program keeps one right of root's: to pass through folders, and read files,
that its user may not. It is asked for when the data or the program lie below a folder such
as `/root` or a private temporary one, and given only if the system grants it to us. This file
is a program of its own, so that nothing but one small process ever changes its user.
"""

import ctypes
import os
import sys
from typing import Final

_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522
# The narrower right comes first; containers often grant only the wider one.
_CAP_DAC_READ_SEARCH: Final = 2
_CAP_DAC_OVERRIDE: Final = 1


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySet(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main(arguments: list[str]) -> None:
    """Become the user, then the program; never returns."""
    uid, gid, reach = int(arguments[0]), int(arguments[1]), arguments[2] == "1"
    libc = ctypes.CDLL(None, use_errno=True)
    if reach:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if reach:
        _keep_one_right(libc)
    os.execv(arguments[3], arguments[3:])  # noqa: S606 - no shell is what we want


def _keep_one_right(libc: ctypes.CDLL) -> None:
    """Drop every right but one; without that one the program may fail and say which path."""
    for right in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        bit = 1 << right
        header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
        sets = (_CapabilitySet * 2)(_CapabilitySet(bit, bit, bit), _CapabilitySet(0, 0, 0))
        if (
            libc.capset(ctypes.byref(header), ctypes.byref(sets)) == 0
            and libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, right, 0, 0) == 0
        ):
            return


if __name__ == "__main__":
    main(sys.argv[1:])
