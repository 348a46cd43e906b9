"""CPU seconds and memory of a process and its children, from /proc (Linux)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks import figures

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """``pid`` and all its descendants. ProcessLookupError: there is no such process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                stat = (entry / "stat").read_text()
                children.setdefault(figures.parent_pid(stat), []).append(int(entry.name))
    if not Path(f"/proc/{pid}").exists():
        raise ProcessLookupError(f"no process {pid}")
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    ticks = sum(figures.cpu_ticks(Path(f"/proc/{pid}/stat").read_text()) for pid in pids)
    return ticks / _TICKS_PER_SECOND


def memory_bytes(pids: list[int]) -> int:
    return _sum(pids, "VmRSS")


def peak_memory_bytes(pids: list[int]) -> int:
    """The largest resident size since each process began."""
    return _sum(pids, "VmHWM")


def _sum(pids: list[int], key: str) -> int:
    return sum(figures.status_bytes(Path(f"/proc/{pid}/status").read_text(), key) for pid in pids)


class Cores:
    """Core 0 of those we may use is the contenders', the rest drive the load.

    With a single core, or where affinity is unknown, everything shares what there is:
    CPU per request stays measurable, throughput does not.
    """

    def __init__(self) -> None:
        allowed = sorted(os.sched_getaffinity(0))
        self.is_split = len(allowed) > 1
        self.contender = set(allowed[:1])
        self.load = set(allowed[1:]) or self.contender

    def pin_load(self) -> None:
        """This process and what it starts: wrk, the stub, the clients."""
        os.sched_setaffinity(0, self.load)

    @contextlib.contextmanager
    def contender_core(self) -> Iterator[None]:
        """What is started inside inherits the contenders' core."""
        ours = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.contender)
        try:
            yield
        finally:
            os.sched_setaffinity(0, ours)
