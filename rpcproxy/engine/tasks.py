"""The one door to background tasks.

A task started here is kept alive until it ends, has a name, and its exception is logged:
a bare ``asyncio.create_task`` may be collected in the middle and dies in silence.

State: the set of running tasks, written by this module alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_log = logging.getLogger("rpcproxy.tasks")
_running: set[asyncio.Task[Any]] = set()


def start(coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Run ``coroutine`` in the background of the running loop."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _running.add(task)
    task.add_done_callback(_on_done)
    return task


def _on_done(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task %s failed", task.get_name(), exc_info=error)


async def stop(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they are gone; their errors were logged already."""
    living = [task for task in tasks if task is not None]
    for task in living:
        task.cancel()
    await asyncio.gather(*living, return_exceptions=True)
