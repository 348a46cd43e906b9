"""Memory that large answers took goes back to the system (glibc; elsewhere nothing is done).

glibc keeps what was freed for later, and after a few large blocks takes even those of many
megabytes from its heap, where one small block at the top keeps all below it: hours after a peak the
process is as large as at its height.

State: how much was held at most since memory was last given back, in ``Trimmer``.
"""

from __future__ import annotations

import asyncio
import ctypes
from typing import Final

from rpcproxy.rules.answers.holding import Holdings
from rpcproxy.rules.telling.sample import Sample

# Blocks from here on come from the system one by one, and go back when they are freed.
_OWN_MAPPING_BYTES: Final = 1024 * 1024
_M_MMAP_THRESHOLD: Final = -3  # malloc.h
# Once told the one, glibc keeps the other at 128 KiB, where it learned more before: the pages of
# each request were given back and faulted in again, at a twentieth of what forwarding costs.
_M_TRIM_THRESHOLD: Final = -1
_KEPT_BYTES: Final = 4 * 1024 * 1024
# A peak that is worth the walk through the heap, and how seldom.
_PEAK_BYTES: Final = 32 * 1024 * 1024
_PAUSE_SECONDS: Final = 30.0


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    try:
        found: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return found


def return_large_blocks() -> None:
    """To be called once, before anything large is held."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class Trimmer:
    """Gives back what small pieces of large answers leave in the heap, once they are gone."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._trim = _function("malloc_trim")
        self._not_before = 0.0

    def on_sample(self, sample: Sample) -> None:
        holdings = self._holdings
        is_over = holdings.most - holdings.used > _PEAK_BYTES and holdings.used < _PEAK_BYTES
        if self._trim is None or not is_over or sample.seconds < self._not_before:
            return
        holdings.most = holdings.used
        self._not_before = sample.seconds + _PAUSE_SECONDS
        # In a thread: ctypes lets go of the interpreter meanwhile.
        asyncio.get_running_loop().run_in_executor(None, self._trim, 0)
