"""How a kind of chain spells what wallets and the engine ask of nodes, and what nodes answer.

``chain_world`` simulates nodes, ``chain_witness`` holds answers against the true chain; both know
these values alone. A kind plays their stories with a ``Spelling`` of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from rpcproxy.chains.kind import Kind
from rpcproxy.chains.parts.asked_at import LATEST

IDENTITY, NUMBER, BLOCK, HEADER = "identity", "number", "block", "block by hash"
BALANCE, CALL, NONCE, LOGS, RECEIPT, TX = "balance", "call", "nonce", "logs", "receipt", "tx"
STATE = (BALANCE, CALL)
LOOKUPS = (RECEIPT, TX)


class Ask(NamedTuple):
    """One question. ``of``: an account, or the hash that is looked up. ``at``: a height, or what
    ``asked_at`` calls it; of logs the higher end, and ``low`` the other one. ``hash``: of the block
    that is asked at in place of a height.
    """

    what: str
    of: str = ""
    at: int = LATEST
    low: int = -1
    hash: str = ""


class Header(NamedTuple):
    """A block. ``parent_number`` is −1 where a kind does not tell it."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    parent_number: int = -1
    txs: tuple[str, ...] = ()


class Value(NamedTuple):
    """State, and its block where a kind tells that."""

    word: str
    number: int = -1
    hash: str = ""


class Entry(NamedTuple):
    """A transaction or a log, in which block it is, and at which place of it."""

    number: int
    hash: str
    tx: str = ""
    index: int = -1
    sender: str = ""


Told = int | Header | Value | Entry | list[Entry] | None


class Spelling(Protocol):
    """``wallets_ask``: what of the witness's questions the kind has, some more often. ``no_block``:
    code, words and HTTP status of the error for what is asked at a block that is not there.
    """

    kind: Kind
    hash_prefix: str
    wallets_ask: Sequence[str]
    no_block: tuple[int, str, int]

    def request(self, ask: Ask) -> tuple[str, list[Any]]:
        """Method and params of a wallet's question."""

    def asked(self, method: str, params: Any) -> Ask:
        """The question in a request that reached a node."""

    def answer(self, ask: Ask, told: Told) -> Any:
        """The result that a node gives, as JSON values."""

    def read(self, ask: Ask, result: Any) -> Told:
        """What a result tells."""
