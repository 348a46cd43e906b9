"""The simulated chain as one provider sees it: blocks, transactions, receipts, logs and balances.

``simchain`` says which rules they follow. State: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from Crypto.Hash import keccak

from rpcproxy.drills.evm.simchain import (
    ACCOUNTS,
    BALANCE_FLOOR,
    BUSY_ACCOUNTS,
    ETHER,
    GWEI,
    OWN_PER_BLOCK,
    PAYEE,
    STEP,
    TOKEN,
    ZERO_HASH,
    Json,
    SimChain,
    Submitted,
    base_fee_at,
    digest,
    quantity,
)

_GAS_LIMIT: Final = 36_000_000
_TRANSFER_GAS: Final = 51_234
# Finality as on Ethereum: two epochs behind, and safe one.
_SAFE_BLOCKS: Final = 32
_FINALIZED_BLOCKS: Final = 64
_ZERO_BLOOM: Final = "0x" + "00" * 256
# keccak of the RLP of an empty list of uncles: the same on every chain since the merge.
_NO_UNCLES: Final = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
# keccak of "Transfer(address,address,uint256)", ERC-20.
TRANSFER_TOPIC: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


@dataclass(frozen=True, slots=True)
class SimView:
    """The chain as one provider sees it, up to ``head``.

    ``chain_id`` may be another chain's. From ``fork_at`` on, the blocks are others, those of the
    ``fork`` of that name, linked among themselves and to the chain unless ``is_linked`` is false.
    State is known up to ``state_head`` where that is set; what is asked above it is refused, or
    answered from there where ``has_old_state`` is set. Timestamps are ``seconds_ahead`` too late.
    ``pending_block`` names the shape of the block to come; where it is empty, that is the head.
    ``forgets_sends``: a transaction is taken, and not kept.
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
    pending_block: str = ""
    forgets_sends: bool = False

    def block_hash(self, number: int) -> str:
        if number < 0:
            return ZERO_HASH
        fork = self.fork if self._is_forked(number) else ""
        start = digest(self.chain.seed, self.chain_id, "block", number, fork)[:24]
        return "0x" + start.hex() + number.to_bytes(8, "big").hex()

    def _is_forked(self, number: int) -> bool:
        return self.fork_at is not None and number >= self.fork_at

    def _parent_hash(self, number: int) -> str:
        if self._is_forked(number) and not self.is_linked:
            return "0x" + digest("no block", self.fork, number).hex()
        return self.block_hash(self.chain.before(number))

    def number_of(self, block_hash: str) -> int | None:
        """The number of a block this provider has, by its hash."""
        number = int(block_hash[-16:], 16)
        is_here = number <= self.head and self.chain.has_block(number)
        return number if is_here and self.block_hash(number) == block_hash else None

    def number_of_tag(self, tag: str) -> int | None:
        """The number a block tag stands for, ``None`` for what is no tag."""
        behind = {"latest": 0, "pending": 0, "safe": _SAFE_BLOCKS, "finalized": _FINALIZED_BLOCKS}
        if tag == "earliest":
            return 0
        return max(0, self.head - behind[tag]) if tag in behind else None

    def block(self, number: int, *, full: bool) -> Json:
        count = OWN_PER_BLOCK + len(self.chain.included(number))
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
            "logsBloom": _BLOOM,
            "mixHash": "0x" + digest("mix", number).hex(),
            "stateRoot": "0x" + digest("state", number).hex(),
            "receiptsRoot": "0x" + digest("receipts", number).hex(),
            "transactionsRoot": "0x" + digest("transactions", number).hex(),
            "sha3Uncles": _NO_UNCLES,
            "uncles": [],
            "withdrawals": [],
            "withdrawalsRoot": ZERO_HASH,
        }

    def pending(self, *, full: bool) -> Json | None:
        """The block to come, in the shape of the node that ``pending_block`` names: geth gives a
        number and no hash, anvil both, hardhat a hash and no number (versions 1.17.10, 1.7.1 and
        2.29.1), others null.
        """
        if self.pending_block == "null":
            return None
        block = self.block(self.chain.after(self.head), full=full)
        if self.pending_block == "geth":
            return block | {"hash": None, "nonce": None, "miner": None}
        block["hash"] = "0x" + digest("pending", self.head).hex()
        return block if self.pending_block == "anvil" else block | {"number": None}

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
        count = OWN_PER_BLOCK + len(self.chain.included(number))
        return [self._receipt_at(number, index) for index in range(count)]

    def logs(self, number: int) -> list[Json]:
        """The token's transfers in one block: one per transaction of the chain's own."""
        return [self._log(number, index) for index in range(OWN_PER_BLOCK)]

    def balance(self, address: str, number: int) -> int:
        """The balance in wei, of ether or of the token, at block ``number``."""
        print_ = digest("balance", address.lower(), self.block_hash(number))
        return BALANCE_FLOOR + number * STEP + int.from_bytes(print_[:8], "big") % STEP

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
        if number > self.head or index >= OWN_PER_BLOCK:
            return None
        return (number, index) if self._own_hash(number, index) == hash else None

    def _own_hash(self, number: int, index: int) -> str:
        start = digest(self.chain.seed, self.chain_id, "transaction", number, index)[:23]
        return f"0x{start.hex()}{number:016x}{index:02x}"

    def _timestamp(self, number: int) -> int:
        return self.chain.timestamp(number) + self.seconds_ahead

    def _transaction_at(self, number: int, index: int) -> Json:
        if index >= OWN_PER_BLOCK:
            submitted = self.chain.included(number)[index - OWN_PER_BLOCK]
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
            "gasPrice": quantity(base_fee_at(number) + GWEI),
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
            "gasPrice": quantity(20 * GWEI),
            "maxFeePerGas": quantity(20 * GWEI),
            "maxPriorityFeePerGas": quantity(GWEI),
            "accessList": [],
            "v": "0x1",
            "yParity": "0x1",
            "r": "0x" + digest("r", hash).hex().lstrip("0"),
            "s": "0x" + digest("s", hash).hex().lstrip("0"),
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
            "logs": [self._log(number, index)] if index < OWN_PER_BLOCK else [],
            "logsBloom": _BLOOMS[index] if index < OWN_PER_BLOCK else _ZERO_BLOOM,
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


def _bloom(*items: str) -> int:
    """Three bits of 2,048 for each address and topic (the Yellow Paper's M3:2048)."""
    bits = 0
    for item in items:
        hashed = keccak.new(digest_bits=256, data=bytes.fromhex(item[2:])).digest()
        for at in (0, 2, 4):
            bits |= 1 << (int.from_bytes(hashed[at : at + 2], "big") & 2047)
    return bits


def _padded(address: str) -> str:
    return "0x" + address[2:].rjust(64, "0")


def _amount(number: int, index: int) -> int:
    return (number % 1000 + 1) * ETHER // (index + 1)


def _transfer_input(number: int, index: int) -> str:
    # a9059cbb: transfer(address,uint256), ERC-20.
    return f"0xa9059cbb{_padded(ACCOUNTS[2])[2:]}{_amount(number, index):064x}"


# Every block's logs have the same addresses and topics.
_BLOOM_BITS: Final = [
    _bloom(TOKEN, TRANSFER_TOPIC, _padded(sender), _padded(ACCOUNTS[2])) for sender in BUSY_ACCOUNTS
]
_BLOOMS: Final = [f"0x{bits:0512x}" for bits in _BLOOM_BITS]
_BLOOM: Final = f"0x{_BLOOM_BITS[0] | _BLOOM_BITS[1]:0512x}"
