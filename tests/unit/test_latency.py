import pytest

from rpcproxy.rules.latency import Latency, Window, rank_of


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
