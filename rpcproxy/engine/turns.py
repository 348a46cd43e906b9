"""Long work done in slices, with turns of the event loop in between: others are served meanwhile.

State: none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any


async def turn() -> None:
    """Let everything else that is ready have its turn."""
    await asyncio.sleep(0)


async def all_of(work: Sequence[Coroutine[Any, Any, None]], at_once: int) -> None:
    """Carry out all of it side by side; so many begin in one turn of the loop. Where one raises,
    or the caller is cancelled, the rest is given up.
    """
    if len(work) == 1:
        await work[0]
        return
    begun: list[asyncio.Future[None]] = []
    try:
        for place, each in enumerate(work):
            if place and place % at_once == 0:
                await turn()
            begun.append(asyncio.ensure_future(each))
        await asyncio.gather(*begun)
    finally:
        for each in work[len(begun) :]:
            each.close()
        for task in begun:
            task.cancel()
