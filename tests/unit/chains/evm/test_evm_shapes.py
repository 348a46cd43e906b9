"""Shapes of requests: alike where nodes take or refuse them alike, apart where they may not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.evm.shapes import shape_of
from rpcproxy.chains.parts.param_shapes import LARGEST_BYTES

ONE, TWO = "0x" + "1" * 40, "0x" + "ab" * 20
HASH = "0x" + "c" * 64
CALL = {"to": ONE, "data": "0x70a08231"}


def shape(*params: object, method: str = "eth_call") -> str:
    return shape_of(method, msgspec.json.encode(list(params)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([CALL, "0x10"], [{"data": "0x0902f1acff", "to": TWO}, "0xffff"]),
        ([CALL, "0x10", {ONE: {"balance": "0x1"}}], [CALL, "0x2", {TWO: {"balance": "0xff"}}]),
        (
            [CALL, "0x10", {ONE: {"balance": "0x1"}}],
            [CALL, "0x2", {TWO: {"balance": "0xff"}, ONE: {"balance": "0x2"}}],
        ),
        ([{"address": [ONE, TWO]}], [{"address": [TWO, ONE, ONE]}]),
        (["0x5", "0x10", [1.5, 2.5]], ["0x9", "0x11", [10.5, 20.5, 30.5]]),
        ([CALL, {"blockHash": HASH}], [CALL, {"blockHash": HASH.replace("c", "d")}]),
        ([CALL, "0x10", {"tracer": "{step: function() {}}"}], [CALL, "0x1", {"tracer": "{x: 1}"}]),
    ],
)
def test_values_make_no_difference(one: list[object], other: list[object]) -> None:
    assert shape(*one) == shape(*other)


PARAMS: list[list[object]] = [
    [],
    [CALL],
    [CALL, "0x10"],
    [CALL, "latest"],
    [CALL, "pending"],
    [CALL, "safe"],
    [CALL, "finalized"],
    [CALL, {"blockHash": HASH}],
    [CALL, {"blockHash": HASH, "requireCanonical": True}],
    [CALL, {"blockNumber": "0x10"}],
    [CALL, "0x10", {}],
    [CALL, "0x10", {ONE: {"balance": "0x1"}}],
    [CALL, "0x10", {ONE: {"code": "0x"}}],
    [CALL, "0x10", {ONE: {"stateDiff": {HASH: HASH}}}],
    [CALL, "0x10", {}, {"number": "0x10"}],
    [CALL, "0x10", {"tracer": "callTracer"}],
    [CALL, "0x10", {"tracer": "prestateTracer"}],
    [CALL, "0x10", {"tracer": "callTracer", "tracerConfig": {"withLog": True}}],
    [{**CALL, "input": "0x70a08231"}, "0x10"],
    [{**CALL, "gas": 21000}, "0x10"],
    [{**CALL, "value": "0x00"}, "0x10"],
    [{**CALL, "value": "0x"}, "0x10"],
    [{"address": ONE}],
    [{"address": [ONE]}],
    [{"address": [ONE, TWO]}],
    [{"address": [ONE], "topics": [None, [HASH, HASH]]}],
    [{"fromBlock": "pending"}],
    ["0x5", "0x10", []],
    ["0x5", "0x10", [25]],
    ["0x5", "0x10", [25.5]],
    [5, "0x10", [25]],
    [CALL, None],
]


def test_what_nodes_may_take_and_refuse_is_told_apart() -> None:
    shapes = [shape(*params) for params in PARAMS]
    assert len(set(shapes)) == len(PARAMS)
    assert len({shape_of(method, b"[]") for method in ("eth_call", "eth_getLogs")}) == 2


def test_no_params_are_an_empty_list_and_odd_ones_have_a_shape_too() -> None:
    assert shape_of("eth_call", b"") == shape_of("eth_call", b"[]")
    assert shape_of("eth_call", b'["' + b"x" * LARGEST_BYTES + b'"]') == "eth_call large"
    assert shape_of("eth_call", b"[" * 5000 + b"]" * 5000) == "eth_call unreadable"
    assert shape_of("eth_call", b'["\\ud800"]').startswith("eth_call ")
    assert shape_of("eth_call", b'{"to":"0x1"}') != shape_of("eth_call", b'[{"to":"0x1"}]')


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(ONE) | st.just("latest"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(st.lists(json, max_size=4))
def test_every_shape_is_short_and_the_same_each_time(params: list[object]) -> None:
    text = msgspec.json.encode(params)
    assert shape_of("m", text) == shape_of("m", text)
    assert len(shape_of("m", text)) < 40


@given(st.binary(max_size=100))
def test_it_never_raises(text: bytes) -> None:
    assert shape_of("m", text)
