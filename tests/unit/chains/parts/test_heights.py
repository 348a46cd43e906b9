"""Of a kind whose params name no blocks: what comes goes on as it is."""

from __future__ import annotations

import msgspec
import pytest

from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.chains.parts.asked_at import NONE
from rpcproxy.chains.parts.heights import Pins
from rpcproxy.messages import MethodClass

READ = Method("getblock", MethodKind.BLOCK_READ, MethodClass.LIGHT, block_param=0)
PINS = Pins()


@pytest.mark.parametrize("params", [b"", b"[]", b'["latest",100]', b'{"height": "7"}'])
def test_params_go_as_they_are_and_name_no_block(params: bytes) -> None:
    heights = PINS.heights(100, (80, 90), "aa")
    assert PINS.pin is None
    for text in (params, msgspec.Raw(params)):
        assert heights.by_hash(text) is text
        assert PINS.required_block(READ, text) == NONE


def test_one_head_is_told_from_another() -> None:
    heights = PINS.heights(100, (80, 90), "aa")
    assert heights.latest == 100
    assert heights.latest_text == b"100" != PINS.heights(101, (80, 90), "ab").latest_text
    assert PINS.heights(-1, (), "").latest_text == b""
