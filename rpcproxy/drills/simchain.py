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

Hashes are not those of RLP headers and logs blooms are empty: no wallet recomputes them.

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
_STEP: Final = 10**6
_OWN_PER_BLOCK: Final = 2
_GENESIS_TIME: Final = 1_700_000_000
_GAS_LIMIT: Final = 36_000_000
_TRANSFER_GAS: Final = 51_234
_GWEI: Final = 10**9
# Finality as on Ethereum: two epochs behind, and safe one.
_SAFE_BLOCKS: Final = 32
_FINALIZED_BLOCKS: Final = 64

ZERO_HASH: Final = "0x" + "00" * 32
_ZERO_BLOOM: Final = "0x" + "00" * 256
# keccak of the RLP of an empty list of uncles: the same on every chain since the merge.
_NO_UNCLES: Final = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
# keccak of "Transfer(address,address,uint256)", ERC-20.
TRANSFER_TOPIC: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def _digest(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=32).digest()


def _address(label: str) -> str:
    return "0x" + _digest("address", label)[:20].hex()


ACCOUNTS: Final = tuple(_address(f"account {index}") for index in range(4))
BUSY_ACCOUNTS: Final = ACCOUNTS[:_OWN_PER_BLOCK]
PAYEE: Final = ACCOUNTS[3]  # whom every block pays
TOKEN: Final = _address("token")
TOKEN_CODE: Final = "0x60806040" + _digest("token code").hex()


def quantity(value: int) -> str:
    """A number as JSON-RPC writes it."""
    return hex(value)


def block_of_balance(balance: int) -> int:
    """The block number that a balance was read at."""
    return (balance - BALANCE_FLOOR) // _STEP


def base_fee_at(number: int) -> int:
    """Wei per gas; between 10 and 14 gwei, in waves of 32 blocks."""
    return 10 * _GWEI + abs(number % 32 - 16) * _GWEI // 4


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
        self.head += 1
        self._mined_at[self.head] = mined_at
        included = list(self.mempool.values())
        self.mempool.clear()
        for index, transaction in enumerate(included, _OWN_PER_BLOCK):
            transaction.block, transaction.index = self.head, index
            self.mined[transaction.hash] = transaction
        if included:
            self._included[self.head] = included
        return self.head

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


@dataclass(frozen=True, slots=True)
class View:
    """The chain as one provider sees it, up to ``head``.

    ``chain_id`` may be another chain's. From ``fork_at`` on, the blocks are others, those of the
    ``fork`` of that name, linked among themselves and to the chain unless ``is_linked`` is false.
    State is known up to ``state_head`` where that is set; what is asked above it is refused, or
    answered from there where ``has_old_state`` is set. Timestamps are ``seconds_ahead`` too late.
    """

    chain: SimChain
    head: int
    chain_id: int
    fork_at: int | None = None
    fork: str = "fork"
    is_linked: bool = True
    state_head: int | None = None
    has_old_state: bool = False
    seconds_ahead: int = 0

    def block_hash(self, number: int) -> str:
        if number < 0:
            return ZERO_HASH
        fork = self.fork if self._is_forked(number) else ""
        start = _digest(self.chain.seed, self.chain_id, "block", number, fork)[:24]
        return "0x" + start.hex() + number.to_bytes(8, "big").hex()

    def _is_forked(self, number: int) -> bool:
        return self.fork_at is not None and number >= self.fork_at

    def _parent_hash(self, number: int) -> str:
        if self._is_forked(number) and not self.is_linked:
            return "0x" + _digest("no block", self.fork, number).hex()
        return self.block_hash(number - 1)

    def number_of(self, block_hash: str) -> int | None:
        """The number of a block this provider has, by its hash."""
        number = int(block_hash[-16:], 16)
        return number if number <= self.head and self.block_hash(number) == block_hash else None

    def number_of_tag(self, tag: str) -> int | None:
        """The number a block tag stands for, ``None`` for what is no tag."""
        behind = {"latest": 0, "pending": 0, "safe": _SAFE_BLOCKS, "finalized": _FINALIZED_BLOCKS}
        if tag == "earliest":
            return 0
        return max(0, self.head - behind[tag]) if tag in behind else None

    def block(self, number: int, *, full: bool) -> Json:
        count = _OWN_PER_BLOCK + len(self.chain.included(number))
        body: list[Any] = [self._transaction_at(number, index) for index in range(count)]
        if not full:
            body = [transaction["hash"] for transaction in body]
        return {
            "number": quantity(number),
            "hash": self.block_hash(number),
            "parentHash": self._parent_hash(number),
            "timestamp": quantity(self._timestamp(number)),
            "baseFeePerGas": quantity(base_fee_at(number)),
            "transactions": body,
            "gasUsed": quantity(count * _TRANSFER_GAS),
            "gasLimit": quantity(_GAS_LIMIT),
            "miner": PAYEE,
            "nonce": "0x0000000000000000",
            "difficulty": "0x0",
            "extraData": "0x",
            "size": quantity(1000 + 200 * count),
            "logsBloom": _ZERO_BLOOM,
            "mixHash": "0x" + _digest("mix", number).hex(),
            "stateRoot": "0x" + _digest("state", number).hex(),
            "receiptsRoot": "0x" + _digest("receipts", number).hex(),
            "transactionsRoot": "0x" + _digest("transactions", number).hex(),
            "sha3Uncles": _NO_UNCLES,
            "uncles": [],
            "withdrawals": [],
            "withdrawalsRoot": ZERO_HASH,
        }

    def transaction(self, hash: str) -> Json | None:
        place = self._place_of(hash)
        if place is not None:
            return self._transaction_at(*place)
        submitted = self.chain.submitted(hash)
        return self._pending(submitted) if submitted else None

    def receipt(self, hash: str) -> Json | None:
        place = self._place_of(hash)
        return self._receipt_at(*place) if place else None

    def receipts(self, number: int) -> list[Json]:
        count = _OWN_PER_BLOCK + len(self.chain.included(number))
        return [self._receipt_at(number, index) for index in range(count)]

    def logs(self, number: int) -> list[Json]:
        """The token's transfers in one block: one per transaction of the chain's own."""
        return [self._log(number, index) for index in range(_OWN_PER_BLOCK)]

    def balance(self, address: str, number: int) -> int:
        """The balance in wei, of ether or of the token, at block ``number``."""
        digest = _digest("balance", address.lower(), self.block_hash(number))
        return BALANCE_FLOOR + number * _STEP + int.from_bytes(digest[:8], "big") % _STEP

    def nonce(self, address: str, number: int) -> int:
        if address in BUSY_ACCOUNTS:
            return number + 1
        sent = (t for t in self.chain.mined.values() if t.sender == address)
        return sum(1 for t in sent if t.block is not None and t.block <= number)

    def _place_of(self, hash: str) -> tuple[int, int] | None:
        """Block and index of a mined transaction this provider can see."""
        mined = self.chain.mined.get(hash)
        if mined is not None and mined.block is not None:
            return (mined.block, mined.index) if mined.block <= self.head else None
        number, index = int(hash[-18:-2], 16), int(hash[-2:], 16)
        if number > self.head or index >= _OWN_PER_BLOCK:
            return None
        return (number, index) if self._own_hash(number, index) == hash else None

    def _own_hash(self, number: int, index: int) -> str:
        start = _digest(self.chain.seed, self.chain_id, "transaction", number, index)[:23]
        return f"0x{start.hex()}{number:016x}{index:02x}"

    def _timestamp(self, number: int) -> int:
        return self.chain.timestamp(number) + self.seconds_ahead

    def _transaction_at(self, number: int, index: int) -> Json:
        if index >= _OWN_PER_BLOCK:
            submitted = self.chain.included(number)[index - _OWN_PER_BLOCK]
            transaction = self._pending(submitted)
        else:
            transaction = {
                **self._envelope(self._own_hash(number, index), BUSY_ACCOUNTS[index], number),
                "to": TOKEN,
                "input": _transfer_input(number, index),
            }
        transaction |= {
            "blockHash": self.block_hash(number),
            "blockNumber": quantity(number),
            "transactionIndex": quantity(index),
            "gasPrice": quantity(base_fee_at(number) + _GWEI),
        }
        return transaction

    def _pending(self, submitted: Submitted) -> Json:
        return {
            **self._envelope(submitted.hash, submitted.sender, 0),
            "to": ACCOUNTS[2],
            "input": "0x",
            "blockHash": None,
            "blockNumber": None,
            "transactionIndex": None,
        }

    def _envelope(self, hash: str, sender: str, nonce: int) -> Json:
        return {
            "hash": hash,
            "type": "0x2",
            "chainId": quantity(self.chain_id),
            "from": sender,
            "nonce": quantity(nonce),
            "value": "0x0",
            "gas": quantity(_TRANSFER_GAS),
            "gasPrice": quantity(20 * _GWEI),
            "maxFeePerGas": quantity(20 * _GWEI),
            "maxPriorityFeePerGas": quantity(_GWEI),
            "accessList": [],
            "v": "0x1",
            "yParity": "0x1",
            "r": "0x" + _digest("r", hash).hex().lstrip("0"),
            "s": "0x" + _digest("s", hash).hex().lstrip("0"),
        }

    def _receipt_at(self, number: int, index: int) -> Json:
        transaction = self._transaction_at(number, index)
        return {
            "transactionHash": transaction["hash"],
            "transactionIndex": quantity(index),
            "blockHash": self.block_hash(number),
            "blockNumber": quantity(number),
            "from": transaction["from"],
            "to": transaction["to"],
            "contractAddress": None,
            "status": "0x1",
            "type": "0x2",
            "gasUsed": quantity(_TRANSFER_GAS),
            "cumulativeGasUsed": quantity((index + 1) * _TRANSFER_GAS),
            "effectiveGasPrice": transaction["gasPrice"],
            "logs": [self._log(number, index)] if index < _OWN_PER_BLOCK else [],
            "logsBloom": _ZERO_BLOOM,
        }

    def _log(self, number: int, index: int) -> Json:
        return {
            "address": TOKEN,
            "topics": [TRANSFER_TOPIC, _padded(BUSY_ACCOUNTS[index]), _padded(ACCOUNTS[2])],
            "data": f"0x{_amount(number, index):064x}",
            "blockNumber": quantity(number),
            "blockHash": self.block_hash(number),
            "blockTimestamp": quantity(self._timestamp(number)),
            "transactionHash": self._own_hash(number, index),
            "transactionIndex": quantity(index),
            "logIndex": quantity(index),
            "removed": False,
        }


def _padded(address: str) -> str:
    return "0x" + address[2:].rjust(64, "0")


def _amount(number: int, index: int) -> int:
    return (number % 1000 + 1) * ETHER // (index + 1)


def _transfer_input(number: int, index: int) -> str:
    # a9059cbb: transfer(address,uint256), ERC-20.
    return f"0xa9059cbb{_padded(ACCOUNTS[2])[2:]}{_amount(number, index):064x}"
