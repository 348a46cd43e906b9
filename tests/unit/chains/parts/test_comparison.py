"""Comparisons by a kind that says no more than which methods can be compared."""

from __future__ import annotations

from rpcproxy.chains.parts.comparison import Comparison, Form
from rpcproxy.rules.requests.audit import Comparer

SETTLED = Form(core=("hash",), settled_by="confirmations")
COMPARER = Comparer(Comparison(forms={"getblock": Form(), "gettransaction": SETTLED}))


def test_values_are_taken_as_they_stand() -> None:
    assert not COMPARER.difference("getblock", b'{"height":1, "x":null}', b'{"height": 1}')
    assert COMPARER.difference("getblock", b'{"height":1}', b'{"height":"1"}') == "height"
    assert COMPARER.difference("getblock", b'"0x01"', b'"0x1"') == "result"
    assert COMPARER.difference("getblock", b"[1.5,true]", b"[1.5,false]") == "[1]"


def test_what_may_still_change_is_no_evidence() -> None:
    assert not COMPARER.is_evidence("gettransaction", b'{"hash":"a"}')
    assert COMPARER.is_evidence("gettransaction", b'{"hash":"a","confirmations":1}')
    assert COMPARER.is_evidence("getblock", b"{}")


def test_what_is_in_the_core_may_not_be_left_out() -> None:
    assert COMPARER.difference("gettransaction", b'{"hash":"a"}', b"{}") == "hash"
    assert not COMPARER.difference("getblock", b'{"hash":"a"}', b"{}")
