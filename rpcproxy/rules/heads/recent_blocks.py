"""What the last blocks say that they hold, and when all who were asked say otherwise.

A block's own text says how many transactions it has and of which logs there are none. An answer
that contradicts it is asked for elsewhere; but a chain may write less into its blocks than it does
elsewhere, and a block's text is one upstream's word as well. So where
every upstream that can be asked contradicts a block, and one of them does again, they are right,
of that block and that method; and where that happens to ``FALSE_ALARMS`` blocks on end, the method
is not held against blocks for ``QUIET_SECONDS``.

What is not on our chain, or not yet, is held apart: whoever invents blocks pushes out no other.

State: ``RecentBlocks``, one per chain: the contents of at most ``MOST_BLOCKS`` blocks and
``MOST_BYTES`` bytes, and of ``MOST_OTHERS`` others and as many bytes; who contradicted at most
``MOST_DISPUTES`` of them, and until when methods are left alone (one entry for each method of a
table). Written by ``engine.truth.block_contents`` alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

import msgspec

from rpcproxy.chains.parts.contents import Contents

MOST_BLOCKS: Final = 256
MOST_OTHERS: Final = 64
MOST_BYTES: Final = 8 * 1024 * 1024
MOST_DISPUTES: Final = 256
FALSE_ALARMS: Final = 3
QUIET_SECONDS: Final = 3600.0


class _Dispute(msgspec.Struct, gc=False):
    """Who contradicted a block, and when each was asked; over once all did, and one again."""

    said: dict[str, float]
    is_over: bool = False


class _Shelf:
    """Contents by hash, the oldest first."""

    __slots__ = ("_blocks", "_most", "_most_bytes", "size")

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._blocks: OrderedDict[str, Contents] = OrderedDict()
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._blocks)

    def put(self, block: Contents) -> None:
        self.take(block.hash)
        self._blocks[block.hash] = block
        self.size += block.size
        while len(self._blocks) > self._most or self.size > self._most_bytes:
            _, oldest = self._blocks.popitem(last=False)
            self.size -= oldest.size

    def get(self, hash: str) -> Contents | None:
        return self._blocks.get(hash)

    def take(self, hash: str) -> Contents | None:
        block = self._blocks.pop(hash, None)
        if block is not None:
            self.size -= block.size
        return block


class RecentBlocks:
    """Contents of the last blocks, by hash, and the disputes about them, in monotonic seconds."""

    __slots__ = ("_alarms", "_disputes", "_most_disputes", "_others", "_ours", "_quiet_until")

    def __init__(self, most_bytes: int = MOST_BYTES, most_disputes: int = MOST_DISPUTES) -> None:
        self._most_disputes = most_disputes
        self._ours = _Shelf(MOST_BLOCKS, most_bytes)
        self._others = _Shelf(MOST_OTHERS, most_bytes)
        self._disputes: OrderedDict[tuple[str, str], _Dispute] = OrderedDict()
        self._alarms: dict[str, int] = {}  # by method: disputes on end that all agreed in
        self._quiet_until: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._ours) + len(self._others)

    @property
    def size(self) -> int:
        """About how many bytes all of them take."""
        return self._ours.size + self._others.size

    def learn(self, told: Contents, *, is_ours: bool) -> None:
        """A block was told. Of two texts of one block the one that says more is kept."""
        known = self._others.take(told.hash) or self._ours.take(told.hash)
        if known is not None:
            if known.transactions >= told.transactions:
                known, told = told, known
            told.complete_with(known)
        (self._ours if is_ours else self._others).put(told)

    def get(self, hash: str, *, is_ours: bool = False) -> Contents | None:
        """The contents of the block with that hash, where they are known. ``is_ours``: it is on
        our chain by now.
        """
        known = self._ours.get(hash)
        if known is None and is_ours:
            known = self._others.take(hash)
            if known is not None:
                self._ours.put(known)
        return known if known is not None else self._others.get(hash)

    # ---- contradictions

    def is_quiet(self, method: str, now: float) -> bool:
        """Whether answers of a method are left alone for now."""
        return bool(self._quiet_until) and self._quiet_until.get(method, 0.0) > now

    def is_outvoted(
        self, method: str, hash: str, upstream: str, asked_at: float, usable: Collection[str]
    ) -> bool:
        """``upstream``, asked at that time, contradicts what a block says. Whether all do that can
        be asked (``usable``, their names), and it does again: then it is the answer.
        """
        dispute = self._disputes.setdefault((method, hash), _Dispute({}))
        if not dispute.is_over:
            said = dispute.said
            if said.get(upstream, asked_at) >= asked_at or not said.keys() >= set(usable):
                said.setdefault(upstream, asked_at)
                if len(self._disputes) > self._most_disputes:
                    self._disputes.popitem(last=False)
                return False
            dispute.is_over = True
            alarms = self._alarms[method] = self._alarms.get(method, 0) + 1
            if alarms >= FALSE_ALARMS:
                self._alarms[method] = 0
                self._quiet_until[method] = asked_at + QUIET_SECONDS
        return True

    def on_agreement(self, method: str) -> None:
        """An answer has what its block says."""
        self._alarms.pop(method, None)
