"""What is asked of EVM upstreams, beside what clients ask.

Sources: execution-apis (``eth_getBlockByNumber`` and its tags), EIP-1898 (state at a hash).
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Final

from rpcproxy.chains.evm.blocks import head_of_block, parse_quantity, payee_of
from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.kind import Questions
from rpcproxy.chains.parts.inquiries import Inquiry, JsonText, Question, single
from rpcproxy.messages import Head

_BLOCK: Final = describe("eth_getBlockByNumber")
_BLOCK_BY_HASH: Final = describe("eth_getBlockByHash")
_BALANCE: Final = describe("eth_getBalance")


def _anything(result: JsonText) -> object:
    """Only the verdict counts."""
    return result


def _identity(result: JsonText) -> str | None:
    """The chain id in decimal digits."""
    chain_id = parse_quantity(result)
    return None if chain_id is None else str(chain_id)


def _with_hash(result: JsonText) -> Head | None:
    block = head_of_block(result)
    return block if block is not None and block.hash else None


CHAIN_ID: Final = Question(describe("eth_chainId"), b"[]", _identity)
NEWEST: Final = Question(_BLOCK, b'["latest",false]', head_of_block)
SAFE: Final = Question(_BLOCK, b'["safe",false]', head_of_block)
FINALIZED: Final = Question(_BLOCK, b'["finalized",false]', head_of_block)
BLOCK_0: Final = Question(_BLOCK, b'["0x0",false]', _with_hash)
# Logs of one block from an address that has none.
LOGS: Final[Question[object]] = Question(
    describe("eth_getLogs"),
    b'[{"fromBlock":"latest","toBlock":"latest","address":"0x%040d"}]' % 0,
    _anything,
)


def header(hash: str) -> Inquiry[Head]:
    """The header of the block with this hash."""

    def read(result: JsonText) -> Head | None:
        block = head_of_block(result)
        return block if block is not None and block.hash == hash else None

    return single(Question(_BLOCK_BY_HASH, b'["%b",false]' % hash.encode(), read))


def state(block: bytes, number: int) -> Question[Hashable] | None:
    """The balance of whom a block pays its fees to: it changes with each block."""
    payee = payee_of(block)
    if payee is None:
        return None
    return Question(_BALANCE, b'["%b","0x%x"]' % (payee.encode(), number), parse_quantity)


def hash_proof(block: bytes, hash: str) -> tuple[Question[object], Question[object]] | None:
    """The same balance by EIP-1898's object, once at the block and once at no block."""
    payee = payee_of(block)
    if payee is None:
        return None
    # The digits turned around are the hash of no block.
    return _at_hash(payee, hash), _at_hash(payee, "0x" + hash[:1:-1])


def _at_hash(payee: str, hash: str) -> Question[object]:
    params = b'["%b",{"blockHash":"%b"}]' % (payee.encode(), hash.encode())
    return Question(_BALANCE, params, _anything)


QUESTIONS: Final = Questions(
    identity=partial(single, CHAIN_ID),
    head=partial(single, NEWEST),
    header=header,
    genesis=partial(single, BLOCK_0),
    anchors={"safe": partial(single, SAFE), "finalized": partial(single, FINALIZED)},
    heavy=LOGS,
    state=state,
    hash_proof=hash_proof,
)
