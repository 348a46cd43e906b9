import pytest

from rpcproxy.messages import Head, Verdict
from rpcproxy.words import Observation
from tests.kits.fleet import HEAVY, LIGHT, SEND, Fleet, four, upstream

# ---- admission and quarantine


def test_nobody_is_asked_before_its_chain_id_was_verified() -> None:
    fleet = Fleet(four(), admit=False)
    assert fleet.usable() == []
    assert fleet["a"].state == "unknown"
    fleet.probe("a", method="eth_blockNumber", head=Head(100))
    fleet.tell("a", method="eth_chainId")  # a client's call verifies nothing
    assert fleet.pick() is None
    [change] = fleet.check("a")
    assert (change.upstream, change.kind) == ("a", "readmitted")
    assert fleet.pick() == "a"
    assert fleet["a"].state == "up"
    assert fleet.check("a") == []


def test_failures_before_admission_are_forgotten() -> None:
    fleet = Fleet([upstream("a")], admit=False)
    fleet.kill("a")
    fleet.check("a")
    assert fleet.usable() == fleet.usable(HEAVY) == fleet.usable(SEND) == ["a"]


def test_another_chain_is_quarantined_until_two_checks_are_right() -> None:
    fleet = Fleet(four())
    [change] = fleet.check("a", Verdict.WRONG_CHAIN)
    assert (change.kind, change.until) == ("quarantined", None)
    assert fleet["a"].state == "quarantined"
    fleet.kill("b", "c", "d")
    assert fleet.pick("b", "c", "d") is None  # panic does not override it
    fleet.check("a")
    fleet.fail("a", is_probe=True)
    fleet.check("a")
    assert fleet.pick("b", "c", "d") == "a" if "readmitted" in fleet.kinds("a") else True
    fleet.check("a", Verdict.WRONG_CHAIN)
    fleet.check("a")
    assert fleet["a"].is_quarantined
    fleet.check("a")
    assert not fleet["a"].is_quarantined
    assert fleet.kinds("a")[-1] == "readmitted"


def test_a_refused_key_is_quarantined_ever_longer() -> None:
    fleet = Fleet(four())
    seconds = []
    for _ in range(6):
        [change] = fleet.tell("a", Verdict.KEY_REFUSED, detail="HTTP 401")
        assert change.until is not None
        seconds.append(round(change.until - fleet.now))
        fleet.check("a")
        fleet.check("a")
        assert fleet["a"].is_quarantined  # others can serve: it waits
        fleet.now = change.until
        fleet.check("a")
        assert not fleet["a"].is_quarantined
        fleet.now += 1.0
    assert seconds == [60, 120, 240, 480, 600, 600]
    assert "HTTP 401" in change.reason
    fleet.now += 601.0
    [change] = fleet.tell("a", Verdict.KEY_REFUSED)
    assert change.until == fleet.now + 60.0


def test_a_key_that_is_refused_again_stays_out() -> None:
    fleet = Fleet(four())
    [change] = fleet.tell("a", Verdict.KEY_REFUSED)
    assert change.until is not None
    assert fleet.tell("a", Verdict.KEY_REFUSED) == []
    assert fleet["a"].quarantine_until == change.until
    fleet.now = change.until
    assert fleet.check("a", Verdict.KEY_REFUSED) == []
    assert fleet["a"].quarantine_until == fleet.now + 120.0
    fleet.check("a", Verdict.WRONG_CHAIN)
    assert fleet["a"].quarantine_until is None
    assert fleet["a"].reason == "it is on another chain"


def test_the_last_one_is_not_quarantined_on_one_requests_word() -> None:
    fleet = Fleet([upstream("a")])
    assert fleet.tell("a", Verdict.KEY_REFUSED) == []
    fleet.now += 1.0
    fleet.tell("a")
    fleet.now += 1.0
    assert fleet.tell("a", Verdict.KEY_REFUSED) == []
    assert next(c.kind for c in fleet.tell("a", Verdict.KEY_REFUSED)) == "quarantined"
    assert fleet.pick() is None
    fleet.check("a")
    fleet.check("a")  # nobody else is there: it need not wait
    assert fleet.pick() == "a"
    fleet.check("a", Verdict.KEY_REFUSED)
    assert fleet["a"].is_quarantined


# ---- breakers of upstreams


def test_a_dead_transport_ejects_from_all_classes() -> None:
    fleet = Fleet(four())
    fleet.kill("a")
    [change] = fleet.changes
    assert (change.upstream, change.kind, change.method_class) == ("a", "ejected", None)
    assert change.until == fleet.now + 1.0
    assert "unreachable" in change.reason
    assert fleet["a"].state == "ejected"
    for method_class in (LIGHT, HEAVY, SEND):
        assert fleet.usable(method_class) == ["b", "c", "d"]


def test_server_errors_eject_from_their_class_alone() -> None:
    fleet = Fleet(four())
    fleet.fail("a", times=5, method_class=HEAVY, detail="out of memory")
    assert [(c.kind, c.method_class) for c in fleet.changes] == [("ejected", HEAVY)]
    assert "out of memory" in fleet.changes[0].reason
    assert fleet.usable(HEAVY) == ["b", "c", "d"]
    assert fleet.usable() == ["a", "b", "c", "d"]
    assert fleet["a"].state == "up"
    assert fleet["a"].reason.startswith("but for heavy: ")


def test_heavy_calls_that_hang_say_nothing_of_light_ones() -> None:
    fleet = Fleet(four())
    fleet.fail("a", Verdict.TIMEOUT, 3, method_class=HEAVY, seconds=30.0)
    assert [(c.kind, c.method_class) for c in fleet.changes] == [("ejected", HEAVY)]
    fleet.fail("b", Verdict.UNREACHABLE, 3, method_class=HEAVY)
    assert [(c.kind, c.method_class) for c in fleet.changes][1:] == [("ejected", None)]


def test_being_overtaken_five_times_without_any_answer_is_death() -> None:
    fleet = Fleet(four())
    fleet.fail("a", Verdict.OVERTAKEN, 5, seconds=0.1)
    assert [(c.kind, c.method_class) for c in fleet.changes] == [("ejected", None)]


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict.NULL,
        Verdict.REVERTED,
        Verdict.INVALID_PARAMS,
        Verdict.RANGE_TOO_LARGE,
        Verdict.CANCELLED,
        Verdict.MISSING_DATA,
        Verdict.SEND_POLICY,
        Verdict.SENDER_LIMITED,
        Verdict.NONCE_TOO_LOW,
    ],
)
def test_what_is_not_its_fault_never_counts(verdict: Verdict) -> None:
    fleet = Fleet(four())
    fleet.fail("a", verdict, 50)
    assert fleet.changes == []
    assert fleet["a"].light.breaker.share == 0.0
    assert not fleet["a"].is_suspect


def test_the_last_one_is_not_ejected_for_slowness_but_for_silence() -> None:
    fleet = Fleet(four())
    fleet.kill("b", "c", "d")
    fleet.changes.clear()
    fleet.fail("a", Verdict.OVERTAKEN, 20, seconds=0.5)
    assert fleet.usable() == ["a"]
    fleet.tell("a")
    fleet.fail("a", Verdict.TIMEOUT, 2, seconds=1.5)
    fleet.tell("a")
    assert fleet.usable() == ["a"]
    fleet.fail("a", Verdict.TIMEOUT, 20, method_class=HEAVY, seconds=30.0)
    assert fleet.usable(HEAVY) == ["a"]
    fleet.fail("a", Verdict.TIMEOUT, 3, seconds=1.5)
    assert fleet.usable() == []
    assert fleet.kinds("a") == ["ejected"]


def test_two_failed_connections_eject_but_not_the_last_one() -> None:
    fleet = Fleet(four())
    cost = fleet["a"].light.cost
    fleet.fail("a", Verdict.UNREACHABLE, seconds=0.001)
    assert fleet["a"].light.cost == cost  # in question: it keeps its share
    fleet.fail("a", Verdict.UNREACHABLE, seconds=0.001)
    assert fleet.kinds("a") == ["ejected"]
    fleet.kill("b", "c")
    fleet.fail("d", Verdict.UNREACHABLE, 2, seconds=0.001)
    assert fleet.usable() == ["d"]
    fleet.fail("d", Verdict.UNREACHABLE, seconds=0.001)
    assert fleet.usable() == []


def test_two_clean_probes_after_the_open_time_bring_it_back() -> None:
    fleet = Fleet(four())
    fleet.kill("a")
    fleet.now += 0.3
    assert fleet.probe("a") == []
    assert fleet.probe("a") == []
    fleet.run(0.6)
    assert "a" not in fleet.usable()
    changes = fleet.run(0.2)
    assert [(c.upstream, c.kind, c.method_class) for c in changes] == [("a", "recovered", None)]
    assert "2 clean answers" in changes[0].reason
    assert fleet.usable(SEND) == ["a", "b", "c", "d"]


def test_what_began_before_the_trip_does_not_close_it() -> None:
    fleet = Fleet(four())
    fleet.kill("a")
    fleet.run(2.0)
    for _ in range(5):
        fleet.tell("a", seconds=3.0)
        fleet.tell("a", seconds=None)
    assert "a" not in fleet.usable()
    fleet.tell("a", seconds=0.1)
    assert [c.kind for c in fleet.tell("a", seconds=0.1)] == ["recovered"]


def test_a_failed_probe_begins_the_count_anew() -> None:
    fleet = Fleet(four())
    fleet.kill("a")
    fleet.run(2.0)
    fleet.probe("a")
    fleet.probe("a", Verdict.SERVER_ERROR)
    assert fleet.probe("a") == []
    assert [c.kind for c in fleet.probe("a")] == ["recovered"]


def test_old_failures_do_not_count_after_the_recovery() -> None:
    fleet = Fleet(four())
    fleet.kill("a")
    fleet.run(1.2)
    fleet.probe("a")
    fleet.probe("a")
    fleet.run(0.5)
    fleet.changes.clear()
    fleet.fail("a", Verdict.TIMEOUT, 9, seconds=1.5)
    assert fleet.changes == []
    fleet.fail("a", Verdict.TIMEOUT, 3, seconds=0.2)
    assert fleet.kinds("a") == ["ejected"]


def test_long_dead_ones_are_back_within_two_probes() -> None:
    fleet = Fleet(four())
    fleet.kill("a")
    for _ in range(120):
        fleet.run(1.0)
        fleet.probe("a", Verdict.UNREACHABLE, seconds=None)
    fleet.probe("a")
    assert [c.kind for c in fleet.probe("a")] == ["recovered"]


def test_flapping_keeps_it_out_longer() -> None:
    fleet = Fleet(four())
    out = []
    for _ in range(4):
        fleet.kill("a")
        began = fleet.now
        while "a" not in fleet.usable():
            fleet.run(0.1)
            fleet.probe("a")
            assert fleet.now < began + 60.0
        out.append(round(fleet.now - began))
    assert out == [1, 2, 4, 8]


def test_light_probes_stand_for_sends_and_late_for_heavy_ones() -> None:
    fleet = Fleet(four())
    fleet.fail("a", times=5, method_class=SEND)
    fleet.fail("a", times=5, method_class=HEAVY)
    fleet.run(1.2)
    fleet.probe("a")
    assert [(c.kind, c.method_class) for c in fleet.probe("a")] == [("recovered", SEND)]
    fleet.run(5.0)
    fleet.probe("a")
    assert [(c.kind, c.method_class) for c in fleet.probe("a")] == [("recovered", HEAVY)]


def test_where_heavy_probes_are_sent_light_ones_do_not_stand_for_them() -> None:
    fleet = Fleet(four())
    fleet.fail("a", times=5, method_class=HEAVY)
    fleet.run(2.0)
    fleet.probe("a", method_class=HEAVY)
    fleet.run(9.0)
    for _ in range(5):
        fleet.probe("a")
    assert "a" not in fleet.usable(HEAVY)
    assert [c.kind for c in fleet.probe("a", method_class=HEAVY)] == ["recovered"]


def test_the_waits_of_an_outage_do_not_burden_the_recovered() -> None:
    fleet = Fleet(four())
    fleet.fail("a", Verdict.TIMEOUT, 3, seconds=1.5)
    assert fleet["a"].light.latency.seconds == 1.5
    fleet.run(1.2)
    fleet.probe("a")
    fleet.probe("a")
    assert fleet["a"].light.latency.seconds == pytest.approx(0.02, abs=0.001)


def test_recovered_without_a_measure_it_is_what_it_was_before() -> None:
    fleet = Fleet(four())
    fleet.fail("a", Verdict.TIMEOUT, 3, method_class=SEND, seconds=9.0)
    fleet.run(1.2)
    fleet.probe("a", method_class=SEND, seconds=None)
    fleet.probe("a", method_class=SEND, seconds=None)
    assert fleet["a"].classes[SEND].latency.seconds == 0.0
    assert fleet["a"].light.latency.seconds == 0.02
    assert fleet["a"].classes[SEND].cost == pytest.approx(fleet["b"].classes[SEND].cost)


# ---- panic and outage


def test_under_half_usable_is_panic() -> None:
    fleet = Fleet(four())
    fleet.kill("a", "b")
    assert "panic" not in fleet.kinds()
    fleet.kill("c")
    assert fleet.standings.is_panicking
    assert [c.reason for c in fleet.changes if c.kind == "panic"] == [
        "1 of 4 upstreams usable; ejected ones are a last resort"
    ]
    assert fleet.shares(300) == {"d": 1.0}  # the known-dead are not asked all the same
    fleet.run(1.5)
    fleet.probe("a")
    fleet.probe("a")
    assert fleet.kinds()[-1] == "panic_over"


def test_outages_are_timed() -> None:
    fleet = Fleet([upstream("a"), upstream("b")], admit=False)
    began = fleet.now
    assert fleet.standings.outage_since(LIGHT) == began
    fleet.now += 3.0
    fleet.check("a")
    assert fleet.standings.outage_since(LIGHT) is None
    assert fleet.standings.has_usable(LIGHT, fleet.now)
    fleet.run(5.0)
    fleet.kill("a")
    assert fleet.standings.outage_since(SEND) == fleet.now
    assert not fleet.standings.has_usable(SEND, fleet.now)
    assert fleet.pick() == "a"  # the last resort


# ---- limits


def test_a_rate_limit_is_a_pause_and_no_fault() -> None:
    fleet = Fleet(four())
    [change] = fleet.tell("a", Verdict.RATE_LIMITED, cooldown_seconds=3.0, detail="HTTP 429")
    assert (change.kind, change.until) == ("cooling", fleet.now + 3.0)
    assert "HTTP 429" in change.reason
    assert fleet["a"].state == "cooling"
    assert fleet.tell("a", Verdict.RATE_LIMITED) == []
    assert fleet.usable() == ["b", "c", "d"]
    assert fleet["a"].light.breaker.share == 0.0
    changes = fleet.run(3.2)
    assert [(c.upstream, c.kind) for c in changes] == [("a", "cooled")]
    assert fleet["a"].state == "up"
    assert fleet["a"].rates.learned is not None


def test_a_probe_that_is_refused_teaches_no_rate_and_a_clean_one_ends_the_pause() -> None:
    fleet = Fleet(four())
    for _ in range(20):
        fleet.run(0.1)
        for _ in range(5):
            fleet.standings.on_sent(fleet["a"], fleet.now)
            fleet.standings.on_settled(fleet["a"])
    fleet.tell("a", Verdict.RATE_LIMITED)
    rates = fleet["a"].rates
    assert rates.learned is not None
    known = rates.learned.rate
    assert known > 30.0
    for _ in range(8):
        fleet.run(0.9)
        fleet.probe("a", Verdict.RATE_LIMITED)
        assert fleet["a"].is_cooling
    assert rates.learned.rate == known
    fleet.run(0.5)
    fleet.probe("a")
    assert fleet["a"].is_cooling
    assert [c.kind for c in fleet.run(0.7)] == ["cooled"]


def test_a_clean_probe_ends_any_pause_when_nobody_else_is_usable() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    for name in "ab":
        fleet.tell(name, Verdict.QUOTA)
    fleet.now += 10.0
    fleet.probe("a")
    assert next((c.upstream, c.kind) for c in fleet.tick()) == ("a", "cooled")
    fleet.probe("b")
    fleet.tick()
    assert fleet["b"].is_cooling


def test_a_quota_is_a_long_pause_and_teaches_no_rate() -> None:
    fleet = Fleet(four())
    [change] = fleet.tell("a", Verdict.QUOTA)
    assert change.until == fleet.now + 900.0
    assert fleet["a"].rates.learned is None


def test_a_learned_rate_spreads_the_load() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    for _ in range(10):
        fleet.run(0.1)
        for _ in range(10):
            fleet.standings.on_sent(fleet["a"], fleet.now)
            fleet.standings.on_settled(fleet["a"])
    fleet.tell("a", Verdict.RATE_LIMITED, cooldown_seconds=0.2)
    fleet.run(0.3)
    sent = 0
    for _ in range(10):
        fleet.run(0.1)
        for _ in range(20):
            name = fleet.pick()
            assert name is not None
            fleet.standings.on_sent(fleet[name], fleet.now)
            fleet.standings.on_settled(fleet[name])
            sent += name == "a"
    assert 50 < sent < 150  # 70/s learned, and what the bucket held


# ---- fault domains


def test_a_sick_region_makes_the_rest_of_it_suspect() -> None:
    ups = [upstream(n, cloud="aws", region="us-east-1") for n in "abc"]
    fleet = Fleet([*ups, upstream("d", cloud="gcp", region="x")])
    fleet.kill("a", "b")
    fleet.tick()
    suspected = [c for c in fleet.changes if c.kind == "suspect"]
    assert [c.upstream for c in suspected] == ["cloud aws", "region aws/us-east-1"]
    assert fleet["c"].is_suspect
    assert fleet["c"].light.cost == pytest.approx(3 * fleet["d"].light.cost)
    fleet.run(2.0)
    for name in "ab":
        fleet.probe(name)
        fleet.probe(name)
    fleet.run(45.0)
    assert fleet.kinds().count("unsuspect") == 2
    assert fleet["c"].light.cost == pytest.approx(fleet["d"].light.cost)


# ---- heads


def test_heads_lag_and_catch_up() -> None:
    fleet = Fleet(four())
    for name in "abc":
        fleet.head(name, 103)
    assert fleet.standings.heads.served == 103
    assert [(c.upstream, c.kind) for c in fleet.changes] == [("d", "lagging")]
    assert fleet["d"].state == "lagging"
    assert "3 blocks behind" in fleet["d"].reason
    fleet.head("d", 102)
    assert [(c.upstream, c.kind) for c in fleet.changes][1:] == [("d", "caught_up")]
    assert fleet["d"].state == "up"
    assert fleet["d"].head == Head(102)
    assert fleet["d"].low_water == 102
    assert fleet["d"].light.cost > fleet["a"].light.cost


def test_heads_of_unverified_and_quarantined_upstreams_move_nothing() -> None:
    fleet = Fleet(four(), admit=False)
    for name in "abcd":
        fleet.head(name, 5000)
    assert fleet.standings.heads.served == -1
    fleet = Fleet(four())
    for name in "ab":
        fleet.check(name, Verdict.WRONG_CHAIN)
        fleet.head(name, 5000)
    fleet.run(5.0)
    assert fleet.standings.heads.served == 100


def test_two_of_four_are_believed_after_a_while() -> None:
    fleet = Fleet(four())
    fleet.head("a", 101)
    fleet.head("b", 101)
    assert fleet.standings.heads.served == 100
    fleet.run(2.2)
    assert fleet.standings.heads.served == 101


def test_a_lone_claim_far_above_is_not_asked_for_the_head() -> None:
    fleet = Fleet(four())
    fleet.head("a", 1100)
    fleet.run(5.0)
    assert fleet.changes == []  # it may be the first of all
    assert "a" not in fleet.shares(500, wants_head=True)
    for name in "bcd":
        fleet.head(name, 100)
    fleet.run(0.1)
    assert fleet.standings.heads.served == 100
    assert [(c.upstream, c.kind) for c in fleet.changes] == [("a", "lagging")]
    assert "far above" in fleet["a"].reason
    assert "a" not in fleet.shares(500, wants_head=True)


def test_one_that_was_not_heard_since_is_not_called_late_but_not_asked_for_the_head() -> None:
    fleet = Fleet(four())
    fleet.tell("d", Verdict.RATE_LIMITED, cooldown_seconds=5.0)
    fleet.changes.clear()
    for _ in range(5):
        fleet.run(1.0)
        number = fleet["a"].track.number + 1
        for name in "abc":
            fleet.head(name, number)
    fleet.run(0.5)
    assert fleet.kinds() == ["cooled"]
    assert fleet["d"].is_lagging
    assert fleet["d"].state == "up"
    assert "d" not in fleet.shares(500, wants_head=True)
    fleet.head("d", 102)
    assert fleet.kinds("d") == ["cooled", "lagging"]
    assert fleet["d"].state == "lagging"
    fleet.head("d", 105)
    assert fleet.kinds("d") == ["cooled", "lagging", "caught_up"]
    assert "d" in fleet.shares(500, wants_head=True)


def test_a_stalled_head_that_falls_far_behind_is_told_again() -> None:
    fleet = Fleet(four(), block_time_seconds=0.25, max_lag_blocks=10)
    for second in range(14):
        for name in "abc":
            fleet.head(name, 101 + second)
        fleet.head("d", 100)
        fleet.run(1.0)
    assert fleet.kinds("d") == ["stalled_head", "lagging"]


def test_a_head_that_stands_still_while_the_chain_moves() -> None:
    fleet = Fleet(four(), block_time_seconds=0.25, max_lag_blocks=100)
    for second in range(8):
        for name in "abc":
            fleet.head(name, 101 + second * 4)
        fleet.head("d", 100)
        fleet.run(1.0)
    assert [(c.upstream, c.kind) for c in fleet.changes] == [("d", "stalled_head")]
    assert "d" not in fleet.shares(300, wants_head=True)
    fleet.head("d", 129)
    assert fleet.kinds("d") == ["stalled_head", "caught_up"]


def test_one_that_is_not_asked_does_not_stand_still() -> None:
    fleet = Fleet(four(), block_time_seconds=0.25, max_lag_blocks=100)
    for second in range(20):
        for name in "abc":
            fleet.head(name, 101 + second)
        fleet.run(1.0)
    assert fleet.changes == []


def test_a_chain_that_stands_ejects_nobody() -> None:
    fleet = Fleet(four(), block_time_seconds=2.0)
    for _ in range(25):
        fleet.run(1.0)
        for name in "abcd":
            fleet.head(name, 100)
    assert fleet.kinds() == ["chain_halted"]
    assert fleet.changes[0].upstream == ""
    assert fleet.usable() == ["a", "b", "c", "d"]
    for name in "abc":
        fleet.head(name, 101)
    assert fleet.kinds() == ["chain_halted", "chain_resumed"]


def test_a_clients_answer_may_tell_a_head_too() -> None:
    fleet = Fleet([upstream("a")])
    fleet.tell("a", head=Head(101))
    assert fleet.standings.heads.served == 101


def test_upstreams_for_sends_alone_tell_heads_where_there_are_no_others() -> None:
    fleet = Fleet([upstream("a", role="sends")])
    assert fleet.standings.heads.served == 100
    assert fleet["a"].state == "up"
    fleet.fail("a", times=5, method_class=SEND)
    assert fleet["a"].state == "ejected"


# ---- attempts under way, hedging


def test_in_flight_is_never_negative() -> None:
    fleet = Fleet([upstream("a")])
    fleet.standings.on_settled(fleet["a"])
    assert fleet["a"].in_flight == 0
    fleet.standings.on_sent(fleet["a"], fleet.now)
    fleet.standings.on_sent(fleet["a"], fleet.now)
    assert fleet["a"].in_flight == 2
    fleet.standings.on_settled(fleet["a"])
    assert fleet["a"].in_flight == 1


def test_hedges_wait_for_the_usual_time() -> None:
    fleet = Fleet(four())
    assert fleet.standings.hedge_delay(LIGHT) == 0.150
    for _ in range(20):
        fleet.tell("a", seconds=0.040)
    assert fleet.standings.hedge_delay(LIGHT) == pytest.approx(0.050)
    assert fleet.standings.hedge_delay(HEAVY) == 0.150
    for _ in range(100):
        fleet.tell("a", seconds=0.001, method_class=HEAVY)
        fleet.tell("a", seconds=9.0, method_class=SEND)
    assert fleet.standings.hedge_delay(HEAVY) == 0.020
    assert fleet.standings.hedge_delay(SEND) == 1.0
    for _ in range(256):
        fleet.tell("a", seconds=0.080)
    fleet.tick()
    assert fleet.standings.hedge_delay(LIGHT) == pytest.approx(0.100)


def test_one_bad_heavy_answer_of_long_ago_is_forgotten() -> None:
    fleet = Fleet(four())
    fleet.tell("a", method_class=HEAVY, seconds=20.0)
    fleet.tell("b", method_class=HEAVY, seconds=0.5)
    fleet.run(1.0)
    assert "a" not in fleet.shares(500, method_class=HEAVY)
    for _ in range(30):
        fleet.tell("b", method_class=HEAVY, seconds=0.5)
        fleet.run(10.0)
    assert fleet["a"].classes[HEAVY].latency.seconds < 0.5


def test_learning_that_a_method_or_size_works_after_all() -> None:
    fleet = Fleet([upstream("a")])
    fleet.tell("a", Verdict.UNSUPPORTED, method="m")
    fleet.tell("a", Verdict.UNSUPPORTED, method="")
    fleet.tell("a", Verdict.SIZE_REFUSED, request_bytes=100)
    fleet.tell("a", Verdict.SIZE_REFUSED)
    assert fleet["a"].needs_care
    fleet.tell("a", method="m", request_bytes=100)
    assert not fleet["a"].exclusions
    fleet.tick()
    assert not fleet["a"].needs_care


def test_clients_cannot_fill_the_memory_with_method_names() -> None:
    fleet = Fleet([upstream("a")])
    for index in range(500):
        fleet.tell("a", Verdict.UNSUPPORTED, method=f"m{index}" + "x" * 1000)
    assert len(fleet["a"].exclusions.methods) == 64
    assert len(fleet.changes) == 1
    assert max(len(c.reason) for c in fleet.changes) < 120


# ---- the object


def test_unknown_upstreams_and_clocks_that_go_backward_do_no_harm() -> None:
    fleet = Fleet(four())
    assert fleet.standings.observe(Observation("gone", LIGHT, Verdict.OK), fleet.now) == ()
    fleet.now -= 50.0
    fleet.kill("a")
    assert fleet.tick() == []
    assert fleet["a"].light.breaker.open_until == 1001.0
    assert [s.name for s in fleet.standings] == ["a", "b", "c", "d"]
    assert len(fleet.standings) == 4
    assert fleet.standings.all()[0] is fleet.standings["a"]
    assert repr(fleet["a"]) == "<Standing a ejected>"


def test_a_reload_keeps_what_was_learned() -> None:
    old = Fleet(four())
    old.kill("a")
    old.tell("b", Verdict.RATE_LIMITED, cooldown_seconds=30.0)
    old.tell("c", Verdict.UNSUPPORTED, method="m")
    old.fail("c", times=2)
    old.standings.on_sent(old["d"], old.now)
    old.standings.on_overdue(old["d"], LIGHT, old.now)
    old.tell("d", Verdict.KEY_REFUSED)
    ups = [*four()[:3], upstream("d", url="http://elsewhere", cloud="hetzner"), upstream("e")]
    new = Fleet(ups, admit=False)
    new.now = old.now + 1.0
    new.standings.adopt(old.standings, new.now)
    assert {s.name: s.state for s in new.standings} == {
        "a": "ejected",
        "b": "cooling",
        "c": "up",
        "d": "unknown",
        "e": "unknown",
    }
    assert new.usable() == ["c"]
    assert new.standings.heads.served == 100
    assert new["a"].low_water == 100
    assert new["c"].exclusions.methods
    assert new["c"].light.is_doubtful
    assert new["d"].in_flight == 0
    assert new.standings.is_panicking == old.standings.is_panicking
    new.probe("a")
    new.probe("a")
    assert new.kinds("a") == ["recovered"]
    old.tell("c")  # late news for the old object leaves the new one alone
    assert new["c"].light.breaker.streak == 2


def test_a_reload_to_another_chain_keeps_nothing() -> None:
    old = Fleet(four())
    new = Fleet(four(), admit=False, identity="5")
    new.standings.adopt(old.standings, new.now)
    assert new.usable() == []
    assert new.standings.heads.served == -1


def test_heavy_answers_do_not_heal_the_light_class() -> None:
    fleet = Fleet(four())
    fleet.fail("a", times=5)
    fleet.run(2.0)
    for _ in range(5):
        fleet.probe("a", method_class=HEAVY)
    assert "a" not in fleet.usable()


def test_an_answer_without_a_time_teaches_no_latency() -> None:
    fleet = Fleet([upstream("a")])
    before = fleet["a"].light.latency.sampled_at
    fleet.now += 1.0
    assert fleet.tell("a", seconds=None) == []
    assert fleet["a"].light.latency.sampled_at == before
