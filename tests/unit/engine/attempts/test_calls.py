"""What the executor carries out: how calls are written, and what their outcomes mean."""

from __future__ import annotations

import json

import msgspec
import pytest

from rpcproxy.chains.evm.methods import describe
from rpcproxy.engine.attempts.calls import (
    BATCH_METHOD,
    BatchCall,
    BatchVerdict,
    SingleCall,
    is_answered,
)
from rpcproxy.messages import (
    Failure,
    FailureKind,
    Judgement,
    MethodClass,
    Reply,
    Retry,
    Verdict,
)
from rpcproxy.rules.requests.ends import is_own_word
from rpcproxy.rules.standing.selection import Need
from rpcproxy.rules.standing.standings import Standing
from tests.kits.evm_rules import classifier
from tests.kits.fleet import upstream

UNIX = 1_800_000_000.0
LIGHT = Need(MethodClass.LIGHT)
CLASSIFIER = classifier()
ANYBODY = Standing(upstream("a"), 0, 0.0)


def single(name: str = "eth_call", params: bytes = b'[{"to":"0x1"},"latest"]') -> SingleCall:
    return SingleCall(describe(name), LIGHT, params)


def batch(*names: str) -> BatchCall:
    members = [SingleCall(describe(name), LIGHT, b'"x"') for name in names]
    return BatchCall(BATCH_METHOD, LIGHT, members)


def replies(*members: tuple[int, str]) -> Reply:
    texts = (f'{{"jsonrpc":"2.0","id":{id},{rest}}}' for id, rest in members)
    return Reply(200, f"[{','.join(texts)}]".encode())


def error(code: int, message: str) -> str:
    return '"error":' + json.dumps({"code": code, "message": message})


RESULT = '"result":"0x1"'
OWN = error(-32603, "internal error")
REVERT = error(3, "execution reverted")
LIMIT = error(-32005, "rate limit exceeded")


class Rest:
    """The rest of a body too large to hold."""

    def __init__(self) -> None:
        self.is_closed = False

    async def read(self) -> bytes:
        raise AssertionError("nobody reads it")

    def close(self) -> None:
        self.is_closed = True


# ---- one request


def test_a_single_call_is_written_under_the_id_it_is_given() -> None:
    call = single()
    assert call.size == 1
    assert json.loads(call.payload(77, ANYBODY)) == {
        "jsonrpc": "2.0",
        "id": 77,
        "method": "eth_call",
        "params": [{"to": "0x1"}, "latest"],
    }
    assert call.payload(78, ANYBODY) != call.payload(77, ANYBODY)
    assert json.loads(single(params=b"").payload(1, ANYBODY))["params"] == []


def test_what_a_single_call_brought_is_judged_by_its_id_and_method() -> None:
    call = single("eth_getBalance")
    good = call.judge(CLASSIFIER, Reply(200, b'{"id":5,"result":"0x1"}'), 5, UNIX)
    assert (good.verdict, bytes(good.result or b"")) == (Verdict.OK, b'"0x1"')
    other = call.judge(CLASSIFIER, Reply(200, b'{"id":5,"result":"0x1"}'), 6, UNIX)
    assert other.verdict is Verdict.WRONG_ID
    lost = call.judge(CLASSIFIER, Failure(FailureKind.RESET), 5, UNIX)
    assert lost.verdict is Verdict.BROKEN


def test_poison_keys_tell_requests_apart_and_not_their_ids() -> None:
    assert single().poison_key == b'eth_call [{"to":"0x1"},"latest"]'
    assert single().poison_key != single(params=b"[]").poison_key
    assert single("eth_call", b"[]").poison_key != single("eth_getBalance", b"[]").poison_key
    assert single(params=msgspec.Raw(b"[]")).poison_key == single(params=b"[]").poison_key


def test_a_single_call_has_one_member() -> None:
    assert single().member_method(0) == "eth_call"


# ---- batches


def test_a_batch_is_written_with_ids_in_a_row() -> None:
    call = batch("eth_chainId", "eth_getBalance", "eth_call")
    sent = json.loads(call.payload(100, ANYBODY))
    assert [(one["id"], one["method"]) for one in sent] == [
        (100, "eth_chainId"),
        (101, "eth_getBalance"),
        (102, "eth_call"),
    ]
    assert call.size == 3
    assert call.member_method(1) == "eth_getBalance"
    assert call.poison_key == b""


def judged(call: BatchCall, outcome: Reply | Failure) -> BatchVerdict:
    judgement = call.judge(CLASSIFIER, outcome, 100, UNIX)
    assert isinstance(judgement, BatchVerdict)
    assert len(judgement.members) == call.size
    return judgement


def test_replies_in_any_order_are_told_in_the_order_of_the_calls() -> None:
    told = judged(batch("eth_call", "eth_call"), replies((101, '"result":"0x2"'), (100, RESULT)))
    assert told.verdict is Verdict.OK
    assert [bytes(member.result or b"") for member in told.members] == [b'"0x1"', b'"0x2"']


@pytest.mark.parametrize("failed", [OWN, LIMIT, '"result":null'])
def test_a_batch_succeeds_when_any_member_was_answered(failed: str) -> None:
    told = judged(batch("eth_call", "eth_getBalance"), replies((100, RESULT), (101, failed)))
    assert told.verdict is Verdict.OK
    assert told.error is None
    assert [is_answered(member) for member in told.members] == [True, False]


def test_a_revert_is_an_answer() -> None:
    told = judged(batch("eth_call", "eth_call"), replies((100, REVERT), (101, OWN)))
    assert told.verdict is Verdict.OK


def test_where_nothing_was_answered_the_batch_failed_as_its_members_did() -> None:
    limited = judged(batch("eth_call", "eth_call"), replies((100, LIMIT), (101, LIMIT)))
    assert limited.verdict is Verdict.RATE_LIMITED
    assert not is_own_word(limited)
    missing = judged(batch("eth_call", "eth_call"), replies((100, RESULT)))
    assert missing.verdict is Verdict.OK
    assert missing.members[1].verdict is Verdict.BAD_RESULT
    lost = judged(batch("eth_call", "eth_call"), Failure(FailureKind.TRUNCATED))
    assert lost.verdict is Verdict.BROKEN
    assert lost.error is None


def test_errors_of_the_upstreams_own_are_its_word_for_the_whole() -> None:
    """So that the plan ends when two upstreams say so, and members go on singly."""
    told = judged(batch("eth_call", "eth_call"), replies((100, OWN), (101, OWN)))
    assert is_own_word(told)
    assert json.loads(bytes(told.error or b""))["message"] == "internal error"


def test_a_refused_batch_says_nothing_of_its_members() -> None:
    outcome = Reply(200, b'{"id":null,"error":{"code":-32600,"message":"batch not supported"}}')
    told = judged(batch("eth_call", "eth_call"), outcome)
    assert told.verdict is Verdict.BATCH_REFUSED
    assert not any(is_answered(member) for member in told.members)


def test_a_cooldown_is_kept() -> None:
    told = judged(batch("eth_call", "eth_call"), Reply(429, b"slow down", retry_after="7"))
    assert (told.verdict, told.cooldown_seconds) == (Verdict.RATE_LIMITED, 7.0)
    assert "429" in told.detail


def test_a_reply_too_large_to_hold_is_given_up_and_nobody_is_worse_for_it() -> None:
    rest = Rest()
    outcome = Reply(200, b'[{"id":100,"result":"0x', rest=rest)
    told = batch("eth_call", "eth_call").judge(CLASSIFIER, outcome, 100, UNIX)
    assert isinstance(told, BatchVerdict)
    assert (told.verdict, told.is_too_large, told.members) == (Verdict.OK, True, ())
    assert rest.is_closed


def test_a_large_page_that_refuses_is_a_refusal() -> None:
    rest = Rest()
    outcome = Reply(429, b"slow down", rest=rest)
    assert judged(batch("eth_call", "eth_call"), outcome).verdict is Verdict.RATE_LIMITED
    assert rest.is_closed


def test_a_batch_that_we_gave_up_was_not_answered() -> None:
    told = judged(batch("eth_call", "eth_call"), Failure(FailureKind.CANCELLED))
    assert told.verdict is Verdict.CANCELLED
    assert not any(is_answered(member) for member in told.members)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_which_verdicts_need_nobody_else(verdict: Verdict) -> None:
    is_final = verdict.retry is Retry.NO and verdict is not Verdict.CANCELLED
    assert is_answered(Judgement(verdict)) is is_final
