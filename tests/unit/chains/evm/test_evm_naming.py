"""How an answer names the block that it is in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.answers import NAMING_BLOCK
from rpcproxy.chains.evm.methods import METHODS, describe
from rpcproxy.chains.evm.naming import (
    as_pending,
    asked_block,
    asked_key,
    keys_in,
    of_block,
    of_search,
)
from rpcproxy.chains.parts.claims import Claims, Naming

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
CLEAR, NOWHERE, VAGUE, WRONG = Naming


def named(name: str, params: list[Any], result: Any) -> Naming:
    text = json.dumps(result).encode()
    return of_block(describe(name), json.dumps(params).encode(), text).naming


@pytest.mark.parametrize(
    ("name", "params", "result", "naming"),
    [
        (RECEIPT, [TX], MINED, CLEAR),
        # Parity and its kin: openethereum 3569, go-ethereum 1425, MetaMask 1163, viem 4012
        (RECEIPT, [TX], {"blockNumber": None, "blockHash": None, "status": None}, NOWHERE),
        (RECEIPT, [TX], {}, NOWHERE),  # rust-web3 749
        (RECEIPT, [TX], {"status": "0x1"}, NOWHERE),
        (RECEIPT, [TX], {"blockNumber": "0x11", "blockHash": NO_HASH}, NOWHERE),  # reth 18374
        (RECEIPT, [TX], {"blockNumber": "0x11", "blockHash": None}, NOWHERE),
        (RECEIPT, [TX], {"blockNumber": None, "blockHash": HASH}, NOWHERE),
        (RECEIPT, [TX], {"blockHash": HASH}, NOWHERE),
        (RECEIPT, [TX], {"blockNumber": "0x10"}, VAGUE),
        (RECEIPT, [TX], {"blockNumber": "0x10", "blockHash": ""}, NOWHERE),
        (RECEIPT, [TX], {"blockNumber": "0x10", "blockHash": "0x"}, NOWHERE),
        (RECEIPT, [TX], {"blockNumber": "", "blockHash": HASH}, WRONG),
        (RECEIPT, [TX], {**MINED, "logs": [{**MINED}]}, CLEAR),
        (RECEIPT, [TX], {**MINED, "logs": [{**MINED, "blockHash": OTHER}]}, VAGUE),
        (RECEIPT, [TX], {**MINED, "logs": [{**MINED, "blockHash": None}]}, VAGUE),
        (RECEIPT, [TX], [], WRONG),
        (RECEIPT, [TX], "0x", WRONG),
        (BY_HASH, [TX], MINED, CLEAR),
        (BY_HASH, [TX], WAITING, CLEAR),
        (BY_HASH, [TX], {"hash": TX}, CLEAR),
        (BY_HASH, [TX], {"hash": TX, "blockNumber": None}, CLEAR),
        (BY_HASH, [TX], {}, WRONG),
        (BY_HASH, [TX], {**MINED, "hash": TX.upper().replace("X", "x")}, CLEAR),
        (BY_HASH, [TX], {**MINED, "hash": OTHER}, WRONG),
        (BY_HASH, [TX], {**WAITING, "hash": OTHER}, WRONG),
        (BY_HASH, ["0x1"], {**MINED, "hash": OTHER}, CLEAR),
        (RECEIPT, [TX], {"transactionHash": OTHER, "blockNumber": None}, WRONG),
        (
            RECEIPT,
            [TX],
            {"transactionHash": TX, "logs": [{"transactionHash": OTHER}], **MINED},
            CLEAR,
        ),
        ("trace_transaction", [TX], [{**MINED, "transactionHash": OTHER}], CLEAR),
        (BY_HASH, [TX], {"nonce": "0x1"}, WRONG),
        (BY_HASH, [TX], {**WAITING, "blockNumber": "0x11"}, NOWHERE),
        (BY_HASH, [TX], {**WAITING, "blockHash": NO_HASH}, NOWHERE),
        (BY_HASH, [TX], {**WAITING, "blockNumber": "0x11", "blockHash": NO_HASH}, NOWHERE),
        (BY_HASH, [TX], {**WAITING, "blockHash": HASH}, VAGUE),
        (BY_HASH, [TX], {"hash": TX, "blockNumber": "0x10"}, VAGUE),
        (AT, ["0x10", "0x0"], MINED, CLEAR),
        (AT, ["0x11", "0x0"], MINED, WRONG),
        (AT, ["latest", "0x0"], MINED, CLEAR),
        (AT, ["pending", "0x0"], WAITING, CLEAR),
        (AT, ["0x10", "0x0"], WAITING, VAGUE),
        (AT, ["0x10", "0x0"], {}, WRONG),
        (AT, ["0x10", "0x0"], {"hash": TX, "blockNumber": "0x10"}, VAGUE),
        (IN, [HASH, "0x0"], MINED, CLEAR),
        (IN, [OTHER, "0x0"], MINED, VAGUE),
        ("eth_getBlockByNumber", ["0x10", False], BLOCK, CLEAR),
        ("eth_getBlockByNumber", ["0x11", False], BLOCK, WRONG),
        ("eth_getBlockByNumber", ["latest", False], BLOCK, CLEAR),
        ("eth_getBlockByNumber", ["latest", False], [1], WRONG),
        ("eth_getBlockByNumber", [HASH, False], [1], WRONG),
        ("eth_getBlockByNumber", ["?", False], [1], CLEAR),  # the upstream says what it wants
        ("eth_getHeaderByNumber", ["latest"], [1], CLEAR),
        ("eth_getBlockByNumber", ["pending", False], {"number": "0x11", "hash": None}, CLEAR),
        ("eth_getBlockByNumber", ["0x10", False], {"number": "0x10"}, VAGUE),
        ("eth_getBlockByNumber", ["0x10", False], {"number": "0x10", "hash": NO_HASH}, WRONG),
        ("eth_getBlockByNumber", ["0x10", False], {}, WRONG),
        ("eth_getHeaderByNumber", ["0x11"], BLOCK, WRONG),
        ("eth_getHeaderByHash", [OTHER], BLOCK, WRONG),
        ("eth_getHeaderByHash", [HASH], BLOCK, CLEAR),
        ("erigon_getHeaderByHash", [OTHER], BLOCK, WRONG),
        ("eth_getBlockByHash", [HASH, False], {"hash": HASH}, WRONG),
        (RECEIPTS, ["0x10"], [MINED, MINED], CLEAR),
        (RECEIPTS, ["0x10"], [], CLEAR),
        (RECEIPTS, ["0x11"], [MINED], WRONG),
        (RECEIPTS, [OTHER], [MINED], VAGUE),
        (RECEIPTS, [{"blockHash": OTHER}], [MINED], VAGUE),
        (RECEIPTS, ["0x10"], [MINED, {**MINED, "blockHash": OTHER}], VAGUE),
        (RECEIPTS, ["0x10"], [MINED, {**MINED, "blockHash": None}], VAGUE),
        (
            RECEIPTS,
            ["0x10"],
            [MINED, {**MINED, "blockHash": HASH.upper().replace("X", "x")}],
            CLEAR,
        ),
        (RECEIPTS, ["0x10"], [{"blockNumber": "0x10", "blockHash": NO_HASH}], VAGUE),
        (RECEIPTS, ["0x10"], [{"blockNumber": "0x10"}], VAGUE),
        (RECEIPTS, ["0x10"], [{}], VAGUE),
        (RECEIPTS, ["pending"], [{"blockNumber": "0x11", "blockHash": NO_HASH}], CLEAR),
        ("trace_block", ["0x10"], [{"blockNumber": 16, "blockHash": HASH}], CLEAR),
        ("trace_block", ["0x11"], [{"blockNumber": 16, "blockHash": HASH}], WRONG),
        ("trace_transaction", [TX], [{"blockNumber": 16, "blockHash": HASH}], CLEAR),
        ("trace_transaction", [TX], [{"blockNumber": 17, "blockHash": NO_HASH}], VAGUE),
        ("trace_transaction", [TX], [], CLEAR),
        ("eth_getBalance", [TX, "0x10"], "0x1", CLEAR),
    ],
)
def test_how_a_block_is_named(name: str, params: list[Any], result: Any, naming: Naming) -> None:
    assert named(name, params, result) is naming


@given(st.sampled_from(sorted(NAMING_BLOCK)), st.binary(), st.binary())
def test_any_bytes_are_taken(name: str, params: bytes, result: bytes) -> None:
    method = describe(name)
    assert of_block(method, params, result).naming in Naming


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


@given(st.binary(min_size=1))
def test_what_is_no_transaction_stays_as_it_is(some: bytes) -> None:
    assert bytes(as_pending(some)) == some
    assert bytes(Claims().as_waiting(some)) == some


def test_a_transaction_that_waits_has_no_block() -> None:
    odd = {"hash": TX, **MINED, "transactionIndex": "0x0", "nonce": "0x1", "blockTimestamp": "0x5"}
    assert json.loads(bytes(as_pending(json.dumps(odd).encode()))) == {
        "hash": TX,
        "blockNumber": None,
        "blockHash": None,
        "transactionIndex": None,
        "nonce": "0x1",
    }


def test_what_a_chain_without_hashes_does_not_miss() -> None:
    method, text = describe("eth_getBlockByNumber"), b'{"number":"0x10","hash":null}'
    block = of_block(method, b'["0x10",false]', text, tells_hashes=False)
    assert block == ((16, ""), VAGUE)
    assert of_block(method, b'["0x11",false]', text, tells_hashes=False).naming is WRONG
    by_hash, asked = describe("eth_getBlockByHash"), b'["%b",false]' % HASH.encode()
    assert of_block(by_hash, asked, text, tells_hashes=False) == ((16, ""), VAGUE)
    assert of_block(by_hash, asked, b'{"number":"0x10"}', tells_hashes=False).naming is VAGUE
    assert of_block(by_hash, asked, b'{"number":"0x10"}').naming is WRONG
    assert of_block(describe("eth_getHeaderByHash"), asked, b'{"number":"0x10"}').naming is VAGUE
    assert of_block(method, b'["0x10",false]', text) == ((-1, ""), WRONG)


@pytest.mark.parametrize(
    ("params", "key"),
    [
        (b'["%b"]' % TX.encode(), TX),
        (b'[ "0X%b" , true]' % HASH[2:].upper().encode(), HASH),
        (b'["0x1"]', ""),
        (b'[{"blockHash":"%b"}]' % HASH.encode(), ""),
        (b"null", ""),
        (b"", ""),
    ],
)
def test_the_key_of_what_is_looked_up(params: bytes, key: str) -> None:
    assert asked_key(params) == key


def test_the_keys_in_a_list() -> None:
    logs = json.dumps([{"transactionHash": TX, "blockHash": HASH}] * 2).encode()
    assert list(keys_in(logs)) == [TX]
    block = json.dumps({"hash": HASH, "transactions": [{"hash": "0X" + "AB" * 32}]}).encode()
    assert set(keys_in(block)) == {HASH, OTHER}


@pytest.mark.parametrize(
    ("filter", "logs", "claim"),
    [
        ({"fromBlock": "0x1", "toBlock": "0x10"}, [MINED], (1, 16, "", {(16, HASH)}, False)),
        ({"fromBlock": "0x1", "toBlock": "0x10"}, [], (1, 16, "", set(), False)),
        ({"fromBlock": "0x1", "toBlock": "0x10"}, [{}], (1, 16, "", set(), True)),
        ({"fromBlock": "0x1"}, [MINED], (0, -1, "", {(16, HASH)}, False)),
        ({"blockHash": HASH}, [MINED], (0, -1, HASH, {(16, HASH)}, False)),
        ({"blockHash": OTHER}, [MINED], (0, -1, OTHER, {(16, HASH)}, True)),
        ({"blockHash": OTHER}, "?", (0, -1, OTHER, set(), True)),
    ],
)
def test_what_a_search_claims(filter: Any, logs: Any, claim: Any) -> None:
    params = json.dumps([filter]).encode()
    assert of_search(describe("eth_getLogs"), params, json.dumps(logs).encode()) == claim
