"""A loop for a proxy and its upstreams in one process, on real sockets, whose clock is not the
machine's: it jumps to the next timer whenever nothing arrives, and stands otherwise.

What one end sends the other has at once, so that once nothing arrives, nothing happens before the
next timer. Seconds in such a test are the loop's: a slow machine does not lengthen them, and what
waits for hours takes milliseconds.

What a thread does takes the machine's time, and the clock would jump meanwhile: a deadline is over
before a disk has written. So nobody may wait for a thread here, which the loop says in words.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, Final

from rpcproxy.clock import Clock
from tests.kits.waiting import LIMIT_SECONDS

# What is under way within the kernel may take so long until it is seen.
SETTLING_SECONDS: Final = 0.001
TURN_SECONDS: Final = 1e-6  # of the loop: no two turns are at the same time
NO_THREADS: Final = (
    "no thread may work for a jumping loop: its clock jumps while the thread does. Journals, "
    "histories and caches stay in memory here; what needs a thread is tested on_uvloop"
)


class _Jumps(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Waits for the network alone, and for a timer by moving the clock."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.now += TURN_SECONDS
        if timeout is None:
            ready = super().select(self.loop.limit_seconds)
            assert ready, "everybody waits, and nothing will ever happen"
            return ready
        if timeout <= 0.0:
            return super().select(timeout)
        ready = super().select(min(timeout, SETTLING_SECONDS))
        if not ready:
            self.loop.now += timeout
        return ready


class InTheLoop(Executor):
    """In place of a thread that only calculates: it is done at once, and takes none of the loop's
    time.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **named))
        except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
            future.set_exception(error)
        return future


class JumpingLoop(asyncio.SelectorEventLoop):
    """``now`` is its time, in seconds; ``clock`` is what a proxy is given; ``threads`` are the names
    of those that worked for it all the same. ``limit_seconds``, of the machine: so long the network
    is waited for where no timer is left.
    """

    def __init__(self, limit_seconds: float = LIMIT_SECONDS) -> None:
        self.limit_seconds = limit_seconds
        self.now = 1000.0
        self.threads: set[str] = set()
        self._home = threading.current_thread()
        self.clock = Clock(self.time, time.time)
        selector = _Jumps()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        assert isinstance(executor, InTheLoop), f"{func!r}: {NO_THREADS}"
        return asyncio.wrap_future(executor.submit(func, *args), loop=self)

    def call_soon_threadsafe(self, *args: Any, **context: Any) -> asyncio.Handle:
        """What comes from a thread is done, so that the test comes to its end, and fails there."""
        if threading.current_thread() is not self._home:
            self.threads.add(threading.current_thread().name)
        return super().call_soon_threadsafe(*args, **context)


def on_a_jumping_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an ``async def`` test on such a loop. Unhandled errors fail it."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        unhandled: list[dict[str, Any]] = []

        async def watched() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: unhandled.append(context))
            await test(**fixtures)

        loop = JumpingLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(watched())
        assert not unhandled, unhandled
        assert not loop.threads, f"{sorted(loop.threads)}: {NO_THREADS}"

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run
