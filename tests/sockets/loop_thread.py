"""An event loop in a thread of its own, for servers that a test talks to from its own thread.

The loop ends when nothing is left in it: a loop that is stopped with a task or a closing transport
in it leaves sockets open, which then fails whatever test runs when they are collected. What does not
end is named in the failure, and cancelled.

State: the loop, in ``LoopThread``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

import uvloop

from tests.kits.waiting import LIMIT_SECONDS, until


class LoopThread:
    """``close`` it when all servers and clients in it were told to end; they are waited for."""

    def __init__(self, name: str) -> None:
        # Not asyncio's own: it leaves a socket open that comes while its server is being closed.
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do it in the loop, and wait for it; raises what it raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_SECONDS)

    def close(self, limit_seconds: float = LIMIT_SECONDS) -> None:
        """Idempotent. What is left has ``limit_seconds`` to end."""
        if self._loop.is_closed():
            return
        try:
            # It has its own limit, and then something to say.
            asyncio.run_coroutine_threadsafe(_nothing_is_left(limit_seconds), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(LIMIT_SECONDS)
            self._loop.close()


async def _nothing_is_left(limit_seconds: float) -> None:
    ours = asyncio.current_task()

    def others() -> set[asyncio.Task[Any]]:
        return {task for task in asyncio.all_tasks() if task is not ours}

    try:
        await until(
            lambda: not others(), "the tasks of the loop have ended", limit_seconds=limit_seconds
        )
    except AssertionError as error:
        left = others()
        names = sorted(f"{task.get_name()}: {task.get_coro()!r}" for task in left)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        raise AssertionError(f"{error}; left were {', '.join(names)}") from None
    finally:
        await asyncio.get_running_loop().shutdown_asyncgens()


async def close_and_wait(*writers: asyncio.StreamWriter, at_once: bool) -> None:
    """Until the connections are gone; ``at_once`` without what was not sent yet."""
    for writer in writers:
        if at_once:
            writer.transport.abort()
        else:
            writer.close()
    for writer in writers:
        with contextlib.suppress(OSError):  # the other side's end is an end, too
            await writer.wait_closed()
