"""Waiting for conditions: every test waits through here, under one limit.

The limit is generous, since it only ends what hangs: a test that passes waits as long as what it
waits for takes, and a busy machine may be ten times as slow as an idle one. Whoever means to say
how long something may take measures it in the exam.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

LIMIT_SECONDS: Final = 90.0
_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.05
_LOOKS: Final = 20  # a pause is at most such a part of what was waited so far
_TURNS: Final = 100
_PAUSE_GROWTH: Final = 1e-5


def wait_until(
    is_true: Callable[[], object], what: str, pause_seconds: float = _PAUSE_SECONDS
) -> None:
    """Wait for a condition; the test fails with ``what`` when it does not come.

    Looks more rarely the longer it takes: a look is mostly a page of the proxy that is looked at.
    """
    started = time.monotonic()
    while not is_true():
        waited = time.monotonic() - started
        assert waited < LIMIT_SECONDS, f"waited {LIMIT_SECONDS:g} s in vain: {what}"
        time.sleep(max(pause_seconds, min(_LONGEST_PAUSE_SECONDS, waited / _LOOKS)))


async def until(
    is_true: Callable[[], object],
    what: str = "a condition",
    pause_seconds: float = _PAUSE_SECONDS,
    limit_seconds: float = LIMIT_SECONDS,
) -> None:
    """Wait for a condition while the loop goes on; the test fails with ``what`` without it.

    Looks at every turn of the loop at first, so that short states are seen too, and more rarely
    the longer it takes.
    """
    deadline = time.monotonic() + limit_seconds
    turns = 0
    while not is_true():
        assert time.monotonic() < deadline, f"waited {limit_seconds:g} s in vain: {what}"
        turns += 1
        await asyncio.sleep(0 if turns < _TURNS else min(pause_seconds, turns * _PAUSE_GROWTH))


def limited() -> asyncio.Timeout:
    """Around what is awaited for itself: ``async with limited(): await arrived.wait()``."""
    return asyncio.timeout(LIMIT_SECONDS)
