"""Which headers would link what upstreams told to our chain, or tell more of what lies below it.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rpcproxy.messages import Head
from rpcproxy.rules.heads.lineage import DEEPEST, Lineage
from rpcproxy.rules.heads.support import Vote


class WantedHeader(NamedTuple):
    """A header that would link what ``upstream`` told to our chain. Where the chain skips heights
    its number may be lower.
    """

    upstream: str
    hash: str
    number: int


def wanted_of(
    lineage: Lineage, votes: Sequence[Vote], served_head: Head | None, floor: int, depth: int
) -> tuple[WantedHeader, ...]:
    """What would link the heads that are not: one header at a time of each branch. For those that
    are late our own chain is followed down to where they are; and to ``depth`` at leisure, for
    answers are held against it.
    """
    served = -1 if served_head is None else served_head.number
    wanted: dict[str, WantedHeader] = {}
    for vote in votes:
        number = vote.head.number
        if abs(number - served) > DEEPEST:
            continue
        late = served_head if number < lineage.bottom else None
        missing = lineage.missing_below(late) if late else lineage.missing(vote.head)
        if missing is not None and missing.number >= floor:
            wanted.setdefault(
                missing.hash, WantedHeader(vote.claimant.name, missing.hash, missing.number)
            )
    if not wanted and served_head is not None and served - lineage.bottom < depth:
        missing = lineage.missing_below(served_head)
        knowing = [vote for vote in votes if not vote.is_forked]
        if missing is not None and knowing:
            wanted[missing.hash] = WantedHeader(
                knowing[0].claimant.name, missing.hash, missing.number
            )
    return tuple(wanted.values())
