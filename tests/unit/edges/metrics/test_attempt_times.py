"""edges.metrics.attempt_times: what the history is told of attempts."""

from __future__ import annotations

from rpcproxy.edges.metrics.attempt_times import AttemptTimes, Charge
from rpcproxy.edges.metrics.metrics import BUCKET_SECONDS, ChainCounters
from rpcproxy.messages import MethodClass, Verdict

LIGHT, HEAVY = MethodClass.LIGHT, MethodClass.HEAVY


def test_whoever_refuses_at_once_is_not_quick() -> None:
    times = AttemptTimes((0.1, 1.0))
    for verdict in Verdict:
        times.add("a", verdict, 0.05, Charge(HEAVY, 1, 8))
    heavy = times.of("a")[HEAVY]
    assert (heavy.calls, heavy.units) == (len(Verdict), 8 * len(Verdict))
    refusals = ("server_error", "unreachable", "broken", "rate_limited", "quota", "key_refused")
    untimed = {*refusals, "cancelled", "wrong_chain", "unknown", "not_json", "empty", "wrong_id"}
    untimed |= {"bad_result", "stale"}
    assert heavy.buckets == [len(Verdict) - len(untimed), 0, 0]
    for verdict in (Verdict.TIMEOUT, Verdict.OVERTAKEN, Verdict.OK, Verdict.REVERTED):
        assert verdict.label not in untimed
        times.add("a", verdict, 7.0, Charge(LIGHT, 3, 6))
    light = times.of("a")[LIGHT]
    assert (light.buckets, light.seconds, light.calls, light.units) == ([0, 0, 4], 28.0, 12, 24)
    times.drop(["a", "never there"])
    assert times.of("a")[LIGHT].calls == 0


def test_plain_requests_are_in_it() -> None:
    counters = ChainCounters()
    counters.on_plain("a", LIGHT, 0.02, 3)
    counters.on_plain("a", LIGHT, 99.0, 2)
    counters.on_attempt("a", Verdict.TIMEOUT, 1.4, Charge(LIGHT, 1, 3))
    for _ in range(2):  # reading changes nothing
        light = counters.times_of("a")[LIGHT]
        assert (light.calls, light.units, sum(light.buckets)) == (3, 8, 3)
        assert light.buckets[-1] == 1
        assert len(light.buckets) == len(BUCKET_SECONDS) + 1
    assert counters.attempts["a"].labels["ok"] == 2
    counters.drop_upstreams(["a"])
    assert counters.times_of("a")[LIGHT].calls == 0
