import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.answers import (
    NONCES,
    nonce_of,
    told_by,
)
from rpcproxy.chains.evm.methods import METHODS, describe
from rpcproxy.chains.parts.claims import ToldBlock

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


COUNT = "eth_getTransactionCount"
FILL = "eth_fillTransaction"


@pytest.mark.parametrize(
    ("name", "params", "result", "claim"),
    [
        (COUNT, [ADDRESS, "0x10"], "0x1f", (ADDRESS, 31, False, "")),
        (COUNT, ["0X" + "AB" * 20, "pending"], "0x0", (ADDRESS, 0, True, "")),
        (COUNT, ["0x1", "latest"], "0x1f", None),
        (COUNT, [ADDRESS, "latest"], 31, None),
        (COUNT, {}, "0x1f", None),
        (
            FILL,
            [{}],
            {"tx": {"from": ADDRESS, "nonce": "0x5", "chainId": "0x7"}},
            (ADDRESS, 5, True, "7"),
        ),
        (FILL, [{"nonce": "0x9"}], {"tx": {"from": ADDRESS, "nonce": "0x9"}}, ("", 9, True, "")),
        (FILL, [{}], {"tx": {"from": ADDRESS, "chainId": "0x7"}}, ("", -1, True, "7")),
        (FILL, [{}], {"tx": {"nonce": "0x5", "chainId": "?"}}, ("", 5, True, "")),
        (FILL, [{}], {"raw": "0x"}, None),
        (FILL, [{}], [], None),
    ],
)
def test_what_an_answer_says_of_a_nonce(name, params, result, claim):
    texts = (json.dumps(params).encode(), json.dumps(result).encode())
    assert NONCES.read(describe(name), *texts) == claim


@given(st.sampled_from([COUNT, FILL]), st.binary(), st.binary())
def test_any_bytes_are_taken_for_a_nonce(name, params, result):
    assert NONCES.read(describe(name), params, result) is None
    assert NONCES.used_by(result) is None


def test_whose_nonce_a_transaction_uses():
    mined = {"from": ADDRESS.upper().replace("X", "x"), "nonce": "0x1f"}
    assert NONCES.used_by(json.dumps(mined).encode()) == (ADDRESS, 31)
    assert NONCES.used_by(json.dumps({"from": ADDRESS}).encode()) is None
    assert NONCES.text(31) == b'"0x1f"'
