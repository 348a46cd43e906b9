"""The loop whose clock jumps: what it does to time, and what it refuses."""

from __future__ import annotations

import asyncio
import functools
import threading
import time

import pytest

from tests.kits import jumping
from tests.kits.jumping import on_a_jumping_loop


def test_hours_are_waited_for_at_once() -> None:
    seen: list[float] = []

    @on_a_jumping_loop
    async def test() -> None:
        now = asyncio.get_running_loop().time
        began = now()
        await asyncio.sleep(3600)
        seen.append(now() - began)

    test()
    assert seen == [pytest.approx(3600, abs=1)]


def test_nobody_waits_for_a_thread() -> None:
    @on_a_jumping_loop
    async def test() -> None:
        await asyncio.to_thread(time.time)

    with pytest.raises(AssertionError, match="no thread may work for a jumping loop"):
        test()


def test_what_only_calculates_is_done_at_once() -> None:
    @on_a_jumping_loop
    async def test() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(jumping.InTheLoop(), int, "7") == 7
        with pytest.raises(ValueError, match="invalid literal"):
            await loop.run_in_executor(jumping.InTheLoop(), int, "x")

    test()


def test_a_thread_that_works_for_it_fails_the_test() -> None:
    @on_a_jumping_loop
    async def test() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        threading.Thread(target=loop.call_soon_threadsafe, args=(done.set,), name="disk").start()
        await done.wait()

    with pytest.raises(AssertionError, match=r"\['disk'\]: no thread may work for a jumping loop"):
        test()


def test_one_that_waits_for_nothing_fails_in_words() -> None:
    new_loop = functools.partial(jumping.JumpingLoop, limit_seconds=0.01)
    with (
        pytest.raises(AssertionError, match="nothing will ever happen"),
        asyncio.Runner(loop_factory=new_loop) as runner,
    ):
        runner.run(asyncio.Event().wait())
