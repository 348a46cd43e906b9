"""A deterministic simulated EVM chain.

Whatever can be asked about block N follows from the seed and N, so that any number of
simulated providers, in one process or in several, agree, and a client can check that an
answer belongs to the block it asked for:

* the last 8 bytes of a block hash are its number; the last 9 bytes of the hash of one of
  the chain's own transactions are its block's number and its index;
* a balance (``eth_getBalance``, and ``balanceOf`` of the token) is 100 ether plus
  ``N · 10**6`` wei plus a fingerprint, below ``10**6``, of the address and the block's hash: see
  ``block_of_balance`` and ``View.balance``. State of a fork, or invented, shows by it;
* each of the two busy accounts sends one transaction in every block, so that its nonce at
  block N is ``N + 1``; a fork holds the same transactions at the same heights;
* every storage slot of the token holds the block's hash, and its ``number()`` answers N.

Hashes are not those of RLP headers: no wallet recomputes them. Blooms are those of the logs.

State: when blocks were mined and the transactions people sent, in ``SimChain``, changed by
``mine`` and ``submit`` alone. No clock and no randomness here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from Crypto.Hash import keccak

Json = dict[str, Any]

ETHER: Final = 10**18
BALANCE_FLOOR: Final = 100 * ETHER
STEP: Final = 10**6
OWN_PER_BLOCK: Final = 2
_GENESIS_TIME: Final = 1_700_000_000
GWEI: Final = 10**9

ZERO_HASH: Final = "0x" + "00" * 32


def digest(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=32).digest()


def _address(label: str) -> str:
    return "0x" + digest("address", label)[:20].hex()


ACCOUNTS: Final = tuple(_address(f"account {index}") for index in range(4))
BUSY_ACCOUNTS: Final = ACCOUNTS[:OWN_PER_BLOCK]
PAYEE: Final = ACCOUNTS[3]  # whom every block pays
TOKEN: Final = _address("token")
TOKEN_CODE: Final = "0x60806040" + digest("token code").hex()


def quantity(value: int) -> str:
    """A number as JSON-RPC writes it."""
    return hex(value)


def block_of_balance(balance: int) -> int:
    """The block number that a balance was read at."""
    return (balance - BALANCE_FLOOR) // STEP


def base_fee_at(number: int) -> int:
    """Wei per gas; between 10 and 14 gwei, in waves of 32 blocks."""
    return 10 * GWEI + abs(number % 32 - 16) * GWEI // 4


class AlreadyKnown(Exception):
    """The same transaction waits in the mempool already."""


class NonceTooLow(Exception):
    """The same transaction was mined."""


@dataclass(slots=True)
class Submitted:
    """A transaction somebody sent; ``block`` is ``None`` while it waits."""

    hash: str
    sender: str
    raw: bytes
    block: int | None = None
    index: int = 0


@dataclass(slots=True)
class SimChain:
    """The chain itself. Who reads it does so through a ``View``."""

    chain_id: int = 1337
    block_time_seconds: float = 2.0
    start_number: int = 20_000_000
    seed: int = 1
    skip_every: int = 0  # every so many heights one has no block, as where a slot stays empty
    head: int = field(init=False)
    mempool: dict[str, Submitted] = field(init=False, default_factory=dict)
    mined: dict[str, Submitted] = field(init=False, default_factory=dict)
    _mined_at: dict[int, float] = field(init=False, default_factory=dict)
    _included: dict[int, list[Submitted]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.head = self.start_number

    def mine(self, now: float) -> int:
        """Mine one block holding the whole mempool; returns its number.

        ``now``: Unix seconds; a timestamp never goes below its parent's.
        """
        mined_at = max(self.timestamp(self.head), now)
        self.head = self.after(self.head)
        self._mined_at[self.head] = mined_at
        included = list(self.mempool.values())
        self.mempool.clear()
        for index, transaction in enumerate(included, OWN_PER_BLOCK):
            transaction.block, transaction.index = self.head, index
            self.mined[transaction.hash] = transaction
        if included:
            self._included[self.head] = included
        return self.head

    def has_block(self, number: int) -> bool:
        """Whether the chain has a block at this height, now or later."""
        return not self.skip_every or number % self.skip_every != 0 or number == 0

    def after(self, number: int) -> int:
        """The height of the next block."""
        return number + 1 if self.has_block(number + 1) else number + 2

    def before(self, number: int) -> int:
        """The height of the block before."""
        return number - 1 if self.has_block(number - 1) else number - 2

    def submit(self, raw: bytes) -> str:
        """Take a raw transaction into the mempool; returns its hash.

        Raises ``AlreadyKnown`` or ``NonceTooLow``. Nothing in it is verified; the sender
        is made up from the hash, not recovered.
        """
        hash = "0x" + keccak.new(digest_bits=256, data=raw).hexdigest()
        if hash in self.mempool:
            raise AlreadyKnown
        if hash in self.mined:
            raise NonceTooLow
        self.mempool[hash] = Submitted(hash, _address(f"sender of {hash}"), raw)
        return hash

    def timestamp(self, number: int) -> int:
        """Unix seconds; of a block to come, when it is due."""
        mined_at = self._mined_at.get(min(number, self.head))
        if mined_at is None:
            return int(_GENESIS_TIME + number * self.block_time_seconds)
        return int(mined_at + max(0, number - self.head) * self.block_time_seconds)

    def head_at(self, moment: float) -> int:
        """The newest block that had been mined by ``moment``, Unix seconds."""
        number = self.head
        while self._mined_at.get(number, 0.0) > moment:
            number -= 1
        return number

    def included(self, number: int) -> list[Submitted]:
        """What people sent and block ``number`` holds, in order."""
        return self._included.get(number, [])

    def submitted(self, hash: str) -> Submitted | None:
        return self.mempool.get(hash) or self.mined.get(hash)
