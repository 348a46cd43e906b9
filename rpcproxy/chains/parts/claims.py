"""What answers assert of a chain of any kind: the block that they are in, an account's counter.

A kind reads these values out of JSON; ``engine.truth`` holds them against what was told before, and
knows nothing else of an answer. A hash crosses as the text of its one spelling, the *key* under
which everybody keeps it. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.messages import Head

_Text: TypeAlias = bytes | msgspec.Raw  # JSON


class ToldBlock(NamedTuple):
    """The block that an answer is in, or that a request names.

    ``number`` is −1 where it is in none yet, or not told. ``hash`` is a key, and empty where it
    is not told.
    """

    number: int
    hash: str


NO_BLOCK: Final = ToldBlock(-1, "")


class Naming(enum.Enum):
    """How an answer names its block."""

    CLEAR = "clear"  # as it should, or honestly in none
    NOWHERE = "nowhere"  # in no block, though it is written as if it were, or must be
    VAGUE = "vague"  # the number or the hash is missing, or hashes differ: another tells which
    WRONG = "wrong"  # another block or transaction than was asked for, or nothing of the kind


class BlockClaim(NamedTuple):
    """The block that an answer is in, ``None`` where it names none, and how it does."""

    block: ToldBlock | None
    naming: Naming


class BlockToCome(NamedTuple):
    """What an answer about the block to come says of it: −1 and empty where it does not."""

    number: int
    parent_hash: str


class SearchClaim(NamedTuple):
    """A search over blocks, from ``low`` to ``high`` (−1: no range that can be read) or in the
    block with ``hash``; ``found`` are the blocks that it found some in. ``is_vague``: an entry
    names its block not in full, or another one than the ``hash``.
    """

    low: int = 0
    high: int = -1
    hash: str = ""
    found: frozenset[ToldBlock] = frozenset()
    is_vague: bool = False


class CounterClaim(NamedTuple):
    """An account's counter is ``value``, at the block that was asked for or, ``is_to_come``, with
    all that waits. ``account`` is its key, empty where there is nothing to hold a value against.
    ``identity``: of the chain that a transaction was filled in for, empty where it is not
    said.
    """

    account: str
    value: int
    is_to_come: bool = False
    identity: str = ""


class CounterUse(NamedTuple):
    """The value of its sender's counter that a transaction uses up."""

    account: str
    value: int


class CounterReader(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of accounts that never fall: each transaction uses up one value of its sender's.

    - ``title``: what such a counter is called among people
    - ``read``: what a result says, of the methods about ``Subject.COUNTER`` and ``FILLED``; by
      method, params and result, ``None`` where it is no such answer
    - ``text``: the JSON text of a result that is this value
    - ``used_by``: of a result that shows a transaction, ``None`` where it does not say

    None raises.
    """

    title: str
    read: Callable[[Method, _Text, _Text], CounterClaim | None]
    text: Callable[[int], bytes]
    used_by: Callable[[_Text], CounterUse | None]


class OfBlock(Protocol):
    """Reads an answer; see ``Claims``. Where this chain ``tells_hashes`` of no block, none is
    missed.
    """

    def __call__(
        self, method: Method, params: _Text, result: _Text, /, *, tells_hashes: bool = True
    ) -> BlockClaim: ...


def _no_block_in(_method: Method, _result: _Text) -> ToldBlock | None:
    return None


def _no_claim(
    _method: Method, _params: _Text, _result: _Text, *, tells_hashes: bool = True
) -> BlockClaim:
    del tells_hashes
    return BlockClaim(None, Naming.CLEAR)


def _no_head(_result: _Text) -> Head | None:
    return None


def _no_block_asked(_method: Method, _params: _Text) -> ToldBlock:
    return NO_BLOCK


def _no_key(_params: _Text) -> str:
    return ""


def _no_keys(_text: bytes) -> Iterable[str]:
    return ()


def _no_search(_method: Method, _params: _Text, _result: _Text) -> SearchClaim:
    return SearchClaim()


def _no_block_to_come(_method: Method, _result: _Text) -> BlockToCome | None:
    return BlockToCome(-1, "")


def _as_spelled(hash: str) -> str:
    return hash


def _as_it_is(result: _Text) -> msgspec.Raw:
    return msgspec.Raw(result)


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """How claims are read. None of these raises; params and results are JSON texts. What a kind
    leaves out claims nothing.

    - ``block_in``: the block that a result is in, of methods that ``names_block``; ``None`` where
      it names none
    - ``of_block``: the same, and how the result names what was asked for
    - ``head_in``: the head that a result is, ``None`` where it is no block
    - ``asked_block``: the block that a request names by its number or its hash
    - ``asked_key``: the key of the hash that a request looks up, empty where it does not
    - ``nothing``: the key that is of nothing at all, empty where the kind has no such
    - ``keys_in``: those of the transactions that a text names
    - ``key_of``: that of a hash, however it is spelled
    - ``of_search``: of methods about ``Subject.SEARCH``, by method, params and result
    - ``to_come``: of what was asked of the block to come, ``None`` where it is no answer to that
    - ``as_waiting``: a transaction as it is shown while it waits
    - ``counters``: ``None`` where accounts have none
    - ``no_data``: the JSON text of data without a byte
    - ``no_block``: that of an error, for what is asked at a block that is not there
    """

    block_in: Callable[[Method, _Text], ToldBlock | None] = _no_block_in
    of_block: OfBlock = _no_claim
    head_in: Callable[[_Text], Head | None] = _no_head
    asked_block: Callable[[Method, _Text], ToldBlock] = _no_block_asked
    asked_key: Callable[[_Text], str] = _no_key
    keys_in: Callable[[bytes], Iterable[str]] = _no_keys
    key_of: Callable[[str], str] = _as_spelled
    nothing: str = ""
    of_search: Callable[[Method, _Text, _Text], SearchClaim] = _no_search
    to_come: Callable[[Method, _Text], BlockToCome | None] = _no_block_to_come
    as_waiting: Callable[[_Text], msgspec.Raw] = _as_it_is
    counters: CounterReader | None = None
    no_data: bytes = b'""'
    no_block: bytes = b'{"code":-32000,"message":"no such block"}'
