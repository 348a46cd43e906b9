"""What is told of each upstream, as plain values."""

from __future__ import annotations

import pytest

from rpcproxy.messages import Verdict
from rpcproxy.rules.telling.snapshot import snapshot_of
from tests.kits.fleet import Fleet, four, upstream


def test_the_snapshot_tells_everything_but_secrets() -> None:
    fleet = Fleet(four(rate_limit_per_second=50.0))
    fleet.kill("a")
    fleet.tell("b", Verdict.RATE_LIMITED, cooldown_seconds=5.0)
    fleet.tell("c", Verdict.UNSUPPORTED, method="m")
    fleet.standings.on_sent(fleet["c"], fleet.now)
    fleet.now += 1.0
    a, b, c, _ = snapshot_of(fleet.standings, fleet.now)
    assert "secret" not in repr((a, b, c))
    assert (a["name"], a["provider"], a["cloud"], a["region"]) == ("a", "a", "aws", "r1")
    assert (a["state"], a["since_seconds"], a["head"], a["lag"]) == ("ejected", 1.0, 100, 0)
    assert "unreachable" in a["state_reason"]
    assert a["classes"]["light"]["breaker"] == "half_open"
    assert a["classes"]["light"]["latency_ms"] == pytest.approx(20.0)
    assert a["classes"]["light"]["p95_ms"] == pytest.approx(20.0)
    assert 0 < a["classes"]["light"]["failure_share"] < 1
    assert (b["state"], b["cooldown_seconds"]) == ("cooling", pytest.approx(4.0))
    assert b["learned_rate_per_second"] == 1.0
    assert c["unsupported"] == ["m"]
    assert (c["in_flight"], c["rate_limit_per_second"], c["suspect"]) == (1, 50.0, False)
    assert c["classes"]["heavy"]["latency_ms"] is None
    assert c["classes"]["heavy"]["p95_ms"] is None
    assert set(a["classes"]) == {"light", "heavy", "send"}
    [unheard] = snapshot_of(Fleet([upstream("x", role="reads")], head=-1).standings, 0.0)
    assert (unheard["head"], unheard["lag"], unheard["low_water"]) == (None, None, None)
    assert set(unheard["classes"]) == {"light", "heavy"}
    assert unheard["rate_level"] is None
