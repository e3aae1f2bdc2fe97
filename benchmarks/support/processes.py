"""What processes cost, from /proc: CPU time and memory of a server and of its PostgreSQL."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_KIB = 1024


class CpuSeconds(NamedTuple):
    """CPU time, user and system, so far or in between."""

    server: float
    postgres: float

    @property
    def total(self) -> float:
        return self.server + self.postgres

    def since(self, before: "CpuSeconds") -> "CpuSeconds":
        return CpuSeconds(self.server - before.server, self.postgres - before.postgres)


def cpu_seconds(server_pid: int, postmaster_pid: int) -> CpuSeconds:
    """Read the CPU time of a server, and of a postmaster with all that it has ever started."""
    postgres = _seconds(postmaster_pid, with_ended_children=True)
    postgres += sum(_seconds(pid) for pid in _children(postmaster_pid))
    return CpuSeconds(_seconds(server_pid), postgres)


class Memory(NamedTuple):
    """Bytes: `resident` counts shared libraries in full, `own` only what nobody else uses."""

    resident: int
    own: int


def memory_of(pid: int) -> Memory:
    facts: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        facts[name.rstrip(":")] = int(value) * _KIB
    return Memory(facts["Rss"], facts["Private_Clean"] + facts["Private_Dirty"])


def _seconds(pid: int, *, with_ended_children: bool = False) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # It has ended; its parent's count has it now.
    # utime, stime, and those of the children that were waited for.
    times = fields[11:15] if with_ended_children else fields[11:13]
    return sum(map(int, times)) / _TICKS_PER_SECOND


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
