"""app.people.own_refusals: what wallets are refused for reasons of our own, why, and since when."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.people.own_refusals import (
    LATELY_SECONDS,
    OwnRefusals,
    RefusingFigures,
)
from rpcproxy.config.model import Chain, Journal, Server, Upstream
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.words import Observation, OperatorOrder

IN_USE = "/var/lib/rpcproxy/journal/test.sqlite is in use by another rpcproxy (process 4711)"


def a_chain(
    roles: dict[str, str] | None = None, private: str = "", *, accepts: bool = False
) -> ChainRuntime:
    upstreams = tuple(
        Upstream(
            name=name,
            provider=name,
            url=f"http://127.0.0.1:9/{name}",
            role=role,
            private=name in private,
        )
        for name, role in (roles or dict.fromkeys("ab", "full")).items()
    )
    chain = Chain(name="test", chain_id=7, upstreams=upstreams)
    server = Server(journal=Journal(is_on=False), accept_while_down=accepts)
    runtime = ChainRuntime(chain, server, ChainCounters())
    now = runtime.standings._now
    for each in upstreams:
        admit = Observation(
            each.name, MethodClass.LIGHT, Verdict.OK, 0.02, is_probe=True, is_identity=True
        )
        runtime.standings.observe(admit, now)
    return runtime


def told(refusals: OwnRefusals, runtime: ChainRuntime, now: float = 0.0) -> list[tuple[str, str]]:
    return [(each.what, each.why) for each in refusals.of_chain(runtime, now)]


def of_nothing() -> OwnRefusals:
    return OwnRefusals(RefusingFigures)


async def test_a_chain_that_takes_all_refuses_nothing() -> None:
    assert told(of_nothing(), a_chain()) == []


@pytest.mark.parametrize("is_needed", [True, False], ids=["refused", "sent all the same"])
async def test_a_journal_that_cannot_be_used(is_needed) -> None:
    runtime, refusals = a_chain(), of_nothing()
    ledger = runtime.transactions.ledger
    ledger.needs_journal = is_needed
    words = "the journal cannot be used: another process of this proxy has it"
    ledger.on_no_journal(f"the journal cannot be used: {IN_USE}", words)
    refusals.of_chain(runtime, 100.0)
    (refusal,) = refusals.of_chain(runtime, 130.0)
    assert refusal.what == ("sends" if is_needed else "records")
    assert refusal.why == words
    assert (refusal.since_seconds, refusal.whose) == (30.0, "here")
    assert IN_USE in refusal.detail, "for operators"
    ledger.journal = SimpleNamespace(trouble="", public_trouble="the disk is full")
    assert refusals.of_chain(runtime, 131.0) == ()
    ledger.journal.trouble = "No space left on device"
    (refusal,) = refusals.of_chain(runtime, 140.0)
    assert refusal.why == "the journal cannot be written: the disk is full"
    assert refusal.since_seconds == 0.0, "begun anew"


async def test_a_journal_that_is_still_being_opened() -> None:
    runtime, refusals = a_chain(), of_nothing()
    ledger = runtime.transactions.ledger
    ledger.needs_journal = True
    ledger.await_journal()
    assert told(refusals, runtime, 0.0) == [], "sends wait for it"
    assert told(refusals, runtime, ledger.opening_seconds) == [
        ("sends", "their journal is still being opened")
    ]


@pytest.mark.parametrize(
    ("roles", "private", "words"),
    [
        ({"a": "reads", "b": "reads"}, "", "there are no providers that take them"),
        ({"a": "full", "b": "reads"}, "b", "there are no private providers"),
    ],
)
async def test_nobody_is_there_to_take_transactions(roles, private, words) -> None:
    assert told(of_nothing(), a_chain(roles, private)) == [("sends", words)]


@pytest.mark.parametrize(
    ("private", "which"), [("", "providers that take them"), ("b", "private providers")]
)
async def test_all_that_take_transactions_are_drained(private, which) -> None:
    runtime = a_chain({"a": "full" if private else "reads", "b": "full"}, private)
    runtime.executor.observe(OperatorOrder("b", "drain"), runtime.standings._now)
    words = f"an operator has drained all {which}"
    assert told(of_nothing(), runtime) == [("sends", words)]
    runtime.executor.observe(OperatorOrder("b", "undrain"), runtime.standings._now)
    assert told(of_nothing(), runtime) == []


async def test_none_that_takes_transactions_can_be_used() -> None:
    runtime, refusals = a_chain({"a": "reads", "b": "full"}), of_nothing()
    gone = Observation("b", MethodClass.LIGHT, Verdict.WRONG_CHAIN, is_probe=True)
    runtime.executor.observe(gone, runtime.standings._now)
    assert told(refusals, runtime, 0.0) == [], "a moment is waited out"
    (refusal,) = refusals.of_chain(runtime, 5.0)
    assert refusal.why == "none of the providers that take them can be used"
    assert refusal.whose == "provider"


async def test_what_is_accepted_while_nobody_is_there_is_not_refused() -> None:
    runtime = a_chain({"a": "reads", "b": "full"}, accepts=True)
    runtime.executor.observe(OperatorOrder("b", "drain"), runtime.standings._now)
    assert told(of_nothing(), runtime) == []


def test_clients_that_are_turned_away() -> None:
    figures = SimpleNamespace(now=RefusingFigures())
    refusals = OwnRefusals(lambda: figures.now)
    assert refusals.of_process(0.0) == ()
    figures.now = RefusingFigures(connections_refused=3)
    assert [each.why for each in refusals.of_process(10.0)] == [
        "as many connections are open as may be"
    ]
    figures.now = RefusingFigures(connections_refused=3, crowded_out=1)
    (refusal,) = refusals.of_process(20.0)
    assert "more answers wait to be taken than may be held" in refusal.why
    assert (refusal.what, refusal.since_seconds) == ("clients", 10.0)
    assert len(refusals.of_process(20.0 + LATELY_SECONDS - 1)) == 1
    assert refusals.of_process(20.0 + LATELY_SECONDS) == (), "long since"


def test_what_this_machine_lacks() -> None:
    refusals = OwnRefusals(
        lambda: RefusingFigures(lacking="this process has no files left (ulimit -n)")
    )
    (refusal,) = refusals.of_process(0.0)
    assert refusal.what == "attempts"
    assert refusal.why == "this process has no files left (ulimit -n)"
