import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.answers import (
    ToldBlock,
    join_lists,
    log_range,
    nonce_of,
    told_by,
    with_range,
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


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ([{"fromBlock": "0x1", "toBlock": "0x9"}], (1, 9)),
        ([{"fromBlock": "0x9", "toBlock": "0x9", "blockHash": None}, {}], (9, 9)),
        ([{"fromBlock": "0x9", "toBlock": "0x1"}], None),
        ([{"fromBlock": "0x9", "toBlock": "latest"}], None),
        ([{"fromBlock": "0x9"}], None),
        ([{"toBlock": "0x9"}], None),
        ([{"fromBlock": "0x1", "toBlock": "0x9", "blockHash": HASH}], None),
        ([{"fromBlock": "?", "toBlock": "0x9"}], None),
        (["0x1"], None),
        ([], None),
        (None, None),
        ({}, None),
    ],
)
def test_the_range_of_a_filter(params, expected):
    text = json.dumps(params).encode()
    assert log_range(text) == expected
    assert log_range(msgspec.Raw(text)) == expected


@given(st.binary())
def test_any_bytes_are_taken_for_a_filter(params):
    assert log_range(params) is None


def test_a_filter_over_another_range():
    params = b'[{"address":["0xAb"], "fromBlock":"0x1","topics":[ null ],"toBlock":"0x9"},{"a":1}]'
    assert with_range(params, 2, 5) == (
        b'[{"fromBlock":"0x2","toBlock":"0x5","address":["0xAb"],"topics":[ null ]},{"a":1}]'
    )
    assert log_range(with_range(msgspec.Raw(params), 2, 5)) == (2, 5)


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        ([], b"[]"),
        ([b"[]"], b"[]"),
        ([b"[]", b" [ ] ", b"[\n]"], b"[]"),
        ([b"[1]", b"[]", b" [ 2 , 3 ]\n"], b"[1,2 , 3]"),
        ([b"[]", b'["]["]'], b'["]["]'),
        ([msgspec.Raw(b"[[]]"), msgspec.Raw(b"[{}]")], b"[[],{}]"),
    ],
)
def test_lists_are_joined(parts, joined):
    assert join_lists(parts) == joined


@pytest.mark.parametrize("part", [b"null", b"", b"{}", b"[", b"1", b"[}"])
def test_only_lists_are_joined(part):
    with pytest.raises(ValueError, match="not a list"):
        join_lists([b"[1]", part])


@given(st.lists(st.lists(st.integers() | st.text() | st.lists(st.none()))))
def test_a_joined_list_has_every_member_in_order(lists):
    joined = join_lists([json.dumps(one, indent=len(one)).encode() for one in lists])
    assert json.loads(joined) == [member for one in lists for member in one]
