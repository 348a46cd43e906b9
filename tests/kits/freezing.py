"""Freezing a process: it keeps its connections and answers nothing.

The signal is sent to the process, and reaches each of its threads by itself: until then a thread
may still answer what came just before.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.kits.waiting import wait_until


def freeze(pid: int) -> None:
    """Stop a process (SIGSTOP), and return when each of its threads stands."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: stands(pid), f"no thread of process {pid} runs any more")


def thaw(pid: int) -> None:
    """Let it go on where it was (SIGCONT)."""
    os.kill(pid, signal.SIGCONT)


def stands(pid: int) -> bool:
    """Whether each of its threads is stopped. Where there is no /proc nobody can tell: True."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # this thread has ended meanwhile
        if not text.rpartition(") ")[2].startswith("T"):
            return False
    return True
