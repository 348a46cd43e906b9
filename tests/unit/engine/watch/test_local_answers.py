"""What the proxy says of what it does not serve, by the words of the chain's kind."""

from __future__ import annotations

import msgspec

from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.chains.registry import EVM
from rpcproxy.engine.watch.local import NOT_SERVED, LocalAnswers
from rpcproxy.messages import MethodClass
from tests.kits.engine_kit import Engine, virtual

FILTER = Method("newfilter", MethodKind.STATEFUL, MethodClass.LIGHT)
KEYS = Method("sign", MethodKind.REFUSED, MethodClass.LIGHT)


@virtual
async def test_a_method_is_refused_in_the_words_of_the_chains_kind() -> None:
    words = msgspec.structs.replace(
        EVM.own_words,
        refused={MethodKind.STATEFUL: "poll instead"},
        refusal=lambda name, why: f"no {name}: {why}",
    )
    engine = Engine()
    local = LocalAnswers("1", engine.told, engine.standings, words, clock=engine.clock)
    assert local.refusal(FILTER) == "no newfilter: poll instead"
    assert local.why_refused(KEYS) == NOT_SERVED
