"""How late a loop is that asks by itself."""

from __future__ import annotations

import asyncio
import time
from unittest import mock

from tests.kits.jumping import on_a_jumping_loop
from tests.loads.heartbeat import Heartbeat


@on_a_jumping_loop
async def test_a_loop_that_is_well_is_never_late() -> None:
    async with Heartbeat() as beats:
        await asyncio.sleep(2.01)
    assert (beats.due, beats.late) == (100, 0)
    await asyncio.sleep(1)
    assert beats.due == 100, "it ends with the block"


@on_a_jumping_loop
async def test_what_was_due_while_the_loop_was_held_up_is_late() -> None:
    loop = asyncio.get_running_loop()
    async with Heartbeat() as beats:
        await asyncio.sleep(1.01)
        with mock.patch.object(loop, "time", return_value=time.monotonic() + 0.5):
            beats._beat(beats._timer.when())
    assert beats.due == 50 + 25
    assert beats.late == 20
