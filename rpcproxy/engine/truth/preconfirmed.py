"""What upstreams give of a block that is not there yet.

Nodes with flashblocks (reth 18374, rollup-boost 329) give receipts and transactions of the block
that is being built, under its number and a hash that still changes, a second before it is there.
That looks like what the first upstream of a new block gives; but such a one has the block itself.

State: the numbers above the served head that somebody gave something of, and since when; at most
``MOST_CLAIMED``.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.clock import Clock
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.rules.standing.standings import Standing

MOST_CLAIMED: Final = 64


class Preconfirmed:
    """See the module's docstring. One per chain."""

    def __init__(self, executor: Executor, clock: Clock) -> None:
        self._executor = executor
        self._now = clock.monotonic
        self._claimed: dict[int, float] = {}

    def is_so(self, number: int, standing: Standing) -> bool:
        """Whether the upstream that gives something of block ``number``, above the served head, has
        no such block, as it said itself since somebody first gave something of it. Who did not say
        yet is asked for its head.
        """
        now = self._now()
        since = self._claimed.setdefault(number, now)
        if len(self._claimed) > MOST_CLAIMED:
            del self._claimed[next(iter(self._claimed))]  # whatever height somebody invents
        track = standing.track
        if track.number >= number:
            return False
        if track.reported_at > since:
            return True
        self._executor.on_doubt(standing.name)
        return False
