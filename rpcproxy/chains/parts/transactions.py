"""What signed transactions and their sends are to the engine, whatever the chain. Pure.

Bytes come in; their kind says what is in them, by which hash nodes know it, in which lane it is and
how it is asked for. What is written down, how many copies go out, and when again, is the engine's
business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.inquiries import JsonText, Question
from rpcproxy.messages import SERVER_REFUSED

DAY_SECONDS = 86_400.0


class BadTransaction(Exception):
    """The bytes are no transaction, for any node.

    ``told`` is for the client, with ``code``: it begins with the ``words`` of a node, by which
    libraries know the fault. ``reason`` is what is wrong in ours.
    """

    def __init__(self, words: str, reason: str, code: int = SERVER_REFUSED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.told = f"{words} (not sent: {reason})"
        self.code = code


# --------------------------------------------------------------------------
# Values


class DecodedTransaction(msgspec.Struct, frozen=True, gc=False):
    """A signed transaction as far as every kind has it.

    ``raw`` is as it was sent. ``hash`` is the text by which nodes know it, empty where only they
    can compute it. ``lane`` is in what transactions come one after the other, and ``order`` the
    place in there: of those in one place a single one can ever be in a block. Where these are
    unknown, both are: empty and −1.
    """

    raw: bytes
    hash: str
    lane: str = ""
    order: int = -1


class Inclusion(msgspec.Struct, frozen=True, gc=False):
    """In which block a transaction is."""

    block: int
    block_hash: str


class ListedBlock(msgspec.Struct, frozen=True, gc=False):
    """A block with the hashes of its transactions."""

    hash: str
    transactions: Sequence[str]


class NamedHashes(msgspec.Struct, frozen=True, gc=False):
    """``whole`` hashes in the order in which they stand, each once; of one that is ``shortened``,
    how it begins and ends.
    """

    whole: tuple[str, ...] = ()
    shortened: tuple[str, str] | None = None

    @property
    def only(self) -> str:
        """The one hash that is named, empty where there are none or several."""
        return self.whole[0] if len(self.whole) == 1 else ""

    def names(self, hash: str) -> bool:
        """Whether it is named, wholly or in part."""
        if hash in self.whole:
            return True
        if self.shortened is None:
            return False
        start, end = self.shortened
        return hash.startswith(start) and hash.endswith(end)


class Said(msgspec.Struct, frozen=True, gc=False):
    """The JSON text of a result, or else of an error."""

    result: bytes = b""
    error: bytes = b""


# --------------------------------------------------------------------------
# The parts of a kind. None of their callables raises but where it is said.


class CheckSize(Protocol):
    """Raises ``BadTransaction`` for what no node of the chain takes, by its size alone.
    ``is_public``: it is for anybody's pool.
    """

    def __call__(self, text: str, identity: str, /, *, is_public: bool) -> None: ...


class TransactionLookUps(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked about transactions. The first two by hash: ``transaction`` is answered by
    whoever has it, in a block or not; ``receipt`` tells its block, and its answer is what a client
    is given that waits for it. ``block`` is of the height, and ``counter`` the order that comes
    next in a lane after the block of that height; ``None`` where the kind has no such.
    """

    transaction: Callable[[str], Question[Any]]
    receipt: Callable[[str], Question[Inclusion]]
    block: Callable[[int], Question[ListedBlock]]
    counter: Callable[[str, int], Question[int]] | None = None


class TransactionNames(msgspec.Struct, frozen=True, kw_only=True):
    """How transactions are named in texts.

    - ``hash_of``: the hash that people wrote, as it is kept; ``None`` where it is none.
      ``hash_words`` says what is expected
    - ``hash_in``: the first hash in the params of a request, empty where there is none
    - ``hashes_in``: every hash that stands for itself in the params
    - ``start_of``: the key of a transaction by how its bytes begin, of 128 bytes at most;
      ``starts_in``: the keys of what may be a transaction's beginning in the params
    - ``transactions_in``: hash and bytes of each whole transaction anywhere in the params
    """

    hash_of: Callable[[str], str | None]
    hash_words: str
    hash_in: Callable[[bytes], str]
    hashes_in: Callable[[bytes], Sequence[str]]
    start_of: Callable[[bytes], bytes]
    starts_in: Callable[[bytes], Sequence[bytes]]
    transactions_in: Callable[[bytes], Sequence[tuple[str, bytes]]]


class WaitingTransactions(msgspec.Struct, frozen=True, kw_only=True):
    """How nodes show a transaction that is in no block, said without asking one.

    - ``object_of``: the JSON text of the transaction, empty where it is not ours to read
    - ``looked_up``: the hash that is looked up, empty where the method is no such look-up
    - ``said``: what a node says to such a look-up; ``None`` is a transaction that no pool has
    """

    object_of: Callable[[DecodedTransaction], bytes]
    looked_up: Callable[[Method, JsonText], str]
    said: Callable[[Method, DecodedTransaction | None], Said]


class ForeignHashes(msgspec.Struct, frozen=True, kw_only=True):
    """Hashes that are not ours alone to compute.

    - ``named_in``: what the JSON text of an error names
    - ``may_be_out``: whether an error may mean that this very thing is out already
    - ``candidates``: what the hash of these bytes may be
    - ``of_operation``: the hash of an operation by the params of its send and the chain's identity,
      empty where they are of no known shape; ``operation`` asks for it
    """

    named_in: Callable[[JsonText], NamedHashes]
    may_be_out: Callable[[JsonText], bool]
    candidates: Callable[[bytes], Sequence[str]]
    of_operation: Callable[[bytes, str], str]
    operation: Callable[[str], Question[Any]]


class SyncSends(msgspec.Struct, frozen=True, kw_only=True):
    """Sends that wait for their receipt: for how many ``seconds``, by their params, and never more
    than ``longest_seconds``; ``late`` is the JSON text of the error where it did not come, by the
    hash and how long it was waited for.
    """

    seconds: Callable[[bytes], float]
    longest_seconds: float
    late: Callable[[str, float], bytes]


class Sends(msgspec.Struct, frozen=True, kw_only=True):
    """How transactions of a kind are sent. ``identity`` is the chain's, as configured.

    - ``method``: the one by which transactions go out, and go out again
    - ``raw_of``: the signed transaction in the params of a send, as the client wrote it; ``None``
      where there is none. Raises ``BadTransaction`` for what is too large to be one
    - ``decode``: the transaction in such a text. Raises ``BadTransaction`` for what no node of the
      chain can take
    - ``text_of``: such a text of these bytes; ``params_of``: params of ``method`` for them
    - ``plain``: params of ``method``, from those of a send that is ours (``SendForm``)
    - ``result_of``: the JSON text of the result of ``method``, by the hash; ``hash_told``: the
      other way round, empty where it tells none
    - ``cancelled_by``: the hash of what a send (method, params, result) took back, empty where it
      did not
    - ``lifetime_seconds``: for how long one that no block takes is sent again
    """

    method: Method
    raw_of: Callable[[bytes], str | None]
    check_size: CheckSize
    decode: Callable[[str, str], DecodedTransaction]
    text_of: Callable[[bytes], str]
    params_of: Callable[[bytes], bytes]
    plain: Callable[[bytes], bytes]
    result_of: Callable[[str], bytes]
    hash_told: Callable[[JsonText], str]
    look_ups: TransactionLookUps
    names: TransactionNames
    waiting: WaitingTransactions
    foreign: ForeignHashes | None = None
    sync: SyncSends | None = None
    cancelled_by: Callable[[Method, bytes, bytes], str] | None = None
    lifetime_seconds: float = DAY_SECONDS
