"""What a block of any kind says that it holds, and how answers are held against that. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from rpcproxy.chains.method import Method

_Text: TypeAlias = bytes | msgspec.Raw  # JSON


class Contents(msgspec.Struct, gc=False):
    """What a block says that it holds. −1: it does not say how many. ``bloom``, a filter over what
    its entries name, is 0 where it is empty, or says nothing; its kind alone reads it. ``hashes``:
    the keys of its transactions (``chains.claims``).
    """

    number: int
    hash: str
    transactions: int = -1
    uncles: int = -1
    bloom: int = 0
    hashes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """About how many bytes it takes to keep."""
        return 500 + 130 * len(self.hashes)

    def complete_with(self, other: Contents) -> None:
        """Another text of the same block said less of its transactions, and maybe more else."""
        self.bloom = self.bloom or other.bloom
        self.uncles = max(self.uncles, other.uncles)


class Fit(enum.Enum):
    """How an answer about a block and what the block says go together."""

    AGREES = "agrees"  # it has all that it must
    LACKS = "lacks"  # it has less, or something else
    PAST_END = "past_end"  # it was asked for an entry past the last one
    UNTOLD = "untold"  # neither says enough


class Wanted(Protocol):
    """What a search asks for. ``is_all``: whatever there is, so that the block itself says whether
    something must be found in it; otherwise it may admit something by accident.
    """

    @property
    def is_all(self) -> bool: ...

    def admits(self, block: Contents) -> bool:
        """Whether by what the block says something is to be found in it."""

    def accident(self, block: Contents) -> float:
        """How likely the block admits something though there is nothing, 0 to 1."""


class ContentsReader(msgspec.Struct, frozen=True, kw_only=True):
    """How blocks and answers about them are read. None of these raises.

    - ``read``: what the JSON text of a block or of a header says, ``None`` where it names no block
    - ``fit``: an answer to a method that is ``is_of_contents``, by method, params, result (``None``
      for an error) and the block that was asked about
    - ``is_hollow``: whether the text of a block has no entries at all
    - ``wanted_by``: what a search asks for, by method and params; ``None`` where it cannot be said
    """

    read: Callable[[_Text], Contents | None]
    fit: Callable[[Method, _Text, _Text | None, Contents], Fit]
    is_hollow: Callable[[_Text], bool]
    wanted_by: Callable[[Method, _Text], Wanted | None]
