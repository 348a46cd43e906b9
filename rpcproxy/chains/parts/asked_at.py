"""Which block a request asks for, whatever the chain.

A need is an ``int``: a number N ≥ 0 stands for itself, the negative constants for the rest.
"""

from __future__ import annotations

from typing import Final, TypeAlias

BlockNeed: TypeAlias = int

LATEST: Final = -1  # the newest block, whichever that is for who answers
PENDING: Final = -2  # the block to come
SAFE: Final = -3
FINALIZED: Final = -4
EARLIEST: Final = -5
HASH: Final = -6  # the block with a hash, whatever its number
NONE: Final = -7  # none, or none that can be read: the upstream will say
