"""What was told stays true: answers held against our chain and against earlier answers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rpcproxy.chains.evm.blocks import head_of_block
from rpcproxy.chains.parts.claims import Claims
from rpcproxy.chains.registry import EVM
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.truth.counters import PENDING_SECONDS
from rpcproxy.engine.truth.seen import MOST_BYTES
from rpcproxy.engine.truth.truth import Truth
from rpcproxy.messages import FailureKind, Judgement, Request, Verdict
from tests.kits.engine_kit import (
    CHAIN_ID,
    Behaviour,
    Engine,
    Sent,
    after,
    answering,
    failing,
    hash_of,
    head_of,
    in_turn,
    now,
    on_chain,
    refusing,
    to_head,
    virtual,
)
from tests.kits.truth_kit import another_truth

ADDRESS = f"0x{0xABC:040x}"
RECEIPT = "eth_getTransactionReceipt"
TX = "eth_getTransactionByHash"
NONCE = "eth_getTransactionCount"
FILL = "eth_fillTransaction"


def tx(number: int = 7) -> bytes:
    return b'["0x%064x"]' % number


def mined(number: int, branch: int = 0, since: int = 0) -> bytes:
    return b'{"blockNumber":"0x%x","blockHash":"%b"}' % (
        number,
        hash_of(number, branch, since).encode(),
    )


def block(number: int, branch: int = 0, since: int = 0) -> bytes:
    return b'{"number":"0x%x","hash":"%b"}' % (number, hash_of(number, branch, since).encode())


def by_hash(number: int, branch: int = 0) -> bytes:
    return b'["%b",false]' % hash_of(number, branch).encode()


PENDING = b'{"blockNumber":null,"blockHash":null}'


class Held:
    """Answers held against the truth of an engine at block 100, one by one."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or on_chain()
        self.truth = self.engine.pipeline.truth
        self.started = now()

    def another(self, **bounds: int) -> Truth:
        return another_truth(self.engine, **bounds)

    def call(self, method: str, params: bytes) -> SingleCall:
        profiles = self.engine.pipeline.profiles
        request = Request(method, b"1", params)
        return profiles.prepare(request, profiles.of(method))

    def __call__(
        self, method: str, params: bytes, result: bytes, name: str = "a", **given: Any
    ) -> str:
        """What the answer is held for; ``a`` gave it."""
        judged = self.judge(method, params, result, name, **given)
        return judged.verdict.label

    def judge(
        self,
        method: str,
        params: bytes,
        result: bytes,
        name: str = "a",
        call: SingleCall | None = None,
    ) -> Judgement:
        verdict = Verdict.NULL if result == b"null" else Verdict.OK
        judgement = Judgement(verdict, msgspec.Raw(result))
        standing = self.engine.standings[name]
        call = call or self.call(method, params)
        return self.truth.check(call, judgement, standing, self.started)

    def nonce(self, nonce: int, tag: str = "latest", name: str = "a") -> str:
        params = b'["%b","%b"]' % (ADDRESS.encode(), tag.encode())
        return self(NONCE, params, b'"0x%x"' % nonce, name)


# ---- blocks


@virtual
async def test_what_is_on_our_chain_is_given() -> None:
    held = Held()
    assert held(RECEIPT, tx(), mined(100)) == "ok"
    assert held(RECEIPT, tx(8), mined(99)) == "ok"
    assert held(RECEIPT, tx(9), mined(50, 3)) == "ok"  # so far back nobody knows
    assert held(TX, tx(10), PENDING) == "ok"
    assert held("eth_getBlockByNumber", b'["latest",false]', block(100)) == "ok"
    assert held("eth_getBlockByHash", by_hash(100), block(100)) == "ok"
    assert held("eth_gasPrice", b"[]", b'"0x1"') == "ok"
    assert not held.engine.changes


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("eth_getBlockByHash", by_hash(99), block(100)),
        ("eth_getBlockByHash", by_hash(99), b"[1]"),
        ("eth_getBlockByHash", by_hash(99), b'{"number":"0x63"}'),
        ("eth_getBlockByNumber", b'["0x63",false]', block(100)),
        ("eth_getBlockByNumber", b'["latest",false]', block(99)),
        ("eth_getBlockByNumber", b'["0x63",false]', b"{}"),
        ("eth_getBlockByNumber", b'["0x63",false]', b'{"number":99,"hash":5}'),
        (RECEIPT, tx(), b'{"transactionHash":"0x%064x",' % 8 + mined(100)[1:]),
        (TX, tx(), b'{"hash":"0x%064x",' % 8 + mined(100)[1:]),
        (TX, tx(), b'{"blockNumber":"nonsense"}'),
    ],
)
@virtual
async def test_an_answer_to_another_question_is_none(
    method: str, params: bytes, result: bytes
) -> None:
    held = Held()
    assert held(method, params, result) == "bad_result"
    assert not held.truth.allows(held.call(method, params), result)


@virtual
async def test_an_answer_may_spell_the_hash_that_was_asked_for_in_its_own_way() -> None:
    held = Held()
    receipt = b'{"transactionHash":"0x%064X",' % 0xABC + mined(100)[1:]
    assert held(RECEIPT, b'["0x%064x"]' % 0xABC, receipt) == "ok"
    assert held("eth_getBlockByHash", by_hash(100).upper().replace(b"X", b"x"), block(100)) == "ok"


@virtual
async def test_pending_nonces_are_told_in_every_mode() -> None:
    for consistency in ("pinned", "routed"):
        held = Held(on_chain(consistency=consistency))
        assert held.nonce(5) == "ok"
        assert held.nonce(7, "pending") == "ok"
        assert held.nonce(4, "pending") == "stale"


@virtual
async def test_a_block_that_a_receipt_named_is_there() -> None:
    held = Held()
    assert held("eth_getBlockByHash", by_hash(100), b"null") == "null"  # nobody heard of it
    assert held(RECEIPT, tx(), mined(100)) == "ok"
    assert held("eth_getBlockByHash", by_hash(100), b"null") == "forgotten"
    held.truth.on_turn(99)
    assert held("eth_getBlockByHash", by_hash(100), b"null") == "null"


@virtual
async def test_what_was_in_a_block_is_not_pending_again() -> None:
    held = Held()
    assert held(TX, tx(), PENDING) == "ok"
    assert held(RECEIPT, tx(), mined(100)) == "ok"
    assert held(TX, tx(), PENDING) == "forgotten"
    assert held(TX, tx(), mined(100)) == "ok"
    held.truth.on_turn(99)
    assert held(TX, tx(), PENDING) == "ok"


def filled(nonce: int, chain_id: int = CHAIN_ID) -> bytes:
    """What geth and anvil answer to eth_fillTransaction."""
    tx = b'{"type":"0x2","chainId":"0x%x","from":"%b","nonce":"0x%x"}'
    return b'{"raw":"0x02","tx":' + tx % (chain_id, ADDRESS.encode(), nonce) + b"}"


ASKED = b'[{"from":"%b","value":"0x1"}]' % ADDRESS.encode()


@virtual
async def test_what_an_upstream_fills_in_is_of_our_chain() -> None:
    held = Held()
    assert held(FILL, ASKED, filled(5)) == "ok"
    judged = held.judge(FILL, ASKED, filled(5, 31338))
    assert judged.verdict is Verdict.OFF_CHAIN
    assert judged.detail == "it fills in chain id 31338"
    assert held.engine.standings["a"].is_forked


@virtual
async def test_what_an_upstream_fills_in_is_no_nonce_that_was_used() -> None:
    held = Held()
    assert held.nonce(7, "pending") == "ok"
    assert held(FILL, ASKED, filled(6)) == "stale"
    assert held(FILL, ASKED, filled(7)) == "ok"
    assert held(FILL, ASKED, filled(8)) == "ok"
    assert held.nonce(8, "pending", "b") == "ok"
    assert held(FILL, ASKED, filled(7)) == "stale"
    own = ASKED.replace(b'"value"', b'"nonce":"0x6","value"')  # the wallet's to choose
    assert held(FILL, own, filled(6)) == "ok"


@pytest.mark.parametrize("result", [b"{}", b'{"tx":null}', b'{"tx":[]}', b'{"tx":{"nonce":5}}'])
@virtual
async def test_what_says_nothing_of_a_nonce_is_given_as_it_is(result: bytes) -> None:
    assert Held()(FILL, ASKED, result) == "ok"


@pytest.mark.parametrize("method", [RECEIPT, TX])
@virtual
async def test_what_is_in_a_block_of_another_branch_is_not(method: str) -> None:
    held = Held()
    judged = held.judge(method, tx(), mined(100, 1))
    assert judged.verdict is Verdict.OFF_CHAIN
    assert judged.detail == "its block 100 is not on our chain"
    assert held(method, tx(), b"null") == "null"  # it was not seen


@virtual
async def test_by_hash_a_block_of_another_branch_is_asked_elsewhere_and_nobody_is_blamed() -> None:
    held = Held()
    assert held("eth_getBlockByHash", by_hash(100, 1), block(100, 1)) == "off_chain"
    assert not held.engine.standings["a"].is_forked
    assert not held.engine.changes


@virtual
async def test_a_whole_block_above_the_served_head_is_not_given() -> None:
    held = Held()
    assert held(RECEIPT, tx(), mined(101)) == "off_chain"
    assert held("eth_getBlockByHash", by_hash(101), block(101)) == "off_chain"
    assert held.engine.standings.heads.served == 100


@virtual
async def test_the_served_head_moves_up_to_what_two_companies_have() -> None:
    held = Held()
    to_head(held.engine, head_of(101), "ab")
    assert held.engine.standings.heads.served == 100
    assert held(RECEIPT, tx(), mined(101, 1)) == "off_chain"  # another hash
    assert held(RECEIPT, tx(), mined(101)) == "ok"
    assert held.engine.standings.heads.served == 101


@virtual
async def test_what_was_asked_above_the_served_head_is_refused() -> None:
    held = Held()
    call = held.call("eth_getBalance", b'["0x1","0x65"]')
    assert held("eth_getBalance", b"", b'"0x1"', call=call) == "off_chain"
    to_head(held.engine, head_of(101))
    assert held("eth_getBalance", b"", b'"0x1"', call=call) == "ok"


@virtual
async def test_an_upstream_that_left_our_chain_is_not_believed() -> None:
    held = Held()
    held.engine.standings["a"].is_forked = True
    judged = held.judge("eth_gasPrice", b"[]", b'"0x1"')
    assert (judged.verdict, judged.detail) == (Verdict.OFF_CHAIN, "its upstream left our chain")
    assert held("eth_gasPrice", b"[]", b'"0x1"', "b") == "ok"


@virtual
async def test_what_was_asked_before_a_reorg_is_refused_above_the_ancestor() -> None:
    held = Held()
    to_head(held.engine, head_of(101))
    above, below = (held.call("eth_getBalance", b'["0x1","%b"]' % n) for n in (b"0x65", b"0x64"))
    await asyncio.sleep(1)
    to_head(held.engine, head_of(101, 1, 100))
    assert held("", b"", b'"0x1"', call=above) == "off_chain"
    assert held("", b"", b'"0x1"', call=below) == "ok"
    await asyncio.sleep(0.001)
    held.started = now()
    assert held("", b"", b'"0x1"', call=above) == "ok"


@virtual
async def test_errors_are_given_as_they_are() -> None:
    held = Held()
    judgement = Judgement(Verdict.REVERTED)
    call = held.call("eth_call", b"[{}]")
    standing = held.engine.standings["a"]
    assert held.truth.check(call, judgement, standing, now()) is judgement


@virtual
async def test_logs_of_another_branch_are_asked_elsewhere() -> None:
    held = Held()
    params = b'[{"fromBlock":"0x5f","toBlock":"latest"}]'
    assert held("eth_getLogs", params, b"[%b]" % mined(100)) == "ok"
    assert held("eth_getLogs", params, b"[]") == "ok"
    assert held("eth_getLogs", params, b"[%b,%b]" % (mined(99), mined(100, 1))) == "off_chain"


# ---- what was seen


@pytest.mark.parametrize("method", [RECEIPT, TX])
@virtual
async def test_what_was_seen_is_not_null_afterwards(method: str) -> None:
    held = Held()
    assert held(method, tx(), b"null") == "null"
    assert held(method, tx(), mined(100)) == "ok"
    assert held(method, tx(), b"null") == "forgotten"
    assert held(method, b'["0x%064X"]' % 7, b"null") == "forgotten"  # another spelling
    assert held(method, tx(8), b"null") == "null"
    assert held(method, b"[5]", b"null") == "null"
    assert held("eth_getStorageAt", b'["0x1"]', b"null") == "null"


@virtual
async def test_a_pending_transaction_has_no_receipt_yet() -> None:
    held = Held()
    assert held(TX, tx(), PENDING) == "ok"
    assert held(TX, tx(), b"null") == "dropped"
    assert held(RECEIPT, tx(), b"null") == "null"
    assert held(RECEIPT, tx(), mined(100)) == "ok"
    assert held(RECEIPT, tx(), b"null") == "forgotten"


@virtual
async def test_a_reorg_may_take_what_was_seen_above_its_ancestor() -> None:
    held = Held()
    held(RECEIPT, tx(1), mined(99))
    held(RECEIPT, tx(2), mined(100))
    held.nonce(5)
    held.truth.on_turn(99)
    assert held(RECEIPT, tx(1), b"null") == "forgotten"
    assert held(RECEIPT, tx(2), b"null") == "null"
    assert held.nonce(4) == "ok"


@virtual
async def test_memory_is_bounded() -> None:
    held = Held()
    held.truth = held.another(most_seen=10, most_counters=10)
    for number in range(20):
        held(RECEIPT, tx(number), mined(100))
        for tag in (b"latest", b"pending"):
            held(NONCE, b'["0x%040x","%b"]' % (number, tag), b'"0x5"')
    told = held.truth.counters
    assert told is not None
    for memory in (held.truth.seen._transactions, told._mined, told._pending):
        assert len(memory) == 10
    assert held(RECEIPT, tx(3), b"null") == "null"
    assert held(RECEIPT, tx(19), b"null") == "forgotten"


@virtual
async def test_a_reload_forgets_nothing() -> None:
    held = Held()
    held(RECEIPT, tx(), mined(100))
    held.nonce(5)
    twin = held.another()
    twin.adopt(held.truth)
    held.truth = twin
    assert held(RECEIPT, tx(), b"null") == "forgotten"
    assert held.nonce(4) == "stale"


# ---- what an earlier process kept


@virtual
async def test_what_is_on_disk_is_held_against_the_chain() -> None:
    held = Held()
    call = held.call(RECEIPT, tx())
    assert not held.truth.allows(call, mined(101))
    assert not held.truth.allows(call, mined(100, 1))
    assert held(RECEIPT, tx(), b"null") == "null"
    assert held.truth.allows(call, mined(100))
    assert held(RECEIPT, tx(), b"null") == "forgotten"
    assert held.truth.allows(held.call("eth_getCode", b'["0x1","0x5"]'), b'"0x1"')


# ---- nonces


@virtual
async def test_a_nonce_does_not_fall() -> None:
    held = Held()
    assert [held.nonce(n) for n in (5, 5, 6)] == ["ok"] * 3
    assert held.nonce(5) == "stale"
    assert held.nonce(6, name="b") == "ok"


@virtual
async def test_a_nonce_of_an_older_block_may_be_lower() -> None:
    held = Held()
    held.nonce(6)
    assert held.nonce(4, "0x63") == "ok"
    assert held.nonce(5) == "stale"


@virtual
async def test_one_upstream_is_not_believed_where_it_says_less_and_two_are() -> None:
    held = Held()
    held.nonce(600)  # a lie
    assert held.nonce(5, name="b") == "stale"
    assert held.nonce(5, name="b") == "stale"
    assert held.nonce(5, name="c") == "ok"
    assert held.nonce(5, name="b") == "ok"


@virtual
async def test_a_pending_nonce_is_never_below_the_mined_one() -> None:
    held = Held()
    held.nonce(6)
    assert held.nonce(5, "pending") == "stale"
    assert held.nonce(7, "pending") == "ok"


@virtual
async def test_a_pending_nonce_stands_for_a_while() -> None:
    held = Held()
    params = b'["%b", "pending"]' % ADDRESS.encode()
    held.nonce(7, "pending")
    judged = held.judge(NONCE, params, b'"0x6"', "b")  # its pool lacks one
    assert (judged.verdict, bytes(judged.result or b"")) == (Verdict.OK, b'"0x7"')
    await held.engine.rest(PENDING_SECONDS + 1)
    judged = held.judge(NONCE, params, b'"0x6"', "b")
    assert bytes(judged.result or b"") == b'"0x6"'


@virtual
async def test_what_is_no_nonce_is_left_alone() -> None:
    held = Held()
    held.nonce(6)
    assert held(NONCE, b'["%b","latest"]' % ADDRESS.encode(), b'"nonsense"') == "ok"
    assert held(NONCE, b'["0x1","latest"]', b'"0x1"') == "ok"


@virtual
async def test_who_sent_what_is_mined_is_past_its_nonce() -> None:
    held = Held()
    sent = b'"from":"%b","nonce":"0x6"' % ADDRESS.encode()
    whole = mined(100)[:-1] + b"," + sent + b"}"
    assert held(TX, tx(), whole) == "ok"
    assert held.nonce(6) == "stale"
    assert held.nonce(7, name="b") == "ok"
    assert held.nonce(6, "0x63") == "ok"


@virtual
async def test_a_receipt_tells_it_too_where_the_transaction_was_seen() -> None:
    held = Held()
    sent = b'"from":"%b","nonce":"0x6"' % ADDRESS.encode()
    assert held(TX, tx(), PENDING[:-1] + b"," + sent + b"}") == "ok"
    assert held.nonce(6) == "ok"
    assert held(RECEIPT, tx(), mined(100)) == "ok"
    assert held.nonce(6) == "stale"
    assert held(RECEIPT, tx(8), mined(100)) == "ok"  # nobody knows who sent this one
    assert held(TX, b"[5]", mined(100)) == "ok"


@virtual
async def test_what_was_sent_is_known_from_then_on() -> None:
    held = Held()
    held.truth.on_sent("0x" + "A" * 64)
    assert held(TX, b'["0x%b"]' % (b"a" * 64), b"null") == "dropped"
    assert held(RECEIPT, b'["0x%b"]' % (b"a" * 64), b"null") == "null"


@virtual
async def test_a_block_whose_time_the_others_tell_otherwise_is_asked_elsewhere() -> None:
    held = Held()
    honest = msgspec.structs.replace(head_of(101), timestamp=1000)
    to_head(held.engine, honest)
    timed = block(101)[:-1] + b',"parentHash":"%b","timestamp":"0x%x"}'
    parent = hash_of(100).encode()
    assert held("eth_getBlockByNumber", b'["latest",false]', timed % (parent, 1000)) == "ok"
    lie = held("eth_getBlockByNumber", b'["latest",false]', timed % (parent, 9000))
    assert lie == "off_chain"


@virtual
async def test_data_missing_where_it_should_be_is_worth_a_look() -> None:
    held = Held()
    doubted: list[str] = []
    held.engine.executor.on_doubt = doubted.append
    standing = held.engine.standings["a"]
    for tag in (b"latest", b"pending"):
        call = held.call("eth_getBalance", b'["0x1","%b"]' % tag)
        missing = Judgement(Verdict.MISSING_DATA)
        assert held.truth.check(call, missing, standing, now()) is missing
    assert doubted[:1] == ["a"]


# ---- through the whole engine


@virtual
async def test_a_receipt_of_another_branch_is_asked_of_another() -> None:
    engine = on_chain()
    engine.all_behave(answering(mined(100)))
    engine.behave(a=answering(mined(100, 1)))
    reply = await engine.ask(RECEIPT, tx()).reply()
    assert reply["result"]["blockHash"] == hash_of(100)
    assert engine.asked[:2] == "ab"
    await engine.assert_soon_idle()


@virtual
async def test_who_forgets_is_passed_over_and_where_all_do_it_is_null() -> None:
    engine = on_chain()
    engine.all_behave(answering(mined(100)))
    await engine.ask(RECEIPT, tx()).answer()
    engine.pipeline.sharing.cache.clear()
    engine.behave(a=answering(b"null"), b=answering(b"null"))
    assert (await engine.ask(RECEIPT, tx()).reply())["result"] is not None
    engine.pipeline.sharing.cache.clear()
    engine.all_behave(answering(b"null"))
    assert (await engine.ask(RECEIPT, tx()).reply())["result"] is None
    assert all(standing.state == "up" for standing in engine.standings)
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    "behaviour", [failing(), failing(FailureKind.RESET), refusing(-32005, "rate limit exceeded")]
)
@virtual
async def test_one_that_fails_hides_nothing_of_what_all_others_say(behaviour: Behaviour) -> None:
    """Asked again, they have had their calls before the time is up, and it alone is left: that it
    cannot be reached is no better answer, and not worth waiting for.
    """
    engine = on_chain()
    engine.all_behave(answering(mined(100)))
    await engine.ask(RECEIPT, tx()).answer()
    engine.pipeline.sharing.cache.clear()
    engine.all_behave(answering(b"null"))
    engine.behave(a=behaviour)
    asking, began = engine.ask(RECEIPT, tx()), now()
    for number in range(101, 110):  # the chain goes on: what all forgot is asked for again
        await engine.rest(0.2)
        to_head(engine, head_of(number), "bcd")
    reply = await asking.reply()
    assert "error" not in reply
    assert reply["result"] is None
    assert now() - began < engine.pipeline.chain.deadlines.light_seconds
    await engine.assert_soon_idle()


@virtual
async def test_all_that_are_gone_for_a_moment_are_waited_for() -> None:
    """What they said before they went is no answer yet: they may be on the right chain again."""
    engine = on_chain()
    engine.all_behave(answering(mined(100, 1)))
    asking = engine.ask(RECEIPT, tx())
    await engine.rest(0.2)
    engine.eject("a", "b", "c", "d")
    await engine.rest(0.6)
    assert not asking.is_done
    engine.all_behave(answering(mined(100)))
    engine.recover("a", "b", "c", "d")
    await engine.rest(0.1)
    engine.recover("a", "b", "c", "d")
    assert (await asking.reply())["result"]["blockHash"] == hash_of(100)
    await engine.assert_soon_idle()


@virtual
async def test_a_receipt_in_a_block_that_only_one_has_waits_for_the_others() -> None:
    engine = on_chain()
    to_head(engine, head_of(101), "a")
    engine.behave(a=answering(mined(101)))
    for name in "bcd":
        engine.wires[name].behaviour = answering(b"null")
    assert (await engine.ask(RECEIPT, tx()).reply())["result"] is None
    to_head(engine, head_of(101), "bc")
    engine.all_behave(answering(mined(101)))
    reply = await engine.ask(RECEIPT, tx()).reply()
    assert int(reply["result"]["blockNumber"], 16) == engine.standings.heads.served == 101
    await engine.assert_soon_idle()


@virtual
async def test_a_stale_nonce_is_asked_of_another_and_counts_against_who_told_it() -> None:
    engine = on_chain()
    params = b'["%b","latest"]' % ADDRESS.encode()
    engine.all_behave(answering(b'"0x6"'))
    await engine.ask(NONCE, params).answer()
    engine.pipeline.sharing.cache.clear()
    engine.behave(a=answering(b'"0x5"'))
    assert (await engine.ask(NONCE, params).reply())["result"] == "0x6"
    assert engine.counters.attempts["a"].labels["stale"] == 1
    await engine.assert_soon_idle()


@virtual
async def test_off_is_off() -> None:
    engine = on_chain(consistency="off")
    engine.all_behave(answering(mined(900, 1)))
    reply = await engine.ask(RECEIPT, tx()).reply()
    assert reply["result"]["blockNumber"] == "0x384"


@virtual
async def test_a_reorg_while_everybody_is_asked_is_answered_from_the_new_chain() -> None:
    engine = on_chain()
    to_head(engine, head_of(101))

    def old_then_new(sent: Sent) -> None:
        sent.reply(mined(101) if sent.id == 1 else mined(101, 1, 100))

    engine.all_behave(after(0.05, old_then_new))
    handle = engine.ask(RECEIPT, tx())
    await asyncio.sleep(0.01)
    to_head(engine, head_of(101, 1, 100))
    reply = await handle.reply()
    assert reply["result"]["blockHash"] == hash_of(101, 1, 100)
    await engine.assert_soon_idle()


@virtual
async def test_an_upstream_that_says_another_block_is_the_head_is_counted_out() -> None:
    engine = on_chain()
    engine.all_behave(answering(block(100)))
    engine.behave(a=in_turn(answering(block(100, 1))))
    reply = await engine.ask("eth_getBlockByNumber", b'["latest",false]').reply()
    assert reply["result"]["hash"] == hash_of(100)
    assert head_of_block(block(100)) is not None
    await engine.assert_soon_idle()


# ---- a kind of chain that has less


@virtual
async def test_a_kind_without_counters_and_contents_is_gone_without() -> None:
    held = Held()
    claims = msgspec.structs.replace(EVM.claims, counters=None)
    engine = held.engine
    held.truth = Truth(engine.executor, engine.ledger, claims, None, clock=engine.clock)
    for nonce in (5, 4):
        assert held.nonce(nonce) == "ok"
    assert held(FILL, b"[{}]", b'{"tx":{"chainId":"0x1"}}') == "ok"
    assert held.truth.contents.learn(block(100)) is None
    assert held("eth_getBlockByNumber", b'["0x64",false]', block(100)) == "ok"
    assert held("eth_getBlockReceipts", b'["0x64"]', b"[]") == "ok"
    assert held("eth_getLogs", b'[{"fromBlock":"0x64","toBlock":"0x64"}]', b"[]") == "ok"
    sent = b'{"from":"%b","nonce":"0x5",%b' % (ADDRESS.encode(), mined(100)[1:])
    assert held(TX, tx(), sent) == "ok"
    assert held(TX, tx(), b"null") == "forgotten"
    held.truth.on_turn(99)
    assert held(TX, tx(), b"null") == "null"
    held.truth.adopt(held.engine.pipeline.truth)


@virtual
async def test_a_kind_whose_answers_claim_nothing_is_believed() -> None:
    held = Held()
    engine = held.engine
    held.truth = Truth(engine.executor, engine.ledger, Claims(), None, clock=engine.clock)
    assert held(RECEIPT, tx(), mined(100, 1)) == "ok"
    assert held(RECEIPT, tx(), b"null") == "null"
    assert held("eth_getBlockByNumber", b'["0x63",false]', block(100)) == "ok"
    assert held("eth_getBlockByNumber", b'["pending",false]', b'"whatever"') == "ok"
    assert held("eth_getLogs", b'[{"fromBlock":"0x64","toBlock":"0x64"}]', b"[{}]") == "ok"
    assert held.nonce(5) == "ok"
    held.truth.on_sent(hash_of(7))
    assert held.truth.seen.block_of(hash_of(7)) == -1
    error = held.judge("eth_getBalance", b'["0x1","0xffff"]', b'"0x1"').error
    assert bytes(error or b"") == Claims().no_block


@virtual
async def test_what_the_old_chain_and_the_new_one_show_is_remembered_once() -> None:
    """After a reload both answer for a while, the old one what was under way: what either learns
    both know, and the room for lists is counted once.
    """
    held = Held()
    twin = held.another()
    listed = b'[{"hash":"0x%b"}]' % (b"ab" * 32)
    for number in range(90, 100):
        held.truth.seen.see_list(number, listed)
    twin.adopt(held.truth)
    assert held.truth.seen.block_of("0x" + "ab" * 32) == 99, "they are read, and gone"
    twin.seen.see_list(100, listed.rjust(MOST_BYTES))
    assert held.truth.seen.block_of("0x" + "ab" * 32) == 100
