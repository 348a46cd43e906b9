"""A pending block, held against the head: it is to follow it, and names it as nodes do.

geth tells the number that it would get and no hash, anvil number and hash, hardhat a hash and no
number; Nitro and others give the latest block itself. So what counts is its parent: at the head of
our chain, or near it. Nobody is to blame where it is not: another is asked. Pure.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.rules.heads.heads import Heads

# How far below the head a node may be whose pending block is given.
NEAR_BLOCKS: Final = 2


def objection_to(number: int, parent_hash: str, heads: Heads, ceiling: int) -> str:
    """Why a pending block with this number (−1 where it tells none) and this parent (``""``) does
    not follow the head, ``""`` where it does, or where nobody can say. ``ceiling`` is the highest
    block that an upstream may have.
    """
    if heads.served < 0 or (number < 0 and not parent_hash):
        return ""
    lowest = heads.served - NEAR_BLOCKS
    height = heads.lineage.number_of(parent_hash)
    if height < 0 and number < 0:
        return "its pending block follows a block that nobody knows"
    if height < 0:
        ours = heads.hash_at(number - 1)
        if ours and parent_hash and ours != parent_hash:
            return f"its pending block {number} does not follow our chain"
        height = number - 1
    if not lowest <= height <= max(ceiling, heads.served):
        return f"its pending block follows block {height}, and the head is {heads.served}"
    return ""
