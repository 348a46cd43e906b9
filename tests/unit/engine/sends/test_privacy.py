"""Which transactions are private, through restarts and takeovers, and what is said of them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from rpcproxy.chains.evm.sends.hash_names import EVM_NAMES
from rpcproxy.edges.disk.journal import JournalRow
from rpcproxy.engine.answers.sharing import answer_of
from rpcproxy.engine.sends.denials import Denial
from rpcproxy.engine.sends.privacy import GIVEN_UP_SECONDS, MOST_PRIVATE, Privacy
from rpcproxy.messages import Caller, Judgement, Request, Verdict
from rpcproxy.rules.sends.pool import Pool
from tests.kits.engine_kit import Engine, answering, refusing, request, virtual
from tests.kits.fleet import upstream
from tests.kits.sends_kit import signed
from tests.sockets.scripted import on_both_loops
from tests.unit.engine.sends.test_ledger import decoded, journaled
from tests.unit.rules.sends.test_pool import UNIX, Tx

TX = signed()
LOOKED_UP = b'["%b"]' % TX.hash.encode()


def guarded() -> Engine:
    return Engine([upstream("a"), upstream("b", private=True, role="sends"), upstream("c")])


# ---- what was given up


def test_what_was_given_up_is_looked_for_an_hour() -> None:
    pool = Pool()
    privacy = Privacy(pool, EVM_NAMES)
    entry, _ = pool.add(Tx("0x1"), UNIX, 0.0, is_private=True)
    privacy.remember("0x1", b"\x02raw")
    assert not privacy.is_looking(0.0)
    pool.refuse("0x1")
    privacy.on_closed(entry, 10.0)
    assert privacy.is_looking(10.0)
    assert privacy.is_private("0x1", 10.0)
    privacy.on_block(["0x2"])
    assert privacy.is_looking(10.0 + GIVEN_UP_SECONDS - 1)
    assert not privacy.is_looking(10.0 + GIVEN_UP_SECONDS)
    assert privacy.is_private("0x1", 1e9)
    privacy.on_closed(entry, 10.0)
    privacy.on_block(["0x2", "0x1"])
    assert not privacy.has_any


def test_one_that_rests_goes_to_nobody_though_others_would_go_to_all() -> None:
    pool = Pool()
    privacy = Privacy(pool, EVM_NAMES)
    privacy.fallback_seconds = 30.0
    for n in (1, 2):
        pool.add(Tx(f"0x{n}"), UNIX, 0.0, is_private=True)
        privacy.remember(f"0x{n}", b"\x02raw%d" % n)
        pool.on_said(f"0x{n}", "a", "yes", 0.0, is_yes=True)
    assert [privacy.is_private(f"0x{n}", 31.0) for n in (1, 2)] == [True, False]


def test_a_bounded_number_is_remembered() -> None:
    privacy = Privacy(Pool(), EVM_NAMES)
    for n in range(MOST_PRIVATE + 5):
        privacy.remember(f"0x{n}", b"%d" % n)
    assert len(privacy._starts) == len(privacy._hashes) == MOST_PRIVATE
    assert not privacy.is_private("0x4", 0.0)


def test_no_number_of_others_makes_public_what_waits_for_its_block() -> None:
    pool = Pool()
    privacy = Privacy(pool, EVM_NAMES)
    pool.add(Tx("0xpay"), UNIX, 0.0, is_private=True)
    privacy.remember("0xpay", b"\x02pay")
    for n in range(MOST_PRIVATE + 5):
        privacy.watch(f"0x{n}", b"%d" % n, 0.0)
    assert len(privacy._starts) == MOST_PRIVATE
    assert privacy.is_private("0xpay", 0.0)


@on_both_loops
async def test_a_restart_does_not_make_public_what_was_given_up(tmp_path: Path) -> None:
    path = tmp_path / "test.sqlite"
    refused, replaced, final, open_ = (signed(nonce) for nonce in range(4))
    async with journaled(path) as ledger:
        for tx in (refused, replaced, final, open_):
            entry = await ledger.begin(decoded(tx), is_private=True)
            if tx is refused:
                assert await ledger.refuse(entry) is Denial.FIRM
            else:
                ledger.on_said(tx.hash, "a", Judgement(Verdict.OK))
        await ledger.on_replaced(replaced.hash)
        ledger.on_block(5, "0xb", [final.hash])
        await ledger.on_final(final.hash)
    async with journaled(path) as again:
        assert not again.is_private(final.hash)
        for tx in (refused, replaced, open_):
            assert again.is_private(tx.hash)
            assert again.names_private(tx.params)
        again.on_block(5, "0xb", [open_.hash])
        assert not again.is_private(open_.hash)
        again.on_turn(4)
        assert again.is_private(open_.hash)
        # A private pool may still have had what was given up: it is looked for once more.
        assert again.privacy.is_looking(time.monotonic())
        again.on_block(6, "0xc", [refused.hash])
        assert not again.is_private(refused.hash)
        assert again.is_private(replaced.hash)


# ---- in one batch with its send

SENDS = ("eth_sendRawTransaction", "eth_sendPrivateTransaction")


@pytest.mark.parametrize("send", SENDS)
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("others", [0, 40])
@virtual
async def test_a_look_up_in_the_batch_of_its_send_is_asked_of_nobody_public(
    send: str, is_first: bool, others: int
) -> None:
    engine = guarded()
    engine.ledger.on_no_journal("")
    params = TX.params if send == SENDS[0] else b'[{"tx":"%b"}]' % TX.raw.encode()
    engine.behave(b=answering(b'"%b"' % TX.hash.encode()))
    names = ("eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getTransactionReceipt")
    members = [request(name, LOOKED_UP, b'"%b"' % name.encode()) for name in names]
    members.insert(0 if is_first else len(members), request(send, params))
    members += [request("eth_getBalance", b'["0x%x","0x1"]' % n) for n in range(others)]
    replies = msgspec.json.decode((await engine.handle(b"[%b]" % b",".join(members)).answer()).body)
    assert len(replies) == len(members)
    receipts = [reply for reply in replies if reply["id"] == "eth_getTransactionReceipt"]
    assert [reply["result"] for reply in receipts] == [None, None]
    heard = {sent.wire.name for sent in engine.sent if TX.hash[2:].encode() in sent.payload}
    assert heard <= {"b"}
    await engine.assert_soon_idle()


@virtual
async def test_a_look_up_in_a_batch_without_sends_travels_with_the_others() -> None:
    engine = guarded()
    engine.ledger.on_no_journal("")
    members = [request("eth_getTransactionReceipt", LOOKED_UP), request("eth_gasPrice")]
    engine.all_behave(answering(b"null"))
    handle = engine.handle(b"[%b]" % b",".join(members))
    await handle.answer()
    assert len(engine.wires["a"].sent[0].calls) == 2


@virtual
async def test_what_was_settled_before_a_transaction_became_private_is_settled_anew() -> None:
    engine = guarded()
    engine.ledger.on_no_journal("")
    pipeline = engine.pipeline
    profile = pipeline.profiles.of("eth_getTransactionReceipt")
    asked = Request("eth_getTransactionReceipt", b"1", LOOKED_UP)
    call = pipeline.profiles.prepare(asked, profile)
    await engine.ledger.begin(decoded(TX), is_private=True)
    answer = await answer_of(pipeline.reads.read(asked, profile, Caller("t"), call))
    assert msgspec.json.decode(answer.body)["result"] is None
    assert engine.sent == []


# ---- while the journal is being opened


@virtual
async def test_before_the_journal_is_read_nobody_hears_of_any_transaction() -> None:
    """A takeover: what the process before this one sent is not known for some seconds."""
    engine = guarded()
    engine.ledger.await_journal()
    handles = [engine.ask("eth_getTransactionReceipt", LOOKED_UP)]
    batch = b'[{"id":1,"method":"eth_getTransactionByHash","params":%b}]' % LOOKED_UP
    handles.append(engine.handle(batch))
    other = engine.ask("eth_gasPrice")
    assert (await other.reply())["result"] == "0x1"
    await asyncio.sleep(1)
    assert not any(handle.is_done for handle in handles)
    row = JournalRow(TX.hash, decoded(TX).raw, TX.sender, TX.nonce, UNIX, "sent", is_private=True)
    engine.ledger.pool.restore([row], UNIX, 0.0)
    engine.ledger.privacy.remember(TX.hash, decoded(TX).raw)
    engine.ledger.on_no_journal("")
    assert (await handles[0].reply())["result"] is None
    assert TX.hash.encode() in (await handles[1].answer()).body
    assert not any(TX.hash[2:].encode() in sent.payload for sent in engine.sent)


@virtual
async def test_asked_once_more_by_its_tag_it_stays_with_private_ones() -> None:
    engine = Engine([upstream("a"), upstream("b", private=True), upstream("c")])
    engine.all_behave(refusing(4444, "pruned history unavailable"))
    engine.ledger.on_no_journal("")
    await engine.ledger.begin(decoded(TX), is_private=True)
    params = b'[{"data":"%b"},"earliest"]' % TX.hash.encode()
    assert "error" in await engine.ask("eth_call", params).reply()
    heard = [sent for sent in engine.sent if TX.hash[2:].encode() in sent.payload]
    assert {sent.params[1] for sent in heard} == {"0x0", "earliest"}
    assert {sent.wire.name for sent in heard} == {"b"}
    await engine.assert_soon_idle()


@virtual
async def test_a_journal_that_does_not_open_is_said_in_words() -> None:
    engine = guarded()
    engine.all_behave(answering(b"null"))
    engine.ledger.await_journal()
    handle = engine.ask("eth_getTransactionReceipt", LOOKED_UP)
    error = (await handle.reply())["error"]
    assert "still being opened" in error["message"]
    engine.ledger.on_no_journal("it is a directory")
    assert "result" in await engine.ask("eth_getTransactionReceipt", LOOKED_UP).reply()


@virtual
async def test_where_nobody_is_private_it_is_not_waited_for() -> None:
    engine = Engine()
    engine.all_behave(answering(b"null"))
    engine.ledger.await_journal()
    assert "result" in await engine.ask("eth_getTransactionReceipt", LOOKED_UP).reply()


@virtual
async def test_a_block_that_nobody_looks_through_is_waited_for_shortly() -> None:
    engine = guarded()
    engine.ledger.on_no_journal("")
    await engine.ledger.begin(decoded(TX), is_private=True)
    engine.ledger.on_looked(99)
    started = asyncio.get_running_loop().time()
    assert (await engine.ask("eth_getTransactionReceipt", LOOKED_UP).reply())["result"] is None
    waited = asyncio.get_running_loop().time() - started
    assert 1 < waited < 3
    engine.ledger.on_looked(100)
    handle = engine.ask("eth_getTransactionReceipt", LOOKED_UP)
    assert handle.is_done
