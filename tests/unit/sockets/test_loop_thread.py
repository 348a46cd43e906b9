"""The loop in a thread of its own: what is left at its end is named, and ended."""

from __future__ import annotations

import asyncio

import pytest

from tests.sockets.loop_thread import LoopThread


def test_what_is_left_is_named_and_cancelled() -> None:
    loop = LoopThread("a loop")
    tasks: list[asyncio.Task[bool]] = []

    async def begin() -> None:
        tasks.append(asyncio.create_task(asyncio.Event().wait(), name="one that waits"))  # noqa: TID251

    loop.run(begin())
    with pytest.raises(AssertionError, match=r"left were one that waits: .*Event\.wait"):
        loop.close(limit_seconds=0.01)
    assert tasks[0].cancelled()
    loop.close()  # again: nothing is left


def test_a_loop_with_nothing_in_it_ends() -> None:
    loop = LoopThread("a loop")
    loop.run(asyncio.sleep(0))
    loop.close()
