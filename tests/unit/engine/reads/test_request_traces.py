"""What is told of requests that failed or were slow, as stories of the engine."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from rpcproxy.config import model
from rpcproxy.engine.attempts.request_log import REFUSALS_PER_SECOND
from rpcproxy.engine.sends.denials import UNUSABLE
from rpcproxy.messages import FailureKind, Verdict
from rpcproxy.rules.telling.request_traces import Trace, TraceOutcome
from tests.kits.engine_kit import (
    Engine,
    answering,
    current_loop,
    failing,
    in_turn,
    refusing,
    request,
    run_virtual,
    silent,
    virtual,
)
from tests.kits.fleet import four
from tests.kits.sends_kit import signed

SEND = "eth_sendRawTransaction"
RECEIPT = "eth_getTransactionReceipt"


class Traced(Engine):
    """An engine whose traces are kept."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.traces: list[Trace] = []
        self.graph.log.on_trace = lambda trace, _is_known: self.traces.append(trace)

    @property
    def only(self) -> Trace:
        (trace,) = self.traces
        return trace


def attempts_of(trace: Trace) -> list[tuple[str, str, str]]:
    return [(each.upstream, each.why, each.verdict) for each in trace.attempts]


@virtual
async def test_what_goes_well_is_told_nobody() -> None:
    engine = Traced()
    await engine.ask().reply()
    engine.behave(a=failing())
    assert (await engine.ask_new().reply())["result"] == "0x1"
    assert (await engine.ask(SEND, signed().params).reply())["result"] == signed().hash
    assert engine.traces == []


@virtual
async def test_a_read_that_nobody_can_serve_has_its_attempts() -> None:
    engine = Traced()
    engine.behave(
        a=failing(FailureKind.RESET, 0.03), b=refusing(-32005, "slow down"), c=silent, d=failing()
    )
    reply = await engine.ask("eth_getBalance", b'["0x%040x","latest"]' % 7).reply()
    trace = engine.only
    assert trace.outcome is TraceOutcome.FAILED
    assert (trace.trace_id, trace.chain, trace.method) == ("trace", "test", "eth_getBalance")
    assert trace.reason.startswith("no upstream of test could answer")
    assert reply["error"]["message"] in (trace.reason, trace.told)
    first, second = trace.attempts[:2]
    assert (first.upstream, first.why, first.verdict) == ("a", "first", "broken")
    assert first.seconds == pytest.approx(0.03, abs=0.001)
    assert (second.upstream, second.why, second.verdict) == ("b", "broken", "rate_limited")
    assert "slow down" in second.detail
    assert second.began_seconds == pytest.approx(0.03, abs=0.001)
    hung = next(each for each in trace.attempts if each.upstream == "c")
    assert hung.verdict == "timeout"
    assert hung.seconds == pytest.approx(4.46, abs=0.01)  # it went on while its request did
    assert trace.seconds == pytest.approx(4.5, abs=0.1)
    assert trace.params == ""


@virtual
async def test_a_slow_answer_says_who_kept_it() -> None:
    engine = Traced(hedge="off")
    engine.behave(a=silent, b=answering(seconds=0.3))
    assert (await engine.ask().reply())["result"] == "0x1"
    trace = engine.only
    assert trace.outcome is TraceOutcome.SLOW
    assert "past 1.5 s is slow" in trace.reason
    assert attempts_of(trace) == [("a", "first", "timeout"), ("b", "timeout", "ok")]


@virtual
async def test_a_hedge_is_told_as_such() -> None:
    engine = Traced(attempt_timeout_seconds=0.5, hedge=0.2)
    engine.behave(a=silent, b=answering(seconds=0.45), c=silent, d=silent)
    assert (await engine.ask().reply())["result"] == "0x1"
    assert ("b", "hedge", "ok") in attempts_of(engine.only)


@virtual
async def test_a_good_answer_that_our_own_loop_held_up_is_slow() -> None:
    engine = Traced()
    engine.all_behave(answering(seconds=0.01))
    handle = engine.ask()
    current_loop().block(3.0)
    assert (await handle.reply())["result"] == "0x1"
    trace = engine.only
    assert trace.outcome is TraceOutcome.SLOW
    assert attempts_of(trace) == [("a", "first", "ok")]


@virtual
async def test_those_who_follow_a_slow_one_are_told_of_as_well() -> None:
    engine = Traced(hedge="off")
    engine.behave(a=silent, b=answering(seconds=0.3))
    one, two = engine.ask(), engine.ask()
    await one.reply()
    await two.reply()
    assert [each.outcome for each in engine.traces] == [TraceOutcome.SLOW] * 2
    assert engine.traces[0].attempts == engine.traces[1].attempts


@virtual
async def test_a_failed_look_up_is_found_by_the_hash_that_it_asked_for() -> None:
    engine = Traced()
    engine.all_behave(failing())
    hash = "0x" + "ab" * 32
    await engine.ask(RECEIPT, json.dumps([hash]).encode()).reply()
    assert engine.only.transaction == hash


@virtual
async def test_an_upstreams_own_error_that_is_passed_on_is_a_failure_and_a_revert_is_none() -> None:
    engine = Traced()
    engine.all_behave(refusing(3, "execution reverted"))
    await engine.ask_new().reply()
    assert engine.traces == []
    engine.all_behave(refusing(-32603, "internal error"))
    reply = await engine.ask_new().reply()
    assert reply["error"]["message"] == "internal error"
    trace = engine.only
    assert trace.outcome is TraceOutcome.FAILED
    assert "internal error" in trace.reason
    assert {verdict for _, _, verdict in attempts_of(trace)} == {"server_error"}


@virtual
async def test_the_head_that_nobody_tells_is_counted_as_any_other_read() -> None:
    engine = Traced(are_admitted=False)
    engine.all_behave(refusing(-32603, "internal error"))
    for name in "abcd":
        engine.observe(name, Verdict.OK, is_probe=True, is_identity=True)
    reply = await engine.ask("eth_blockNumber").reply()
    assert reply["error"]["message"] == "internal error"
    assert engine.only.outcome is TraceOutcome.FAILED
    assert engine.counters.unserved == 0, "an upstream's error is no error of ours"


@virtual
async def test_members_of_a_batch_have_each_their_own() -> None:
    engine = Traced()
    engine.all_behave(failing())
    calls = [request("eth_getBalance", b'["0x%040x","latest"]' % n) for n in range(3)]
    await engine.handle(b"[" + b",".join(calls) + b"]").reply()
    assert [each.method for each in engine.traces] == ["eth_getBalance"] * 3
    assert {each.trace_id for each in engine.traces} == {"trace"}
    for trace in engine.traces:
        assert trace.attempts[0].why == "first"
        assert len(trace.attempts) > 1


@virtual
async def test_a_search_in_parts_says_so() -> None:
    engine = Traced()
    engine.all_behave(
        in_turn(refusing(-32005, "query exceeds max block range 50", 0.4), failing(seconds=0.4))
    )
    params = b'[{"fromBlock":"0x0","toBlock":"0x60"}]'
    await engine.ask("eth_getLogs", params).reply()
    whys = {why for _, why, _ in attempts_of(engine.only)}
    assert "part" in whys


# ---- what never reached an upstream


@virtual
async def test_where_nobody_is_usable_there_are_no_attempts_and_a_reason() -> None:
    engine = Traced()
    engine.eject("a", "b", "c", "d")
    for wire in engine.wires.values():
        wire.behaviour = failing()
    await engine.ask().reply()
    assert engine.only.outcome is TraceOutcome.FAILED
    assert "not reachable" in engine.only.reason


@virtual
async def test_what_the_proxy_refuses_is_told_as_refused() -> None:
    engine = Traced()
    await engine.ask("eth_newFilter", b"[{}]").reply()
    await engine.ask(SEND, b'["%b"]' % signed().raw[:-4].encode()).reply()
    await engine.handle(b'{"nonsense').reply()
    assert [each.outcome for each in engine.traces] == [TraceOutcome.REFUSED] * 3
    assert [each.method for each in engine.traces] == ["eth_newFilter", SEND, ""]
    assert all(each.reason and not each.attempts for each in engine.traces)
    assert engine.counters.unserved == 0


# ---- sends


@virtual
async def test_what_a_client_makes_up_is_told_of_so_often_and_no_more() -> None:
    engine = Traced()
    for _ in range(3 * int(REFUSALS_PER_SECOND)):
        await engine.handle(b'{"nonsense').reply()
    assert len(engine.traces) == REFUSALS_PER_SECOND


@virtual
async def test_a_send_that_failed_has_its_hash_its_copies_and_a_reason_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Traced()
    engine.all_behave(failing(seconds=0.05))
    with caplog.at_level(logging.WARNING):
        reply = await engine.ask(SEND, signed().params).reply()
    trace = engine.only
    assert trace.outcome is TraceOutcome.FAILED
    assert trace.transaction == signed().hash
    assert trace.params == ""
    assert reply["error"]["message"] in (trace.reason, trace.told)
    whys = [(why, verdict) for _, why, verdict in attempts_of(trace)]
    assert whys[:3] == [("first", "unreachable"), ("copy", "unreachable"), ("copy", "unreachable")]
    assert ("unreachable", "unreachable") in whys
    (line,) = [each for each in caplog.records if getattr(each, "event", "") == "unserved"]
    fields = line.__dict__["fields"]
    assert "not reachable" in line.getMessage()
    assert (fields["trace_id"], fields["transaction"]) == ("trace", signed().hash)


@virtual
async def test_copies_that_hang_are_told_as_under_way_and_a_slow_send_as_slow() -> None:
    engine = Traced()
    engine.all_behave(silent)
    engine.behave(d=answering(json.dumps(signed().hash).encode(), seconds=5.5))
    assert (await engine.ask(SEND, signed().params).reply())["result"] == signed().hash
    trace = engine.only
    assert trace.outcome is TraceOutcome.SLOW
    assert "past 5 s is slow" in trace.reason
    assert attempts_of(trace)[:4] == [
        *(("a", "first", ""), ("b", "copy", ""), ("c", "copy", ""), ("d", "hedge", "ok")),
    ]


@virtual
async def test_two_wallets_that_send_the_same_are_both_told_of() -> None:
    engine = Traced()
    engine.all_behave(failing(seconds=0.05))
    one, two = engine.ask(SEND, signed().params), engine.ask(SEND, signed().params)
    await one.reply()
    await two.reply()
    assert [each.transaction for each in engine.traces] == [signed().hash] * 2
    assert engine.traces[0].attempts == engine.traces[1].attempts


@virtual
async def test_a_send_that_the_journal_refuses_says_where_it_is_to_operators_alone() -> None:
    engine = Traced()
    engine.ledger.needs_journal = True
    engine.ledger.on_no_journal("/var/lib/x.sqlite is in use by process 7", UNUSABLE)
    reply = await engine.ask(SEND, signed().params).reply()
    trace = engine.only
    assert reply["error"]["message"] == trace.told == f"not sent, and not sent later: {UNUSABLE}"
    assert "/var/lib/x.sqlite" in trace.reason
    assert trace.transaction == signed().hash
    assert trace.attempts == ()
    assert engine.counters.unserved == 1


@virtual
async def test_a_refusal_of_the_chain_is_no_failure() -> None:
    engine = Traced()
    engine.all_behave(refusing(-32000, "insufficient funds for gas * price + value"))
    reply = await engine.ask(SEND, signed().params).reply()
    assert "insufficient funds" in reply["error"]["message"]
    assert engine.traces == []


def test_a_fault_of_our_own_is_a_failure_too() -> None:
    traces: list[Trace] = []

    async def main() -> None:
        engine = Traced()
        assert engine.broadcast is not None

        async def broken(*_: Any) -> None:
            raise ZeroDivisionError

        engine.broadcast.send = broken  # type: ignore[assignment, method-assign]
        reply = await engine.ask(SEND, signed().params).reply()
        assert "the proxy failed on this request" in reply["error"]["message"]
        traces.extend(engine.traces)

    (record,) = run_virtual(main)
    assert record.getMessage() == "request failed"
    assert [(each.outcome, each.method) for each in traces] == [(TraceOutcome.FAILED, SEND)]


# ---- params


@virtual
async def test_params_are_kept_of_reads_where_they_are_wanted_and_never_of_sends() -> None:
    engine = Traced()
    engine.graph.log._keeps_params = True
    engine.all_behave(failing())
    await engine.ask("eth_getBalance", b'["0x%040x","latest"]' % 7).reply()
    assert engine.traces[0].params == f'["0x{7:040x}","latest"]'
    await engine.ask(SEND, signed().params).reply()
    assert engine.traces[1].params == ""


@virtual
async def test_an_address_of_a_node_is_told_to_operators_alone() -> None:
    upstreams = [
        model.Upstream(name=f"10.0.0.{n}:8545", url=f"http://10.0.0.{n}:8545", provider=str(n))
        for n, _ in enumerate(four())
    ]
    engine = Traced(upstreams)
    engine.all_behave(failing())
    for method, params in (("eth_gasPrice", b"[]"), (SEND, signed().params)):
        message = (await engine.ask(method, params).reply())["error"]["message"]
        assert "10.0.0" not in message
        assert "upstream-1" in message
        assert "10.0.0.1:8545" in engine.traces[-1].reason
