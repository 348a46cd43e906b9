import pytest

from rpcproxy.rules.standing.latency import Latency, Window, rank_of


def test_a_worse_sample_counts_at_once_and_better_ones_slowly() -> None:
    latency = Latency()
    latency.add(0.02, 0.0)
    latency.add(0.5, 1.0)
    assert latency.seconds == 0.5
    latency.add(0.02, 1.01)
    assert latency.seconds > 0.49
    for second in range(2, 52):
        latency.add(0.02, float(second))
    assert latency.seconds == pytest.approx(0.02, abs=0.01)


def look(latency: Latency, now: float) -> bool:
    """As ``Standings.tick`` does."""
    return latency.sampled_at != latency.seen_at and latency.settle(now)


def recovering() -> Latency:
    """It took 20 ms, and at 10.0 it took 760."""
    latency = Latency()
    latency.add(0.02, 9.9)
    latency.add(0.76, 10.0)
    assert not look(latency, 10.0)
    return latency


def test_where_samples_are_rare_two_better_ones_bring_it_back() -> None:
    latency = recovering()
    latency.add(0.03, 10.8)
    assert not look(latency, 10.8)
    assert not look(latency, 11.7)  # nothing new
    latency.add(0.02, 11.8)
    assert look(latency, 11.8)
    assert latency.seconds == 0.03


def test_where_samples_are_many_it_comes_back_once_all_were_better_for_a_while() -> None:
    latency, now = recovering(), 10.0
    while not look(latency, now):
        now += 0.01
        latency.add(0.02 if round(now * 100) % 5 else 0.025, now)
        assert now < 13.0
    assert 11.5 < now < 11.6
    assert latency.seconds == 0.025


def test_a_bad_sample_a_wait_or_a_failure_begins_the_row_anew() -> None:
    for trouble in ("sample", "small sample", "wait", "failure"):
        latency = recovering()
        for tenth in range(1, 16):
            now = 10 + tenth / 10
            latency.add(0.02, now)
            assert not look(latency, now)
        if trouble == "sample":
            latency.add(0.9, 11.52)
        elif trouble == "small sample":
            latency.add(0.7, 11.52)
        elif trouble == "wait":
            latency.add_wait(0.05, 11.52)
        else:
            latency.on_trouble(11.52)
        latency.add(0.02, 11.6)
        assert not look(latency, 11.6)
        assert latency.seconds > 0.5
        found = [look(latency, now / 10) or latency.add(0.02, now / 10) for now in range(117, 150)]
        assert any(found)


def test_what_differs_by_little_comes_back_slowly() -> None:
    latency = recovering()
    for tenth in range(1, 40):
        latency.add(0.65, 10 + tenth / 10)
        assert not look(latency, 10 + tenth / 10)
    assert latency.seconds > 0.65


def test_a_clock_that_goes_backward_does_no_harm() -> None:
    latency = Latency()
    latency.add(0.5, 10.0)
    latency.add(0.02, 9.0)
    assert latency.seconds == 0.5


def test_a_wait_only_makes_it_slower() -> None:
    latency = Latency()
    latency.add(0.3, 0.0)
    latency.add_wait(0.1, 1.0)
    assert latency.seconds == 0.3
    latency.add_wait(1.5, 1.0)
    assert latency.seconds == 1.5
    assert latency.quantile(0.95) == 0.3
    latency.add_wait(2.5, 1.0)
    latency.forget_waits()
    latency.forget_waits()
    assert latency.seconds == 0.3
    latency.restart(0.05, 2.0)
    assert (latency.seconds, latency.sampled_at) == (0.05, 2.0)


def test_an_idle_value_drifts_to_what_the_upstream_is_otherwise_known_for() -> None:
    latency = Latency()
    assert not latency.drift(0.02, 1.0, 100.0)
    latency.add(3.0, 0.0)
    assert not latency.drift(0.02, 1.0, 5.0)
    assert not latency.drift(0.0, 1.0, 50.0)
    for step in range(100):
        assert latency.drift(0.02, 1.0, 11.0 + step)
    assert latency.seconds < 0.2


def test_quantiles() -> None:
    latency = Latency()
    assert latency.quantile(0.5) is None
    for index in range(200):
        latency.add(index / 1000, float(index))
    assert latency.quantile(0.0) == 0.136  # only the last 64
    assert latency.quantile(1.0) == 0.199
    assert rank_of([3.0, 1.0, 2.0], 0.5) == 2.0
    twin = latency.copy()
    twin.add(9.0, 300.0)
    assert latency.quantile(1.0) == 0.199
    assert twin.seconds == 9.0


def test_a_window_is_sorted_while_it_fills_and_then_when_told() -> None:
    window = Window()
    assert window.value() == 0.0
    for index in range(100):
        window.add(float(index))
    assert window.value() == 95.0
    for _ in range(156):
        window.add(99.0)
    assert window.value() == 99.0
    twin = window.copy()
    for _ in range(256):
        window.add(1.0)
    assert window.value() == 99.0
    window.renew()
    assert window.value() == 1.0
    assert len(window) == 256
    assert twin.value() == 99.0
