"""Sends: copies on distinct domains, the first yes, refusals by the rules, and no copy lost."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from rpcproxy.messages import FailureKind, MethodClass, Reply
from rpcproxy.rules.sends.journaled import TransactionState
from tests.kits.engine_kit import (
    SEND,
    Behaviour,
    Engine,
    Handle,
    Rest,
    Sent,
    after,
    answering,
    failing,
    in_turn,
    now,
    refusing,
    result_of,
    silent,
    virtual,
)
from tests.kits.fleet import four, upstream
from tests.kits.sends_kit import signed

RAW = signed().raw
HASH = signed().hash
PARAMS = signed().params
NONCE = refusing(-32000, "nonce too low")
SIGNATURE = refusing(-32000, "invalid sender")
FUNDS = refusing(-32000, "insufficient funds for gas * price + value")
POLICY = refusing(-32000, "transaction underpriced")
YES = answering(b'"%b"' % HASH.encode())


def send(engine: Engine, method: str = "eth_sendRawTransaction", params: bytes = PARAMS) -> Handle:
    return engine.ask(method, params)


def by_method(**behaviours: Behaviour) -> Behaviour:
    """``send`` for sends, ``look`` for whatever is looked up."""
    return lambda sent: behaviours["send" if "send" in sent.method else "look"](sent)


def sends(engine: Engine) -> list[str]:
    copies = [sent for sent in engine.sent if "send" in sent.method]
    return [sent.wire.name for sent in sorted(copies, key=lambda sent: sent.at)]


async def error_of(handle: Handle) -> dict[str, Any]:
    error: dict[str, Any] = (await handle.reply())["error"]
    return error


def known_nowhere(behaviour: Behaviour) -> Behaviour:
    return by_method(send=behaviour, look=answering(b"null"))


# ---- a yes


@virtual
async def test_copies_go_to_distinct_domains_first_and_the_first_yes_answers() -> None:
    fleet = [
        upstream("a", provider="x", cloud="aws", region="r1"),
        upstream("b", provider="x", cloud="aws", region="r1"),
        upstream("c", provider="y", cloud="gcp", region="r1"),
        upstream("d", provider="z", cloud="ovh", region="r1"),
    ]
    engine = Engine(fleet)
    engine.behave(a=silent, c=YES)
    handle = send(engine)
    assert await handle.reply() == {"jsonrpc": "2.0", "id": 1, "result": HASH}
    assert sorted(sends(engine)) == ["a", "c", "d"]
    assert handle.at - engine.sent[0].at < 0.03  # the silent one is not waited for
    assert engine.counters.sends.accepted == 1
    assert engine.in_flight()["a"] == 1  # its copy goes on
    await engine.assert_soon_idle()


@virtual
async def test_the_answer_is_the_hash_that_was_computed_here() -> None:
    engine = Engine()
    engine.all_behave(answering(b'"0xsomething else"'))
    assert (await send(engine).reply())["result"] == HASH
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    "words", ["already known", "known transaction: 0x1", "transaction already imported"]
)
@virtual
async def test_already_known_is_a_yes(words: str) -> None:
    engine = Engine()
    engine.all_behave(refusing(-32000, words))
    assert (await send(engine).reply())["result"] == HASH
    await engine.assert_soon_idle()


@virtual
async def test_one_yes_beats_refusals() -> None:
    engine = Engine()
    engine.behave(a=SIGNATURE, b=answering(b'"0x"', 0.2))
    assert (await send(engine).reply())["result"] == HASH
    await engine.assert_soon_idle()


@virtual
async def test_a_failed_copy_is_replaced_by_another() -> None:
    engine = Engine()
    engine.behave(a=failing(), b=failing(FailureKind.RESET), c=refusing(-32005, "rate limit"))
    assert (await send(engine).reply())["result"] == HASH
    assert sorted(sends(engine)) == ["a", "b", "c", "d"]
    await engine.assert_soon_idle()


@virtual
async def test_three_silent_copies_are_not_waited_for() -> None:
    engine = Engine()
    engine.behave(a=silent, b=silent, c=silent)
    handle = send(engine)
    assert (await handle.reply())["result"] == HASH
    assert handle.at - engine.sent[0].at < 0.5
    assert len(sends(engine)) == 4
    await engine.assert_soon_idle()


@virtual
async def test_five_resubmits_at_once_are_one_broadcast() -> None:
    engine = Engine()
    handles = [send(engine) for _ in range(5)]
    assert [(await handle.reply())["result"] for handle in handles] == [HASH] * 5
    assert len(sends(engine)) == 3
    assert engine.counters.sends.accepted == 5
    await engine.assert_soon_idle()
    assert not engine.broadcast._in_flight
    assert not engine.copies._under_way
    assert len(engine.ledger.pool) == 1


@virtual
async def test_a_later_resubmit_is_answered_with_its_hash_and_troubles_nobody() -> None:
    engine = Engine()
    await send(engine).answer()
    engine.all_behave(NONCE)
    assert (await send(engine).reply())["result"] == HASH
    assert len(sends(engine)) == 3
    assert len(engine.ledger.pool) == 1
    await engine.assert_soon_idle()


# ---- nonce too low


@virtual
async def test_nonce_too_low_is_a_yes_where_this_very_transaction_is_known() -> None:
    engine = Engine()
    found = answering(b'{"hash":"%b"}' % HASH.encode())
    engine.all_behave(by_method(send=NONCE, look=found))
    assert (await send(engine).reply())["result"] == HASH
    looked = [sent for sent in engine.sent if sent.method == "eth_getTransactionByHash"]
    assert looked
    assert looked[0].params == [HASH]
    await engine.assert_soon_idle()


@virtual
async def test_nonce_too_low_is_the_error_where_it_is_not_known() -> None:
    engine = Engine()
    engine.all_behave(known_nowhere(NONCE))
    assert (await error_of(send(engine)))["message"] == "nonce too low"
    assert sum(engine.counters.sends.rejected.values()) == 1
    await engine.assert_soon_idle()


# ---- refusals


@virtual
async def test_a_refusal_of_the_protocol_is_given_after_a_second_opinion() -> None:
    engine = Engine()
    engine.all_behave(SIGNATURE)
    handle = send(engine)
    assert (await error_of(handle))["message"] == "invalid sender"
    assert len(sends(engine)) == 3
    assert handle.at - engine.sent[0].at < 0.1
    await engine.assert_soon_idle()


@virtual
async def test_a_lone_refusal_is_given_two_seconds_after_it_came() -> None:
    engine = Engine()
    engine.all_behave(silent)
    engine.behave(a=SIGNATURE)
    handle = send(engine)
    assert (await error_of(handle))["message"] == "invalid sender"
    assert 2.0 <= handle.at - engine.sent[0].at < 2.5
    await engine.assert_soon_idle()


@virtual
async def test_a_nodes_own_policy_is_no_refusal_while_others_can_be_asked() -> None:
    engine = Engine()
    engine.behave(a=POLICY, b=POLICY, c=POLICY)
    assert (await send(engine).reply())["result"] == HASH
    assert sorted(sends(engine)) == ["a", "b", "c", "d"]
    engine.all_behave(POLICY)
    other = signed(1).params
    assert (await error_of(send(engine, params=other)))["message"] == "transaction underpriced"
    await engine.assert_soon_idle()


@virtual
async def test_the_sequencers_own_word_ends_it() -> None:
    engine = Engine()
    engine.all_behave(silent)
    engine.behave(a=refusing(-32017, "sender is over rate limit"))
    handle = send(engine)
    assert (await error_of(handle))["code"] == -32017
    assert handle.at - engine.sent[0].at < 0.1
    await engine.assert_soon_idle()


@virtual
async def test_insufficient_funds_counts_from_those_at_the_head() -> None:
    from rpcproxy.messages import Head, Verdict

    engine = Engine()
    for name in "bcd":
        engine.observe(name, Verdict.OK, head=Head(120), is_probe=True)
    assert engine.standings["a"].is_stale
    engine.all_behave(answering())
    engine.behave(a=FUNDS, b=FUNDS)
    engine.standings["b"].is_lagging = True
    assert (await send(engine).reply())["result"] == HASH
    engine.all_behave(FUNDS)
    other = signed(1).params
    assert "insufficient funds" in (await error_of(send(engine, params=other)))["message"]
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        ("0x", -32000, "typed transaction too short"),
        ("0xzz", -32602, "invalid argument 0: json: cannot unmarshal invalid hex string into Go"),
        ("0xabc", -32602, "invalid argument 0: json: cannot unmarshal hex string of odd length"),
        ("c101", -32602, "invalid argument 0: json: cannot unmarshal hex string without 0x"),
        ("0x80", -32000, "rlp: expected input list for types.LegacyTx"),
        ("0xc1", -32000, "rlp: value size exceeds available input length"),
    ],
)
@virtual
async def test_what_is_no_transaction_is_sent_to_nobody(raw: str, code: int, words: str) -> None:
    engine = Engine()
    error = await error_of(send(engine, params=b'["%b"]' % raw.encode()))
    assert error["code"] == code
    assert error["message"].startswith(words)
    assert "(not sent: " in error["message"]
    assert not engine.sent
    engine.assert_idle()


@virtual
async def test_without_a_transaction_the_upstream_says_what_is_wrong() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32602, "missing value for required argument 0"))
    error = await error_of(send(engine, params=b"[]"))
    assert error["message"] == "missing value for required argument 0"
    await engine.assert_soon_idle()


@virtual
async def test_a_type_whose_hash_is_not_ours_gets_the_upstreams_word() -> None:
    engine = Engine()
    engine.all_behave(answering(b'"0xtheirs"'))
    assert (await send(engine, params=b'["0x71c0"]').reply())["result"] == "0xtheirs"
    await engine.assert_soon_idle()


@virtual
async def test_an_upstreams_own_error_is_shown_when_nobody_said_more() -> None:
    engine = Engine(four()[:1], deadlines={"send_seconds": 1.0})
    engine.all_behave(refusing(-32603, "database is down"))
    assert (await error_of(send(engine)))["message"] == "database is down"
    await engine.assert_soon_idle()


@pytest.mark.parametrize("code", [-32000, -32603])
@virtual
async def test_a_wallet_is_not_told_of_the_machines_of_an_upstream(code: int) -> None:
    engine = Engine()
    engine.all_behave(refusing(code, "boom at 10.0.0.7:8545, pid 123"))
    assert (await error_of(send(engine)))["message"] == "boom at (hidden), (hidden)"
    await engine.assert_soon_idle()


# ---- the account's own words (zkSync 442; ERC-7769; stackup-bundler 386)


@pytest.mark.parametrize("words", ["unauthorized", "rate limit exceeded", "forbidden", "quota"])
@virtual
async def test_an_accounts_words_are_given_at_once_and_hurt_nobody(words: str) -> None:
    engine = Engine()
    engine.all_behave(known_nowhere(refusing(3, words)))
    handle = send(engine)
    assert await error_of(handle) == {"code": 3, "message": words}
    assert handle.at - engine.sent[0].at < 0.1
    assert len(sends(engine)) == 3
    assert len(engine.standings.usable(MethodClass.SEND)) == 4
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-32500, "AA23 reverted: unauthorized"),
        (-32501, "paymaster: rate limit exceeded"),
        (-32507, "forbidden"),
        (-32602, "UserOperation reverted during simulation with reason: too many requests"),
        (-32521, "execution reverted: quota exceeded"),
    ],
)
@virtual
async def test_a_bundlers_refusal_is_given_after_a_second_one(code: int, words: str) -> None:
    engine = Engine()
    engine.all_behave(refusing(code, words))
    handle = send(engine, "eth_sendUserOperation", b"[{}]")
    assert await error_of(handle) == {"code": code, "message": words}
    assert handle.at - engine.sent[0].at < 0.2
    assert len(sends(engine)) == 2
    assert len(engine.standings.usable(MethodClass.SEND)) == 4
    await engine.assert_soon_idle()


# ---- an error for what is out (hardhat 2.29.1: web3.py 2400, web3.js 7121, hardhat 8043; ganache)

REVERTED = [
    refusing(-32603, "Error: VM Exception while processing transaction: reverted with panic 0x1"),
    refusing(-32603, "Error: Transaction reverted without a reason string"),
    refusing(-32000, "VM Exception while processing transaction: revert no"),
]
SHOWN = answering(b'{"hash":"%b"}' % HASH.encode())


@pytest.mark.parametrize("error", REVERTED)
@virtual
async def test_reverted_is_a_yes_where_the_upstream_shows_it(error: Behaviour) -> None:
    engine = Engine(four()[:1])
    engine.all_behave(by_method(send=error, look=SHOWN))
    assert (await send(engine).reply())["result"] == HASH
    entry = engine.ledger.pool.get(HASH)
    assert entry is not None
    assert entry.state is TransactionState.SENT
    await engine.assert_soon_idle()


@pytest.mark.parametrize("error", REVERTED)
@virtual
async def test_reverted_is_the_error_where_it_is_not_shown(error: Behaviour) -> None:
    engine = Engine()
    engine.all_behave(known_nowhere(error))
    handle = send(engine)
    assert "revert" in (await error_of(handle))["message"]
    assert handle.at - engine.sent[0].at < 0.2
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    "error",
    [
        refusing(-32603, "Internal error"),  # hardhat 3 (8043)
        refusing(-32000, "replacement transaction underpriced"),
        refusing(-32003, "Tx: [0x1] insufficient gas price to replace existing transaction"),
        refusing(-32603, "database is locked"),
        refusing(-32000, "words that nobody knows"),
        after(0.01, lambda sent: sent.say(b"<html>Bad Gateway</html>", 502)),
        failing(FailureKind.RESET),
        failing(FailureKind.TIMEOUT, 1.0),
    ],
)
@virtual
async def test_an_error_that_leaves_it_open_is_held_against_the_upstream(error: Behaviour) -> None:
    engine = Engine(four()[:1], deadlines={"send_seconds": 4.0})
    engine.all_behave(by_method(send=error, look=SHOWN))
    assert (await send(engine).reply())["result"] == HASH
    await engine.assert_soon_idle()
    other = signed(1)
    engine.all_behave(known_nowhere(error))
    assert "error" in await send(engine, params=other.params).reply()
    await engine.assert_soon_idle()


@virtual
async def test_nobody_is_asked_about_it_who_was_not_sent_it() -> None:
    fleet = [upstream("a", private=True), upstream("b")]
    engine = Engine(fleet, deadlines={"send_seconds": 3.0})
    engine.all_behave(known_nowhere(refusing(-32603, "Internal error")))
    assert "error" in await send(engine).reply()
    assert {sent.wire.name for sent in engine.sent} == {"a"}
    await engine.assert_soon_idle()


# ---- the client hangs up


@virtual
async def test_a_hang_up_does_not_stop_it() -> None:
    engine = Engine()
    engine.behave(**{name: failing(seconds=0.1) for name in "abc"})
    handle = send(engine)
    await asyncio.sleep(0.05)
    handle.hang_up()
    await asyncio.sleep(1)
    assert handle.answers == []
    assert sorted(sends(engine)) == ["a", "b", "c", "d"]
    await engine.assert_soon_idle()
    assert not engine.broadcast._in_flight


@virtual
async def test_another_client_of_the_same_transaction_still_gets_the_answer() -> None:
    engine = Engine()
    engine.all_behave(answering(seconds=0.1))
    first, second = send(engine), send(engine)
    await asyncio.sleep(0.05)
    first.hang_up()
    assert (await second.reply())["result"] == HASH
    assert len(sends(engine)) == 3
    await engine.assert_soon_idle()


@virtual
async def test_a_notification_is_sent_too() -> None:
    engine = Engine()
    handle = engine.handle(b'{"method":"eth_sendRawTransaction","params":%b}' % PARAMS)
    assert (await handle.answer()).body == b""
    assert len(sends(engine)) == 3
    await engine.assert_soon_idle()


# ---- whom it may go to


@virtual
async def test_private_upstreams_get_it_and_nobody_else() -> None:
    fleet = [upstream("a"), upstream("b", private=True), upstream("c"), upstream("d", private=True)]
    engine = Engine(fleet)
    engine.all_behave(known_nowhere(NONCE))
    await send(engine).answer()
    named = (HASH[2:].encode(), RAW[2:].encode())  # look-ups included
    heard = [sent for sent in engine.sent if any(name in sent.payload for name in named)]
    assert {sent.wire.name for sent in heard} == {"b", "d"}
    engine.behave(b=failing(), d=failing())
    error = await error_of(send(engine))
    assert error["message"].startswith("not sent, and not sent later: ")
    assert set(sends(engine)) == {"b", "d"}
    await engine.assert_soon_idle()


@virtual
async def test_readers_are_asked_for_nothing() -> None:
    engine = Engine([upstream("a", role="reads"), upstream("b"), upstream("c", role="sends")])
    await send(engine).answer()
    assert sorted(sends(engine)) == ["b", "c"]
    await engine.assert_soon_idle()


@virtual
async def test_other_sends_go_to_one_at_a_time() -> None:
    engine = Engine()
    engine.behave(a=failing())
    handle = send(engine, "eth_sendBundle", b'[{"txs":["0xc101"]}]')
    assert (await handle.reply())["result"] == "0x1"
    assert sends(engine) == ["a", "b"]
    await engine.assert_soon_idle()


# ---- nobody can take it


@virtual
async def test_all_down_says_not_sent_and_in_time() -> None:
    engine = Engine()
    engine.all_behave(failing())
    engine.eject(*engine.wires)
    started = now()
    error = await error_of(send(engine))
    assert error["code"] == -32603
    assert error["message"].startswith("not sent, and not sent later: ")
    (names,) = re.findall(r"\((.*): not reachable\)", error["message"])
    assert sorted(names.split(", ")) == ["a", "b", "c", "d"]
    assert now() - started <= 12.5
    await engine.assert_soon_idle()


@virtual
async def test_an_old_outage_is_answered_at_once() -> None:
    engine = Engine()
    engine.all_behave(failing())
    engine.eject(*engine.wires)
    await engine.rest(20)
    started = now()
    assert "not sent" in (await error_of(send(engine)))["message"]
    assert now() - started <= 1
    await engine.assert_soon_idle()


@virtual
async def test_a_copy_that_may_have_arrived_is_not_called_unsent() -> None:
    engine = Engine()
    engine.all_behave(silent)
    message = (await error_of(send(engine)))["message"]
    assert message.startswith("it may or may not have been sent: ")
    await engine.assert_soon_idle()


@pytest.mark.parametrize("body", [b"<html>Gateway Timeout</html>", b"", b'{"jsonrpc":"2.0","id'])
@virtual
async def test_no_answer_to_it_leaves_open_whether_it_was_sent(body: bytes) -> None:
    """A gateway may give up on a node that has it; and nobody is hammered for the truth."""
    engine = Engine(deadlines={"send_seconds": 6.0})
    engine.all_behave(after(0.01, lambda sent: sent.say(body, 504)))
    message = (await error_of(send(engine)))["message"]
    assert message.startswith("it may or may not have been sent: ")
    assert max(sends(engine).count(name) for name in "abcd") <= 3
    await engine.assert_soon_idle()


@pytest.mark.parametrize("status", [200, 500, 502])
@virtual
async def test_what_is_out_is_seen_before_anybody_waits(status: int) -> None:
    """A gateway in trouble, in front of a node that has it: empty answers and pages."""
    engine = Engine()
    lost: Behaviour = after(0.01, lambda sent: sent.say(b"", status))
    engine.all_behave(by_method(send=lost, look=answering(b'{"hash":"%b"}' % HASH.encode())))
    started = now()
    assert (await send(engine).reply())["result"] == HASH
    assert now() - started < 0.5
    assert max(sends(engine).count(name) for name in "abcd") == 1
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    "words", ["Upfront cost exceeds account balance", "nonce too low", "insufficient funds"]
)
@virtual
async def test_a_refusal_of_the_very_one_that_is_out_is_a_yes(words: str) -> None:
    """Besu looks at the balance first, and that is spent: its own sight of it decides."""
    engine = Engine()
    engine.all_behave(known_nowhere(refusing(-32004, words)))
    seen = answering(b'{"hash":"%b"}' % HASH.encode())
    engine.behave(a=by_method(send=refusing(-32004, words), look=seen))
    assert (await send(engine).reply())["result"] == HASH
    await engine.assert_soon_idle()


@virtual
async def test_who_is_silent_holds_no_refusal_up() -> None:
    engine = Engine()
    engine.all_behave(known_nowhere(FUNDS))
    engine.behave(a=silent)
    started = now()
    assert "insufficient" in (await error_of(send(engine)))["message"]
    assert now() - started < 2.5
    await engine.assert_soon_idle()


@virtual
async def test_what_comes_out_late_is_seen_whoever_was_asked_anew() -> None:
    engine = Engine()
    began = now()

    def look(sent: Sent) -> None:
        is_out = now() - began > 3
        answering(b'{"hash":"%b"}' % HASH.encode() if is_out else b"null")(sent)

    engine.all_behave(by_method(send=after(0.01, lambda sent: sent.say(b"", 502)), look=look))
    assert (await send(engine).reply())["result"] == HASH
    await engine.assert_soon_idle()


@virtual
async def test_a_null_is_no_yes() -> None:
    engine = Engine()
    engine.behave(a=answering(b"null"), b=answering(b"{}"), c=answering(b"null"))
    engine.behave(d=YES)
    assert (await send(engine).reply())["result"] == HASH
    assert sorted(set(sends(engine))) == ["a", "b", "c", "d"]
    await engine.assert_soon_idle()


METHODS_OF_FEW = (
    ("eth_sendUserOperation", b'[{"sender":"0x01"},"0x02"]'),
    ("eth_sendBundle", b'[{"txs":["0xc101"]}]'),
    ("wallet_sendCalls", b"[{}]"),
    ("eth_sendRawTransaction", PARAMS),
)


@pytest.mark.parametrize(("method", "params"), METHODS_OF_FEW)
@virtual
async def test_a_send_that_nobody_offers_is_answered_so_at_once(method: str, params: bytes) -> None:
    engine = Engine()
    words = f"the method {method} does not exist/is not available"
    engine.all_behave(refusing(-32601, words))
    for most_seconds in (0.1, 1.0):  # asked again, all are known to lack it
        before, began = len(sends(engine)), now()
        assert await error_of(send(engine, method, params)) == {"code": -32601, "message": words}
        assert now() - began < most_seconds
        assert len(sends(engine)) - before <= 4
    await engine.assert_soon_idle()


@virtual
async def test_a_send_that_others_lack_waits_for_the_one_that_may_offer_it() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32601, "the method eth_sendBundle does not exist"))
    engine.behave(c=in_turn(failing(), failing(), answering(b'"0x1"')))
    handle = send(engine, "eth_sendBundle", b'[{"txs":["0xc101"]}]')
    assert (await handle.reply())["result"] == "0x1"
    await engine.assert_soon_idle()


@virtual
async def test_who_limits_the_rate_is_not_hammered() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32005, "rate limit exceeded"))
    assert "error" in await send(engine).reply()
    assert max(sends(engine).count(name) for name in "abcd") <= 3
    await engine.assert_soon_idle()


@pytest.mark.parametrize("method", ["eth_sendRawTransaction", "eth_sendUserOperation"])
@pytest.mark.parametrize(
    ("code", "words"),
    [(-32602, "unauthorized: paymaster"), (-32601, "the method does not exist/is not available")],
)
@virtual
async def test_what_no_waiting_makes_better_is_told_at_once(
    method: str, code: int, words: str
) -> None:
    """A refused key, which an account or a bundler may have said, and a method nobody has."""
    engine = Engine()
    engine.all_behave(refusing(code, words))
    started = now()
    assert (await error_of(send(engine, method)))["message"] == words
    assert now() - started < 0.5
    assert max(sends(engine).count(name) for name in "abcd") == 1
    await engine.assert_soon_idle()


@virtual
async def test_a_refused_key_is_no_answer_while_another_may_come_back() -> None:
    engine = Engine()
    engine.behave(a=refusing(-32602, "unauthorized"), b=failing())
    engine.behave(c=refusing(-32602, "unauthorized"), d=refusing(-32602, "unauthorized"))
    handle = send(engine)
    await asyncio.sleep(2)
    assert not handle.is_done
    engine.behave(b=YES)
    assert (await handle.reply())["result"] == HASH
    await engine.assert_soon_idle()


@virtual
async def test_the_sequencers_limit_is_its_own_whatever_the_words() -> None:
    engine = Engine()
    engine.all_behave(refusing(-32017, "sender over rate limit"))
    assert (await error_of(send(engine)))["code"] == -32017
    assert len(sends(engine)) == 3
    await engine.assert_soon_idle()


@virtual
async def test_a_recovery_in_time_is_used() -> None:
    engine = Engine()
    engine.all_behave(failing())
    engine.eject(*engine.wires)
    handle = send(engine)
    await asyncio.sleep(3)
    assert not handle.is_done
    engine.all_behave(YES)
    engine.recover("c")
    assert (await handle.reply())["result"] == HASH
    await engine.assert_soon_idle()


@virtual
async def test_before_anybody_is_admitted_it_waits() -> None:
    engine = Engine(are_admitted=False)
    handle = send(engine)
    await asyncio.sleep(2)
    assert not engine.sent
    engine.admit("a")
    assert (await handle.reply())["result"] == HASH
    await engine.assert_soon_idle()


# ---- eth_sendRawTransactionSync

SYNC = "eth_sendRawTransactionSync"


@virtual
async def test_sync_sends_plainly_and_waits_for_the_receipt() -> None:
    engine = Engine()
    receipts = in_turn(*[answering(b"null")] * 6, answering(b'{"status":"0x1"}'))
    engine.all_behave(by_method(send=YES, look=receipts))
    handle = send(engine, SYNC, PARAMS[:-1] + b",5000]")
    assert (await handle.reply())["result"] == {"status": "0x1"}
    assert {sent.method for sent in engine.sent} == {
        "eth_sendRawTransaction",
        "eth_getTransactionReceipt",
    }
    assert all(sent.params == [RAW] for sent in engine.sent if "send" in sent.method)
    await engine.assert_soon_idle()


@virtual
async def test_sync_gives_up_in_time_and_says_that_it_was_sent() -> None:
    engine = Engine()
    engine.all_behave(known_nowhere(YES))
    handle = send(engine, SYNC, PARAMS[:-1] + b",2000]")
    error = await error_of(handle)
    assert error == {
        "code": 4,
        "message": "The transaction was added to the transaction pool but wasn't processed in 2s"
        " (it was sent)",
        "data": HASH,
    }
    assert handle.at - engine.sent[0].at < 3
    await engine.assert_soon_idle()


@virtual
async def test_sync_is_refused_as_any_send() -> None:
    engine = Engine()
    engine.all_behave(SIGNATURE)
    assert (await error_of(send(engine, SYNC)))["message"] == "invalid sender"
    await engine.assert_soon_idle()


# ---- odd replies, and the end


@virtual
async def test_a_large_reply_is_a_yes_and_let_go() -> None:
    engine = Engine()
    rests: list[Rest] = []

    def large(sent: Sent) -> None:
        rests.append(Rest())
        sent.end(Reply(200, result_of(sent.calls[0], b'"')[:-1], rest=rests[-1]))

    engine.all_behave(after(0.01, large))
    assert (await send(engine).reply())["result"] == HASH
    await engine.assert_soon_idle()
    assert rests
    assert all(rest.is_closed for rest in rests)


@virtual
async def test_close_gives_up_what_is_under_way_and_tells_the_clients() -> None:
    engine = Engine()
    engine.all_behave(silent)
    handles = [send(engine), send(engine, "eth_sendBundle", b"[{}]")]
    await asyncio.sleep(0.01)
    engine.broadcast.close()
    for handle in handles:
        message = (await error_of(handle))["message"]
        assert message == "it may or may not have been sent: the proxy was closed meanwhile"
    await engine.assert_soon_idle()
    assert not engine.broadcast._in_flight
    assert not engine.copies._under_way


@virtual
async def test_sends_that_fail_teach_the_class_of_sends() -> None:
    engine = Engine()
    engine.behave(a=failing(), b=failing(), c=failing())
    for nonce in range(3):
        await send(engine, params=signed(nonce).params).answer()
    assert engine.standings["a"].classes[SEND].breaker.is_open
    await engine.assert_soon_idle()
