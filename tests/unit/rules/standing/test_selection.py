import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcproxy.chains.method import Data
from rpcproxy.messages import Head, Verdict
from rpcproxy.rules.standing.reach import FORGET_SECONDS
from rpcproxy.rules.standing.selection import Need
from rpcproxy.rules.telling.snapshot import snapshot_of
from tests.kits.fleet import CLOUDS, HEAVY, LIGHT, SEND, Fleet, four, upstream

# ---- first attempts


def test_equals_share_the_load() -> None:
    shares = Fleet(four()).shares()
    assert all(0.2 < share < 0.3 for share in shares.values())
    assert len(shares) == 4


def test_the_cheaper_of_two_is_taken() -> None:
    fleet = Fleet(four())
    for _ in range(30):
        fleet.tell("d", seconds=0.06)
    shares = fleet.shares()
    assert shares["d"] < 0.03
    assert shares["d"] > 0.003  # explored: knowledge of it stays fresh


def test_differences_below_a_tenth_are_none() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    fleet.tell("a", seconds=0.0205)
    shares = fleet.shares()
    assert 0.4 < shares["a"] < 0.6


def test_load_in_flight_counts() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    for _ in range(3):
        fleet.standings.on_sent(fleet["a"], fleet.now)
    assert fleet.shares()["b"] > 0.95


def test_weight_draws_load() -> None:
    fleet = Fleet([upstream("a", weight=3.0), upstream("b")])
    assert fleet.shares()["a"] > 0.95


def test_the_far_costlier_are_left_to_exploration_until_the_others_are_loaded() -> None:
    fleet = Fleet(four())
    for name in "cd":
        fleet.tell(name, seconds=2.0)
    fleet.tick()
    shares = fleet.shares(5000)
    assert 0.003 < shares["c"] < 0.03
    assert shares["a"] + shares["b"] > 0.95
    for name in "ab":
        for _ in range(200):
            fleet.standings.on_sent(fleet[name], fleet.now)
    fleet.tick()
    assert fleet.shares()["c"] > 0.2


def test_heavy_and_send_requests_are_not_explored_with() -> None:
    fleet = Fleet(four())
    fleet.tell("d", method_class=HEAVY, seconds=1.0)
    fleet.tick()
    assert "d" not in fleet.shares(method_class=HEAVY)


def test_backups_are_for_when_no_primary_is_well() -> None:
    fleet = Fleet([upstream("a"), upstream("b", tier="backup"), upstream("c", tier="backup")])
    assert fleet.shares(200) == {"a": 1.0}
    fleet.standings.on_overdue(fleet["a"], LIGHT, fleet.now)
    assert set(fleet.shares(200)) == {"b", "c"}
    fleet.standings.on_overdue_settled(fleet["a"], LIGHT)
    assert fleet.shares(200) == {"a": 1.0}
    fleet.kill("a")
    assert set(fleet.shares(200)) == {"b", "c"}
    assert fleet.pick("b", "c") == "a"


def test_ordered_takes_the_first_that_is_well() -> None:
    fleet = Fleet(four(), policy="ordered")
    for _ in range(20):
        fleet.tell("a", seconds=1.0)
    fleet.tick()
    assert fleet.shares(100) == {"a": 1.0}
    assert fleet.shares(100, wants_head=True) == {"a": 1.0}
    fleet.kill("a")
    assert fleet.shares(100) == {"b": 1.0}
    assert fleet.pick("b") in {"c", "d"}
    assert fleet.shares(100, block=200) == {"b": 1.0}


def test_weighted_shares_by_weight() -> None:
    fleet = Fleet([upstream("a", weight=3.0), upstream("b")], policy="weighted")
    assert fleet.shares()["a"] == pytest.approx(0.75, abs=0.04)
    fleet.tell("a", Verdict.UNSUPPORTED, method="m")
    assert fleet.shares(100, method="m") == {"b": 1.0}
    fleet.head("a", 90)
    fleet = Fleet([upstream("a", weight=3.0), upstream("b"), upstream("c")], policy="weighted")
    for name in "bc":
        fleet.head(name, 110)
    assert set(fleet.shares(300, wants_head=True)) == {"b", "c"}


def test_ordered_and_weighted_start_slowly_too() -> None:
    for policy in ("ordered", "weighted"):
        fleet = Fleet([upstream("a"), upstream("b")], policy=policy)
        fleet.kill("a")
        fleet.run(1.1)
        fleet.probe("a")
        fleet.probe("a")
        assert "recovered" in fleet.kinds("a")
        share = fleet.shares()["a"]
        assert 0.02 < share < 0.2
        fleet.kill("b")
        assert fleet.shares(100) == {"a": 1.0}


# ---- retries and hedges


def test_retries_go_to_another_domain_first() -> None:
    fleet = Fleet(
        [
            upstream("a", cloud="aws", region="r"),
            upstream("b", cloud="aws", region="r"),
            upstream("c", cloud="gcp", region="r"),
        ]
    )
    for _ in range(20):
        fleet.tell("c", seconds=0.5)
    assert fleet.pick("a") == "c"
    assert fleet.pick("a", "c") == "b"
    assert fleet.pick("a", "b", "c") is None


def test_the_same_provider_is_the_same_domain() -> None:
    fleet = Fleet([upstream("a", provider="p"), upstream("b", provider="p"), upstream("c")])
    fleet.tell("c", seconds=0.5)
    assert fleet.pick("a") == "c"


def test_retries_take_the_least_cost() -> None:
    fleet = Fleet(four())
    fleet.tell("b", seconds=0.3)
    fleet.tell("c", seconds=0.2)
    assert fleet.pick("a") == "d"
    assert fleet.pick("a", "d") == "c"


def test_retries_prefer_the_well_over_another_domain_and_primaries_over_backups() -> None:
    fleet = Fleet(
        [
            upstream("a", cloud="aws", region="r"),
            upstream("b", cloud="aws", region="r"),
            upstream("c", cloud="gcp", region="r"),
            upstream("d", cloud="azure", tier="backup"),
        ]
    )
    assert fleet.pick("a") == "c"
    fleet.fail("c", times=2)
    assert fleet.pick("a") == "b"
    assert fleet.pick("a", "b") == "d"
    assert fleet.pick("a", "b", "d") == "c"


def test_the_dead_are_a_last_resort_and_hedges_may_do_without() -> None:
    fleet = Fleet(four())
    fleet.kill("b", "c")
    assert fleet.shares(500).keys() == {"a", "d"}
    assert fleet.pick("a") == "d"
    assert fleet.pick("a", "d") in {"b", "c"}
    assert fleet.pick("a", "d", last_resort=False) is None
    fleet.now += 0.5
    fleet.probe("c")
    assert fleet.pick("a", "d") == "c"  # found well last


def test_the_cooling_come_before_the_dead() -> None:
    fleet = Fleet(four())
    fleet.kill("b")
    fleet.tell("c", Verdict.RATE_LIMITED)
    fleet.tell("d", Verdict.RATE_LIMITED, cooldown_seconds=9.0)
    assert fleet.shares(100) == {"a": 1.0}
    assert fleet.pick("a") == "c"
    assert fleet.pick("a", "c") == "d"
    assert fleet.pick("a", "c", "d") == "b"


# ---- filters


def test_roles() -> None:
    fleet = Fleet([upstream("a", role="reads"), upstream("b", role="sends"), upstream("c")])
    assert set(fleet.shares()) == {"a", "c"}
    assert set(fleet.shares(method_class=SEND)) == {"b", "c"}
    assert fleet.pick("c") == "a"
    assert fleet.pick("c", method_class=SEND) == "b"
    assert fleet.pick("b", "c", method_class=SEND) is None
    assert fleet.pick(for_send=True) in {"b", "c"}
    assert fleet.usable() == ["a", "c"]
    assert fleet.usable(SEND) == ["b", "c"]


def test_private_requests_go_to_private_upstreams_and_nowhere_else() -> None:
    fleet = Fleet([upstream("a"), upstream("b", private=True)])
    assert fleet.pick(method_class=SEND, private_only=True) == "b"
    assert fleet.pick("b", method_class=SEND, private_only=True) is None


def test_blocks_above_a_head_go_to_those_that_have_them() -> None:
    fleet = Fleet(four())
    fleet.head("c", 101)
    assert fleet.shares(300, block=101) == {"c": 1.0}
    assert len(fleet.shares(300, block=100)) == 4
    assert fleet.pick("c", block=101) in {"a", "b", "d"}
    fleet.head("d", 102)
    assert fleet.pick(block=5000) == "d"  # above everyone's: the highest
    assert fleet.pick("d", block=5000) == "c"
    assert fleet.pick(block=5000, above_head=False) is None
    assert fleet.pick(block=102, above_head=False) == "d"


def test_unknown_heads_get_no_head_reads_while_others_are_known() -> None:
    fleet = Fleet(four(), head=-1)
    assert len(fleet.shares(300, wants_head=True)) == 4
    fleet.head("b", 100)
    assert fleet.shares(300, wants_head=True) == {"b": 1.0}
    assert fleet.pick("b", wants_head=True) in {"a", "c", "d"}
    assert fleet.shares(300, block=100) == {"b": 1.0}


def test_the_late_get_no_head_reads() -> None:
    fleet = Fleet(four())
    for name in "abc":
        fleet.head(name, 103)
    assert fleet["d"].is_lagging
    assert set(fleet.shares(500, wants_head=True)) == {"a", "b", "c"}
    assert fleet.pick("a", "b", "c", wants_head=True) == "d"
    assert "d" in fleet.shares(500)


def test_no_head_read_goes_below_the_served_head_while_others_are_there() -> None:
    fleet = Fleet(four())
    for name in "abc":
        fleet.head(name, 101)
    assert fleet.standings.heads.served == 101
    assert not fleet["d"].is_stale
    assert set(fleet.shares(500, wants_head=True)) == {"a", "b", "c"}
    assert len(fleet.shares(500)) == 4
    assert fleet.pick("a", "b", wants_head=True) == "c"
    # One that shows signs of failing is worse than one that is a block behind.
    for name in "abc":
        fleet.standings.on_overdue(fleet[name], LIGHT, fleet.now)
    assert fleet.shares(100, wants_head=True) == {"d": 1.0}
    for name in "abc":
        fleet.standings.on_overdue_settled(fleet[name], LIGHT)
    fleet.head("d", 101)
    assert len(fleet.shares(500, wants_head=True)) == 4


def test_who_fell_back_gets_no_head_reads_though_its_highest_is_high() -> None:
    fleet = Fleet(four())
    for name in "abcd":
        fleet.head(name, 101)
    fleet.head("d", 81)
    assert fleet["d"].track.number == 101
    assert set(fleet.shares(500, wants_head=True)) == {"a", "b", "c"}


def test_methods_it_lacks() -> None:
    fleet = Fleet(four())
    for name in "abc":
        assert [c.kind for c in fleet.tell(name, Verdict.UNSUPPORTED, method="trace")] == [
            "method_unsupported"
        ]
        assert fleet.tell(name, Verdict.UNSUPPORTED, method="trace") == []
    assert fleet.shares(300, method="trace") == {"d": 1.0}
    assert len(fleet.shares(300, method="eth_call")) == 4
    fleet.kill("d")
    assert fleet.pick(method="trace") == "d"  # the others are known to lack it
    assert fleet.pick("d", method="trace") in {"a", "b", "c"}
    assert fleet.pick("d", method="trace", last_resort=False) is None
    fleet.run(301.0, step_seconds=1.0)
    assert not fleet["a"].exclusions.methods


def test_names_that_clients_make_up_are_counted_and_not_listed() -> None:
    """polkadot-sdk 13045, fedimint 9032, zksync-os-server 1419: names of methods are whatever a
    client writes.
    """
    fleet = Fleet(four())
    told = [
        change
        for number in range(120)
        for change in fleet.tell("a", Verdict.UNSUPPORTED, method=f"own_method{number}")
    ]
    assert [change.kind for change in told] == ["method_unsupported"]
    assert "own_method0" in told[0].reason
    # What is known of it is kept, whatever is made up meanwhile; all of it takes bounded memory.
    fleet.tell("a", Verdict.UNSUPPORTED, method="trace_block")
    for number in range(10_000):
        fleet.tell("a", Verdict.UNSUPPORTED, method=f"another{number}")
    assert "trace_block" in fleet["a"].exclusions.methods
    assert len(fleet["a"].exclusions.methods) < 300
    fleet.run(3601.0, step_seconds=1.0)
    [again] = fleet.tell("a", Verdict.UNSUPPORTED, method="own_again")
    assert "10119 more" in again.reason


def test_sizes_and_batches_it_refused() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    fleet.tell("a", Verdict.SIZE_REFUSED, request_bytes=5000)
    assert fleet.shares(200, request_bytes=5000) == {"b": 1.0}
    assert len(fleet.shares(200, request_bytes=4999)) == 2
    assert fleet.pick("b", request_bytes=9000) == "a"
    fleet.tell("b", Verdict.BATCH_REFUSED)
    assert fleet.shares(200, batch=True) == {"a": 1.0}
    assert len(fleet.shares(200)) == 2


def test_rates_are_kept_while_others_have_room_and_load_spreads_before() -> None:
    fleet = Fleet([upstream("a", rate_limit_per_second=20.0), upstream("b")])
    for _ in range(14):
        fleet.standings.on_sent(fleet["a"], fleet.now)
        fleet.standings.on_settled(fleet["a"])
    assert fleet.shares()["b"] > 0.95
    fleet.standings.on_sent(fleet["a"], fleet.now, calls=6)
    fleet.standings.on_settled(fleet["a"])
    assert fleet.shares() == {"b": 1.0}
    assert fleet.pick("b") == "a"  # soft
    fleet.now += 1.0
    assert "a" in fleet.shares()


def test_suspects_are_left_out_while_others_remain() -> None:
    fleet = Fleet(
        [upstream(n, cloud="aws", region="r") for n in "abc"] + [upstream("d"), upstream("e")]
    )
    fleet.kill("a", "b")
    fleet.tick()
    shares = fleet.shares(3000)
    assert shares["c"] < 0.03
    assert fleet.pick("d") == "e"
    assert fleet.pick("d", "e") == "c"


def test_slow_start_is_a_small_share_and_no_rule_when_alone() -> None:
    fleet = Fleet(four())
    fleet.kill("a")
    fleet.run(1.1)
    fleet.probe("a")
    fleet.probe("a")
    assert 0.01 < fleet.shares()["a"] < 0.1
    fleet.run(2.5)
    assert 0.05 < fleet.shares()["a"] < 0.22
    fleet.kill("b", "c", "d")
    assert fleet.shares(100) == {"a": 1.0}


def test_the_overdue_and_the_doubtful_are_left_out_while_others_remain() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    fleet.standings.on_overdue(fleet["a"], LIGHT, fleet.now)
    assert fleet.shares(300) == {"b": 1.0}
    assert fleet.shares(300, method_class=SEND) == {"b": 1.0}
    fleet.standings.on_overdue(fleet["a"], LIGHT, fleet.now)
    fleet.standings.on_overdue_settled(fleet["a"], LIGHT)
    assert fleet.shares(300) == {"b": 1.0}
    fleet.standings.on_overdue_settled(fleet["a"], LIGHT)
    fleet.standings.on_overdue_settled(fleet["a"], LIGHT)
    assert len(fleet.shares(300)) == 2
    fleet.fail("a", times=2)
    assert fleet.shares(300)["b"] > 0.97
    fleet.tell("a")
    fleet.tell("a")
    fleet.run(30.0)
    assert fleet.shares(300)["a"] > 0.3


def test_nobody() -> None:
    assert Fleet([]).pick() is None
    assert Fleet(four(), admit=False).pick() is None


# ---- properties

VERDICTS = st.sampled_from(list(Verdict))


@st.composite
def histories(draw: st.DrawFn) -> Fleet:
    """Standings after arbitrary observations, attempts and time."""
    count = draw(st.integers(1, 5))
    fleet = Fleet(
        [
            upstream(
                f"u{i}",
                provider=f"p{draw(st.integers(0, 2))}",
                cloud=draw(st.sampled_from([*CLOUDS, "unknown"])),
                role=draw(st.sampled_from(["full", "reads", "sends"])),
                tier=draw(st.sampled_from(["primary", "backup"])),
                private=draw(st.booleans()),
                rate_limit_per_second=draw(st.sampled_from([None, 2.0])),
            )
            for i in range(count)
        ],
        policy=draw(st.sampled_from(["fastest", "ordered", "weighted"])),
        admit=draw(st.booleans()),
    )
    for _ in range(draw(st.integers(0, 30))):
        name = f"u{draw(st.integers(0, count - 1))}"
        method_class = draw(st.sampled_from([LIGHT, HEAVY, SEND]))
        served = fleet.standings.heads.served
        match draw(st.integers(0, 6)):
            case 0:
                fleet.check(name, draw(st.sampled_from([Verdict.OK, Verdict.WRONG_CHAIN])))
            case 1:
                fleet.standings.on_sent(fleet[name], fleet.now)
            case 2:
                fleet.standings.on_settled(fleet[name])
            case 3:
                fleet.standings.on_overdue(fleet[name], method_class, fleet.now)
            case 4:
                fleet.now += draw(st.floats(-0.5, 90.0))
                fleet.tick()
            case _:
                fleet.tell(
                    name,
                    draw(VERDICTS),
                    method_class=method_class,
                    method=draw(st.sampled_from(["", "m"])),
                    head=draw(st.none() | st.builds(Head, st.integers(0, 300))),
                    seconds=draw(st.none() | st.floats(0, 5)),
                    request_bytes=draw(st.integers(0, 99)),
                    is_probe=draw(st.booleans()),
                    is_identity=draw(st.booleans()),
                    cooldown_seconds=draw(st.none() | st.floats(0, 99)),
                )
        assert fleet.standings.heads.served >= served
        assert all(standing.in_flight >= 0 for standing in fleet.standings)
    return fleet


NEEDS = st.builds(
    Need,
    st.sampled_from([LIGHT, HEAVY, SEND]),
    method=st.sampled_from(["", "m"]),
    block=st.integers(-1, 400),
    wants_head=st.booleans(),
    request_bytes=st.integers(0, 99),
    for_send=st.booleans(),
    private_only=st.booleans(),
    batch=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(histories(), NEEDS, st.sets(st.integers(0, 4)), st.integers(0, 99))
def test_a_pick_is_right_and_there_is_one_while_anyone_may_serve(
    fleet: Fleet, need: Need, tried_indices: set[int], seed: int
) -> None:
    everyone = fleet.standings.all()
    tried = [s for s in everyone if s.index in tried_indices]
    allowed = [
        s
        for s in everyone
        if s not in tried
        and s.is_admitted
        and not s.is_quarantined
        and s.has_role(need.method_class, for_send=need.for_send)
        and (s.private or not need.private_only)
    ]
    for _ in range(5):
        picked = fleet.standings.pick(need, tried, fleet.now, random.Random(seed))
        assert (picked in allowed) if allowed else (picked is None)
        seed += 1
    able = [
        s
        for s in allowed
        if s.cooldown.until <= fleet.now
        and not s.classes[need.method_class].breaker.is_open
        and s.exclusions.methods.get(need.method, 0.0) <= fleet.now
    ]
    if able:  # then nobody who is dead, or known to lack the method, is asked
        assert picked in able


# ---- old blocks and wide ranges

OLD = {"lowest": 1000, "span": 1, "block": 1000}
WIDE = {"method_class": HEAVY, "lowest": 99_000, "span": 1000, "block": 99_999}


def archive_fleet(*, policy: str = "fastest", **backup: str) -> Fleet:
    """a and b lately missed block 1000, c has not; all are at 100,000."""
    fleet = Fleet(
        [upstream("a"), upstream("b"), upstream("c", **backup)], head=100_000, policy=policy
    )
    for name in "ab":
        fleet[name].reach.on_missed(1000, 100_000, Data.STATE, fleet.now)
    return fleet


@pytest.mark.parametrize("policy", ["fastest", "ordered", "weighted"])
def test_old_blocks_go_to_those_that_did_not_miss_them(policy: str) -> None:
    fleet = archive_fleet(policy=policy)
    assert fleet.shares(300, **OLD) == {"c": 1.0}
    assert fleet.shares(300, **{**OLD, "method_class": HEAVY}) == {"c": 1.0}
    assert len(fleet.shares(300, **{**OLD, "data": Data.HISTORY})) == (policy != "ordered") * 2 + 1
    assert "a" in fleet.shares(300, block=100_000)
    assert "a" in fleet.shares(300, wants_head=True)


def test_a_backup_that_has_old_blocks_is_asked_for_them() -> None:
    fleet = archive_fleet(tier="backup")
    assert fleet.shares(300, **OLD) == {"c": 1.0}
    assert set(fleet.shares(300, block=100_000)) == {"a", "b"}


def test_who_missed_a_block_is_asked_last_but_is_asked() -> None:
    fleet = archive_fleet()
    fleet["b"].reach.on_missed(60_000, 100_000, Data.STATE, fleet.now)
    assert fleet.pick("c", **OLD) == "a"  # it reaches deeper
    assert fleet.pick("c", "a", **OLD) == "b"
    fleet.kill("c")
    assert fleet.pick(**OLD, last_resort=False) == "a"


def test_a_miss_is_forgotten_in_time() -> None:
    fleet = archive_fleet()
    fleet.now += FORGET_SECONDS
    assert set(fleet.shares(300, **OLD)) == {"a", "b", "c"}


def test_after_a_miss_whoever_has_served_that_depth_is_next() -> None:
    fleet = Fleet(four(), head=100_000)
    fleet["c"].reach.on_served(500, 100_000, Data.STATE)
    fleet["a"].reach.on_missed(1000, 100_000, Data.STATE, fleet.now)
    assert fleet.pick("a", **OLD) == "c"
    assert fleet.pick("a", "c", **OLD) in {"b", "d"}


def test_wide_ranges_go_to_those_that_take_them() -> None:
    fleet = Fleet(four(), head=100_000)
    for name in "abc":
        fleet[name].exclusions.on_range_refused(1000, 0, fleet.now)
    assert fleet.shares(300, **WIDE) == {"d": 1.0}
    assert fleet.pick("d", **WIDE) in {"a", "b", "c"}
    assert len(fleet.shares(300, **{**WIDE, "span": 999})) == 4


def test_what_was_learned_of_reach_and_ranges_survives_a_reload() -> None:
    fleet = archive_fleet()
    fleet["c"].exclusions.on_range_refused(1000, 0, fleet.now)
    renewed = Fleet([upstream(name) for name in "abc"], admit=False)
    renewed.now = fleet.now
    renewed.standings.adopt(fleet.standings, fleet.now)
    assert renewed.shares(300, **OLD) == {"c": 1.0}
    assert "c" not in renewed.shares(300, **WIDE)


# ---- what observations teach of it


def test_missing_data_at_an_old_block_teaches_reach() -> None:
    fleet = Fleet(four(), head=100_000)
    old = {"method": "eth_call", "lowest": 1000, "span": 1}
    for name in "ab":
        fleet.tell(name, Verdict.MISSING_DATA, **old)
    assert set(fleet.shares(300, **OLD)) == {"c", "d"}
    assert len(fleet.shares(300, **{**OLD, "data": Data.HISTORY})) == 4
    assert fleet.usable() == ["a", "b", "c", "d"]
    fleet.tell("a", **{**old, "lowest": 900})
    fleet.tell("b", Verdict.NULL, **{**old, "lowest": 900})
    assert set(fleet.shares(300, **OLD)) == {"a", "c", "d"}
    fleet.tell("b", Verdict.REVERTED, **{**old, "lowest": 900})
    assert len(fleet.shares(300, **OLD)) == 4
    told = snapshot_of(fleet.standings, fleet.now)[0]
    assert told["missing_from_depth"] == {"state": 99_101, "history": None, "traces": None}


def test_missing_data_that_is_lag_teaches_no_reach() -> None:
    fleet = Fleet(four(), head=100_000)
    logs = {"method": "eth_getLogs", "lowest": 99_000, "method_class": HEAVY}
    fleet.tell("a", Verdict.MISSING_DATA, **logs, span=1002)  # it ends above its head
    fleet.tell("b", Verdict.MISSING_DATA, **logs, span=1001)
    need = {**WIDE, "data": Data.HISTORY}
    assert set(fleet.shares(300, **need)) == {"a", "c", "d"}


def test_refused_ranges_teach_their_width() -> None:
    fleet = Fleet(four(), head=100_000)
    logs = {"method": "eth_getLogs", "lowest": 99_000, "span": 1000, "method_class": HEAVY}
    fleet.tell("a", Verdict.RANGE_TOO_LARGE, detail="-32602: max block range 100", **logs)
    fleet.tell(
        "b", Verdict.RANGE_TOO_LARGE, detail="query returned more than 10000 results", **logs
    )
    fleet.tell("c", Verdict.RANGE_TOO_LARGE, detail="block range is too wide", **logs)
    fleet.tick()
    assert set(fleet.shares(300, **WIDE)) == {"b", "d"}
    assert set(fleet.shares(300, **{**WIDE, "span": 101})) == {"b", "c", "d"}
    assert len(fleet.shares(300, **{**WIDE, "span": 100})) == 4
    assert [s["widest_range"] for s in snapshot_of(fleet.standings, fleet.now)] == [
        100,
        None,
        999,
        None,
    ]
    fleet.tell("a", **logs)
    assert "a" in fleet.shares(300, **WIDE)
