"""Audits: who stands alone, and which reads are chosen."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.registry import EVM
from rpcproxy.rules.requests.audit import (
    ODD_MEMORY_SECONDS,
    AuditFinding,
    Auditor,
    Comparer,
    Given,
)

assert EVM.comparison is not None
COMPARER = Comparer(EVM.comparison)
METHODS = EVM.comparison.forms

# ---- who stands alone


def answers(*given: str) -> list[Given]:
    """``"a/one 0x1"``: upstream, company, value; the company may be left out."""
    found = []
    for words in given:
        who, value = words.split()
        upstream, _, company = who.partition("/")
        found.append(Given(upstream, company or upstream, b'"%b"' % value.encode()))
    return found


@pytest.mark.parametrize(
    ("said", "finding", "odd"),
    [
        (("a 0x1", "b 0x01"), AuditFinding.AGREED, ""),
        (("a 0x1", "b 0x2"), AuditFinding.DIFFERED, ""),
        (("a 0x1", "b 0x2", "c 0x2"), AuditFinding.ODD_ONE_OUT, "a"),
        (("a 0x1", "b 0x2", "c 0x1"), AuditFinding.ODD_ONE_OUT, "b"),
        (("a 0x1", "b 0x1", "c 0x2"), AuditFinding.ODD_ONE_OUT, "c"),
        (("a 0x1", "b 0x2", "c 0x3"), AuditFinding.UNDECIDED, ""),
        (("a 0x1", "b 0x1", "c 0x1"), AuditFinding.AGREED, ""),
        # One company's word counts once.
        (("a/one 0x1", "b/one 0x1", "c 0x2"), AuditFinding.UNDECIDED, ""),
        (("a/one 0x1", "b/two 0x2", "c/one 0x1"), AuditFinding.UNDECIDED, ""),
    ],
)
def test_the_odd_one_out(said: tuple[str, ...], finding: AuditFinding, odd: str) -> None:
    judged = COMPARER.judge("eth_getBalance", answers(*said))
    assert (judged.finding, judged.odd) == (finding, odd)
    assert judged.where == ("" if finding is AuditFinding.AGREED else "result")


def test_who_agrees_with_both_sides_settles_nothing() -> None:
    """One tells a member that the second tells otherwise and the third not at all."""
    one, other = ({"number": "0x10", "timestamp": time} for time in ("0x65", "0x66"))
    third = {"number": "0x10"}
    judged = COMPARER.judge(
        "eth_getBlockByNumber",
        [
            Given(name, name, msgspec.json.encode(value))
            for name, value in zip("abc", (one, other, third), strict=True)
        ],
    )
    assert (judged.finding, judged.where) == (AuditFinding.UNDECIDED, "timestamp")


@given(st.permutations([("a", b'"0x1"'), ("b", b'"0x01"'), ("c", b'"0x2"')]))
def test_the_order_of_the_answers_means_nothing(said: list[tuple[str, bytes]]) -> None:
    judged = COMPARER.judge("eth_getBalance", [Given(name, name, value) for name, value in said])
    assert (judged.finding, judged.odd) == (AuditFinding.ODD_ONE_OUT, "c")


# ---- which reads


class Reader:
    """Reads coming in at a rate, audited as the auditor says, one call each."""

    def __init__(self, calls_per_hour: float) -> None:
        self.now = 1000.0
        self.rng = random.Random(7)
        self.auditor = Auditor(METHODS, calls_per_hour, self.now)
        self.audits: list[float] = []
        self.reads = 0

    def read(self, method: str = "eth_call") -> bool:
        self.reads += 1
        is_wanted = self.auditor.wants(method, self.now, self.rng)
        if is_wanted:
            self.auditor.pay(self.now)
            self.audits.append(self.now)
        return is_wanted

    def run(self, seconds: float, per_second: float) -> int:
        """Audits meanwhile."""
        before = len(self.audits)
        for _ in range(round(seconds * per_second)):
            self.now += 1 / per_second
            self.read()
        return len(self.audits) - before


@pytest.mark.parametrize("per_second", [0.5, 3.0, 50.0])
@pytest.mark.parametrize("calls_per_hour", [60.0, 600.0])
def test_the_budget_is_spent_and_not_exceeded(calls_per_hour: float, per_second: float) -> None:
    reader = Reader(calls_per_hour)
    audits = reader.run(3600, per_second)
    assert 0.8 * calls_per_hour <= audits <= calls_per_hour + max(2, calls_per_hour / 60)


def test_the_budget_spreads_over_the_hour() -> None:
    reader = Reader(120.0)
    by_quarter = [reader.run(900, 10.0) for _ in range(4)]
    assert all(24 <= audits <= 36 for audits in by_quarter)


def test_it_finds_the_new_pace_when_traffic_turns() -> None:
    reader = Reader(120.0)
    reader.run(600, 50.0)
    assert reader.run(1800, 0.5) >= 45
    assert 45 <= reader.run(1800, 50.0) <= 65


def test_where_reads_are_few_all_are_audited() -> None:
    reader = Reader(3600.0)
    assert reader.run(3600, 1 / 60) == 60


def test_reads_of_a_burst_are_chosen_alike() -> None:
    """Wallets ask the same five questions at once: not always the first is audited."""
    reader = Reader(720.0)
    chosen = [0] * 5
    for _ in range(3600 * 2):
        reader.now += 1.0
        for place in range(5):
            chosen[place] += reader.read()
    assert min(chosen) > 0.1 * sum(chosen)


def test_methods_that_are_not_audited_cost_nothing() -> None:
    reader = Reader(3600.0)
    assert not reader.read("eth_estimateGas")
    assert reader.read("eth_call")


def test_third_opinions_are_paid_later() -> None:
    reader = Reader(60.0)
    while not reader.read():
        reader.now += 1.0
    for _ in range(3):
        reader.auditor.pay(reader.now)
    # Two calls' worth were there: two minutes of debt, and one for the next call.
    assert reader.run(170, 10.0) == 0
    assert reader.run(120, 10.0) >= 1


def test_how_often_one_was_odd_fades() -> None:
    auditor = Auditor(METHODS, 60.0, 0.0)
    assert auditor.odd_lately("a", 0.0) == 0.0
    auditor.on_odd("a", 10.0)
    auditor.on_odd("a", 10.0)
    assert auditor.odd_lately("a", 10.0) == 2.0
    assert auditor.odd_lately("a", 5.0) == 2.0  # a clock going backward does no harm
    assert 0.7 < auditor.odd_lately("a", 10.0 + ODD_MEMORY_SECONDS) < 0.8
    assert auditor.odd_lately("b", 10.0) == 0.0


def test_a_reload_is_no_new_budget() -> None:
    old = Reader(60.0)
    old.read()
    old.auditor.pay(old.now)
    old.auditor.on_odd("a", old.now)
    new = Reader(60.0)
    new.auditor.adopt(old.auditor, new.now)
    assert not new.read()
    assert new.auditor.odd_lately("a", new.now) == 1.0
