import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.rules.limits import Cooldown, HedgeAllowance, Rates, RetryBudget, TokenBucket

# ---- buckets


def test_a_bucket_holds_a_second_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(100.0, 0.0)
    for _ in range(100):
        bucket.take(0.0)
    assert bucket.tokens(0.0) == 0.0
    assert bucket.tokens(0.25) == 25.0
    assert bucket.tokens(9.0) == 100.0
    assert bucket.tokens(8.0) == 100.0  # a clock that goes backward


def test_a_slow_bucket_holds_one_token() -> None:
    bucket = TokenBucket(0.1, 0.0)
    assert bucket.tokens(0.0) == 1.0
    bucket.take(0.0)
    assert bucket.tokens(5.0) == pytest.approx(0.5)
    assert bucket.tokens(10.0) == pytest.approx(1.0)


def test_debt_is_bounded() -> None:
    bucket = TokenBucket(10.0, 0.0)
    bucket.take(0.0, 1000)
    assert bucket.tokens(0.0) == -10.0
    bucket.set_rate(5.0)
    assert (bucket.rate, bucket.burst) == (5.0, 5.0)


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 50)), max_size=50), st.floats(0.1, 500))
def test_no_more_is_granted_than_the_rate_allows(
    steps: list[tuple[float, int]], rate: float
) -> None:
    bucket = TokenBucket(rate, 0.0)
    now, granted = 0.0, 0
    for gap, count in steps:
        now += gap
        for _ in range(count):
            if bucket.tokens(now) >= 1.0:
                bucket.take(now)
                granted += 1
    assert granted <= max(1.0, rate) + rate * now + 1e-6


# ---- rates


def test_rates_without_a_limit_are_always_full() -> None:
    rates = Rates(None, 0.0)
    rates.take(0.0, 1000)
    assert rates.level(0.0) == 1.0
    assert not rates.is_limited
    assert not rates.settle(1.0, 1.0)


def test_a_configured_rate_empties() -> None:
    rates = Rates(10.0, 0.0)
    rates.take(0.0, 5)
    assert rates.level(0.0) == 0.5
    rates.take(0.0, 5)
    assert rates.level(0.0) == 0.0
    assert rates.level(0.05) == 0.0  # half a token sends nothing
    assert rates.level(0.1) > 0.0


def test_a_limit_is_learned_from_a_refusal_and_given_back() -> None:
    rates = Rates(None, 0.0)
    rates.sent = 100
    rates.settle(1.0, 1.0)
    assert rates.measured(1.0) == 100.0
    rates.on_refused(1.1)
    assert rates.learned is not None
    assert rates.learned.rate == pytest.approx(70.0)
    rates.settle(1.0, 2.1)
    assert rates.learned.rate == pytest.approx(73.5)
    rates.on_refused(2.2)
    assert rates.learned.rate < 73.5 * 0.71
    now, forgotten = 2.2, False
    for _ in range(60):
        now += 1.0
        forgotten = forgotten or rates.settle(1.0, now)
    assert forgotten
    assert not rates.is_limited


def test_a_learned_limit_has_a_floor_and_leaves_the_configured_one() -> None:
    rates = Rates(5.0, 0.0)
    rates.on_refused(10.0)
    assert rates.learned is not None
    assert rates.learned.rate == 1.0
    rates.take(10.0)
    assert rates.level(10.0) == 0.0
    other = Rates(7.0, 0.0)
    other.adopt(rates)
    assert other.learned is not None
    assert other.learned.rate == 1.0
    assert other.is_limited
    for second in range(60):
        rates.settle(1.0, 11.0 + second)
    assert rates.learned is None
    assert rates.is_limited


# ---- cooldown


def refuse(cooldown: Cooldown, now: float, hint: float | None = None, **fields: bool) -> float:
    cooldown.on_refused(hint, now, now, is_quota=fields.get("is_quota", False))
    return cooldown.until - now


def test_cooldowns_double_and_are_forgotten() -> None:
    cooldown, now, seconds = Cooldown(), 0.0, []
    for _ in range(8):
        now += 0.001
        seconds.append(refuse(cooldown, now))
        now = cooldown.until
    assert seconds == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])
    assert refuse(cooldown, now + 61.0) == pytest.approx(1.0)


def test_what_it_asks_for_is_kept_within_reason() -> None:
    assert refuse(Cooldown(), 5.0, 7.0) == pytest.approx(7.0)
    assert refuse(Cooldown(), 5.0, 1e9) == pytest.approx(600.0)
    assert refuse(Cooldown(), 5.0, 0.0) == pytest.approx(1.0)  # Infura may say 0
    assert refuse(Cooldown(), 5.0, is_quota=True) == pytest.approx(900.0)
    assert refuse(Cooldown(), 5.0, 1e9, is_quota=True) == pytest.approx(6 * 3600.0)


def test_attempts_already_under_way_teach_nothing_new() -> None:
    cooldown = Cooldown()
    assert cooldown.on_refused(None, 0.0, 1.0, is_quota=False)
    for _ in range(20):
        assert not cooldown.on_refused(None, 0.9, 1.1, is_quota=False)
    assert cooldown.until == 2.0
    assert not cooldown.on_refused(5.0, 0.9, 1.1, is_quota=False)
    assert cooldown.until == pytest.approx(6.1)


# ---- budgets


def test_the_retry_budget_has_a_floor_and_earns_a_fifth() -> None:
    budget = RetryBudget(0.0)
    taken = sum(budget.take(0.0) for _ in range(500))
    assert taken == 100
    assert sum(budget.take(1.0) for _ in range(500)) == 10
    for _ in range(100):
        budget.on_request(1.0)
    assert budget.left(1.0) == pytest.approx(20.0)
    assert sum(budget.take(1.0) for _ in range(500)) in (19, 20)


def test_what_was_earned_is_lost_after_the_window() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.on_request(100.0)
    full = budget.left(100.0)
    assert full == pytest.approx(300.0, rel=0.01)
    assert budget.left(150.0) == pytest.approx(100.0, rel=0.02)


def test_hedges_are_one_in_twenty() -> None:
    allowance = HedgeAllowance()
    assert sum(allowance.take() for _ in range(100)) == 10
    assert not allowance.take()
    for _ in range(41):
        allowance.on_request()
    assert sum(allowance.take() for _ in range(100)) == 2
    for _ in range(10_000):
        allowance.on_request()
    assert allowance.left() == 10.0
