"""Which searches may be asked in parts, and what the parts make together."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.joins import join_lists, join_of, log_range, with_range
from rpcproxy.chains.evm.methods import describe

HASH = "0x" + "ab" * 32
RANGE = {"fromBlock": "0x1", "toBlock": "0x64"}


def params(*members: Any) -> bytes:
    return json.dumps(members).encode()


@pytest.mark.parametrize(
    ("method", "filter"),
    [
        ("eth_getLogs", {**RANGE, "address": "0xab", "topics": [None, "0xcd"]}),
        ("eth_getLogs", {**RANGE, "blockHash": None, "address": None}),
        ("erigon_getLogs", {**RANGE, "topics": []}),
        ("trace_filter", {**RANGE, "fromAddress": ["0xab"], "toAddress": [], "mode": "union"}),
        ("arbtrace_filter", RANGE),
    ],
)
def test_what_means_the_same_of_each_block_is_split(method: str, filter: dict[str, Any]) -> None:
    join = join_of(describe(method), params(filter))
    assert join is not None
    left = {key: value for key, value in filter.items() if value is not None}
    assert json.loads(join.params) == [left]
    assert join.whole([b"[1]", b"[]", b"[ 2,3 ]"]) == b"[1,2,3]"


# What counts over the whole, or is nobody's in the table: Erigon's logCount and blockCount
# (erigon_getLatestLogs), Infura's and Moralis' pages, Hedera's limits, Otterscan's page sizes,
# Alchemy's maxCount and pageKey (alchemy_getAssetTransfers), QuickNode's perPage.
@pytest.mark.parametrize(
    ("method", "members"),
    [
        ("erigon_getLatestLogs", [RANGE, {"logCount": 5}]),
        ("erigon_getLatestLogs", [RANGE]),
        ("eth_getLogs", [{**RANGE, "limit": 10}]),
        ("eth_getLogs", [{**RANGE, "pageKey": "x"}]),
        ("eth_getLogs", [{**RANGE, "count": 3}]),
        ("eth_getLogs", [{**RANGE, "order": "desc"}]),
        ("eth_getLogs", [RANGE, {"limit": 10}]),
        ("trace_filter", [RANGE, True]),  # Erigon's gasBailOut: nobody else's
        ("trace_filter", [{**RANGE, "after": "0x5"}]),
        ("trace_filter", [{**RANGE, "after": -1}]),
        ("trace_filter", [{**RANGE, "count": 1.5}]),
        ("trace_filter", [{**RANGE, "count": True}]),
        ("trace_filter", [{**RANGE, "reverse": True}]),
        ("ots_searchTransactionsBefore", ["0xab", 100, 25]),
        ("alchemy_getAssetTransfers", [{**RANGE, "maxCount": "0x3"}]),
        ("qn_getTransactionsByAddress", [{**RANGE, "perPage": 3}]),
        ("eth_getLogs", ["x"]),
        ("eth_getLogs", []),
    ],
)
def test_whatever_else_is_not(method: str, members: list[Any]) -> None:
    assert join_of(describe(method), params(*members)) is None


def test_what_cannot_be_read_is_not_split() -> None:
    assert join_of(describe("eth_getLogs"), b"[") is None
    assert join_of(describe("eth_getLogs"), b"") is None


# Erigon 2526 (count ignored), reth 11711 (after ignored) and reth 23338 (count before after): what
# is right is that so many are skipped first, and then so many given.
@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"count": 3}, [0, 1, 2]),
        ({"after": 4}, [4, 5, 6, 7]),
        ({"after": 3, "count": 2}, [3, 4]),
        ({"after": 60}, []),
        ({"count": 0}, []),
        ({"after": 0, "count": 100}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"after": None, "count": 1}, [0]),
    ],
)
def test_counts_hold_for_the_whole_and_no_part_has_them(
    counts: dict[str, int], expected: list[int]
) -> None:
    join = join_of(describe("trace_filter"), params({**RANGE, **counts}))
    assert join is not None
    assert json.loads(join.params) == [RANGE]
    assert json.loads(join.whole([b"[0,1,2]", b"[]", b"[3, 4,5]", b"[6,7]"])) == expected


def test_what_is_no_list_is_not_joined() -> None:
    join = join_of(describe("trace_filter"), params({**RANGE, "count": 1}))
    assert join is not None
    with pytest.raises(ValueError, match="not a list"):
        join.whole([b"[1]", b"{}"])


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
def test_the_range_of_a_filter(params: Any, expected: tuple[int, int] | None) -> None:
    text = json.dumps(params).encode()
    assert log_range(text) == expected
    assert log_range(msgspec.Raw(text)) == expected


@given(st.binary())
def test_any_bytes_are_taken_for_a_filter(params: bytes) -> None:
    assert log_range(params) is None


def test_a_filter_over_another_range() -> None:
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
def test_lists_are_joined(parts: list[bytes | msgspec.Raw], joined: bytes) -> None:
    assert join_lists(parts) == joined


@pytest.mark.parametrize("part", [b"null", b"", b"{}", b"[", b"1", b"[}"])
def test_only_lists_are_joined(part: bytes) -> None:
    with pytest.raises(ValueError, match="not a list"):
        join_lists([b"[1]", part])


@given(st.lists(st.lists(st.integers() | st.text() | st.lists(st.none()))))
def test_a_joined_list_has_every_member_in_order(lists: list[list[Any]]) -> None:
    joined = join_lists([json.dumps(one, indent=len(one)).encode() for one in lists])
    assert json.loads(joined) == [member for one in lists for member in one]
