"""How late the loop of a load is that asks in the test's own process.

async with Heartbeat() as beats:
    ...                              # the load
beats.due, beats.late
"""

from __future__ import annotations

import asyncio
from typing import Final, Self

from tests.loads.load_report import LATE_SECONDS

_GAP_SECONDS: Final = 0.02


class Heartbeat:
    """Beats of the loop, as a load's requests would be due: ``late`` of ``due``."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle
        self.due = 0
        self.late = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._wait_from(self._loop.time())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._timer.cancel()

    def _wait_from(self, now: float) -> None:
        self._timer = self._loop.call_at(now + _GAP_SECONDS, self._beat, now + _GAP_SECONDS)

    def _beat(self, due: float) -> None:
        self._wait_from(self.count(due, self._loop.time()))

    def count(self, due: float, now: float) -> float:
        """Count the beats from ``due`` to ``now``, and return when the last of them was due: what
        was due while the loop was held up is late, too.
        """
        while due <= now:
            self.due += 1
            self.late += now - due > LATE_SECONDS
            due += _GAP_SECONDS
        return due - _GAP_SECONDS
