"""Which searches may be asked in parts, and what the parts make together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rpcproxy.chains.evm.joins import join_of

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
    join = join_of(method, params(filter))
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
    assert join_of(method, params(*members)) is None


def test_what_cannot_be_read_is_not_split() -> None:
    assert join_of("eth_getLogs", b"[") is None
    assert join_of("eth_getLogs", b"") is None


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
    join = join_of("trace_filter", params({**RANGE, **counts}))
    assert join is not None
    assert json.loads(join.params) == [RANGE]
    assert json.loads(join.whole([b"[0,1,2]", b"[]", b"[3, 4,5]", b"[6,7]"])) == expected


def test_what_is_no_list_is_not_joined() -> None:
    join = join_of("trace_filter", params({**RANGE, "count": 1}))
    assert join is not None
    with pytest.raises(ValueError, match="not a list"):
        join.whole([b"[1]", b"{}"])
