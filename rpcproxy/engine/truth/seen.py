"""Hashes that clients were shown: what was seen is not null afterwards.

A transaction may be shown by itself, or within a list (a block, its receipts, logs): lists are read
only where somebody looks for one of their transactions.

State: of transactions and of blocks, by their keys (``chains.parts.claims``), the block that each
was seen in (at most ``MOST_SEEN`` of each); and the lists that were not read yet, at most
``MOST_LISTS`` of ``MOST_BYTES`` together. Written by ``engine.truth.truth`` alone.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

MOST_SEEN: Final = 100_000
MOST_LISTS: Final = 64
MOST_BYTES: Final = 1024 * 1024
_HASH_BYTES: Final = 130  # that one takes in memory

Listed = bytes | msgspec.Raw | tuple[str, ...]


class SeenHashes:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        keys_in: Callable[[bytes], Iterable[str]],
        most: int = MOST_SEEN,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """``most`` hashes of each sort are remembered, and unread lists of ``most_bytes``;
        ``keys_in`` reads one.
        """
        self._keys_in = keys_in
        self._most = most
        self._most_bytes = most_bytes
        # By hash: the block it was seen in, −1 while it was pending.
        self._transactions: OrderedDict[str, int] = OrderedDict()
        self._blocks: OrderedDict[str, int] = OrderedDict()
        self._receipts: OrderedDict[str, int] = OrderedDict()
        self._lists: deque[tuple[int, bytes | tuple[str, ...]]] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._transactions or self._blocks or self._lists)

    def see(self, key: str, number: int) -> None:
        """A transaction was shown, in that block; −1 as pending. It does not go back to that."""
        known = self._transactions.get(key)
        if known is None or number > known:
            self._remember(self._transactions, key, number)

    def set_mined(self, key: str, number: int) -> None:
        """A transaction is in that block, whatever was seen before."""
        self._remember(self._transactions, key, number)

    def see_block(self, key: str, number: int) -> None:
        """A block was named to a client."""
        self._remember(self._blocks, key, number)

    def see_receipt(self, key: str, number: int) -> None:
        """The receipt of a transaction was shown, in that block."""
        self._remember(self._receipts, key, number)

    def has_receipt(self, key: str) -> bool:
        """Whether a client was given the receipt of that transaction."""
        return key in self._receipts

    def see_list(self, number: int, listed: Listed) -> None:
        """Transactions of blocks up to ``number`` were shown: their keys, or a text that names
        them. One too large to be read at once is left out.
        """
        size = _size(listed)
        if number < 0 or size > self._most_bytes:
            return
        self._lists.append((number, listed if isinstance(listed, tuple) else bytes(listed)))
        self._bytes += size
        while len(self._lists) > MOST_LISTS or self._bytes > self._most_bytes:
            self._bytes -= _size(self._lists.popleft()[1])

    def block_of(self, key: str) -> int | None:
        """The block that a transaction was seen in, −1 while it was pending; ``None`` where it was
        not seen.
        """
        while self._lists:
            number, listed = self._lists.popleft()
            for each in self._keys_in(listed) if isinstance(listed, bytes) else listed:
                self.see(each, number)
        self._bytes = 0
        return self._transactions.get(key)

    def has_block(self, key: str) -> bool:
        """Whether a client was told of the block with that hash."""
        return key in self._blocks

    def forget(self, key: str) -> None:
        """A transaction is in no block after all."""
        self._transactions.pop(key, None)
        self._receipts.pop(key, None)

    def on_turn(self, ancestor: int) -> None:
        """What was seen above ``ancestor`` may be gone."""
        self._transactions, self._blocks, self._receipts = (
            OrderedDict((key, block) for key, block in seen.items() if block <= ancestor)
            for seen in (self._transactions, self._blocks, self._receipts)
        )
        self._lists = deque(each for each in self._lists if each[0] <= ancestor)
        self._bytes = sum(_size(listed) for _, listed in self._lists)

    def _remember(self, seen: OrderedDict[str, int], key: str, number: int) -> None:
        seen[key] = number
        if len(seen) > self._most:
            seen.popitem(last=False)


def _size(listed: Listed) -> int:
    return _HASH_BYTES * len(listed) if isinstance(listed, tuple) else len(listed)
