"""Ranges of blocks that are refused as too wide: what the refusal says, and how to ask in parts.

An upstream refuses for one of two reasons. Either the range is wider than it takes, which is true
of every range that wide and worth remembering, or this one holds too much, which says nothing of
others. Most say so in words, some with the width that they take or a range that would do.

State: a ``Split`` for each request that is asked in parts, written by who asks.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

MAX_PARTS: Final = 64  # asked in all, refused ones included
MAX_AT_ONCE: Final = 4
MAX_JOINED_BYTES: Final = 32 * 1024 * 1024

# A number of blocks: 2048, 10,000, 2k. What counts other things is none.
_WIDTH: Final = (
    r"(?<![\w.])(\d{1,3}(?:,\d{3})+|\d{1,12})(k|m)?\b(?![.,]\d)"
    r"(?!\s*(?:results?|logs?|events?|address|topics?|items?|entries|records|requests?|transactions"
    r"|bytes|[kmg]i?b\b|ms\b|s\b|secs?|seconds?|min|per\b))"
)
# Alchemy: up to a 2K block range; QuickNode, 1RPC: limited to a 10,000 range; Blast: limited to
# 0 - 10000 blocks range; Infura: exceeds limit of 10000; reth: max block range 5000; BSC: maximum
# block range: 50000; Avalanche: maximum is set to 2048; Morph: max block range = 5000; Frontier:
# (maximum 1024); dRPC: over 10000 blocks; proxyd: greater than 10000 max.
_LIMIT: Final = re.compile(
    r"(?:\bup to|\blimited to|\blimit|\bmax(?:imum)?|\bover|\bwithin|\bthan|\bexceeds?|>)"
    r"(?: (?:allowed|permitted|block|blocks|range|width|limit|is|are|of|set|to|the|query))*"
    r"\s?[:=(]?\s?(?:an? )?(?:0 ?- ?)?" + _WIDTH,
    re.ASCII,
)
_BLOCK: Final = r"(0x[0-9a-f]{1,16}|\d{1,16})"
# Alchemy: this block range should work: [0x1, 0x2]; Infura, zkSync, Tenderly: try with this block
# range [0x1, 0x2]; reth: retry with the range 1-2.
_SUGGESTED: Final = re.compile(rf"(?:\[|\brange:? ?) ?{_BLOCK} ?(?:,|-|to) ?{_BLOCK}", re.ASCII)
_FACTORS: Final = {"": 1, "k": 1000, "m": 1_000_000}
_OF_BLOCKS: Final = ("range", "block")
_OF_CONTENT: Final = (
    *("result", "returned more", "response", " size", "too many logs", "logs matched"),
    *("timeout", "timed out", "address", "topic", "body"),
)


class RangeRefusal(msgspec.Struct, frozen=True, gc=False):
    """What was refused: ``of_width`` any range that wide, else this one for what it holds.
    ``limit`` is the widest range it takes by its own word, ``suggested`` the width of the one it
    proposed; 0 where it named none that is narrower.
    """

    of_width: bool
    limit: int = 0
    suggested: int = 0


def read_refusal(text: str, blocks: int) -> RangeRefusal:
    """``text`` is the error in lower case, ``blocks`` the width of the range that was asked."""
    if not any(word in text for word in _OF_BLOCKS):
        return RangeRefusal(of_width=False)
    told_limits = (int(n.replace(",", "")) * _FACTORS[unit] for n, unit in _LIMIT.findall(text))
    # Of several numbers the others are what was asked.
    limit = min((told for told in told_limits if 0 < told < blocks), default=0)
    suggested = 0
    for low, high in _SUGGESTED.findall(text):
        told = int(high, 0 if "x" in high else 10) - int(low, 0 if "x" in low else 10) + 1
        if 0 < told < blocks:
            suggested = told
    of_width = limit > 0 or not any(word in text for word in _OF_CONTENT)
    return RangeRefusal(of_width, limit, suggested)


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

    __slots__ = ("_answers", "_asked", "_bytes", "_has_failed", "_in_flight", "_queue", "_width")

    def __init__(self, low: int, high: int, width: int) -> None:
        self._width = max(1, width)
        self._queue: deque[Part] = deque([Part(low, high)])
        self._answers: dict[int, bytes] = {}
        self._asked = 0
        self._in_flight = 0
        self._bytes = 0
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
        if self._bytes > MAX_JOINED_BYTES:
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
