"""How an answer names the block that it is in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.answers import NAMING_BLOCK, told_by
from rpcproxy.chains.evm.claims import Claim, as_pending, asked_block, claim_of
from rpcproxy.chains.evm.methods import METHODS, describe

HASH = "0x" + "cd" * 32
OTHER = "0x" + "ab" * 32
NO_HASH = "0x" + "00" * 32
TX = "0x" + "12" * 32
MINED = {"blockNumber": "0x10", "blockHash": HASH}
BLOCK = {"number": "0x10", "hash": HASH}
WAITING = {"hash": TX, "blockNumber": None, "blockHash": None}
RECEIPT = "eth_getTransactionReceipt"
BY_HASH = "eth_getTransactionByHash"
AT = "eth_getTransactionByBlockNumberAndIndex"
IN = "eth_getTransactionByBlockHashAndIndex"
RECEIPTS = "eth_getBlockReceipts"
FINE, UNMINED, VAGUE, FALSE = Claim


def claimed(name: str, params: list[Any], result: Any) -> Claim:
    method = describe(name)
    text = json.dumps(result).encode()
    return claim_of(method, json.dumps(params).encode(), text, told_by(method, text))


@pytest.mark.parametrize(
    ("name", "params", "result", "claim"),
    [
        (RECEIPT, [TX], MINED, FINE),
        # Parity and its kin: openethereum 3569, go-ethereum 1425, MetaMask 1163, viem 4012
        (RECEIPT, [TX], {"blockNumber": None, "blockHash": None, "status": None}, UNMINED),
        (RECEIPT, [TX], {}, UNMINED),  # rust-web3 749
        (RECEIPT, [TX], {"status": "0x1"}, UNMINED),
        (RECEIPT, [TX], {"blockNumber": "0x11", "blockHash": NO_HASH}, UNMINED),  # reth 18374
        (RECEIPT, [TX], {"blockNumber": "0x11", "blockHash": None}, UNMINED),
        (RECEIPT, [TX], {"blockNumber": None, "blockHash": HASH}, UNMINED),
        (RECEIPT, [TX], {"blockHash": HASH}, UNMINED),
        (RECEIPT, [TX], {"blockNumber": "0x10"}, VAGUE),
        (RECEIPT, [TX], {"blockNumber": "0x10", "blockHash": ""}, UNMINED),
        (RECEIPT, [TX], {"blockNumber": "0x10", "blockHash": "0x"}, UNMINED),
        (RECEIPT, [TX], {"blockNumber": "", "blockHash": HASH}, FALSE),
        (RECEIPT, [TX], {**MINED, "logs": [{**MINED}]}, FINE),
        (RECEIPT, [TX], {**MINED, "logs": [{**MINED, "blockHash": OTHER}]}, VAGUE),
        (RECEIPT, [TX], {**MINED, "logs": [{**MINED, "blockHash": None}]}, VAGUE),
        (RECEIPT, [TX], [], FALSE),
        (RECEIPT, [TX], "0x", FALSE),
        (BY_HASH, [TX], MINED, FINE),
        (BY_HASH, [TX], WAITING, FINE),
        (BY_HASH, [TX], {"hash": TX}, FINE),
        (BY_HASH, [TX], {"hash": TX, "blockNumber": None}, FINE),
        (BY_HASH, [TX], {}, FALSE),
        (BY_HASH, [TX], {"nonce": "0x1"}, FALSE),
        (BY_HASH, [TX], {**WAITING, "blockNumber": "0x11"}, UNMINED),
        (BY_HASH, [TX], {**WAITING, "blockHash": NO_HASH}, UNMINED),
        (BY_HASH, [TX], {**WAITING, "blockNumber": "0x11", "blockHash": NO_HASH}, UNMINED),
        (BY_HASH, [TX], {**WAITING, "blockHash": HASH}, VAGUE),
        (BY_HASH, [TX], {"hash": TX, "blockNumber": "0x10"}, VAGUE),
        (AT, ["0x10", "0x0"], MINED, FINE),
        (AT, ["0x11", "0x0"], MINED, FALSE),
        (AT, ["latest", "0x0"], MINED, FINE),
        (AT, ["pending", "0x0"], WAITING, FINE),
        (AT, ["0x10", "0x0"], WAITING, VAGUE),
        (AT, ["0x10", "0x0"], {}, FALSE),
        (AT, ["0x10", "0x0"], {"hash": TX, "blockNumber": "0x10"}, VAGUE),
        (IN, [HASH, "0x0"], MINED, FINE),
        (IN, [OTHER, "0x0"], MINED, VAGUE),
        ("eth_getBlockByNumber", ["0x10", False], BLOCK, FINE),
        ("eth_getBlockByNumber", ["0x11", False], BLOCK, FALSE),
        ("eth_getBlockByNumber", ["latest", False], BLOCK, FINE),
        ("eth_getBlockByNumber", ["pending", False], {"number": "0x11", "hash": None}, FINE),
        ("eth_getBlockByNumber", ["0x10", False], {"number": "0x10"}, VAGUE),
        ("eth_getBlockByNumber", ["0x10", False], {"number": "0x10", "hash": NO_HASH}, FALSE),
        ("eth_getBlockByNumber", ["0x10", False], {}, FALSE),
        ("eth_getHeaderByNumber", ["0x11"], BLOCK, FALSE),
        ("eth_getHeaderByHash", [OTHER], BLOCK, FALSE),
        ("eth_getHeaderByHash", [HASH], BLOCK, FINE),
        ("erigon_getHeaderByHash", [OTHER], BLOCK, FALSE),
        ("eth_getBlockByHash", [HASH, False], {"hash": HASH}, FALSE),
        (RECEIPTS, ["0x10"], [MINED, MINED], FINE),
        (RECEIPTS, ["0x10"], [], FINE),
        (RECEIPTS, ["0x11"], [MINED], FALSE),
        (RECEIPTS, [OTHER], [MINED], VAGUE),
        (RECEIPTS, [{"blockHash": OTHER}], [MINED], VAGUE),
        (RECEIPTS, ["0x10"], [MINED, {**MINED, "blockHash": OTHER}], VAGUE),
        (RECEIPTS, ["0x10"], [MINED, {**MINED, "blockHash": None}], VAGUE),
        (RECEIPTS, ["0x10"], [MINED, {**MINED, "blockHash": HASH.upper().replace("X", "x")}], FINE),
        (RECEIPTS, ["0x10"], [{"blockNumber": "0x10", "blockHash": NO_HASH}], VAGUE),
        (RECEIPTS, ["0x10"], [{"blockNumber": "0x10"}], VAGUE),
        (RECEIPTS, ["0x10"], [{}], VAGUE),
        (RECEIPTS, ["pending"], [{"blockNumber": "0x11", "blockHash": NO_HASH}], FINE),
        ("trace_block", ["0x10"], [{"blockNumber": 16, "blockHash": HASH}], FINE),
        ("trace_block", ["0x11"], [{"blockNumber": 16, "blockHash": HASH}], FALSE),
        ("trace_transaction", [TX], [{"blockNumber": 16, "blockHash": HASH}], FINE),
        ("trace_transaction", [TX], [{"blockNumber": 17, "blockHash": NO_HASH}], VAGUE),
        ("trace_transaction", [TX], [], FINE),
        ("eth_getBalance", [TX, "0x10"], "0x1", FINE),
    ],
)
def test_how_a_block_is_named(name: str, params: list[Any], result: Any, claim: Claim) -> None:
    assert claimed(name, params, result) is claim


@given(st.sampled_from(sorted(NAMING_BLOCK)), st.binary(), st.binary())
def test_any_bytes_are_taken(name: str, params: bytes, result: bytes) -> None:
    method = describe(name)
    assert claim_of(method, params, result, told_by(method, result)) in Claim


@pytest.mark.parametrize(
    ("name", "params", "asked"),
    [
        ("eth_getBlockByNumber", ["0x10", False], (16, "")),
        ("eth_getBlockByNumber", ["latest", False], (-1, "")),
        ("eth_getBlockByHash", [HASH.upper().replace("X", "x"), False], (-1, HASH)),
        (RECEIPTS, [{"blockHash": HASH}], (-1, HASH)),
        (RECEIPTS, [HASH], (-1, HASH)),
        (IN, [HASH, "0x0"], (-1, HASH)),
        (AT, ["0x10", "0x0"], (16, "")),
        (BY_HASH, [TX], (-1, "")),
        ("eth_getLogs", [{"topics": [TX], "blockHash": HASH}], (-1, HASH)),
        ("eth_getLogs", [{"fromBlock": "0x1", "toBlock": "0x10", "topics": [TX]}], (-1, "")),
        ("eth_getLogs", [], (-1, "")),
        ("eth_getLogs", ["x"], (-1, "")),
        ("debug_traceBlockByHash", [HASH, {}], (-1, HASH)),
        ("eth_getBlockTransactionCountByHash", [HASH], (-1, HASH)),
        ("debug_traceTransaction", [TX], (-1, "")),
        ("eth_getTransactionByBlockHashAndIndex", ["0x1", "0x0"], (-1, "")),
    ],
)
def test_the_block_that_is_asked_for(name: str, params: list[Any], asked: tuple[int, str]) -> None:
    assert asked_block(describe(name), json.dumps(params).encode()) == asked


def test_what_is_looked_up_by_a_blocks_hash() -> None:
    found = {name for name, method in METHODS.items() if method.is_by_block_hash}
    assert found == {
        *("eth_getBlockByHash", "eth_getHeaderByHash", "erigon_getHeaderByHash"),
        *("eth_getBlockTransactionCountByHash", "eth_getUncleCountByBlockHash"),
        *("eth_getUncleByBlockHashAndIndex", "eth_getTransactionByBlockHashAndIndex"),
        *("eth_getRawTransactionByBlockHashAndIndex", "debug_traceBlockByHash"),
    }


def test_a_transaction_that_waits_has_no_block() -> None:
    odd = {"hash": TX, **MINED, "transactionIndex": "0x0", "nonce": "0x1", "blockTimestamp": "0x5"}
    assert json.loads(bytes(as_pending(json.dumps(odd).encode()))) == {
        "hash": TX,
        "blockNumber": None,
        "blockHash": None,
        "transactionIndex": None,
        "nonce": "0x1",
    }
