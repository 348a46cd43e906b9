"""The one door to background tasks: kept alive, named, and never dying in silence."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from rpcproxy.engine import tasks


async def test_a_task_is_named_and_kept_until_it_ends() -> None:
    gate = asyncio.Event()

    async def wait() -> int:
        await gate.wait()
        return 7

    before = set(tasks._running)
    task = tasks.start(wait(), "a name")
    assert task.get_name() == "a name"
    assert tasks._running - before == {task}
    gc.collect()
    gate.set()
    assert await task == 7
    await asyncio.sleep(0)
    assert tasks._running == before


async def test_an_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("why")

    with caplog.at_level(logging.ERROR, "rpcproxy.tasks"):
        task = tasks.start(fail(), "bad luck")
        await asyncio.wait([task])
        await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.getMessage() == "task bad luck failed"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert task not in tasks._running


async def test_a_cancelled_task_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "rpcproxy.tasks"):
        task = tasks.start(asyncio.sleep(60), "sleeper")
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert not caplog.records
    assert task not in tasks._running


async def test_stop_waits_until_all_are_gone() -> None:
    cleaned: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append(name)

    some = [tasks.start(work(name), name) for name in "ab"]
    done = tasks.start(asyncio.sleep(0), "done")
    await asyncio.sleep(0.001)
    await tasks.stop(*some, None, done)
    assert sorted(cleaned) == ["a", "b"]
    assert all(task.cancelled() for task in some)
    await tasks.stop()
    await tasks.stop(None)
