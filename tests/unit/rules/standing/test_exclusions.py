"""What an upstream is thought to refuse: shapes, and methods whose own limit is reached."""

from __future__ import annotations

from rpcproxy.rules.standing.exclusions import (
    LONGEST_LIMIT_SECONDS,
    MAX_SHAPES,
    METHOD_SECONDS,
    SHORTEST_LIMIT_SECONDS,
    SUSPECT_SECONDS,
    Exclusions,
)

NOW = 1000.0
SHAPE = "eth_call 1"


def test_a_shape_is_left_out_when_it_is_refused_twice_in_a_row() -> None:
    known = Exclusions()
    assert not known.on_shape_refused(SHAPE, NOW)
    assert not known.refuses_shape(SHAPE, NOW)
    assert known.listens
    assert not known
    assert not known.on_shape_refused(SHAPE, NOW + 1)
    assert known.refuses_shape(SHAPE, NOW + 1)
    assert known
    assert known.on_shape_refused(SHAPE, NOW + 2)  # by those that were on their way
    assert not known.refuses_shape("eth_call 2", NOW + 1)
    assert not known.refuses_shape("", NOW + 1)
    known.forget_expired(NOW + METHOD_SECONDS + 2)
    assert not known.refuses_shape(SHAPE, NOW + METHOD_SECONDS + 2)
    assert not known
    assert not (known.listens)


def test_one_that_is_taken_in_between_clears_it() -> None:
    known = Exclusions()
    known.on_shape_refused(SHAPE, NOW)
    assert known.awaits("eth_call", SHAPE)
    known.on_taken("eth_call", 0, SHAPE)
    assert not known.listens
    known.on_shape_refused(SHAPE, NOW + 1)
    assert not known.refuses_shape(SHAPE, NOW + 1)
    known.on_shape_refused(SHAPE, NOW + 2, 30.0)
    assert known.refuses_shape(SHAPE, NOW + 31)
    assert not known.refuses_shape(SHAPE, NOW + 33)
    known.on_taken("eth_call", 0, SHAPE)
    assert not known.refuses_shape(SHAPE, NOW + 2)


def test_a_suspicion_fades() -> None:
    known = Exclusions()
    known.on_shape_refused(SHAPE, NOW)
    known.on_shape_refused(SHAPE, NOW + SUSPECT_SECONDS + 1)
    assert not known.refuses_shape(SHAPE, NOW + SUSPECT_SECONDS + 1)


def test_what_clients_invent_is_bounded() -> None:
    known = Exclusions()
    for index in range(3 * MAX_SHAPES):
        for _ in range(2):
            known.on_shape_refused(f"m {index}", NOW)
        known.on_rate_refused(f"m{index}", NOW)
        known.on_method_limited(f"m{index}", NOW, NOW, None)
    assert len(known.shapes) == len(known.limited) == MAX_SHAPES


def test_a_method_is_left_alone_for_as_long_as_it_took_to_be_limited_again() -> None:
    known = Exclusions()
    assert known.on_rate_refused("eth_getLogs", NOW) is None
    assert known.on_rate_refused("eth_getLogs", NOW + 5) == NOW
    for since, seconds in (
        (4.5, SHORTEST_LIMIT_SECONDS),
        (0.0, 10.0),
        (-99, LONGEST_LIMIT_SECONDS),
    ):
        known.on_method_limited("eth_getLogs", NOW + since, NOW + 5, None)
        assert known.is_limited("eth_getLogs", NOW + 5 + seconds - 0.1)
        assert known.refuses("eth_getLogs", 0, NOW + 5, is_batch=False)
        assert not known.is_limited("eth_getLogs", NOW + 5 + seconds + 0.1)
    known.on_method_limited("eth_getLogs", NOW, NOW + 5, 100.0)
    assert known.is_limited("eth_getLogs", NOW + 104)
    twin = known.copy()
    known.on_taken("eth_getLogs", 0)
    assert not known.is_limited("eth_getLogs", NOW + 6)
    assert twin.is_limited("eth_getLogs", NOW + 6)
    twin.forget_expired(NOW + METHOD_SECONDS + 6)
    assert not twin
    assert not (twin.listens)


def test_a_refused_key_makes_all_of_it_void() -> None:
    known = Exclusions()
    known.on_unsupported("eth_call", NOW)
    known.on_shape_refused(SHAPE, NOW)
    known.forget_methods()
    assert not known
    assert not (known.listens)


def test_a_limit_for_longer_than_limits_are_counted_ends_all_the_same() -> None:
    known = Exclusions()
    known.on_rate_refused("eth_getLogs", NOW)
    known.on_method_limited("eth_getLogs", NOW, NOW + 1, 2 * METHOD_SECONDS)
    known.forget_expired(NOW + METHOD_SECONDS + 2)
    assert known.is_limited("eth_getLogs", NOW + METHOD_SECONDS + 2)
    known.forget_expired(NOW + 3 * METHOD_SECONDS)
    assert not known
    assert not known.listens
