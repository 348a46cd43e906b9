"""How late a loop is that asks by itself."""

from __future__ import annotations

import asyncio

import pytest

from tests.kits.jumping import on_a_jumping_loop
from tests.loads.heartbeat import Heartbeat


@on_a_jumping_loop
async def test_a_loop_that_is_well_is_never_late() -> None:
    async with Heartbeat() as beats:
        await asyncio.sleep(2.01)
    assert (beats.due, beats.late) == (100, 0)
    await asyncio.sleep(1)
    assert beats.due == 100, "it ends with the block"


def test_what_was_due_while_the_loop_was_held_up_is_late() -> None:
    beats = Heartbeat()
    last = beats.count(7.0, 7.51)
    assert last == pytest.approx(7.5)
    assert (beats.due, beats.late) == (26, 21)
    assert beats.count(last + 0.02, last + 0.02) == pytest.approx(last + 0.02)
    assert (beats.due, beats.late) == (27, 21)
