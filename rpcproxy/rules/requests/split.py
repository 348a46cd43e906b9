"""Ranges of blocks that are refused as too wide: how to ask in parts.

State: a ``Split`` for each request that is asked in parts, written by who asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from rpcproxy.chains.parts.errors import RangeRefusal

MAX_PARTS: Final = 64  # asked in all, refused ones included
MAX_AT_ONCE: Final = 4
MAX_JOINED_BYTES: Final = 32 * 1024 * 1024


def first_width(blocks: int, refusals: Sequence[RangeRefusal]) -> int:
    """How wide the first parts are. A limit is the word of one upstream, and requests go to
    whoever takes them, so the largest counts; where that makes too many parts, and somebody
    refused for what the range holds, there is hope in halves.
    """
    half = (blocks + 1) // 2
    limits = [refusal.limit for refusal in refusals if refusal.limit]
    suggested = [refusal.suggested for refusal in refusals if refusal.suggested]
    width = max(limits or suggested, default=half)
    is_hopeless = blocks > width * MAX_PARTS
    if is_hopeless and (not limits or any(not refusal.of_width for refusal in refusals)):
        return half
    return width


class Part(msgspec.Struct, frozen=True, gc=False):
    """Blocks ``low`` to ``high``, both included."""

    low: int
    high: int

    @property
    def blocks(self) -> int:
        return self.high - self.low + 1

    def cut(self, width: int) -> list[Part]:
        """As few parts as can be, none wider, all alike but for one block; in order."""
        count = -(-self.blocks // width)
        size, rest = divmod(self.blocks, count)
        parts = []
        low = self.low
        for index in range(count):
            high = low + size - 1 + (index < rest)
            parts.append(Part(low, high))
            low = high + 1
        return parts


class Split:
    """One range asked in parts: ``next_part`` until it gives none, and for each the word of how
    it ended. ``is_over``: nothing more to ask or to wait for, so ``answers`` says how it went.
    """

    __slots__ = (
        "_answers",
        "_asked",
        "_bytes",
        "_has_failed",
        "_in_flight",
        "_most_bytes",
        "_queue",
        "_width",
    )

    def __init__(self, low: int, high: int, width: int, most_bytes: int = MAX_JOINED_BYTES) -> None:
        self._width = max(1, width)
        self._queue: deque[Part] = deque([Part(low, high)])
        self._answers: dict[int, bytes] = {}
        self._asked = 0
        self._in_flight = 0
        self._bytes = 0
        self._most_bytes = most_bytes
        self._has_failed = False
        self._cut_queue()

    @property
    def is_over(self) -> bool:
        return self._has_failed or not (self._queue or self._in_flight)

    def answers(self) -> list[bytes] | None:
        """The results in the order of the blocks, ``None`` unless every part has one."""
        if self._has_failed or self._queue or self._in_flight:
            return None
        return [self._answers[low] for low in sorted(self._answers)]

    def next_part(self) -> Part | None:
        """The part to ask for now; the caller must ask it. ``None``: wait for one to end."""
        if self._has_failed or not self._queue or self._in_flight >= MAX_AT_ONCE:
            return None
        self._asked += 1
        self._in_flight += 1
        return self._queue.popleft()

    def on_answer(self, part: Part, result: bytes) -> None:
        """``result`` is the JSON text of a list."""
        self._in_flight -= 1
        self._bytes += len(result)
        if self._bytes > self._most_bytes:
            self._has_failed = True
        self._answers[part.low] = result

    def on_refused(self, part: Part, refusal: RangeRefusal) -> None:
        """The part is too wide as well: it is asked in halves, or narrower where the refusal
        says how narrow. What holds for its width holds for the parts not yet asked.
        """
        self._in_flight -= 1
        if part.blocks == 1:
            self._has_failed = True
            return
        half = (part.blocks + 1) // 2
        if refusal.of_width:
            self._width = min(self._width, refusal.limit or half)
        self._queue.extendleft(reversed(part.cut(min(half, self._width))))
        self._cut_queue()

    def on_failure(self) -> None:
        """A part cannot be had: no part of the whole is given."""
        self._in_flight -= 1
        self._has_failed = True

    def _cut_queue(self) -> None:
        """No part in the queue is wider than what is known to be taken."""
        width = self._width
        # Counted first: a width of 1 would make as many parts as there are blocks.
        count = sum(-(-part.blocks // width) for part in self._queue)
        if self._asked + count > MAX_PARTS:
            self._has_failed = True
        else:
            self._queue = deque(piece for part in self._queue for piece in part.cut(width))
