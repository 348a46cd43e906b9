"""How a process leaves that another follows: first what the other waits for, the journals.

A send that comes to the next process waits until this one has let go of the journal, so that goes
as soon as none can come here any more: no connection is left that could bring one, and none is
under way. Reads may take their time after that. No state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.front.wire.listener import Listener

LOOK_SECONDS: Final = 0.05
# A connection that dribbles a request holds up the sends of all others no longer than this.
HANDOVER_SECONDS: Final = 3.0


async def release_journals(
    listener: Listener,
    runtimes: Collection[ChainRuntime],
    longest_seconds: float,
    now: Callable[[], float],
) -> None:
    """Close the journals once no send can come, after ``longest_seconds`` in any case. The listener
    drains meanwhile. ``now`` tells monotonic seconds.
    """
    deadline = now() + longest_seconds
    while now() < deadline and (  # noqa: ASYNC110 -- connections tell nobody how they do
        listener.can_bring_requests or any(runtime.pipeline.is_sending for runtime in runtimes)
    ):
        await asyncio.sleep(LOOK_SECONDS)
    for runtime in runtimes:
        await runtime.stop_sending()
        await runtime.transactions.close()
