"""What two results of EVM nodes mean, and where they part."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from rpcproxy.chains.evm.compare import EVM_COMPARISON
from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.method import MethodKind
from rpcproxy.rules.requests.audit import LARGEST_READ_BYTES, LONGEST_PATH, Comparer

COMPARER = Comparer(EVM_COMPARISON)
HASH = "0x" + "0a" * 32
OTHER = "0x" + "0b" * 32
ADDRESS = "0x" + "Ab" * 20
LOG: dict[str, Any] = {
    "address": ADDRESS,
    "topics": [HASH],
    "data": "0x00",
    "blockHash": HASH,
    "blockNumber": "0x10",
    "transactionHash": HASH,
    "logIndex": "0x0",
}
RECEIPT: dict[str, Any] = {
    "transactionHash": HASH,
    "blockHash": HASH,
    "blockNumber": "0x10",
    "status": "0x1",
    "gasUsed": "0x5208",
    "contractAddress": None,
    "logs": [LOG, {**LOG, "logIndex": "0x1", "data": "0x01"}],
}
TRANSACTION: dict[str, Any] = {
    "hash": HASH,
    "blockHash": HASH,
    "blockNumber": "0x10",
    "transactionIndex": "0x0",
    "from": ADDRESS,
    "to": None,
    "nonce": "0x7",
    "value": "0x0",
    "input": "0x00ff",
    "type": "0x2",
}
BLOCK: dict[str, Any] = {
    "hash": HASH,
    "number": "0x10",
    "parentHash": OTHER,
    "stateRoot": HASH,
    "transactionsRoot": HASH,
    "timestamp": "0x65",
    "baseFeePerGas": "0x7",
    "nonce": "0x0000000000000000",
    "transactions": [HASH, OTHER],
    "uncles": [],
}
OBJECTS = {
    "eth_getBlockByNumber": BLOCK,
    "eth_getTransactionReceipt": RECEIPT,
    "eth_getTransactionByHash": TRANSACTION,
}


def text(value: object) -> bytes:
    return msgspec.json.encode(value)


def same_meaning(method: str, one: bytes, other: bytes) -> bool:
    return not COMPARER.difference(method, one, other)


def parted(method: str, one: object, other: object) -> str:
    """Where they differ; the same from both sides."""
    where = COMPARER.difference(method, text(one), text(other))
    back = COMPARER.difference(method, text(other), text(one))
    assert bool(where) == bool(back) == (not same_meaning(method, text(one), text(other)))
    return where


def without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: held for name, held in value.items() if name not in names}


# ---- which methods


@pytest.mark.parametrize("method", EVM_COMPARISON.forms)
def test_only_reads_that_can_be_pinned_or_looked_up_are_audited(method: str) -> None:
    assert describe(method).kind in (MethodKind.BLOCK_READ, MethodKind.LOOKUP)


@pytest.mark.parametrize(
    "method",
    ["eth_estimateGas", "eth_gasPrice", "eth_feeHistory", "eth_getProof", "debug_traceCall"],
)
def test_where_honest_answers_differ_nothing_is_audited(method: str) -> None:
    assert method not in EVM_COMPARISON.forms


# ---- meaning


@pytest.mark.parametrize(
    ("method", "one", "other"),
    [
        ("eth_getBalance", b'"0x0A"', b'"0xa"'),
        ("eth_getBalance", b'"0x0"', b' "0x" '),
        ("eth_getBalance", b"10", b'"0xa"'),
        ("eth_getTransactionCount", b'"0x00"', b"0"),
        ("eth_getStorageAt", b'"0x' + b"0" * 64 + b'"', b'"0x0"'),
        ("eth_call", b'"0xAbCd"', b'"0XabcD"'),
        ("eth_getCode", b'"0x"', b'"0x"'),
        ("eth_getLogs", b"[]", b"[ ]"),
        ("eth_call", b'"not hex"', b'"not hex"'),
    ],
)
def test_one_meaning_in_two_spellings(method: str, one: bytes, other: bytes) -> None:
    assert same_meaning(method, one, other)
    assert COMPARER.fingerprint(method, one) == COMPARER.fingerprint(method, other)


@pytest.mark.parametrize(
    ("method", "one", "other"),
    [
        ("eth_getBalance", b'"0xa"', b'"0xb"'),
        ("eth_getStorageAt", b'"0x10"', b'"0x1"'),
        ("eth_call", b'"0x00"', b'"0x0000"'),  # two byte strings
        ("eth_call", b'"0x"', b'"0x00"'),
        ("eth_getCode", b'"0x"', b'"0x60"'),
        ("eth_call", b'"Not hex"', b'"not hex"'),
        ("eth_getBalance", b"1.5", b"1.25"),
        ("eth_getBalance", b"true", b"1"),
        ("eth_getBalance", b"{}", b"[]"),
        ("eth_getBalance", b'"\xff"', b'"0x1"'),  # no JSON: its bytes are all there is
    ],
)
def test_two_meanings(method: str, one: bytes, other: bytes) -> None:
    assert COMPARER.difference(method, one, other) == "result"
    assert COMPARER.difference(method, other, one) == "result"
    assert COMPARER.fingerprint(method, one) != COMPARER.fingerprint(method, other)


def test_what_cannot_be_read_is_the_same_as_itself_alone() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert same_meaning("eth_getLogs", deep, deep)
    assert not same_meaning("eth_getLogs", deep, b"[]")
    huge = b'"0x' + b"0" * LARGEST_READ_BYTES + b'"'
    assert not same_meaning("eth_getBalance", huge, b'"0x0"')
    assert COMPARER.fingerprint("eth_getLogs", deep) != COMPARER.fingerprint("eth_getBalance", huge)


def test_nesting_that_the_decoder_still_takes_is_no_trouble() -> None:
    for depth in range(100, 1000, 30):
        one, other = (b"[" * depth + inner + b"]" * depth for inner in (b"1", b"2"))
        assert not same_meaning("eth_getLogs", one, other)
        assert COMPARER.fingerprint("eth_getLogs", one) != COMPARER.fingerprint(
            "eth_getLogs", other
        )


def test_a_fingerprint_is_short() -> None:
    assert len(COMPARER.fingerprint("eth_getBlockByNumber", text(BLOCK))) == 12


@pytest.mark.parametrize("method", OBJECTS)
def test_the_order_of_members_and_white_space_mean_nothing(method: str) -> None:
    value = OBJECTS[method]
    turned = msgspec.json.format(text(dict(reversed(value.items()))), indent=3)
    assert same_meaning(method, text(value), turned)
    assert COMPARER.fingerprint(method, text(value)) == COMPARER.fingerprint(method, turned)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("eth_getBlockByNumber", {"totalDifficulty": "0x0"}),
        ("eth_getBlockByNumber", {"size": "0x2", "l1Fee": "0.684", "miner": ADDRESS}),
        ("eth_getBlockByNumber", {"nonce": "0x0"}),
        ("eth_getBlockByNumber", {"hash": HASH.upper().replace("X", "x")}),
        ("eth_getBlockByNumber", {"withdrawals": []}),  # some tell them, some do not
        ("eth_getTransactionReceipt", {"contractAddress": OTHER}),  # null in the other
        ("eth_getTransactionReceipt", {"status": 1, "logsBloom": "0x"}),
        ("eth_getTransactionByHash", {"from": ADDRESS.lower(), "v": "0x1b", "gasPrice": "0x1"}),
        ("eth_getTransactionByHash", {"accessList": [], "publicKey": "0x1"}),
    ],
)
def test_members_that_providers_tell_in_their_own_ways(method: str, changes: Any) -> None:
    assert parted(method, OBJECTS[method], {**OBJECTS[method], **changes}) == ""


def test_to_nobody_may_be_null_or_left_out() -> None:
    assert not parted("eth_getTransactionByHash", TRANSACTION, without(TRANSACTION, "to"))


@pytest.mark.parametrize(
    ("method", "changes", "where"),
    [
        ("eth_getBlockByNumber", {"hash": OTHER}, "hash"),
        ("eth_getBlockByNumber", {"baseFeePerGas": "0x8"}, "baseFeePerGas"),
        ("eth_getBlockByNumber", {"transactions": [OTHER, HASH]}, "transactions[0]"),
        ("eth_getBlockByNumber", {"transactions": [HASH]}, "transactions.length"),
        ("eth_getBlockByNumber", {"hash": OTHER, "timestamp": "0x66"}, "hash"),
        ("eth_getTransactionReceipt", {"status": "0x0"}, "status"),
        ("eth_getTransactionReceipt", {"logs": RECEIPT["logs"][::-1]}, "logs[0].data"),
        ("eth_getTransactionReceipt", {"logs": []}, "logs.length"),
        ("eth_getTransactionByHash", {"to": ADDRESS}, "to"),
        ("eth_getTransactionByHash", {"input": "0xff"}, "input"),
        ("eth_getTransactionByHash", {"nonce": "0x8"}, "nonce"),
    ],
)
def test_where_two_objects_part(method: str, changes: Any, where: str) -> None:
    assert parted(method, OBJECTS[method], {**OBJECTS[method], **changes}) == where


@pytest.mark.parametrize("method", OBJECTS)
def test_what_matters_most_may_not_be_left_out(method: str) -> None:
    value = OBJECTS[method]
    for name in EVM_COMPARISON.forms[method].core:
        if value[name] is not None:
            assert parted(method, value, without(value, name)) == name


def test_members_of_members_have_a_core_as_well() -> None:
    logs = [LOG, without(LOG, "data")]
    assert parted("eth_getLogs", [LOG, LOG], logs) == "[1].data"
    assert (
        parted("eth_getBlockReceipts", [RECEIPT], [{**RECEIPT, "logs": logs}]) == "[0].logs[1].data"
    )
    full = {**BLOCK, "transactions": [TRANSACTION]}
    bare = {**BLOCK, "transactions": [without(TRANSACTION, "value")]}
    assert parted("eth_getBlockByHash", full, bare) == "transactions[0].value"
    assert (
        parted("eth_getBlockByHash", full, {**BLOCK, "transactions": [HASH]}) == "transactions[0]"
    )


def test_old_receipts_have_a_root_in_place_of_a_status() -> None:
    old = {**without(RECEIPT, "status"), "root": HASH}
    assert not parted("eth_getTransactionReceipt", old, {**RECEIPT, "status": None, "root": HASH})
    assert not parted("eth_getTransactionReceipt", old, RECEIPT)
    failed = {**RECEIPT, "status": "0x0", "root": HASH}  # a root is no excuse for another status
    assert parted("eth_getTransactionReceipt", failed, RECEIPT) == "status"


def test_a_deposits_nonce_is_told_in_several_ways() -> None:
    deposit = {**TRANSACTION, "type": "0x7E"}
    assert not parted("eth_getTransactionByHash", deposit, {**deposit, "nonce": "0x0"})
    assert not parted("eth_getTransactionByHash", deposit, without(deposit, "nonce"))


def test_a_path_has_an_end() -> None:
    one, other = ({**BLOCK, "x" * 1000: value} for value in (1, 2))
    assert len(COMPARER.difference("eth_getBlockByNumber", text(one), text(other))) == LONGEST_PATH


@pytest.mark.parametrize(
    ("method", "result", "is_one"),
    [
        ("eth_getTransactionReceipt", b"null", False),
        ("eth_getBalance", b" null", False),
        ("eth_getTransactionByHash", text({**TRANSACTION, "blockHash": None}), False),
        ("eth_getTransactionByHash", text(TRANSACTION), True),
        ("eth_getBlockByNumber", text(BLOCK), True),
        ("eth_getLogs", b"[]", True),
        ("eth_call", b'"0x"', True),
    ],
)
def test_what_is_not_there_yet_is_no_evidence(method: str, result: bytes, *, is_one: bool) -> None:
    assert COMPARER.is_evidence(method, result) is is_one


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.from_regex(r"\A0[xX][0-9a-fA-F]*\Z"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([*BLOCK]), inner),
    max_leaves=8,
)


@given(st.sampled_from([*EVM_COMPARISON.forms]), values, values)
@run_with(max_examples=80, deadline=None)
def test_any_json_can_be_compared(method: str, one: Any, other: Any) -> None:
    first, second = text(one), text(other)
    assert same_meaning(method, first, msgspec.json.format(first))
    parted(method, one, other)
    if COMPARER.fingerprint(method, first) == COMPARER.fingerprint(method, second):
        assert same_meaning(method, first, second)
