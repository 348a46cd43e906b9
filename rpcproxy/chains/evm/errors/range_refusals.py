"""Refusals of ranges of blocks as too wide: what the words say.

An upstream refuses for one of two reasons. Either the range is wider than it takes, which is true
of every range that wide and worth remembering, or this one holds too much, which says nothing of
others. Most say so in words, some with the width that they take or a range that would do.

No state.
"""

from __future__ import annotations

import re
from typing import Final

from rpcproxy.chains.parts.errors import RangeRefusal

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
