"""Of a kind that has no word on transactions that wait: no request is a look-up of one."""

from __future__ import annotations

from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.chains.unmined import Waiting
from rpcproxy.messages import MethodClass

LOOK_UP = Method("gettransaction", MethodKind.LOOKUP, MethodClass.LIGHT)


def test_nothing_is_looked_up_and_nothing_is_there() -> None:
    waiting = Waiting()
    assert waiting.asked_hash(LOOK_UP, b'["aa"]') == ""
    said = waiting.said(LOOK_UP, None)
    assert (said.result, said.error) == (b"null", b"")
