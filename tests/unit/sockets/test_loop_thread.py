"""The loop in a thread of its own: what is left at its end is named, and ended."""

from __future__ import annotations

import asyncio

import pytest

from tests.kits import waiting
from tests.sockets.loop_thread import LoopThread


def test_what_is_left_is_named_and_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = LoopThread("a loop")
    tasks: list[asyncio.Task[bool]] = []

    async def begin() -> None:
        tasks.append(asyncio.create_task(asyncio.Event().wait(), name="one that waits"))  # noqa: TID251

    loop.run(begin())
    monkeypatch.setattr(waiting, "LIMIT_SECONDS", 0.01)
    with pytest.raises(AssertionError, match=r"left were one that waits: .*Event\.wait"):
        loop.close()
    assert tasks[0].cancelled()
    loop.close()  # again: nothing is left


def test_a_loop_with_nothing_in_it_ends() -> None:
    loop = LoopThread("a loop")
    loop.run(asyncio.sleep(0))
    loop.close()
