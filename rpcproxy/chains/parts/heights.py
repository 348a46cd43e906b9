"""Which block a request asks for, and names of blocks that move made numbers. Pure.

Whoever answers ``latest`` answers of a block of its own. With a number in its place all answer of
one block, and their answers can be shared, kept and held against each other. A kind that cannot put
numbers for names leaves ``pin`` out; one whose params name no blocks at all has ``Pins()``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.asked_at import NONE, BlockNeed


class Heights(msgspec.Struct, gc=False, frozen=True):
    """What names of blocks stand for at one moment. ``latest`` is the newest block's number, −1
    where unknown; ``latest_text`` tells it from others, and is empty where it is unknown. A kind
    has more in a class of its own.
    """

    latest: int
    latest_text: bytes = b""

    def by_hash(self, params: bytes | msgspec.Raw) -> bytes | msgspec.Raw:
        """Pinned params that ask at ``latest``, with its hash in place of its number; others as
        they are.
        """
        return params


class Pinned(msgspec.Struct, gc=False, frozen=True):
    """Params to send, and the block they ask for.

    A ``block`` ≥ 0 is the number that they spell, for a range its higher end. Otherwise the
    params are as they came and ``block`` is one of the constants in ``asked_at``: HASH, PENDING,
    NONE, or the name that was not replaced, so that the answer depends on the upstream's own head
    (``required_block`` says what that must have reached). ``is_ambiguous``: one of the numbers
    stands for a name that means another block to some nodes, so that the request may be asked as
    it came.
    """

    params: bytes
    block: BlockNeed
    is_ambiguous: bool = False


def heights_at(latest: int, anchors: Sequence[int], hash: str) -> Heights:
    """Tell of the newest block alone."""
    del anchors, hash
    return Heights(latest, b"%d" % latest if latest >= 0 else b"")


def no_block(method: Method, params: bytes | msgspec.Raw) -> BlockNeed:
    """Say that no block can be read."""
    del method, params
    return NONE


class Pins(msgspec.Struct, frozen=True, kw_only=True):
    """How params name blocks. No callable raises; ``params`` are JSON text, or empty.

    - ``heights``: of the newest block's number, those of the settled ones in the order of
      ``Traits.anchors`` (−1: unknown, and none while nothing is known), and the newest one's hash
      (empty: unknown)
    - ``pin``: the params with numbers for names, by what ``heights`` of the same part returned;
      ``None`` where they always go as they came
    - ``required_block``: what an upstream must have to serve the request as it is spelled, for a
      range its higher end
    """

    heights: Callable[[int, Sequence[int], str], Heights] = heights_at
    pin: Callable[[Method, bytes | msgspec.Raw, Any], Pinned] | None = None
    required_block: Callable[[Method, bytes | msgspec.Raw], BlockNeed] = no_block
