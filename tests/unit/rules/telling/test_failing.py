"""rules.telling.failing: one way to count failures, wherever they are shown."""

from __future__ import annotations

import pytest

from rpcproxy.messages import Blame, Verdict
from rpcproxy.rules.telling.chronicle import Chronicle
from rpcproxy.rules.telling.failing import counted
from tests.kits.samples import a_chain, a_sample, an_upstream


@pytest.mark.parametrize("verdict", Verdict)
def test_what_is_a_failure(verdict) -> None:
    found = counted({verdict.label: 3})
    if verdict in (Verdict.CANCELLED, Verdict.OWN_FAULT):
        assert found == (0, 0), "we gave it up"
    elif verdict.blame in (Blame.UPSTREAM, Blame.LIMIT, Blame.ACCESS):
        assert found == (3, 3)
    else:
        assert found == (3, 0)


def test_probes_are_apart_and_what_was_given_up_is_in_no_share() -> None:
    chronicle = Chronicle()
    nothing = a_chain(an_upstream("a"), an_upstream("b"))
    chronicle.add(a_sample(0.0, nothing))
    now = a_chain(
        an_upstream("a", attempts={"ok": 6, "timeout": 2, "cancelled": 50}, probes={"timeout": 4}),
        an_upstream("b", attempts={"ok": 8, "own_fault": 9}),
    )
    a, b = chronicle.recent(now, 30.0).traffic.values()
    assert (a.attempts, a.failures, a.probes, a.failed_probes) == (8, 2, 4, 4)
    assert (a.share, b.share) == (0.5, 0.5)
