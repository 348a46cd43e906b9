import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.blocks import head_of_block, parse_quantity, required_block
from rpcproxy.chains.evm.methods import METHODS, describe
from rpcproxy.chains.parts.asked_at import EARLIEST, FINALIZED, HASH, LATEST, NONE, PENDING, SAFE
from rpcproxy.messages import Head

ADDRESS = "0x" + "ab" * 20
BLOCK_HASH = "0x" + "cd" * 32
CALL = {"to": ADDRESS, "data": "0x12"}


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("as_raw", [True, False])
@pytest.mark.parametrize(
    ("name", "params", "need"),
    [
        ("eth_call", [CALL, "latest"], LATEST),
        ("eth_call", [CALL, "pending"], PENDING),
        ("eth_call", [CALL, "safe"], SAFE),
        ("eth_call", [CALL, "finalized"], FINALIZED),
        ("eth_call", [CALL, "earliest"], EARLIEST),
        ("eth_call", [CALL, "0x0"], 0),
        ("eth_call", [CALL, "0x10"], 16),
        ("eth_call", [CALL, "0x10", {ADDRESS: {"code": "0x"}}], 16),
        ("eth_call", [CALL, None, {}], LATEST),
        ("eth_call", [CALL], LATEST),
        ("eth_call", [], LATEST),
        ("eth_call", [CALL, {"blockNumber": "0x11"}], 17),
        ("eth_call", [CALL, {"blockHash": BLOCK_HASH, "requireCanonical": True}], HASH),
        ("eth_call", [CALL, BLOCK_HASH], HASH),
        ("eth_call", [CALL, "0x" + "zz" * 32], NONE),
        ("eth_call", [CALL, {}], NONE),
        ("eth_call", [CALL, {"blockNumber": 3}], NONE),
        ("eth_call", [CALL, "LATEST"], NONE),
        ("eth_call", [CALL, "17"], NONE),
        ("eth_call", [CALL, ""], NONE),
        ("eth_call", [CALL, "0x"], NONE),
        ("eth_call", [CALL, "0x1g"], NONE),
        ("eth_call", [CALL, True], NONE),
        ("eth_call", [CALL, [1]], NONE),
        ("eth_call", [CALL, 1.5], NONE),
        ("eth_call", [CALL, "0x" + "f" * 17], NONE),
        ("eth_call", {"to": ADDRESS}, NONE),
        ("eth_getBalance", [ADDRESS, "0x10"], 16),
        ("eth_getBalance", [ADDRESS], LATEST),
        # A string that looks like the end of the params
        ("eth_call", [{"data": ',"latest"]'}], LATEST),
        ("eth_call", [CALL, ',"0x1'], NONE),
        # The storage slot is not a block
        ("eth_getStorageAt", [ADDRESS, "0x0"], LATEST),
        ("eth_getStorageAt", [ADDRESS, "0x0", "0x5"], 5),
        ("eth_getProof", [ADDRESS, ["0x0"], "0x5"], 5),
        ("eth_getProof", [ADDRESS, ["0x0"]], LATEST),
        ("trace_call", [CALL, ["trace"], "0x6"], 6),
        ("eth_feeHistory", ["0x5", "0x20", [10, 50]], 32),
        ("eth_feeHistory", ["0x5", "latest", []], LATEST),
        ("eth_getBlockByNumber", ["0x10", False], 16),
        ("eth_getBlockByNumber", ["latest", False], LATEST),
        ("eth_getBlockByNumber", ["finalized", True], FINALIZED),
        ("eth_getBlockByNumber", [], LATEST),
        ("eth_getBlockReceipts", [BLOCK_HASH], HASH),
        ("eth_getBlockReceipts", ["0x7"], 7),
        ("zks_getBlockDetails", [42], 42),
        ("zks_getBlockDetails", [-1], NONE),
        ("zks_getBlockDetails", [2**64 - 1], 2**64 - 1),
        ("zks_getBlockDetails", [2**64], NONE),
        ("eth_getLogs", [{"fromBlock": "0x1", "toBlock": "0x9"}], 9),
        ("eth_getLogs", [{"fromBlock": "0x9", "toBlock": "0x1"}], 9),
        ("eth_getLogs", [{"fromBlock": "0x9", "toBlock": "latest"}], 9),
        ("eth_getLogs", [{"fromBlock": "0x9"}], 9),
        ("eth_getLogs", [{"fromBlock": "earliest"}], LATEST),
        ("eth_getLogs", [{"fromBlock": "earliest", "toBlock": "finalized"}], FINALIZED),
        ("eth_getLogs", [{"fromBlock": "latest", "toBlock": "pending"}], PENDING),
        ("eth_getLogs", [{"blockHash": BLOCK_HASH}], HASH),
        ("eth_getLogs", [{"fromBlock": "x"}], NONE),
        ("eth_getLogs", [{}], LATEST),
        ("eth_getLogs", [], LATEST),
        ("eth_getLogs", ["0x1"], NONE),
        ("trace_filter", [{"fromBlock": "0x1", "toBlock": "0x2"}], 2),
        ("eth_getTransactionReceipt", [BLOCK_HASH], NONE),
        ("eth_blockNumber", [], NONE),
    ],
)
def test_the_block_that_a_request_needs(name, params, need, as_raw, separators):
    text = json.dumps(params, separators=separators).encode()
    assert required_block(describe(name), msgspec.Raw(text) if as_raw else text) == need


@pytest.mark.parametrize(
    ("params", "need"),
    [
        (b"", LATEST),
        (b"null", LATEST),
        (b' [ {} , "0x10" ] \n', 16),
        (b"[", NONE),
        (b'[{},"\xff"]', NONE),
        (b'[{},"\\u006catest"]', LATEST),
        (b'[{},"0X1f"]', 31),
        (b"[{}," + b"[" * 5_000, NONE),
    ],
)
def test_params_in_odd_spellings(params, need):
    assert required_block(describe("eth_call"), params) == need


def test_a_large_call_is_read_from_its_end():
    params = b'[{"data":"0x' + b"ab" * 500_000 + b'"},"0x20"]'
    assert required_block(describe("eth_call"), msgspec.Raw(params)) == 32


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["latest", "0x1"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(METHODS)), _json_values | st.lists(_json_values))
def test_any_json_has_a_need(name, params):
    need = required_block(describe(name), json.dumps(params).encode())
    assert isinstance(need, int)
    assert need >= NONE


@given(st.sampled_from(["eth_call", "eth_getLogs", "eth_getBlockByNumber"]), st.binary())
def test_any_bytes_have_a_need(name, params):
    assert required_block(describe(name), params) >= NONE


@given(st.integers(0, 2**64 - 1), st.lists(_json_values, min_size=1, max_size=1))
def test_a_number_is_found_whatever_stands_before_it(number, first):
    params = json.dumps([*first, hex(number)]).encode()
    assert required_block(describe("eth_call"), params) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b'"0x0"', 0),
        (b'"0x1a"', 26),
        (b'"0x00ff"', 255),
        (b'"0x' + b"f" * 64 + b'"', 2**256 - 1),
        (b'"0x' + b"f" * 65 + b'"', None),
        (b'"0x"', None),
        (b'"1a"', None),
        (b'"0x_1"', None),
        (b'"0x1 "', None),
        (b"null", None),
        (b"26", None),
        (b"", None),
        (b'"\xff"', None),
    ],
)
def test_quantities(text, number):
    assert parse_quantity(text) == number
    if text:
        assert parse_quantity(msgspec.Raw(text)) == number


def test_the_head_of_a_block():
    block = {
        "number": "0x10",
        "hash": "0xAA",
        "parentHash": "0xBB",
        "timestamp": "0x64",
        "transactions": ["0x1"],
    }
    assert head_of_block(json.dumps(block).encode()) == Head(16, "0xaa", "0xbb", 100)


@pytest.mark.parametrize(
    ("result", "head"),
    [
        (b'{"number":"0x10"}', Head(16)),
        (b'{"number":"0x10","hash":null,"parentHash":null,"timestamp":null}', Head(16)),
        (b'{"number":"0x10","timestamp":7}', Head(16, timestamp=7)),
        (b'{"number":"0x10","timestamp":"soon"}', Head(16)),
        (b'{"number":null}', None),
        (b'{"number":"ten"}', None),
        (b'{"number":16}', None),
        (b"null", None),
        (b'"0x10"', None),
        (b"", None),
        (b"{", None),
    ],
)
def test_heads_half_told(result, head):
    assert head_of_block(result) == head
