"""What a block says that it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.entries import (
    ENTRIES,
    LARGEST_LIST_BYTES,
    MOST_ITEMS,
    OF_CONTENTS,
    contents_of,
    count_in,
    fit,
    has_fewer,
    index_in,
    is_empty_block,
    wanted_by,
    wanted_logs,
    wants_all_traces,
)
from rpcproxy.chains.evm.methods import METHODS, describe
from rpcproxy.chains.parts.contents import Contents, Fit

HASH = "0x" + "Cd" * 32
TX = "0x" + "12" * 32
ADDRESS = "0x22341ae42d6dd7384bc8584e50419ea3ac75b83f"
TOPIC = "0x04491edcd115127caedbd478e2e7895ed80c7847e903431f94f9cfa579cad47f"
BLOCK = {"number": "0x10", "hash": HASH, "transactions": [TX], "uncles": []}


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_what_a_block_says() -> None:
    bloom = "0x" + "0" * 510 + "81"
    told = contents_of(text({**BLOCK, "logsBloom": bloom}))
    assert told is not None
    assert (told.number, told.hash, told.transactions, told.uncles) == (16, HASH.lower(), 1, 0)
    assert (told.bloom, told.hashes) == (0x81, (TX,))
    full = contents_of(text({**BLOCK, "transactions": [{"hash": TX, "nonce": "0x1"}, {}]}))
    assert full is not None
    assert (full.transactions, full.hashes) == (2, (TX, ""))
    header = contents_of(text({"number": "0x10", "hash": HASH}))
    assert header is not None
    assert (header.transactions, header.uncles, header.bloom) == (-1, -1, 0)


@pytest.mark.parametrize("bloom", ["0x" + "f" * 512, "0x" + "0" * 512, "0x", None, "0x1"])
def test_blooms_that_say_nothing(bloom: str | None) -> None:
    """Filecoin's are all ones, zkSync's all zeros."""
    told = contents_of(text({**BLOCK, "logsBloom": bloom}))
    assert told is not None
    assert told.bloom == 0


@pytest.mark.parametrize(
    "block", [None, [], {"number": "0x1"}, {"number": "0x1", "hash": None}, {"number": "latest"}]
)
def test_what_is_no_block_says_nothing(block: Any) -> None:
    assert contents_of(text(block)) is None


@given(st.binary())
def test_any_bytes_are_taken(some: bytes) -> None:
    assert contents_of(some) is None
    assert count_in(some) == index_in(some) == -1
    assert wanted_logs(some) is None
    assert not any(has_fewer(name, some, 0) for name in ENTRIES)


def test_every_method_is_known() -> None:
    assert set(METHODS) >= OF_CONTENTS


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("eth_getBlockReceipts", {"cumulativeGasUsed": "0x1", "logs": [{"address": ADDRESS}]}),
        ("debug_getRawReceipts", "0x01"),
        ("trace_block", {"traceAddress": [], "type": "call"}),
        ("trace_replayBlockTransactions", {"stateDiff": None, "trace": []}),
        ("debug_traceBlockByNumber", {"txHash": TX, "result": {"calls": []}}),
        ("debug_traceBlockByHash", {"error": "execution timeout"}),
    ],
)
def test_fewer_entries_than_transactions(name: str, entry: Any) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        for count in range(4):
            answer = json.dumps([entry] * count, separators=separators).encode()
            assert has_fewer(name, answer, 2) is (count < 2)
    assert not has_fewer(name, b"[]", 0)
    assert not has_fewer(name, b"[]", -1)


def test_what_is_too_large_to_look_at_is_not_fewer() -> None:
    assert not has_fewer("trace_block", b"[%b]" % (b" " * LARGEST_LIST_BYTES), 2)


@pytest.mark.parametrize(
    ("params", "index"),
    [
        ([HASH, "0x5"], 5),
        ([HASH, "0x0"], 0),
        ([HASH, 7], 7),
        ([HASH], -1),
        ([HASH, "x"], -1),
        ([HASH, None], -1),
        ([HASH, "0x" + "f" * 20], -1),
        ({}, -1),
    ],
)
def test_an_index(params: Any, index: int) -> None:
    assert index_in(text(params)) == index


@pytest.mark.parametrize(
    ("block", "is_empty"),
    [
        (b'{"transactions":[]}', True),
        (b'{"transactionsRoot":"0x1","transactions" : [ ]}', True),
        (b'{"transactions":["0x1"]}', False),
        (b'{"transactionsRoot":"0x1"}', False),
        (b"null", False),
    ],
)
def test_an_empty_block(block: bytes, is_empty: bool) -> None:
    assert is_empty_block(block) is is_empty


@pytest.mark.parametrize(
    ("params", "wants_all"),
    [
        ([{"fromBlock": "0x1", "toBlock": "0x2"}], True),
        ([{}], True),
        ([{"fromBlock": "0x1", "toAddress": []}], False),
        ([{"fromBlock": "0x1"}, True], False),
        ([], False),
        (["x"], False),
    ],
)
def test_a_search_for_all_traces(params: Any, wants_all: bool) -> None:
    assert wants_all_traces(text(params)) is wants_all


OTHER = "0x" + "34" * 32
COUNT_IN = "eth_getBlockTransactionCountByHash"
AT = "eth_getTransactionByBlockHashAndIndex"
UNCLE_AT = "eth_getUncleByBlockHashAndIndex"


@pytest.mark.parametrize(
    ("name", "index", "result", "expected"),
    [
        ("eth_getBlockReceipts", None, [{"cumulativeGasUsed": "0x1"}], Fit.LACKS),
        ("eth_getBlockReceipts", None, [{"cumulativeGasUsed": "0x1"}] * 2, Fit.AGREES),
        (COUNT_IN, None, "0x2", Fit.AGREES),
        (COUNT_IN, None, "0x1", Fit.LACKS),
        (COUNT_IN, None, "0x3", Fit.LACKS),
        ("eth_getUncleCountByBlockHash", None, "0x1", Fit.AGREES),
        ("eth_getUncleCountByBlockHash", None, "0x0", Fit.LACKS),
        (AT, "0x1", {"hash": OTHER.upper().replace("X", "x")}, Fit.UNTOLD),
        (AT, "0x1", {"hash": TX}, Fit.LACKS),
        (AT, "0x1", None, Fit.LACKS),
        (AT, "0x2", None, Fit.PAST_END),
        (AT, "0x2", {"hash": TX}, Fit.PAST_END),
        (AT, "?", None, Fit.UNTOLD),
        ("eth_getRawTransactionByBlockHashAndIndex", "0x1", "0x02", Fit.UNTOLD),
        (UNCLE_AT, "0x0", {"hash": TX}, Fit.UNTOLD),
        (UNCLE_AT, "0x0", None, Fit.LACKS),
        (UNCLE_AT, "0x1", None, Fit.PAST_END),
    ],
)
def test_how_an_answer_fits_its_block(
    name: str, index: str | None, result: Any, expected: Fit
) -> None:
    block = Contents(16, HASH.lower(), 2, 1, hashes=(TX, OTHER))
    asked = text([HASH] if index is None else [HASH, index])
    assert fit(describe(name), asked, text(result), block) is expected
    untold = Contents(16, HASH.lower())
    assert fit(describe(name), asked, text(result), untold) in (Fit.UNTOLD, Fit.AGREES)


def test_an_error_fits_whatever_the_block_says_but_for_its_end() -> None:
    block = Contents(16, HASH.lower(), 2, 1, hashes=(TX, OTHER))
    assert fit(describe(COUNT_IN), text([HASH]), None, block) is Fit.UNTOLD
    assert fit(describe(AT), text([HASH, "0x1"]), None, block) is Fit.UNTOLD
    assert fit(describe(AT), text([HASH, "0x2"]), None, block) is Fit.PAST_END


def test_which_searches_are_held_against_blocks() -> None:
    busy, idle = Contents(16, HASH, 2), Contents(16, HASH, 0, bloom=1)
    traces = wanted_by(describe("trace_filter"), text([{"fromBlock": "0x1"}]))
    assert traces is not None
    assert (traces.is_all, traces.admits(busy), traces.admits(idle)) == (True, True, False)
    assert traces.accident(busy) == 0.0
    assert wanted_by(describe("trace_filter"), text([{"toAddress": [ADDRESS]}])) is None
    logs = wanted_by(describe("eth_getLogs"), text([{}]))
    assert logs is not None
    assert (logs.is_all, logs.admits(busy), logs.admits(idle)) == (True, False, True)
    some = wanted_by(describe("eth_getLogs"), text([{"address": ADDRESS}]))
    assert some is not None
    assert not some.is_all
    assert wanted_by(describe("erigon_getLatestLogs"), text([{}])) is None


# ---- blooms


def mask(*items: str) -> int:
    bits = 0
    for item in items:
        wanted = wanted_logs(text([{"address": item}]))
        assert wanted is not None
        bits |= wanted.places[0][0]
    return bits


def test_the_bits_of_an_item() -> None:
    """The topic of Transfer(address,address,uint256): its keccak begins with ada3 89e1 fc24, each
    taken modulo 2048. A real node's bloom is held against this in test_block_contents.
    """
    transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    assert mask(transfer) == 1 << 0x5A3 | 1 << 0x1E1 | 1 << 0x424
    for item in (ADDRESS, TOPIC):
        assert 1 <= mask(item).bit_count() <= 3


@pytest.mark.parametrize(
    ("filter", "bloom", "is_there"),
    [
        ({}, 1, True),
        ({"topics": []}, 1, True),
        ({"address": None, "topics": None}, 1, True),
        ({"address": []}, 1, True),
        ({}, 0, False),
        ({"address": ADDRESS}, mask(ADDRESS), True),
        ({"address": ADDRESS.upper().replace("X", "x")}, mask(ADDRESS), True),
        ({"address": [TOPIC[:42], ADDRESS]}, mask(ADDRESS), True),
        ({"address": ADDRESS}, mask(TOPIC), False),
        ({"address": ADDRESS, "topics": [TOPIC]}, mask(ADDRESS), False),
        ({"address": ADDRESS, "topics": [TOPIC]}, mask(ADDRESS, TOPIC), True),
        ({"topics": [None, [TOPIC, "0x" + "00" * 32]]}, mask(TOPIC), True),
        ({"topics": [[None, TOPIC]], "address": ADDRESS}, mask(ADDRESS), True),
    ],
)
def test_what_a_bloom_admits(filter: dict[str, Any], bloom: int, is_there: bool) -> None:
    wanted, block = wanted_logs(text([filter])), Contents(16, HASH, bloom=bloom)
    assert wanted is not None
    assert wanted.admits(block) is is_there
    if wanted.places and bloom:
        assert 0.0 < wanted.accident(block) < 0.001


def test_the_fuller_a_bloom_the_less_it_says() -> None:
    half = Contents(16, HASH, bloom=sum(1 << bit for bit in range(0, 2048, 2)))
    one = wanted_logs(text([{"address": ADDRESS}]))
    both = wanted_logs(text([{"address": ADDRESS, "topics": [TOPIC]}]))
    either = wanted_logs(text([{"address": [ADDRESS, TOPIC[:42]]}]))
    assert one is not None
    assert both is not None
    assert either is not None
    assert one.accident(half) == pytest.approx(1 / 8)
    assert both.accident(half) == pytest.approx(1 / 64)
    assert either.accident(half) == pytest.approx(1 - (7 / 8) ** 2)


@pytest.mark.parametrize(
    "filter",
    [
        {"topics": [None]},
        {"topics": [[]]},  # all at geth and anvil, none at hardhat
        {"topics": "0x1"},
        {"address": "0x1"},
        {"address": {"a": 1}},
        {"address": [ADDRESS] * (MOST_ITEMS + 1)},
        {"topics": [TOPIC * 200]},
    ],
)
def test_filters_that_say_too_little(filter: dict[str, Any]) -> None:
    assert wanted_logs(text([filter])) is None


def test_a_search_with_more_than_a_filter_is_left_alone() -> None:
    assert wanted_logs(text([{"address": ADDRESS}, {"limit": 1}])) is None
    assert wanted_logs(b"[]") is None
