"""Audits in time: whom they ask, what they wait for, what a difference does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from rpcproxy.chains.evm.compare import EVM_COMPARISON
from rpcproxy.chains.evm.methods import describe
from rpcproxy.engine.reads import profiles
from rpcproxy.engine.watch import audits as module
from rpcproxy.engine.watch.audits import DIFFERENCES_KEPT, LARGEST_RESULT_BYTES, Audits
from rpcproxy.messages import FailureKind, Head, Reply, Verdict
from rpcproxy.rules.requests.audit import Auditor
from rpcproxy.rules.standing.selection import Rng
from tests.kits import engine_kit
from tests.kits.engine_kit import (
    HEAVY,
    LIGHT,
    Behaviour,
    Engine,
    Rest,
    answering,
    failing,
    now,
    silent,
    virtual,
)
from tests.kits.fleet import four, upstream

TRUE, FALSE = b'"0x64"', b'"0x65"'
PARAMS = b'["0xsecret","0x64"]'
PAUSE_SECONDS = 12.0  # a block time


class Lines(logging.Handler):
    """What was logged, as fields."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert record.__dict__["event"] == "audit_differed"
        self.lines.append(record.__dict__["fields"])


@contextlib.contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    handler = Lines()
    logger = logging.getLogger("rpcproxy.audits")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


class Eager(Auditor):
    """Wants every read, whatever it costs."""

    def wants(self, method: str, now: float, rng: Rng) -> bool:
        return method in EVM_COMPARISON.forms


class Case:
    """An engine whose upstreams all answer ``TRUE``. Without a budget every read is audited."""

    def __init__(self, calls_per_hour: float | None = None, **engine: Any) -> None:
        self.engine = Engine(**engine)
        self.engine.all_behave(answering(TRUE))
        self.audits = Audits(
            self.engine.executor,
            EVM_COMPARISON,
            chain_name="test",
            policies=profiles.policies(self.engine.chain),
            calls_per_hour=60.0 if calls_per_hour is None else calls_per_hour,
            clock=self.engine.clock,
        )
        if calls_per_hour is None:
            self.audits._auditor = Eager(EVM_COMPARISON.forms, 60.0, now())

    def consider(
        self,
        upstream: str = "a",
        result: bytes = TRUE,
        *,
        method: str = "eth_getBalance",
        block: int = 100,
    ) -> None:
        self.audits.consider(describe(method), PARAMS, block, upstream, result)

    async def audit(self, upstream: str = "a", result: bytes = TRUE, **read: Any) -> None:
        """One audit from begin to end."""
        self.consider(upstream, result, **read)
        assert len(self.audits._running) == 1
        await self.end()

    async def end(self) -> None:
        while self.audits._running:
            await asyncio.wait(tuple(self.audits._running))
        await asyncio.sleep(0)

    def lie(self, *names: str, result: bytes = FALSE) -> None:
        self.engine.behave(**{name: answering(result) for name in names})

    @property
    def counts(self) -> dict[str, int]:
        names = ("asked", "agreed", "differed", "unanswered", "voided")
        counted = {name: getattr(self.audits, name) for name in names}
        return {name: count for name, count in counted.items() if count}

    def bad_results(self) -> dict[str, int]:
        """Failures that count, by upstream."""
        return {
            standing.name: standing.light.breaker.balance
            for standing in self.engine.standings
            if standing.light.breaker.balance
        }


# ---- agreement


@virtual
async def test_a_second_company_is_asked_the_same() -> None:
    case = Case()
    await case.audit()
    assert case.counts == {"asked": 1, "agreed": 1}
    (sent,) = case.engine.sent
    assert sent.wire.name in "bcd"
    assert sent.method == "eth_getBalance"
    assert PARAMS in sent.payload
    assert case.audits.snapshot() == []
    await case.engine.assert_soon_idle()


@virtual
async def test_nothing_happens_before_consider_returns() -> None:
    case = Case()
    case.consider()
    assert case.engine.sent == []
    await case.end()
    assert len(case.engine.sent) == 1


@virtual
async def test_other_spellings_agree() -> None:
    case = Case()
    await case.audit("a", b'"0x0064"')
    assert case.counts == {"asked": 1, "agreed": 1}


@virtual
async def test_off_is_off() -> None:
    case = Case(0.0)
    assert not case.audits.is_on
    case.consider()
    await case.end()
    assert case.engine.sent == []
    case.audits.close()


@virtual
async def test_a_budget_is_kept() -> None:
    case = Case(60.0)
    assert case.audits.is_on
    for _ in range(900):
        case.consider()
        await case.engine.rest(1)
    assert 10 <= case.audits.asked <= 15 + 2
    assert case.audits.agreed == case.audits.asked


@virtual
async def test_what_is_not_worth_it_is_not_asked() -> None:
    case = Case()
    case.consider(method="eth_estimateGas")
    case.consider(result=b'"0x' + b"0" * LARGEST_RESULT_BYTES + b'"')
    case.consider(result=b"null", method="eth_getTransactionReceipt")
    await case.end()
    assert case.engine.sent == []
    assert case.counts == {}


@virtual
async def test_two_at_once() -> None:
    case = Case()
    case.engine.all_behave(silent)
    for _ in range(5):
        case.consider()
        await asyncio.sleep(0.1)
    assert len(case.engine.sent) == 2
    assert {sent.wire.name for sent in case.engine.sent} <= set("bcd")
    await case.end()
    # None of them answered, nor did those that were asked in their place.
    assert case.counts == {"asked": 4, "unanswered": 2}


# ---- whom to ask


@virtual
async def test_all_are_asked_in_the_course_of_time() -> None:
    case = Case()
    for _ in range(40):
        await case.audit()
        await asyncio.sleep(1)
    assert set(case.engine.asked) == set("bcd")


@virtual
async def test_another_company_or_nobody() -> None:
    same = [upstream("a", provider="one"), upstream("b", provider="one")]
    case = Case(upstreams=same)
    await case.audit()
    assert case.counts == {"unanswered": 1}
    assert case.engine.sent == []


@virtual
async def test_those_without_the_block_are_not_asked() -> None:
    case = Case()
    for name in "ab":
        case.engine.observe(name, Verdict.OK, head=Head(101), is_probe=True)
    await case.audit(block=101)
    assert case.engine.asked == "b"
    await case.audit(block=102)
    assert case.counts == {"asked": 1, "agreed": 1, "unanswered": 1}


@virtual
async def test_the_ejected_are_not_asked() -> None:
    case = Case()
    case.engine.eject("b", "c")
    for _ in range(5):
        await case.audit()
    assert set(case.engine.asked) == {"d"}


@virtual
async def test_those_that_do_not_know_the_method_are_not_asked() -> None:
    case = Case()
    for name in "bc":
        case.engine.observe(name, Verdict.UNSUPPORTED, method="eth_getBalance")
    for _ in range(5):
        await case.audit()
    assert set(case.engine.asked) == {"d"}


@virtual
async def test_those_at_their_limit_are_left_to_clients() -> None:
    fleet = four()
    fleet[1] = upstream("b", rate_limit_per_second=1.0)
    case = Case(upstreams=fleet[:2])
    await case.audit()
    await case.audit()
    assert case.counts == {"asked": 1, "agreed": 1, "unanswered": 1}


@virtual
async def test_backups_come_last() -> None:
    case = Case(upstreams=[*four()[:2], upstream("c", tier="backup"), upstream("d", tier="backup")])
    for _ in range(5):
        await case.audit()
    assert set(case.engine.asked) == {"b"}
    case.engine.eject("b")
    await case.audit()
    assert case.engine.asked[-1] in "cd"


@virtual
async def test_heavy_reads_ask_for_gzip() -> None:
    case = Case()
    case.engine.all_behave(answering(b"[]"))
    await case.audit("a", b"[]", method="eth_getLogs")
    assert case.counts == {"asked": 1, "agreed": 1}
    assert case.engine.sent[0].gzip


# ---- trouble is no difference


@pytest.mark.parametrize(
    "behaviour",
    [
        failing(),
        silent,
        answering(b"null"),
        answering(b'"hello"'),
        engine_kit.refusing(-32000, "header not found"),
        engine_kit.refusing(3, "execution reverted"),
    ],
)
@virtual
async def test_whoever_cannot_say_is_replaced_by_another(behaviour: Behaviour) -> None:
    case = Case(upstreams=four()[:3])
    case.engine.behave(b=behaviour, c=behaviour)
    await case.audit()
    assert case.counts == {"asked": 2, "unanswered": 1}
    case = Case(upstreams=four()[:3])
    await asyncio.sleep(0.1)
    case.engine.behave(b=behaviour)
    for _ in range(6):
        await case.audit()
        case.engine.recover("b")
    assert case.audits.agreed == 6
    assert case.audits.differed == 0


@virtual
async def test_a_transaction_that_is_not_in_a_block_there_yet_says_nothing() -> None:
    case = Case(upstreams=four()[:2])
    case.lie("b", result=b'{"hash":"0x1","blockHash":null}')
    await case.audit("a", b'{"hash":"0x1","blockHash":"0x2"}', method="eth_getTransactionByHash")
    assert case.counts == {"asked": 1, "unanswered": 1}


@virtual
async def test_an_answer_too_large_to_hold_is_let_go() -> None:
    case = Case(upstreams=four()[:2])
    rest = Rest()

    def endless(sent: engine_kit.Sent) -> None:
        body = b'{"jsonrpc":"2.0","id":%d,"result":[' % sent.id
        sent.end(Reply(200, body, rest=rest))

    case.engine.behave(b=engine_kit.after(0.1, endless))
    await case.audit("a", b"[]", method="eth_getLogs")
    assert case.counts == {"asked": 1, "unanswered": 1}
    assert rest.is_closed


@virtual
async def test_failures_of_audits_count_like_any_other() -> None:
    case = Case(upstreams=four()[:2])
    case.engine.behave(b=failing(FailureKind.CONNECT))
    for _ in range(2):
        await case.audit()
    assert "b ejected" in case.engine.changes


# ---- differences


@virtual
async def test_a_third_tells_who_is_wrong() -> None:
    case = Case()
    with logged() as lines:
        await case.audit("a", FALSE)
    assert case.counts == {"asked": 2, "differed": 1}
    assert case.audits.odd == {"a": 1}
    assert case.bad_results() == {"a": 1}
    (shown,) = case.audits.snapshot()
    assert (shown["method"], shown["block"], shown["where"]) == ("eth_getBalance", 100, "result")
    assert shown["odd"] == "a"
    assert shown["time"].endswith("Z")
    prints = shown["answers"]
    assert len(prints) == 3
    assert len(set(prints.values())) == 2
    assert list(prints.values()).count(prints["a"]) == 1
    (line,) = lines
    assert (line["chain"], line["method"], line["block"]) == ("test", "eth_getBalance", 100)
    assert line["odd"] == "a"
    assert all(f"{name} {hash}" in line["answers"] for name, hash in prints.items())
    assert "secret" not in repr((lines, shown))
    assert "0x65" not in repr((lines, shown))


@virtual
async def test_the_second_may_be_the_one_that_is_wrong() -> None:
    case = Case(upstreams=four()[:3])
    case.lie("b")
    case.engine.eject("c")
    case.consider()
    await asyncio.sleep(5)
    case.engine.recover("c")
    await case.end()
    assert case.audits.odd == {"b": 1}
    assert case.bad_results()["b"] == 1
    assert "a" not in case.bad_results()


@virtual
async def test_three_opinions_settle_nothing() -> None:
    case = Case(upstreams=four()[:3])
    case.lie("b", result=b'"0x1"')
    case.lie("c", result=b'"0x2"')
    await case.audit()
    assert case.counts == {"asked": 2, "differed": 1}
    assert case.audits.odd == {}
    assert case.audits.snapshot()[0]["odd"] is None
    assert len(case.audits.snapshot()[0]["answers"]) == 3
    assert case.bad_results() == {}


@virtual
async def test_without_a_third_nobody_is_blamed() -> None:
    case = Case(upstreams=four()[:2])
    with logged() as lines:
        await case.audit("a", FALSE)
    assert case.counts == {"asked": 1, "differed": 1}
    assert lines[0]["odd"] is None
    assert len(case.audits.snapshot()[0]["answers"]) == 2
    assert case.bad_results() == {}


@virtual
async def test_a_third_of_the_first_ones_company_is_no_third() -> None:
    fleet = [upstream("a", provider="one"), upstream("b"), upstream("c", provider="one")]
    case = Case(upstreams=fleet)
    case.lie("b")
    await case.audit()
    assert case.engine.asked == "b"
    assert case.audits.snapshot()[0]["odd"] is None


@virtual
async def test_lying_for_long_leads_to_an_ejection() -> None:
    """As failures do: here nothing else is asked in between."""
    case = Case()
    while "a ejected" not in case.engine.changes:
        assert case.audits.odd.get("a", 0) < 6
        await case.audit("a", FALSE)
    assert "audit" in case.engine.standings["a"].light.breaker.reason


@virtual
async def test_it_counts_in_the_class_of_the_method() -> None:
    case = Case()
    case.engine.all_behave(answering(b"[]"))
    await case.audit("a", b'[{"data":"0x1"}]', method="eth_getLogs")
    standing = case.engine.standings["a"]
    assert standing.classes[HEAVY].breaker.balance == 1
    assert standing.classes[LIGHT].breaker.balance == 0
    assert case.audits.snapshot()[0]["where"] == "length"


@virtual
async def test_who_was_odd_is_asked_last() -> None:
    case = Case(upstreams=four()[:3])
    case.lie("b")
    await case.audit("b", FALSE)
    before = len(case.engine.sent)
    for _ in range(8):
        await case.audit()
    assert {sent.wire.name for sent in case.engine.sent[before:]} == {"c"}


@virtual
async def test_only_the_last_differences_are_kept() -> None:
    case = Case()
    case.engine.executor.tick_every(1.0)
    for block in range(DIFFERENCES_KEPT + 5):
        case.engine.standings["a"].light.breaker.reset()
        await case.audit("a", FALSE, block=block)
    shown = case.audits.snapshot()
    assert [each["block"] for each in shown] == list(range(DIFFERENCES_KEPT + 4, 4, -1))


# ---- reorgs


def reorganise(case: Case) -> None:
    case.engine.standings.heads.turns += 1


@virtual
async def test_a_reorg_meanwhile_makes_both_right() -> None:
    case = Case()
    case.consider("a", FALSE)
    await asyncio.sleep(PAUSE_SECONDS / 2)
    reorganise(case)
    await case.end()
    assert case.counts == {"asked": 1, "voided": 1}  # no third was paid for
    assert case.audits.snapshot() == []
    assert case.bad_results() == {}


@virtual
async def test_a_reorg_during_the_third_opinion_counts_as_well() -> None:
    case = Case()
    case.engine.all_behave(answering(TRUE, 1.0))
    case.consider("a", FALSE)
    await asyncio.sleep(1.0 + PAUSE_SECONDS + 0.5)
    assert case.audits.asked == 2
    reorganise(case)
    await case.end()
    assert case.counts == {"asked": 2, "voided": 1}
    assert case.bad_results() == {}


@virtual
async def test_agreement_across_a_reorg_says_nothing_either() -> None:
    case = Case()
    case.consider()
    reorganise(case)
    await case.end()
    assert case.counts == {"asked": 1, "voided": 1}


@virtual
async def test_an_earlier_reorg_is_over() -> None:
    case = Case()
    reorganise(case)
    await case.audit()
    assert case.counts == {"asked": 1, "agreed": 1}


# ---- end and reload


@virtual
async def test_closing_gives_up_what_is_under_way() -> None:
    case = Case()
    case.engine.all_behave(silent)
    case.consider()
    await asyncio.sleep(0.1)
    assert len(case.engine.sent) == 1
    case.audits.close()
    case.audits.close()
    await asyncio.sleep(0.1)
    assert not case.audits._running
    assert not case.audits.is_on
    case.consider()
    assert not case.audits._running
    await case.engine.assert_soon_idle()


@virtual
async def test_a_reload_goes_on() -> None:
    case = Case(60.0)
    await case.audit("a", FALSE)
    new = Case(60.0)
    new.audits.adopt(case.audits)
    assert new.counts == {"asked": 2, "differed": 1}
    assert new.audits.odd == {"a": 1}
    assert new.audits.snapshot() == case.audits.snapshot()
    await asyncio.sleep(1)
    new.consider()
    assert not new.audits._running  # both calls of the burst are spent
    off = Case(0.0)
    off.audits.adopt(case.audits)
    assert off.counts == {"asked": 2, "differed": 1}


def test_a_bug_in_an_audit_harms_nobody() -> None:
    async def meet_a_bug() -> None:
        case = Case()
        with mock.patch.object(module.Comparer, "judge", side_effect=RuntimeError("a bug")):
            await case.audit()
        await case.audit()
        assert case.counts == {"asked": 2, "agreed": 1}

    (record,) = engine_kit.run_virtual(meet_a_bug)
    assert record.getMessage() == "task audit eth_getBalance failed"
