"""What the words of a refused range tell of its width."""

from __future__ import annotations

import pytest

from rpcproxy.chains.evm.errors.range_refusals import read_refusal
from rpcproxy.chains.parts.errors import RangeRefusal


@pytest.mark.parametrize(
    ("text", "limit", "suggested"),
    [
        ("You can make eth_getLogs requests with up to a 10 block range. Based on your parameters, this block range should work: [0x1a30dfd, 0x1a30e06]", 10, 10),
        ("Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the response size, or you can request any block range with a cap of 10K logs in the response.", 2000, 0),
        ("eth_getLogs is limited to a 10,000 range", 10_000, 0),
        ("eth_getLogs and eth_newFilter are limited to a 10,000 blocks range", 10_000, 0),
        ("eth_getLogs is limited to 0 - 10000 blocks range", 10_000, 0),
        ("range 1000000 exceeds limit of 10000", 10_000, 0),
        ("range 25887126 - 25987126 exceeds limit of 10000", 10_000, 0),
        ("query exceeds max block range 5000", 5000, 0),
        ("exceed maximum block range: 50000", 50_000, 0),
        ("requested too many blocks from 0 to 99999, maximum is set to 2048", 2048, 0),
        ("block range is larger than max block range, block range = 100000, max block range = 5000", 5000, 0),
        ("block range is too wide (maximum 1024)", 1024, 0),
        ("ranges over 10000 blocks are not supported on freetier", 10_000, 0),
        ("block range greater than 10000 max", 10_000, 0),
        ("Block range too large, max is 1k blocks", 1000, 0),
        ("limit the query to 1,000 blocks", 1000, 0),
        ("block range limit 1000", 1000, 0),
        ("exceeds the allowed block range (99999 > 500)", 500, 0),
        ("block range is too wide", 0, 0),
        ("block range too large: 100000", 0, 0),
        ("max block range 100000", 0, 0),  # no narrower than what was asked
    ],
)  # fmt: skip
def test_refusals_of_a_width(text: str, limit: int, suggested: int) -> None:
    assert read_refusal(text.lower(), 100_000) == RangeRefusal(True, limit, suggested)


@pytest.mark.parametrize(
    ("text", "suggested"),
    [
        ("query returned more than 10000 results", 0),
        ("Query returned more than 10000 results. Try with this block range [0x7dfd25, 0x7e0fcc].", 4776),
        ("query exceeds max results 20000, retry with the range 24383075-24383096", 22),
        ("query exceeds max results 20000, retry with the range 25000000-25099999", 0),
        ("Log response size exceeded. this block range should work: [0x0, 0xff]", 256),
        ("too many logs: reduce the block range", 0),
        ("query timeout exceeded. Consider reducing your block range.", 0),
        ("response is too big: block range over 10000000 bytes", 0),
        ("decompressed body too large", 0),
        ("specify less number of address", 0),
        ("address count exceeds limit of 1000", 0),
        ("try with this block range [0xff, 0x0]", 0),
        ("", 0),
    ],
)  # fmt: skip
def test_refusals_of_what_a_range_holds(text: str, suggested: int) -> None:
    refusal = read_refusal(text.lower(), 100_000)
    assert (refusal.limit, refusal.suggested) == (0, suggested)
    assert refusal.of_width == ("[0xff, 0x0]" in text)
