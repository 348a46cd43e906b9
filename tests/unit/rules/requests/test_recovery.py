"""What an outage costs, and how fast an upstream is back, by the rules as a whole."""

import pytest

from rpcproxy.config.model import Upstream
from rpcproxy.messages import Verdict
from tests.kits.fleet import CLOUDS, four, upstream
from tests.kits.simulation import Node, Simulation

Fault = dict[str, object]

RATE_LIMITED: Fault = {"verdict": Verdict.RATE_LIMITED}
RETRY_AFTER: Fault = {"verdict": Verdict.RATE_LIMITED, "retry_after": 2.0}
REFUSED: Fault = {"verdict": Verdict.UNREACHABLE}
HANGING: Fault = {"verdict": None}
ERRORS: Fault = {"verdict": Verdict.SERVER_ERROR}
SLOW: Fault = {"seconds": 0.76}
HALF_HANGING: Fault = {"verdict": None, "share": 0.5}
HALF_ERRORS: Fault = {"verdict": Verdict.SERVER_ERROR, "share": 0.5}


def strike(simulation: Simulation, names: str | list[str], fault: Fault) -> None:
    for name in names:
        for key, value in fault.items():
            setattr(simulation[name], key, value)


def heal(simulation: Simulation) -> None:
    for node in simulation.nodes.values():
        node.heal()


def region() -> list[Upstream]:
    """a and b in one region, c and d elsewhere."""
    return [
        upstream("a", cloud="aws", region="us"),
        upstream("b", cloud="aws", region="us"),
        upstream("c", cloud="gcp", region="eu"),
        upstream("d", cloud="azure", region="eu"),
    ]


def many(count: int) -> list[Upstream]:
    return [
        upstream(f"u{index}", cloud=CLOUDS[index % 4], region=f"r{index}") for index in range(count)
    ]


# ---- one of four


@pytest.mark.parametrize(
    ("fault", "rate"),
    [
        (RATE_LIMITED, 80.0),
        (RATE_LIMITED, 300.0),
        (RETRY_AFTER, 80.0),
        (REFUSED, 80.0),
        (HANGING, 80.0),
        (HANGING, 300.0),
        (ERRORS, 80.0),
        (SLOW, 80.0),
        (HALF_HANGING, 80.0),
        (HALF_ERRORS, 80.0),
    ],
)
def test_one_of_four_fails_unnoticed_and_is_back_within_five_seconds(
    fault: Fault, rate: float
) -> None:
    simulation = Simulation(four())
    simulation.run(3.0, rate)
    strike(simulation, "a", fault)
    outage = simulation.run(8.0, rate)
    assert outage.errors == 0
    assert outage.quantile(0.99) < 0.075
    assert outage.attempts < 1.05 * outage.requests + 3
    heal(simulation)
    simulation.run(5.0, rate)
    after = simulation.run(3.0, rate)
    assert after.count("a") / after.attempts > 0.125
    assert after.errors == 0


@pytest.mark.parametrize("fault", [REFUSED, HANGING, HALF_HANGING, HALF_ERRORS])
def test_a_region_is_back_as_fast(fault: Fault) -> None:
    simulation = Simulation(region())
    simulation.run(3.0, 100)
    strike(simulation, "ab", fault)
    outage = simulation.run(10.0, 100)
    assert outage.errors == 0
    assert outage.quantile(0.99) < 0.075
    heal(simulation)
    simulation.run(5.0, 100)
    after = simulation.run(3.0, 100)
    for name in "ab":
        assert after.count(name) / after.attempts > 0.125


@pytest.mark.parametrize("names", ["", "a", "ab", "abc"])
def test_silence_is_hardly_noticed(names: str) -> None:
    simulation = Simulation(four())
    simulation.run(3.0, 100)
    strike(simulation, names, HANGING)
    outage = simulation.run(8.0, 100)
    assert outage.errors == 0
    assert outage.quantile(0.99) < (0.15 if names == "abc" else 0.075)
    assert outage.attempts < 1.06 * outage.requests
    heal(simulation)
    simulation.run(14.0, 20)
    assert simulation.run(3.0, 100).quantile(1.0) < 0.025
    assert simulation.fleet.usable() == ["a", "b", "c", "d"]


def test_a_long_brown_out_stays_as_cheap_as_its_beginning() -> None:
    simulation = Simulation(region())
    simulation.run(3.0, 100)
    strike(simulation, "ab", HALF_HANGING)
    outage = simulation.run(60.0, 100)
    assert outage.errors == 0
    assert outage.quantile(0.99) < 0.05
    assert outage.attempts < 1.02 * outage.requests
    assert simulation.fleet.kinds().count("suspect") <= 10


@pytest.mark.parametrize("rate", [80, 300])
def test_refused_connections_eject_within_a_few_requests(rate: float) -> None:
    simulation = Simulation(four())
    simulation.run(3.0, rate)
    strike(simulation, "a", REFUSED)
    failed, began = 0, simulation.seconds
    while "ejected" not in simulation.fleet.kinds("a"):
        failed += simulation.run(0.01, rate).told["a", Verdict.UNREACHABLE]
        assert simulation.seconds < began + 0.15
    assert failed <= 4


# ---- limits


@pytest.mark.parametrize(("capacity", "most_refused"), [(50.0, 0.02), (10.0, 0.06)])
def test_a_capacity_is_found_and_used(capacity: float, most_refused: float) -> None:
    simulation = Simulation(four())
    simulation.run(5.0)
    simulation["a"].capacity = capacity
    simulation.run(10.0)
    then = simulation.run(15.0)
    refused = then.told["a", Verdict.RATE_LIMITED] / then.count("a")
    assert refused < most_refused
    assert 0.8 * capacity < then.count("a") / 15.0 < 1.1 * capacity
    assert then.errors == 0


def test_a_capacity_that_fell_is_found_again_and_forgotten_when_it_is_gone() -> None:
    simulation = Simulation(four())
    simulation.run(5.0, 100)
    simulation["a"].capacity = 20.0
    simulation.run(15.0, 100)
    simulation["a"] = Node("a", capacity=5.0)
    simulation.run(20.0, 100)
    then = simulation.run(15.0, 100)
    assert 3.0 < then.count("a") / 15.0 < 6.5
    simulation["a"] = Node("a")
    simulation.run(25.0, 100)
    assert simulation.fleet["a"].rates.learned is None
    then = simulation.run(3.0, 100)
    assert then.count("a") / then.attempts > 0.2


# ---- one, two, many


@pytest.mark.parametrize("fault", [RATE_LIMITED, RETRY_AFTER, REFUSED, HANGING])
def test_requests_of_a_lone_upstream_wait_for_its_return(fault: Fault) -> None:
    simulation = Simulation([upstream("a")])
    simulation.run(3.0, 80)
    strike(simulation, "a", fault)
    outage = simulation.run(2.5, 80)
    heal(simulation)
    after = simulation.run(4.0, 80)
    assert outage.errors == after.errors == 0
    later = simulation.run(3.0, 80)
    assert later.quantile(0.99) < 0.025
    assert later.requests > 180
    assert len(simulation.waiting) == 0


def test_a_slow_lone_upstream_goes_on() -> None:
    simulation = Simulation([upstream("a")])
    simulation.run(3.0, 40)
    strike(simulation, "a", SLOW)
    outage = simulation.run(8.0, 40)
    assert outage.errors == 0
    assert outage.quantile(0.5) < 0.9
    assert outage.requests > 250


@pytest.mark.parametrize("fault", [RATE_LIMITED, REFUSED, HANGING, SLOW])
def test_two_upstreams_share_again(fault: Fault) -> None:
    simulation = Simulation(many(2))
    simulation.run(3.0, 80)
    strike(simulation, ["u0"], fault)
    assert simulation.run(8.0, 80).errors == 0
    heal(simulation)
    simulation.run(5.0, 80)
    after = simulation.run(3.0, 80)
    assert after.count("u0") / after.attempts > 0.25


@pytest.mark.parametrize("fault", [RATE_LIMITED, SLOW])
def test_eight_of_sixty_four_are_back_and_nobody_starves(fault: Fault) -> None:
    simulation = Simulation(many(64))
    simulation.run(6.0, 400)
    names = [f"u{index}" for index in range(8)]
    strike(simulation, names, fault)
    outage = simulation.run(6.0, 400)
    assert outage.errors == 0
    assert outage.quantile(0.99) < 0.075
    heal(simulation)
    simulation.run(5.0, 400)
    after = simulation.run(8.0, 400)
    assert sum(after.count(name) for name in names) / after.attempts > 0.0625
    assert min(after.count(name) for name in simulation.nodes) >= 5


# ---- heads


def test_those_that_are_not_asked_are_not_called_late() -> None:
    simulation = Simulation(four(), block_time_seconds=1.0)
    simulation.run(3.0, 80)
    for fault in (RETRY_AFTER, REFUSED, HANGING):
        strike(simulation, "a", fault)
        simulation.run(8.0, 80)
        assert simulation.fleet["a"].is_stale  # by what was last heard: not asked for the head
        heal(simulation)
        simulation.run(8.0, 80)
        assert not simulation.fleet["a"].is_stale
    assert not {"lagging", "caught_up", "stalled_head"} & set(simulation.fleet.kinds())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [3, 4, 7])
def test_when_one_is_held_back_the_others_are_not_called_far_above(count: int, seed: int) -> None:
    simulation = Simulation(many(count), block_time_seconds=12.0, seed=seed)
    simulation.run(5.0 + seed / 2, 10)
    simulation.extra_blocks = simulation["u0"].blocks_behind = 20
    simulation.run(5.0, 10)
    told = [(c.upstream, c.kind) for c in simulation.fleet.changes]
    assert told == [("u0", "lagging")]
    assert simulation.fleet.standings.heads.served >= 120
    simulation["u0"].blocks_behind = 0
    simulation.run(5.0, 10)
    assert simulation.fleet.kinds() == ["lagging", "caught_up"]


def test_one_that_is_far_above_all_others_is_told() -> None:
    simulation = Simulation(four(), block_time_seconds=2.0)
    simulation.run(5.0, 80)
    simulation["a"].blocks_behind = -1000
    simulation.run(5.0, 80)
    assert [(c.upstream, c.kind) for c in simulation.fleet.changes] == [("a", "lagging")]
    assert "far above" in simulation.fleet["a"].reason
    assert simulation.fleet.standings.heads.served <= simulation.highest
