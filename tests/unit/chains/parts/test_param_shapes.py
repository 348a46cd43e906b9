"""Shapes of requests, of whatever chain: words count, other values do not."""

from __future__ import annotations

import msgspec
import pytest

from rpcproxy.chains.kind import Methods
from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.chains.parts.param_shapes import LARGEST_BYTES, shape_of
from rpcproxy.messages import MethodClass

ACCOUNT = "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM"


def shape(*params: object) -> str:
    return shape_of("getAccountInfo", msgspec.json.encode(list(params)))


def test_values_make_no_difference_and_words_do() -> None:
    alike = shape(ACCOUNT, {"encoding": "base", "minContextSlot": 7})
    assert alike == shape(ACCOUNT[::-1], {"minContextSlot": 10**9, "encoding": "base"})
    assert alike != shape(ACCOUNT, {"encoding": "jsonParsed", "minContextSlot": 7})
    assert alike != shape(ACCOUNT, {"encoding": "base"})
    assert alike != shape([ACCOUNT], {"encoding": "base", "minContextSlot": 7})
    assert shape([ACCOUNT]) != shape([ACCOUNT, ACCOUNT])


@pytest.mark.parametrize("text", [b"[", b"\xff", b"[" * 5000])
def test_whatever_cannot_be_read_is_of_one_shape(text: bytes) -> None:
    assert shape_of("m", text) == "m unreadable"


def test_large_params_are_not_read() -> None:
    assert shape_of("m", b"[" * (LARGEST_BYTES + 1)) == "m large"


def test_a_kind_without_shapes_of_its_own_has_these() -> None:
    methods = Methods(lambda name: Method(name, MethodKind.HEAD_READ, MethodClass.LIGHT))
    assert methods.shape_of("m", b'["a"]') == shape_of("m", b'["a"]')
