import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.answers import (
    ToldBlock,
    nonce_of,
    told_by,
)
from rpcproxy.chains.evm.methods import METHODS, describe

ADDRESS = "0x" + "ab" * 20
HASH = "0x" + "Cd" * 32
NO_HASH = "0x" + "00" * 32
IN_BLOCK = {"blockNumber": "0x10", "blockHash": HASH}
BLOCK = {"number": "0x10", "hash": HASH}
TOLD = ToldBlock(16, HASH.lower())
PENDING = ToldBlock(-1, "")
RECEIPT = {"logs": [{**IN_BLOCK, "data": "0x"}], "status": "0x1", **IN_BLOCK}


@pytest.mark.parametrize("as_raw", [True, False])
@pytest.mark.parametrize(
    ("name", "result", "told"),
    [
        ("eth_getTransactionReceipt", RECEIPT, TOLD),
        ("eth_sendRawTransactionSync", RECEIPT, TOLD),
        ("eth_getTransactionByHash", {**IN_BLOCK, "hash": "0x1"}, TOLD),
        ("eth_getTransactionByHash", {"blockNumber": None, "blockHash": None}, PENDING),
        ("eth_getTransactionByHash", {"blockNumber": "0x11", "blockHash": None}, PENDING),
        ("eth_getTransactionByHash", {"blockNumber": "0x11", "blockHash": NO_HASH}, PENDING),
        ("eth_getTransactionByHash", {"blockNumber": None}, PENDING),
        ("eth_getTransactionByHash", {"blockNumber": "0x11"}, ToldBlock(17, "")),
        ("eth_getTransactionByHash", {"blockNumber": "x", "blockHash": HASH}, None),
        ("eth_getTransactionByHash", {"blockNumber": "0x1", "blockHash": 5}, None),
        ("eth_getTransactionByHash", None, None),
        ("eth_getTransactionByHash", [], None),
        ("eth_getTransactionByBlockHashAndIndex", IN_BLOCK, TOLD),
        ("eth_getTransactionByBlockNumberAndIndex", IN_BLOCK, TOLD),
        ("eth_getBlockByNumber", {**BLOCK, "transactions": [{"hash": "0x1"}]}, TOLD),
        ("eth_getBlockByNumber", {"number": "0x11", "hash": None}, PENDING),
        ("eth_getBlockByNumber", None, None),
        ("eth_getBlockByHash", BLOCK, TOLD),
        ("eth_getHeaderByHash", BLOCK, TOLD),
        ("eth_getUncleByBlockHashAndIndex", BLOCK, None),
        ("eth_getBlockReceipts", [RECEIPT, RECEIPT], TOLD),
        ("eth_getBlockReceipts", [{"contract": '"blockNumber":"0x5"', **IN_BLOCK}], TOLD),
        ("eth_getBlockReceipts", [{"blockNumber": "0x11", "blockHash": None}], PENDING),
        ("eth_getBlockReceipts", [{"blockNumber": "0x11", "blockHash": NO_HASH}], PENDING),
        ("eth_getBlockReceipts", [{"blockNumber": "0x11"}], ToldBlock(17, "")),
        ("eth_getBlockReceipts", [], None),
        ("eth_getBlockReceipts", None, None),
        ("trace_transaction", [{"action": {}, "blockNumber": 16, "blockHash": HASH}], TOLD),
        ("eth_getLogs", [IN_BLOCK], None),
        ("eth_getRawTransactionByHash", "0x02", None),
        ("eth_getBalance", "0x10", None),
    ],
)
def test_the_block_an_answer_is_in(name, result, told, as_raw):
    for separators in ((",", ":"), (", ", ": ")):
        text = json.dumps(result, separators=separators).encode()
        assert told_by(describe(name), msgspec.Raw(text) if as_raw else text) == told


@given(st.sampled_from(sorted(METHODS)), st.binary())
def test_any_bytes_are_taken_for_an_answer(name, result):
    assert told_by(describe(name), result) in {None, PENDING}


@pytest.mark.parametrize(
    ("result", "nonce"),
    [
        (b'"0x0"', 0),
        (b'"0x1f"', 31),
        (b'"0xffffffffffffffff"', 2**64 - 1),
        (b'"0x10000000000000000"', None),
        (b"null", None),
        (b"31", None),
        (b"", None),
    ],
)
def test_nonces(result, nonce):
    assert nonce_of(result) == nonce
    if result:
        assert nonce_of(msgspec.Raw(result)) == nonce
