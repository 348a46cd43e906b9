import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.rules.standing.limits import Cooldown, HedgeAllowance, Rates, RetryBudget, TokenBucket

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


def busy(rate_per_second: int = 100, until: float = 3.0) -> Rates:
    """It has borne that since 0.0."""
    rates, now = Rates(None, 0.0), 0.0
    while now < until:
        now += 0.1
        rates.sent += rate_per_second // 10
        rates.settle(0.1, now)
    return rates


def learned(rates: Rates) -> float:
    assert rates.learned is not None
    return rates.learned.rate


def pass_time(rates: Rates, began: float, seconds: float, sent_per_second: int = 0) -> float:
    for tick in range(1, round(seconds * 10) + 1):
        rates.sent += sent_per_second // 10
        rates.settle(0.1, began + tick / 10)
    return began + seconds


def test_a_limit_is_learned_from_a_refusal() -> None:
    rates = busy(100)
    assert rates.measured(3.0) == pytest.approx(100.0, rel=0.01)
    rates.on_refused(3.0)
    assert rates.is_limited
    assert learned(rates) == pytest.approx(70.0, rel=0.01)
    rates.on_pause_over(4.0)
    now = pass_time(rates, 4.0, 3.0, 50)
    assert 70.0 < learned(rates) < 75.0  # at first it grows slowly
    before = learned(rates)
    rates.on_refused(now)
    # 50 a second was measured; of what was believed, six tenths are left in any case.
    assert learned(rates) == pytest.approx(max(0.85 * 50.0, 0.6 * 70.0), rel=0.05)
    assert learned(rates) < before


def test_a_learned_limit_grows_ever_faster_and_is_forgotten() -> None:
    rates = busy(100)
    rates.on_refused(3.0)
    rates.on_pause_over(4.0)
    now = pass_time(rates, 4.0, 14.0, 10)
    assert 105.0 < learned(rates) < 150.0
    pass_time(rates, now, 1.5)
    assert rates.learned is None
    assert not rates.is_limited


def test_in_a_pause_nothing_is_learned_or_forgotten() -> None:
    rates = busy(100)
    rates.on_refused(3.0)
    for second in range(4, 100):
        assert not rates.settle(1.0, float(second), is_paused=True)
    assert learned(rates) == pytest.approx(70.0, rel=0.01)
    rates.on_pause_over(100.0)
    assert rates.measured(100.1) == 0.0
    rates.settle(96.0, 100.1)
    assert learned(rates) < 71.0


def test_what_it_bore_before_limits_what_a_refusal_in_a_lull_teaches() -> None:
    rates = busy(100)
    now = pass_time(rates, 3.0, 5.0, 10)
    rates.on_refused(now)
    assert learned(rates) > 0.5 * 100.0


def test_refusals_of_the_first_call_halve_and_are_made_up_for_quickly() -> None:
    rates = busy(100)
    rates.on_refused(3.0)
    now = 4.0
    for _ in range(4):
        rates.on_pause_over(now)
        rates.sent += 1
        assert not rates.has_answered(0)
        rates.on_refused(now, is_rate=False)
        now += 1.0
    assert learned(rates) == pytest.approx(70.0 / 16, rel=0.01)
    rates.on_pause_over(now)
    pass_time(rates, now, 2.0)
    assert learned(rates) == pytest.approx(70.0, rel=0.05)


def test_a_limit_that_fell_is_found_in_a_few_steps() -> None:
    rates, now = busy(100), 3.0
    rates.on_refused(now)
    for _ in range(6):
        now += 1.0
        rates.on_pause_over(now)
        now = pass_time(rates, now, 1.5, 10)
        rates.on_refused(now)
    assert learned(rates) < 12.0


def test_calls_that_were_answered_since_the_pause_are_counted() -> None:
    rates = busy(100)
    rates.on_pause_over(3.0)
    rates.sent += 3
    assert rates.has_answered(in_flight=1)
    assert not rates.has_answered(in_flight=2)


def test_an_hours_sleep_is_no_growth() -> None:
    rates = busy(100)
    rates.on_refused(3.0)
    rates.on_pause_over(4.0)
    rates.on_refused(3600.0, is_rate=False)
    rates.settle(3600.0, 3600.05)
    assert learned(rates) < 40.0


def test_a_learned_limit_is_spent_evenly() -> None:
    rates = busy(100)
    rates.on_refused(3.0)
    rates.on_pause_over(10.0)
    sent = 0
    for tick in range(100):
        while rates.level(10.0 + tick / 100) > 0.0:
            rates.take(10.0 + tick / 100)
            sent += 1
    assert 70 <= sent <= 90  # a second's worth, and a fifth of it at first


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
    cooldown.on_refused(hint, now, now, **fields)
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


def test_a_pause_after_answers_is_short_again() -> None:
    cooldown = Cooldown()
    assert refuse(cooldown, 0.0) == 1.0
    assert refuse(cooldown, 1.0) == 2.0
    assert refuse(cooldown, 4.0, is_again=False) == 1.0


def test_refusals_in_a_pause_make_it_last_and_teach_nothing() -> None:
    cooldown = Cooldown()
    assert refuse(cooldown, 0.0) == 1.0
    for now in (0.4, 0.9, 1.5, 2.4):
        assert not cooldown.on_refused(None, now - 0.01, now)
        assert cooldown.until == now + 1.0
    assert refuse(cooldown, 3.5) == 2.0  # the second step, not the sixth


def test_a_clean_probe_ends_a_pause_of_our_own_making() -> None:
    cooldown, now = Cooldown(), 0.0
    for _ in range(5):
        refuse(cooldown, now)
        now = cooldown.until
    refuse(cooldown, now)
    assert cooldown.until == now + 32.0
    cooldown.on_clean_probe(now - 0.1, now + 0.1, is_needed=False)  # sent before the refusal
    assert cooldown.until == now + 32.0
    cooldown.on_clean_probe(now + 0.1, now + 0.2, is_needed=False)
    assert cooldown.until == now + 1.0
    cooldown.on_clean_probe(now + 4.0, now + 4.1, is_needed=False)
    assert cooldown.until == now + 1.0


def test_a_clean_probe_does_not_end_what_was_asked_for_unless_nobody_else_can_serve() -> None:
    for is_quota, until in ((False, 30.0), (True, 900.0)):
        cooldown = Cooldown()
        hint = None if is_quota else 30.0
        cooldown.on_refused(hint, 0.0, 0.0, is_quota=is_quota)
        cooldown.on_clean_probe(5.0, 5.1, is_needed=False)
        assert cooldown.until == until
        cooldown.on_clean_probe(6.0, 6.1, is_needed=True)
        assert cooldown.until == 6.1


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
