"""A loop for a proxy and its upstreams in one process, on real sockets, whose clock is not the
machine's: it jumps to the next timer whenever nothing arrives, and stands otherwise.

What one end sends the other has at once, so that once nothing arrives, nothing happens before the
next timer. Seconds in such a test are the loop's: a slow machine does not lengthen them, and what
waits for hours takes milliseconds.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final
from unittest import mock

from rpcproxy.engine.clock import Clock

# What is under way within the kernel may take so long until it is seen.
SETTLING_SECONDS: Final = 0.001
TURN_SECONDS: Final = 1e-6  # of the loop: no two turns are at the same time


class _Jumps(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Waits for the network alone, and for a timer by moving the clock."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.now += TURN_SECONDS
        if timeout is None or timeout <= 0.0:
            return super().select(timeout)
        ready = super().select(min(timeout, SETTLING_SECONDS))
        if not ready:
            self.loop.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """``now`` is its time, in seconds; ``clock`` is what a proxy is given."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = Clock(self.time, time.time)
        selector = _Jumps()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def on_a_jumping_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an ``async def`` test on such a loop; ``time.monotonic`` tells its time. Unhandled
    errors fail it.
    """

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        unhandled: list[dict[str, Any]] = []

        async def watched() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: unhandled.append(context))
            with mock.patch("time.monotonic", loop.time):
                await test(**fixtures)

        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(watched())
        assert not unhandled

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run
