"""The chain's pace: how long a block takes, what is too long by that, and whether the chain stands.

Registries are wrong about the block time of several chains, so it is measured, from moves of the
served head.

State: one ``ChainPace`` per chain, in its ``Heads``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from rpcproxy.chains.parts.traits import Traits
from rpcproxy.rules.heads.support import Claimant

LONGEST_HOLD_SECONDS: Final = 2.0
STALL_SECONDS: Final = 5.0
STALL_BLOCKS: Final = 3
FAST_BLOCK_SECONDS: Final = 2.0
FAST_STEP_SECONDS: Final = 0.9
# Block times are measured over at least this many blocks and seconds.
MEASURE_BLOCKS: Final = 10
MEASURE_SECONDS: Final = 30.0


class ChainPace:
    """See the module's docstring. ``halted_since`` is infinite while the chain moves."""

    __slots__ = (
        "_anchor",
        "_halt_blocks",
        "_halt_seconds",
        "block_time_seconds",
        "halted_since",
        "is_halted",
    )

    def __init__(self, block_time_seconds: float, traits: Traits) -> None:
        self._halt_seconds, self._halt_blocks = traits.halt_seconds, traits.halt_blocks
        self.block_time_seconds = block_time_seconds
        self.is_halted = False
        self.halted_since = math.inf
        self._anchor: tuple[int, float] | None = None  # from where on a block time is measured

    @property
    def hold_seconds(self) -> float:
        """For how long two upstreams must have had a block that the majority lacks."""
        return min(LONGEST_HOLD_SECONDS, self.block_time_seconds / 2.0)

    @property
    def stall_seconds(self) -> float:
        """A head that stands still for longer, while the chain moves, is stalled."""
        return max(STALL_SECONDS, STALL_BLOCKS * self.block_time_seconds)

    @property
    def halt_seconds(self) -> float:
        """All heads standing still for longer: the chain stands."""
        return max(self._halt_seconds, self._halt_blocks * self.block_time_seconds)

    def is_too_fast(self, passed_seconds: float) -> bool:
        """On a fast chain, whether the last move was too short a time ago."""
        return self.block_time_seconds < FAST_BLOCK_SECONDS and passed_seconds < FAST_STEP_SECONDS

    def measure(self, number: int, now: float) -> None:
        """Learn the block time: the served head moved to ``number``."""
        if self._anchor is None or number < self._anchor[0]:
            self._anchor = (number, now)
            return
        blocks, seconds = number - self._anchor[0], now - self._anchor[1]
        if blocks < MEASURE_BLOCKS or seconds < MEASURE_SECONDS:
            return
        # A jump after an outage or a sleep is no measure.
        measured = min(4.0, max(0.25, seconds / blocks / self.block_time_seconds))
        self.block_time_seconds *= 1.0 + 0.3 * (measured - 1.0)
        self._anchor = (number, now)

    def settle_halt(self, usable: Sequence[Claimant]) -> bool:
        """Whether ``is_halted`` changed. The chain stands when every usable upstream's reports
        have said the same for long; upstreams that do not report say nothing.
        """
        known = [claimant.track for claimant in usable if claimant.track.head is not None]
        is_halted = bool(known) and all(
            track.still_seconds() >= self.halt_seconds for track in known
        )
        if is_halted == self.is_halted:
            return False
        self.is_halted = is_halted
        self.halted_since = max(track.moved_at for track in known) if is_halted else math.inf
        self._anchor = None
        return True

    def adopt(self, old: ChainPace) -> None:
        """A reload: a halt goes on, and so does the measuring, from the block time that is
        configured now.
        """
        self.is_halted, self.halted_since = old.is_halted, old.halted_since
        self._anchor = old._anchor
