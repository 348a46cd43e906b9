"""The plan of a request: transcripts on a fake clock, and what must hold whatever happens.

In a transcript each line is what ``decide`` said at that time: ``send a first``, ``wait 0.150``,
``pause 0.100`` (nobody can be asked until then), ``finish a ok``, ``exhausted``.
"""

from __future__ import annotations

import heapq
import itertools
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpcproxy.config.model import Upstream
from rpcproxy.messages import Failure, FailureKind, Head, Judgement, MethodClass, Retry, Verdict
from rpcproxy.rules.requests import ends, failover, steps
from rpcproxy.rules.requests.failover import Plan
from rpcproxy.rules.requests.refusals import Agreed
from rpcproxy.rules.requests.single_attempt import SingleAttempt
from rpcproxy.rules.requests.steps import Budgets, Finish, Policy, Send, Wait
from rpcproxy.rules.standing.limits import HedgeAllowance, RetryBudget
from rpcproxy.rules.standing.settings import Settings
from rpcproxy.rules.standing.standings import Need
from rpcproxy.words import Observation
from tests.kits.evm_rules import standings_of

START = 1000.0
LIGHT = MethodClass.LIGHT


def error(verdict: Verdict, text: bytes = b'{"code":-32000,"message":"no"}') -> Judgement:
    return Judgement(verdict, error=msgspec.Raw(text))


OK = Judgement(Verdict.OK, msgspec.Raw(b'"0x1"'))
NULL = Judgement(Verdict.NULL, msgspec.Raw(b"null"))
NO_BLOCK = Judgement(Verdict.MISSING_DATA, msgspec.Raw(b"null"))
REVERTED = error(Verdict.REVERTED)
BAD_PARAMS = error(Verdict.INVALID_PARAMS)
MISSING = error(Verdict.MISSING_DATA)
UNSUPPORTED = error(Verdict.UNSUPPORTED)
LIMITED = error(Verdict.RATE_LIMITED)
OWN_ERROR = error(Verdict.SERVER_ERROR)
KEY_REFUSED = error(Verdict.KEY_REFUSED)
UNREACHABLE = Judgement(Verdict.UNREACHABLE)
BROKEN = Judgement(Verdict.BROKEN)
TIMEOUT = Judgement(Verdict.TIMEOUT)
NOT_JSON = Judgement(Verdict.NOT_JSON)
TOO_LARGE = Judgement(Verdict.RANGE_TOO_LARGE)
CANCELLED = Judgement(Verdict.CANCELLED)


class Full:
    """Pauses of full length: ``random()`` without the randomness."""

    def random(self) -> float:
        return 1.0


def up(name: str, **details: Any) -> Upstream:
    return Upstream(**{"name": name, "url": f"https://{name}.example", "provider": name, **details})


class Stage:
    """Upstreams that are all well and asked in their order, one plan, and a clock."""

    def __init__(self, *upstreams: str | Upstream, need: Need | None = None, **policy: Any) -> None:
        self.now = self.until = START
        configured = [up(u) if isinstance(u, str) else u for u in upstreams]
        self.standings = standings_of(configured, Settings(policy="ordered"), START)
        self.budgets = Budgets(RetryBudget(START), HedgeAllowance())
        self.need = need or Need(LIGHT, "eth_call", last_resort=False)
        self.policy = Policy(**{"deadline_seconds": 4.5, "attempt_seconds": 1.5, **policy})
        for upstream in configured:
            self.learn(upstream.name, OK, is_probe=True, is_identity=True)
            self.tell_head(upstream.name, 100)
        self.plan = self.new_plan()

    def new_plan(self) -> Plan:
        self.plan = Plan(self.need, self.policy, self.standings, self.budgets, self.now, Full())
        return self.plan

    # ---- knowledge

    def learn(self, name: str, judgement: Judgement, seconds: float = 0.02, **more: Any) -> None:
        seen = Observation(name, LIGHT, judgement.verdict, seconds, **more)
        for change in self.standings.observe(seen, self.now):
            if change.kind in ("ejected", "quarantined") and hasattr(self, "plan"):
                self.plan.on_ejected(self.standings[change.upstream])
            if change.kind in ("recovered", "readmitted", "cooled") and hasattr(self, "plan"):
                self.plan.on_recovery(self.standings[change.upstream])

    def tell_head(self, name: str, number: int) -> None:
        self.learn(name, OK, head=Head(number), is_probe=True)

    def go_up_to(self, number: int, *names: str) -> None:
        """Heads rise, and low-water marks with them. The last is made the slowest by far, so
        that nothing but its head speaks for it.
        """
        for name in names:
            for _ in range(10):
                self.tell_head(name, number)
        self.learn(names[-1], OK, 0.5)

    def kill(self, *names: str) -> None:
        for name in names:
            for _ in range(3):
                self.learn(name, UNREACHABLE)
            assert self.standings[name].light.breaker.is_open

    def revive(self, name: str) -> None:
        for _ in range(2):
            self.learn(name, OK, is_probe=True)
        assert not self.standings[name].light.breaker.is_open

    # ---- time and events

    def at(self, seconds: float) -> None:
        """The clock stands this long after the beginning."""
        self.now = START + seconds
        self.standings.tick(self.now)

    def sleep(self) -> None:
        """Until the time that the last wait or pause named."""
        self.at(self.until - START)

    def answer(self, name: str, judgement: Judgement) -> None:
        standing = self.standings[name]
        self.standings.on_settled(standing)
        self.plan.on_judgement(standing, judgement)

    def spend(self, *, retries: bool = False, hedges: bool = False) -> None:
        while retries and self.budgets.retries.take(self.now):
            pass
        while hedges and self.budgets.hedges.take():
            pass

    # ---- what the plan says

    def step(self) -> str:
        step = self.plan.decide(self.now)
        if isinstance(step, Send):
            self.standings.on_sent(step.standing, self.now)
            self.plan.on_sent(step.standing, self.now)
            return f"send {step.standing.name} {step.reason}"
        if isinstance(step, Wait):
            assert step.until > self.now
            self.until = step.until
            word = "pause" if step.for_recovery else "wait"
            return f"{word} {step.until - START:.3f}"
        shown = "nothing" if step.judgement is None else step.judgement.verdict.label
        if step.exhausted:
            return f"exhausted {shown}"
        assert step.standing is not None
        return f"finish {step.standing.name} {shown}"

    def steps(self) -> list[str]:
        """All that is said at this time, up to the first that is no send."""
        said = [self.step()]
        while said[-1].startswith("send"):
            said.append(self.step())
        return said


# ---- the plain path


def test_the_first_success_is_the_answer() -> None:
    stage = Stage("a", "b")
    assert stage.steps() == ["send a first", "wait 0.150"]
    stage.at(0.02)
    stage.answer("a", OK)
    assert stage.steps() == ["finish a ok"]
    assert stage.plan.finish == Finish(OK, stage.standings["a"])
    assert stage.plan.failures == []


def test_a_failure_is_retried_on_another_fault_domain_first() -> None:
    stage = Stage(
        up("a", cloud="aws", region="us-east-1"),
        up("twin", provider="a", cloud="aws", region="eu-west-1"),
        up("neighbour", cloud="aws", region="us-east-1"),
        up("far", cloud="gcp", region="us-east-1"),
    )
    assert stage.steps()[0] == "send a first"
    stage.answer("a", UNREACHABLE)
    assert stage.steps() == ["send far unreachable", "wait 0.150"]
    stage.answer("far", BROKEN)
    assert stage.step() == "send twin broken"
    stage.answer("twin", NOT_JSON)
    assert stage.step() == "send neighbour not_json"
    stage.answer("neighbour", OK)
    assert stage.step() == "finish neighbour ok"
    assert [name for name, _ in stage.plan.failures] == ["a", "far", "twin"]


@pytest.mark.parametrize("final", [OK, REVERTED, error(Verdict.SEND_REFUSED), NULL])
def test_a_deterministic_answer_is_given_at_once(final: Judgement) -> None:
    stage = Stage("a", "b")
    stage.step()
    stage.answer("a", final)
    assert stage.step() == f"finish a {final.verdict.label}"
    assert stage.plan.failures == []


@pytest.mark.parametrize(
    "failed", [LIMITED, KEY_REFUSED, OWN_ERROR, UNSUPPORTED, MISSING, TOO_LARGE, CANCELLED, TIMEOUT]
)
def test_what_another_upstream_may_answer_is_asked_there(failed: Judgement) -> None:
    stage = Stage("a", "b")
    stage.step()
    stage.answer("a", failed)
    assert stage.step() == f"send b {failed.verdict.label}"
    stage.answer("b", OK)
    assert stage.step() == "finish b ok"


def test_those_that_failed_this_request_before_are_asked_last() -> None:
    stage = Stage("a", "b")
    stage.plan.exclude([stage.standings["a"]])
    assert stage.step() == "send b first"
    stage.answer("b", BROKEN)
    assert stage.step() == "pause 0.100"
    stage.at(0.1)
    assert stage.step() == "send a broken"


def test_what_comes_after_the_finish_changes_nothing() -> None:
    stage = Stage("a", "b")
    stage.step()
    stage.at(0.15)
    assert stage.step() == "send b hedge"
    stage.answer("b", OK)
    stage.answer("a", REVERTED)
    stage.plan.on_ejected(stage.standings["a"])
    stage.plan.on_recovery()
    assert stage.step() == "finish b ok"


# ---- hedges


def test_a_hedge_goes_out_after_the_usual_time_and_may_win() -> None:
    stage = Stage("a", "b", "c")
    assert stage.steps() == ["send a first", "wait 0.150"]
    stage.at(0.149)
    assert stage.step() == "wait 0.150"
    assert not stage.plan.is_hedge_time(stage.now)
    stage.at(0.150)
    assert stage.plan.is_hedge_time(stage.now)
    assert stage.steps() == ["send b hedge", "wait 0.300"]
    stage.at(0.170)
    stage.answer("b", OK)
    assert stage.step() == "finish b ok"


def test_the_late_first_answer_wins_over_its_hedge() -> None:
    stage = Stage("a", "b")
    stage.step()
    stage.at(0.15)
    assert stage.steps() == ["send b hedge", "wait 0.300"]
    stage.answer("a", OK)
    assert stage.step() == "finish a ok"


def test_no_failure_ends_a_request_while_another_attempt_is_in_flight() -> None:
    stage = Stage("a", "b")
    stage.step()
    stage.at(0.15)
    stage.steps()
    stage.answer("b", OWN_ERROR)
    assert stage.step() == "wait 0.300"
    stage.answer("a", OK)
    assert stage.step() == "finish a ok"


def test_the_hedge_delay_is_learned_or_fixed() -> None:
    learned = Stage("a", "b")
    for _ in range(30):
        learned.learn("a", OK, 0.040)
    learned.new_plan()
    assert learned.steps() == ["send a first", "wait 0.050"]
    fixed = Stage("a", "b", hedge_seconds=0.7)
    assert fixed.steps() == ["send a first", "wait 0.700"]


def test_a_class_that_must_not_be_hedged_waits_for_its_attempt() -> None:
    stage = Stage("a", "b", can_hedge=False)
    assert stage.steps() == ["send a first", "wait 0.150"]
    stage.at(0.15)
    assert stage.steps() == ["wait 0.300"]
    stage.kill("a")
    assert stage.steps() == ["wait 0.300"]
    stage.answer("a", TIMEOUT)
    assert stage.step() == "send b timeout"


def test_a_single_slow_answer_pays_from_the_hedge_allowance_alone() -> None:
    stage = Stage("a", "b")
    stage.spend(hedges=True)
    left = stage.budgets.retries.left(stage.now)
    stage.step()
    stage.standings.on_overdue(stage.standings["a"], LIGHT, stage.now)
    stage.at(0.15)
    assert stage.steps() == ["wait 0.300"]
    assert stage.budgets.retries.left(stage.now) == left
    stage.at(0.30)
    for _ in range(20):
        stage.budgets.hedges.on_request()
    assert stage.steps() == ["send b hedge", "wait 0.450"]


def test_an_upstream_that_shows_signs_of_failing_is_hedged_from_the_retry_budget() -> None:
    stage = Stage("a", "b")
    stage.step()
    stage.spend(hedges=True)
    for _ in range(2):
        stage.standings.on_overdue(stage.standings["a"], LIGHT, stage.now)
    left = stage.budgets.retries.left(stage.now)
    stage.at(0.15)
    assert stage.step() == "send b hedge"
    assert stage.budgets.retries.left(START) == left - 1


def test_with_both_budgets_empty_there_is_no_hedge_even_of_a_dead_upstream() -> None:
    stage = Stage("a", "b")
    stage.step()
    stage.kill("a")
    stage.spend(retries=True, hedges=True)
    assert stage.steps() == ["wait 0.150"]
    stage.at(0.15)  # ten retries a second come back
    assert stage.steps() == ["send b hedge", "wait 0.300"]


def test_an_upstream_known_to_be_dead_is_hedged_at_once() -> None:
    stage = Stage("a", "b", "c")
    assert stage.steps() == ["send a first", "wait 0.150"]
    stage.at(0.01)
    stage.kill("a")
    assert stage.steps() == ["send b hedge", "wait 0.160"]
    stage.at(0.02)
    stage.kill("c")  # none of ours
    assert stage.steps() == ["wait 0.160"]
    stage.kill("b")  # and nobody else is left
    assert stage.steps() == ["wait 0.170"]


def test_after_a_recovery_nobody_waits_for_those_asked_in_the_outage() -> None:
    stage = Stage("a", "b")
    assert stage.steps() == ["send a first", "wait 0.150"]
    stage.kill("a", "b")
    stage.spend(retries=True, hedges=True)
    assert stage.steps() == ["wait 0.150"]
    stage.at(1.2)
    stage.revive("b")
    assert stage.steps() == ["send b hedge", "wait 1.350"]  # free, and once
    stage.at(1.25)
    stage.revive("a")
    assert stage.steps() == ["wait 1.350"]


def test_the_one_that_came_back_is_asked_anew() -> None:
    stage = Stage("a")
    assert stage.steps() == ["send a first", "wait 0.150"]
    stage.kill("a")
    stage.spend(retries=True, hedges=True)
    stage.at(1.2)
    stage.revive("a")
    assert stage.steps() == ["send a hedge", "wait 1.350"]
    stage.plan.on_judgement(stage.standings["a"], OK)
    assert stage.steps() == ["finish a ok"]


# ---- who is left, and for how long


def test_the_deadline_ends_everything() -> None:
    stage = Stage("a", "b", can_hedge=False, deadline_seconds=1.0)
    stage.step()
    stage.at(0.999)
    assert stage.step() == "wait 1.000"
    stage.at(1.0)
    assert stage.step() == "exhausted nothing"
    stage.answer("a", OK)
    assert stage.step() == "finish a ok"  # it came with the bell


def test_at_the_deadline_the_best_of_what_came_is_given() -> None:
    stage = Stage("a", "b", deadline_seconds=1.0)
    stage.step()
    stage.answer("a", OWN_ERROR)
    assert stage.step() == "send b server_error"
    stage.at(1.0)
    assert stage.step() == "finish a server_error"


def test_with_nobody_usable_a_request_waits_and_a_recovery_wakes_it() -> None:
    stage = Stage("a", "b")
    stage.kill("a", "b")
    stage.at(1.5)
    stage.new_plan()
    stage.spend(retries=True)  # so that nobody is asked as a last resort
    assert stage.step() == "pause 1.600"
    stage.at(1.55)
    assert stage.step() == "pause 1.600"
    stage.revive("b")
    assert stage.step() == "send b first"


def test_pauses_grow_up_to_a_bound() -> None:
    stage = Stage("a")
    stage.kill("a")
    stage.new_plan()
    ends = []
    while (said := stage.step()).startswith("pause"):
        ends.append(stage.until - START)
        stage.sleep()
        stage.spend(retries=True)
    assert said == "exhausted nothing"
    lengths = [round(b - a, 3) for a, b in itertools.pairwise([0.0, *ends])]
    assert lengths == [0.1, 0.2, 0.4, 0.8, 0.8, 0.8, 0.8, 0.6]
    assert stage.now == START + 4.5


def test_pauses_are_jittered() -> None:
    stage = Stage("a")
    stage.kill("a")
    stage.plan._rng = random.Random(7)
    step = stage.plan.decide(stage.now)
    assert isinstance(step, Wait)
    assert START + 0.05 <= step.until < START + 0.1


def test_a_thousand_recoveries_that_help_nobody_do_no_harm() -> None:
    stage = Stage("a")
    stage.kill("a")
    stage.new_plan()
    stage.spend(retries=True)
    for _ in range(1100):
        stage.plan.on_recovery()
        assert stage.step().startswith("pause")


def test_an_old_outage_is_answered_within_a_second() -> None:
    stage = Stage("a", "b")
    stage.kill("a", "b")
    stage.at(14.0)
    young = stage.new_plan()
    assert stage.step() == "pause 14.100"
    assert young.deadline == START + 14.0 + 4.5
    stage.at(15.1)
    assert stage.step() == "send a first"  # the last resort
    old = stage.new_plan()
    assert stage.step() == "pause 15.200"
    assert old.deadline == pytest.approx(START + 15.1 + 0.8)
    stage.at(15.9)
    assert stage.step() == "exhausted nothing"


def test_a_request_that_outlives_its_outages_youth_is_answered_soon() -> None:
    stage = Stage("a")
    stage.kill("a")
    stage.at(14.5)
    stage.new_plan()
    for _ in range(20):
        stage.spend(retries=True)
        said = stage.step()
        if not said.startswith("pause"):
            break
        stage.sleep()
    assert said == "exhausted nothing"
    assert stage.now - START < 15.0 + 0.8 + failover.LONGEST_PAUSE_SECONDS


def test_the_ejected_are_a_last_resort_after_a_pause_and_one_in_a_round() -> None:
    stage = Stage("a", "b")
    stage.kill("a", "b")
    stage.new_plan()
    assert stage.step() == "pause 0.100"
    stage.at(0.1)
    assert stage.steps() == ["send a first", "wait 0.250"]
    stage.answer("a", UNREACHABLE)
    assert stage.step() == "pause 0.300"
    stage.sleep()
    # Not twice within a quarter of a second: one that is down, or refuses, is not flooded.
    assert stage.step() == "pause 0.700"
    stage.sleep()
    assert stage.step() == "send a unreachable"
    stage.answer("a", OK)
    assert stage.step() == "finish a ok"


def test_a_method_that_all_lack_is_refused_at_once_by_one_of_them() -> None:
    stage = Stage("a", "b")
    for name in ("a", "b"):
        stage.learn(name, error(Verdict.UNSUPPORTED), method="foo_bar")
    stage.need = msgspec.structs.replace(stage.need, method="foo_bar")
    left = stage.budgets.retries.left(stage.now)
    stage.new_plan()
    assert stage.step() == "send a first"
    stage.answer("a", error(Verdict.UNSUPPORTED))
    assert stage.step() == "finish a unsupported"
    assert stage.budgets.retries.left(stage.now) == left


def test_a_last_resort_pays_from_the_retry_budget_only_where_there_is_one() -> None:
    stage = Stage("a")
    stage.kill("a")
    stage.new_plan()
    stage.step()
    stage.at(0.1)
    left = stage.budgets.retries.left(stage.now)
    assert stage.step() == "send a first"
    assert stage.budgets.retries.left(stage.now) == left - 1
    stage.answer("a", UNREACHABLE)
    stage.learn("a", error(Verdict.WRONG_CHAIN))
    assert stage.step() == "pause 0.300"
    stage.sleep()
    left = stage.budgets.retries.left(stage.now)
    assert stage.step() == "pause 0.700"
    assert stage.budgets.retries.left(stage.now) == left


def test_rate_limited_everywhere_is_never_shown_but_waited_out() -> None:
    stage = Stage("a", "b", deadline_seconds=0.9)
    for name in ("a", "b"):
        assert stage.step().startswith(f"send {name}")
        stage.learn(name, LIMITED)
        stage.answer(name, LIMITED)
    assert stage.step() == "pause 0.100"
    stage.at(0.1)
    assert stage.step() == "send a rate_limited"  # the last resort
    stage.answer("a", LIMITED)
    assert stage.step() == "pause 0.300"
    stage.at(0.9)
    assert stage.step() == "exhausted rate_limited"


# ---- budgets


def test_the_second_attempt_is_always_granted_and_counted() -> None:
    stage = Stage("a", "b")
    left = stage.budgets.retries.left(stage.now)
    stage.step()
    stage.answer("a", BROKEN)
    assert stage.step() == "send b broken"
    assert stage.budgets.retries.left(stage.now) == left - 1
    stage.spend(retries=True)
    stage.new_plan()
    stage.step()
    stage.answer("a", BROKEN)
    assert stage.step() == "send b broken"


@pytest.mark.parametrize("failed", [BROKEN, OWN_ERROR, MISSING])
def test_with_the_budget_empty_the_others_are_asked_after_a_pause(failed: Judgement) -> None:
    stage = Stage("a", "b", "c", "d", can_hedge=False)
    stage.spend(retries=True)
    for name in ("a", "b"):
        assert stage.step().startswith(f"send {name}")
        stage.answer(name, failed)
    assert stage.step() == "pause 0.100"
    stage.at(0.09)
    stage.spend(retries=True)
    stage.at(0.1)
    assert stage.step() == f"send c {failed.verdict.label}"
    stage.answer("c", OK)
    assert stage.step() == "finish c ok"


def test_attempts_of_one_round_are_bounded() -> None:
    names = [f"u{i}" for i in range(9)]
    stage = Stage(*names)
    for name in names[: steps.MAX_ATTEMPTS]:
        assert stage.step().startswith(f"send {name} ")
        stage.answer(name, BROKEN)
    assert stage.step() == "pause 0.100"
    stage.at(0.1)
    assert stage.step() == "send u6 broken"


def test_an_error_of_the_upstreams_own_ends_a_round_of_many() -> None:
    names = [f"u{i}" for i in range(9)]
    stage = Stage(*names)
    for name in names[: steps.MAX_ATTEMPTS]:
        stage.step()
        stage.answer(name, OWN_ERROR)
    assert stage.step() == "finish u0 server_error"


def test_hedges_count_as_attempts() -> None:
    stage = Stage(*[f"u{i}" for i in range(9)], deadline_seconds=30.0)
    said = []
    while stage.now < START + 3.0:
        said += [line for line in stage.steps() if line.startswith("send")]
        stage.at(stage.now - START + 0.15)
    assert len(said) == steps.MAX_ATTEMPTS


# ---- nulls, refusals, missing data


def test_a_null_is_confirmed_by_one_more_whose_head_is_as_high() -> None:
    stage = Stage("a", "behind", "c", "d", confirm_nulls=True)
    stage.go_up_to(101, "a", "c")
    stage.step()
    stage.answer("a", NULL)
    left = stage.budgets.retries.left(stage.now)
    assert stage.step() == "send c null"
    assert stage.budgets.retries.left(stage.now) == left  # no failure, so no retry
    stage.answer("c", NULL)
    assert stage.step() == "finish c null"
    assert stage.plan.failures == []


def test_what_is_doubted_is_confirmed_whatever_the_method() -> None:
    doubted = Judgement(Verdict.DOUBTED, msgspec.Raw(b"[]"))
    stage = Stage("a", "b", "c")
    stage.step()
    stage.answer("a", doubted)
    assert stage.step() == "send b doubted"
    stage.answer("b", doubted)
    assert stage.step() == "finish b doubted"
    alone = Stage("a")
    alone.step()
    alone.answer("a", doubted)
    assert alone.step() == "finish a doubted"


def test_what_is_disproved_is_asked_of_all_and_given_where_nobody_says_more() -> None:
    disproved = Judgement(Verdict.DISPROVED, msgspec.Raw(b"[]"))
    stage = Stage("a", "b")
    stage.step()
    stage.answer("a", disproved)
    assert stage.step() == "send b disproved"
    stage.answer("b", disproved)
    assert stage.step() == "finish a disproved"


def test_a_null_of_one_that_claims_more_than_the_chain_has_is_confirmed_all_the_same() -> None:
    stage = Stage("liar", "b", "c", confirm_nulls=True)
    stage.go_up_to(1100, "liar")
    assert stage.standings.heads.served == 100
    stage.step()
    stage.answer("liar", NULL)
    assert stage.step() == "send b null"


def test_a_null_that_waited_for_one_that_hangs_is_asked_for_anew_when_the_head_has_moved() -> None:
    stage = Stage("a", "b", "c", confirm_nulls=True)
    stage.step()
    stage.answer("a", NULL)
    assert stage.step() == "send b null"
    stage.go_up_to(101, "a", "c", "b")
    assert stage.standings.heads.served == 101
    stage.answer("b", TIMEOUT)
    assert stage.step() == "send a timeout"
    stage.answer("a", OK)
    assert stage.step() == "finish a ok"


def test_a_null_that_nobody_confirms_is_better_than_no_answer() -> None:
    stage = Stage("a", "b", "c", confirm_nulls=True)
    stage.step()
    stage.answer("a", NULL)
    assert stage.step() == "send b null"
    stage.go_up_to(101, "a", "c", "b")
    stage.answer("b", TIMEOUT)
    assert stage.step() == "send a timeout"
    stage.at(4.5)
    assert stage.step() == "finish a null"


def test_a_null_that_is_asked_for_anew_may_be_one_again() -> None:
    stage = Stage("a", "b", "c", confirm_nulls=True)
    stage.step()
    stage.answer("a", NULL)
    stage.step()
    stage.go_up_to(101, "a", "c", "b")
    stage.answer("b", TIMEOUT)
    assert stage.step() == "send a timeout"
    stage.answer("a", NULL)
    assert stage.step() == "send c null"
    stage.answer("c", NULL)
    assert stage.step() == "finish c null"


def test_what_one_did_not_know_another_may() -> None:
    stage = Stage("a", "b", confirm_nulls=True)
    stage.step()
    stage.answer("a", NULL)
    stage.step()
    stage.answer("b", OK)
    assert stage.step() == "finish b ok"


def test_a_null_is_given_where_nobody_can_confirm_it() -> None:
    stage = Stage("a", "b", "c", confirm_nulls=True)
    stage.kill("c")
    stage.step()
    stage.answer("a", NULL)
    assert stage.step() == "send b null"
    stage.answer("b", BROKEN)
    assert stage.step() == "finish a null"


def test_a_null_of_one_that_never_told_its_head_is_confirmed_by_anyone() -> None:
    stage = Stage("a", "b", confirm_nulls=True)
    stage.standings["a"].head = None
    stage.step()
    stage.answer("a", NULL)
    assert stage.step() == "send b null"


def test_a_null_waits_for_the_hedge_that_is_in_flight_anyway() -> None:
    stage = Stage("a", "b", "c", confirm_nulls=True)
    stage.step()
    stage.at(0.15)
    assert stage.steps() == ["send b hedge", "wait 0.300"]
    stage.answer("a", NULL)
    assert stage.step() == "wait 0.300"
    stage.answer("b", NULL)
    assert stage.step() == "finish b null"


def test_invalid_params_are_the_answer_once_all_have_refused_them() -> None:
    stage = Stage("a", "b", "c")
    for name in ("a", "b", "c"):
        assert stage.step().startswith(f"send {name}")
        stage.answer(name, BAD_PARAMS)
    assert stage.step() == "finish a invalid_params"


def test_all_are_asked_before_a_refusal_however_many_there_are() -> None:
    names = [f"u{i}" for i in range(9)]
    stage = Stage(*names)
    for name in names[:-1]:
        assert stage.step().startswith(f"send {name}")
        stage.answer(name, BAD_PARAMS)
    assert stage.step() == "send u8 invalid_params"
    stage.answer("u8", OK)
    assert stage.step() == "finish u8 ok"


def test_params_that_one_refuses_another_may_take() -> None:
    stage = Stage("a", "b", "c")
    stage.step()
    stage.answer("a", BAD_PARAMS)
    assert stage.step() == "send b invalid_params"
    stage.answer("b", OK)
    assert stage.step() == "finish b ok"


def test_a_refusal_stands_where_nobody_else_can_be_asked() -> None:
    stage = Stage("a")
    stage.step()
    stage.answer("a", BAD_PARAMS)
    assert stage.step() == "finish a invalid_params"


def test_missing_data_is_asked_of_one_at_least_as_high() -> None:
    stage = Stage("a", "behind", "c")
    stage.go_up_to(101, "a", "c")
    stage.step()
    stage.answer("a", MISSING)
    assert stage.step() == "send c missing_data"


def test_missing_everywhere_is_said_without_waiting() -> None:
    stage = Stage("a", "b")
    for name in ("a", "b"):
        stage.step()
        stage.answer(name, MISSING)
    assert stage.step() == "finish a missing_data"


# ---- which of several is shown


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        (OWN_ERROR, error(Verdict.UNKNOWN), "finish a server_error"),
        (BROKEN, OWN_ERROR, "pause 0.100"),
        (OWN_ERROR, BROKEN, "pause 0.100"),
        (LIMITED, OWN_ERROR, "pause 0.100"),
        (OWN_ERROR, MISSING, "finish b missing_data"),
        (MISSING, OWN_ERROR, "finish a missing_data"),
        (BROKEN, NO_BLOCK, "finish b missing_data"),
        (NO_BLOCK, OWN_ERROR, "finish a missing_data"),
        (BROKEN, TOO_LARGE, "finish b range_too_large"),
        (BROKEN, Judgement(Verdict.BATCH_REFUSED), "finish b batch_refused"),
        (UNSUPPORTED, LIMITED, "finish a unsupported"),
        (OWN_ERROR, REVERTED, "finish b reverted"),
        (BROKEN, UNREACHABLE, "pause 0.100"),
        (CANCELLED, CANCELLED, "pause 0.100"),
        (LIMITED, KEY_REFUSED, "pause 0.100"),
    ],
)
def test_which_of_two_is_shown(first: Judgement, second: Judgement, shown: str) -> None:
    stage = Stage("a", "b")
    stage.step()
    stage.answer("a", first)
    stage.step()
    stage.answer("b", second)
    assert stage.step() == shown


def test_the_own_error_of_a_lone_upstream_stands_when_it_says_so_again() -> None:
    stage = Stage("a")
    stage.step()
    stage.answer("a", OWN_ERROR)
    assert stage.step() == "pause 0.100"
    stage.sleep()
    assert stage.step() == "send a server_error"
    stage.answer("a", OWN_ERROR)
    assert stage.step() == "finish a server_error"


def test_the_own_error_of_the_only_one_that_is_well_is_no_answer_while_another_may_have_one() -> (
    None
):
    stage = Stage("a", "b")
    stage.learn("b", LIMITED, cooldown_seconds=60.0)
    stage.new_plan()
    stage.step()
    stage.answer("a", OWN_ERROR)
    assert stage.step() == "pause 0.100"
    stage.sleep()
    assert stage.step() == "send a server_error"
    stage.answer("a", OWN_ERROR)
    assert stage.step() == "send b server_error"
    stage.answer("b", OK)
    assert stage.step() == "finish b ok"


def test_the_own_error_of_the_only_one_that_is_well_stands_where_no_other_has_an_answer() -> None:
    stage = Stage("a", "b")
    stage.kill("b")
    stage.new_plan()
    stage.step()
    stage.answer("a", OWN_ERROR)
    stage.step()
    stage.sleep()
    stage.step()
    stage.answer("a", OWN_ERROR)
    assert stage.step() == "send b server_error"
    stage.answer("b", UNREACHABLE)
    assert stage.step() == "finish a server_error"


def test_an_own_error_that_two_gave_is_not_asked_of_the_dead() -> None:
    stage = Stage("a", "b", "c")
    stage.kill("c")
    stage.new_plan()
    stage.step()
    stage.answer("a", OWN_ERROR)
    stage.step()
    stage.answer("b", OWN_ERROR)
    assert stage.step() == "finish a server_error"


def test_ranks_of_all_verdicts() -> None:
    ranks = {verdict: ends.rank(error(verdict)) for verdict in Verdict}
    for verdict, rank in ranks.items():
        if verdict is Verdict.CANCELLED:
            assert rank == 0
        elif verdict.retry is Retry.NO:
            assert rank == 5
    order = [
        Verdict.REVERTED,
        Verdict.INSUFFICIENT_FUNDS,
        Verdict.UNSUPPORTED,
        Verdict.SERVER_ERROR,
        Verdict.RATE_LIMITED,
        Verdict.CANCELLED,
    ]
    assert [ranks[verdict] for verdict in order] == [5, 4, 3, 2, 1, 0]
    assert ends.rank(TIMEOUT) == ends.rank(Judgement(Verdict.RATE_LIMITED)) == 0


# ---- requests that lately failed everywhere


def test_a_poisoned_request_is_asked_once() -> None:
    stage = Stage("a", "b", single_attempt=True)
    assert stage.steps() == ["send a first", "wait 0.150"]
    stage.at(0.15)
    assert stage.steps() == ["wait 0.300"]  # and is not hedged
    stage.answer("a", OWN_ERROR)
    assert stage.step() == "finish a server_error"


@pytest.mark.parametrize("failed", [BROKEN, LIMITED, KEY_REFUSED, UNSUPPORTED])
def test_a_poisoned_request_does_not_end_at_what_is_not_its_fault(failed: Judgement) -> None:
    stage = Stage("a", "b", single_attempt=True)
    stage.step()
    stage.answer("a", failed)
    assert stage.step() == f"send b {failed.verdict.label}"


# ---- one attempt


def test_a_single_attempt_ends_as_its_attempt_ends() -> None:
    stage = Stage("a", "b")
    chosen = stage.standings["b"]
    plan = SingleAttempt(chosen, START + 1.5, START + 4.5)
    assert plan.decide(START) == Send(chosen, "first")
    plan.on_sent(chosen, START)
    assert plan.decide(START) == Wait(START + 1.5)
    plan.on_ejected(chosen)
    plan.on_recovery()
    assert plan.decide(START + 1) == Wait(START + 1.5)
    assert not plan.is_hedge_time(START + 1)
    assert plan.is_hedge_time(START + 1.5)
    plan.on_judgement(chosen, LIMITED)
    assert plan.decide(START + 1) == Finish(LIMITED, chosen)
    assert plan.finish is not None
    assert plan.failures == []


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (FailureKind.TIMEOUT, Verdict.TIMEOUT),
        (FailureKind.OVERTAKEN, Verdict.OVERTAKEN),
        (FailureKind.CANCELLED, Verdict.CANCELLED),
    ],
)
def test_attempts_that_we_ended(kind: FailureKind, verdict: Verdict) -> None:
    assert ends.lost(Failure(kind, "1.5 s")) == Judgement(verdict, detail="1.5 s")


# ---- whatever happens

FAILURES = (
    *(UNREACHABLE, BROKEN, NOT_JSON, LIMITED, KEY_REFUSED, OWN_ERROR, UNSUPPORTED, MISSING),
    *(TOO_LARGE, CANCELLED, NO_BLOCK),
)
# What an upstream does when asked: how long it takes, what it says (``None``: it hangs), and
# whether the standings hear of it.
Deed = tuple[float, Judgement | None, bool]
# What happens by itself: when, and to whom.
Incident = tuple[float, str, int]


class Drive:
    """Carries a plan out as the executor does, on the stage's clock, and checks every step."""

    MOST_STEPS = 600

    def __init__(
        self, stage: Stage, deeds: dict[str, list[Deed]], incidents: list[Incident]
    ) -> None:
        self.stage = stage
        self.deeds = {name: itertools.cycle(told) for name, told in deeds.items()}
        self.live: set[tuple[str, int]] = set()
        self.asked: set[str] = set()  # in this round; a recovery begins another
        self.sent = 0
        self.count = itertools.count()
        self.queue: list[tuple[float, int, str, Any]] = []
        names = [standing.name for standing in stage.standings]
        for seconds, kind, index in incidents:
            self.push(START + seconds, kind, names[index % len(names)])

    def push(self, time: float, kind: str, of: Any) -> None:
        heapq.heappush(self.queue, (time, next(self.count), kind, of))

    def run(self) -> Finish:
        stage, plan = self.stage, self.stage.plan
        for _ in range(self.MOST_STEPS):
            step = plan.decide(stage.now)
            if isinstance(step, Finish):
                assert stage.now <= START + stage.policy.deadline_seconds
                return step
            assert stage.now < plan.deadline
            if isinstance(step, Send):
                self.send(step)
            else:
                self.wait(step)
        raise AssertionError("the plan goes round in circles")

    def send(self, step: Send) -> None:
        stage, name = self.stage, step.standing.name
        assert name not in self.asked, "asked twice in a round"
        self.asked.add(name)
        self.sent += 1
        stage.standings.on_sent(step.standing, stage.now)
        stage.plan.on_sent(step.standing, stage.now)
        seconds, judgement, is_heard = next(self.deeds[name])
        if judgement is None or seconds > stage.policy.attempt_seconds:
            seconds, judgement = stage.policy.attempt_seconds, TIMEOUT
        self.live.add((name, self.sent))
        self.push(stage.now + seconds, "answer", (name, self.sent, judgement, is_heard))

    def wait(self, step: Wait) -> None:
        stage = self.stage
        assert stage.now < step.until <= stage.plan.deadline
        if step.for_recovery:
            assert not self.live
            self.asked.clear()
        until = min(step.until, self.queue[0][0]) if self.queue else step.until
        stage.at(max(stage.now, until) - START)
        stage.now = max(stage.now, until)  # not a rounding error earlier
        while self.queue and self.queue[0][0] <= stage.now:
            _, _, kind, of = heapq.heappop(self.queue)
            self.happen(kind, of)

    def happen(self, kind: str, of: Any) -> None:
        stage = self.stage
        if kind == "answer":
            name, number, judgement, is_heard = of
            self.live.remove((name, number))
            if is_heard:
                stage.learn(name, judgement)
            stage.answer(name, judgement)
        elif kind == "kill":
            for _ in range(3):
                stage.learn(of, UNREACHABLE)
        elif kind == "revive":
            for _ in range(2):
                stage.learn(of, OK, is_probe=True)
            self.asked &= {name for name, _ in self.live if name != of}
        elif kind == "shout":
            stage.plan.on_ejected(stage.standings[of])
        else:
            stage.plan.on_recovery()
            self.asked &= {name for name, _ in self.live}


seconds_of_answers = st.sampled_from([0.0, 0.02, 0.149, 0.15, 0.151, 0.6, 1.6])
failing = st.tuples(seconds_of_answers, st.sampled_from([*FAILURES, None]), st.booleans())
anything = st.tuples(
    seconds_of_answers,
    st.sampled_from([*FAILURES, None, OK, NULL, REVERTED, BAD_PARAMS]),
    st.booleans(),
)
incidents = st.lists(
    st.tuples(
        st.floats(0.0, 4.6),
        st.sampled_from(["kill", "revive", "shout", "recovery"]),
        st.integers(0, 9),
    ),
    max_size=12,
)
policies = st.fixed_dictionaries(
    {
        "can_hedge": st.booleans(),
        "hedge_seconds": st.sampled_from([None, 0.0, 0.05, 2.0]),
        "confirm_nulls": st.booleans(),
        "single_attempt": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(anything, min_size=1, max_size=4), min_size=1, max_size=9),
    incidents,
    policies,
    st.tuples(st.booleans(), st.booleans()),
    st.integers(0, 2**32),
)
def test_every_plan_ends_in_time_and_asks_nobody_twice(
    told: list[list[Deed]],
    happening: list[Incident],
    policy: dict[str, Any],
    spent: tuple[bool, bool],
    seed: int,
) -> None:
    deeds = {f"u{index}": deed for index, deed in enumerate(told)}
    stage = Stage(*deeds, **policy)
    stage.plan._rng = random.Random(seed)
    stage.spend(retries=spent[0], hedges=spent[1])
    drive = Drive(stage, deeds, happening)
    finish = drive.run()
    if finish.judgement is None:
        assert finish.exhausted
    elif not finish.exhausted:
        assert finish.judgement.verdict not in (Verdict.CANCELLED, Verdict.RATE_LIMITED)
        assert finish.standing is not None
    # Nothing that comes later makes it send again.
    while drive.queue:
        _, _, kind, of = heapq.heappop(drive.queue)
        drive.happen(kind, of)
        assert isinstance(stage.plan.decide(stage.now), Finish)
    assert isinstance(stage.plan.decide(stage.now + 100.0), Finish)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(failing, min_size=1, max_size=3), min_size=1, max_size=4),
    st.integers(0, 4),
    st.sampled_from([0.0, 0.02, 0.1]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_while_one_can_serve_its_answer_is_given(
    told: list[list[Deed]], place: int, seconds: float, is_heard: bool, seed: int
) -> None:
    deeds = {f"u{index}": deed for index, deed in enumerate(told)}
    names = list(deeds)
    names.insert(place, "good")
    deeds["good"] = [(seconds, OK, is_heard)]
    stage = Stage(*names)
    stage.plan._rng = random.Random(seed)
    finish = Drive(stage, deeds, []).run()
    assert finish == Finish(OK, stage.standings["good"])
    assert stage.now <= START + 1.5  # long before the wallet would call it slow


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 100), st.floats(0, 100), policies)
def test_past_the_deadline_the_plan_is_finished(
    passed: float, late: float, policy: dict[str, Any]
) -> None:
    stage = Stage("a", "b", **policy)
    stage.at(min(passed, 4.4))
    stage.steps()
    stage.now = stage.plan.deadline + late
    assert isinstance(stage.plan.decide(stage.now), Finish)


def test_one_that_is_late_has_not_said_what_others_are_known_to_say() -> None:
    stage = Stage("a", "b", "c")
    a, b, c = (stage.standings[name] for name in "abc")
    plan = stage.plan
    plan.on_sent(a, START)
    plan.on_late(a, TIMEOUT)
    stage.budgets.unanimous.remember("topic", Agreed(frozenset("bc")), START)
    plan.on_sent(b, START + 1.5)
    plan.on_judgement(b, BAD_PARAMS, "topic")
    assert plan.decide(START + 1.6) == Send(c, "invalid_params")
    plan.on_sent(c, START + 1.6)
    plan.on_judgement(c, BAD_PARAMS, "topic")
    assert isinstance(plan.decide(START + 1.7), Wait)
    plan.on_judgement(a, OK)
    assert plan.decide(START + 2.0) == Finish(OK, a)
