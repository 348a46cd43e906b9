"""Speed-ups and cancels through the engine: what is sent again, shown, written down and closed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rpcproxy.edges.disk.journal import read_rows
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.sends.journaled import TransactionState
from tests.kits.engine_kit import answering, refusing, silent, virtual
from tests.kits.sends_kit import Signed, signed
from tests.sockets.scripted import on_both_loops
from tests.unit.engine.sends.test_ledger import decoded, journaled, states
from tests.unit.engine.sends.test_rebroadcast import World, living

PAY, CANCEL = signed(0), signed(0, tip=2)
TAKEN_BACK = b'[{"txHash":"%b"}]' % PAY.hash.encode()
OTHERWISE = b'[{"tx":"%b"}]'


async def blocks_pass(world: World, count: int = 12) -> None:
    for _ in range(count):
        world.mine()
        await world.look()
        await world.engine.rest(3)


@virtual
async def test_pools_forget_and_the_cancel_alone_is_sent_again() -> None:
    async with living() as world:
        world.keeps.clear()
        for tx in (PAY, CANCEL):
            assert (await world.send(tx))["result"] == tx.hash
        before = world.copies(PAY), world.copies(CANCEL)
        await blocks_pass(world)
        assert world.copies(PAY) == before[0]
        assert world.copies(CANCEL) > before[1]
        assert world.state(PAY) is TransactionState.RESTING
        for tx in (PAY, CANCEL):
            asked = b'["%b"]' % tx.hash.encode()
            seen = await world.engine.ask("eth_getTransactionByHash", asked).reply()
            assert (seen["result"]["hash"], seen["result"]["blockHash"]) == (tx.hash, None)


@virtual
async def test_a_refused_cancel_overtakes_nothing() -> None:
    async with living() as world:
        world.keeps.clear()
        await world.send(PAY)
        behaviours = {name: wire.behaviour for name, wire in world.engine.wires.items()}
        world.engine.all_behave(refusing(-32000, "replacement transaction underpriced"))
        assert "underpriced" in (await world.send(CANCEL))["error"]["message"]
        world.engine.behave(**behaviours)
        before = world.copies(PAY), world.copies(CANCEL)
        await blocks_pass(world)
        assert world.copies(PAY) > before[0]
        assert world.copies(CANCEL) == before[1]


@virtual
async def test_its_wallet_sends_the_first_one_once_more() -> None:
    async with living() as world:
        world.keeps.clear()
        for tx in (PAY, CANCEL):
            await world.send(tx)
        assert (await world.send(PAY))["result"] == PAY.hash
        before = world.copies(PAY), world.copies(CANCEL)
        await blocks_pass(world)
        assert world.copies(PAY) > before[0]
        assert world.copies(CANCEL) == before[1]


@pytest.mark.parametrize("mined", [PAY, CANCEL])
@virtual
async def test_whichever_is_mined_a_reorg_brings_the_cancel_back(mined: Signed) -> None:
    async with living() as world:
        for tx in (PAY, CANCEL):
            await world.send(tx)
        world.mine(mined)
        world.nonces_since[mined.sender] = world.head
        await world.look()
        assert world.state(mined) is TransactionState.MINED
        world.blocks[world.head] = []
        world.nonces.clear()
        world.pools = {name: set() for name in world.pools}
        world.branch = "b"
        before = world.copies(PAY)
        await blocks_pass(world, 4)
        assert world.state(CANCEL) is TransactionState.SENT
        assert world.copies(PAY) == before
        world.mine(CANCEL)
        await world.look()
        world.mine()
        world.tell(final=world.head)
        await world.look()
        assert (world.state(PAY), world.state(CANCEL)) == (
            TransactionState.REPLACED,
            TransactionState.FINAL,
        )


@virtual
async def test_a_third_one_that_was_sent_elsewhere_closes_both() -> None:
    async with living() as world:
        world.keeps.clear()
        for tx in (PAY, CANCEL):
            await world.send(tx)
        world.nonces[PAY.sender] = 1
        world.mine()
        world.nonces_since[PAY.sender] = world.head
        for _ in range(60):
            world.mine()
            world.tell(final=world.head - 1)
            await world.look()
        assert (world.state(PAY), world.state(CANCEL)) == (
            TransactionState.REPLACED,
            TransactionState.REPLACED,
        )


@virtual
async def test_copies_on_their_first_way_stop_when_the_cancel_is_taken() -> None:
    async with living() as world:
        engine = world.engine
        engine.all_behave(silent)
        paying = engine.ask("eth_sendRawTransaction", PAY.params)
        await asyncio.sleep(0.05)
        assert world.copies(PAY) == 3
        taking, knowing = answering(b'"0x"'), answering(b"null")
        is_send = "eth_sendRawTransaction".__eq__
        engine.all_behave(lambda sent: (taking if is_send(sent.method) else knowing)(sent))
        assert (await world.send(CANCEL))["result"] == CANCEL.hash
        error = (await paying.reply())["error"]
        assert error["message"].startswith("it may or may not have been sent")
        assert world.copies(PAY) == 3


@pytest.mark.parametrize(
    ("method", "params", "result", "goes_on"),
    [
        ("eth_cancelPrivateTransaction", TAKEN_BACK, b"true", False),
        ("eth_cancelPrivateTransaction", TAKEN_BACK, b"false", True),
        ("eth_sendPrivateTransaction", OTHERWISE % CANCEL.raw.encode(), b'"0x"', False),
        ("eth_sendPrivateTransaction", OTHERWISE % PAY.raw.encode(), b'"0x"', True),
    ],
)
@virtual
async def test_words_that_go_another_way(
    method: str, params: bytes, result: bytes, goes_on: bool
) -> None:
    """Flashbots' relay and its kin cancel by hash, and take replacements of their own."""
    async with living() as world:
        world.keeps.clear()
        await world.send(PAY)
        behaviours = {name: wire.behaviour for name, wire in world.engine.wires.items()}
        world.engine.all_behave(answering(result))
        assert "result" in await world.engine.ask(method, params).reply()
        world.engine.behave(**behaviours)
        before = world.copies(PAY)
        await blocks_pass(world)
        assert (world.copies(PAY) > before) is goes_on


# ---- on disk


@on_both_loops
async def test_after_a_restart_the_cancel_alone_is_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "test.sqlite"
    async with journaled(path) as ledger:
        for tx in (PAY, CANCEL):
            await ledger.begin(decoded(tx), is_private=False)
            ledger.on_said(tx.hash, "a", Judgement(Verdict.OK))
    assert states(path) == {CANCEL.hash: "sent", PAY.hash: "resting"}
    for _ in range(2):
        async with journaled(path) as again:
            due = again.due(10, 1e9, 10)
            assert [entry.hash for entry in due] == [CANCEL.hash]
            assert again.pool.pending(PAY.hash) is not None


@on_both_loops
async def test_what_was_sent_once_more_is_on_disk_before_anybody_is_told(tmp_path: Path) -> None:
    path = tmp_path / "test.sqlite"
    async with journaled(path) as ledger:
        for tx in (PAY, CANCEL):
            await ledger.begin(decoded(tx), is_private=False)
            ledger.on_said(tx.hash, "a", Judgement(Verdict.OK))
        await ledger.begin(decoded(PAY), is_private=False)
        found = {row.hash: row.state for row in read_rows(path)}
        assert found == {PAY.hash: "sent", CANCEL.hash: "resting"}
    async with journaled(path) as again:
        assert [entry.hash for entry in again.due(10, 1e9, 10)] == [PAY.hash]


@on_both_loops
async def test_killed_before_the_yes_was_written(tmp_path: Path) -> None:
    """Words are written within a second: a kill may find the cancel without one."""
    path = tmp_path / "test.sqlite"
    async with journaled(path) as ledger:
        await ledger.begin(decoded(PAY), is_private=False)
        ledger.on_said(PAY.hash, "a", Judgement(Verdict.OK))
        await ledger.begin(decoded(CANCEL), is_private=False)
    assert states(path) == {CANCEL.hash: "journaled", PAY.hash: "sent"}
    async with journaled(path) as again:
        assert [entry.hash for entry in again.due(10, 1e9, 10)] == [CANCEL.hash]


@virtual
async def test_what_was_replaced_for_good_is_null_like_anything_unknown() -> None:
    async with living() as world:
        for tx in (PAY, CANCEL):
            await world.send(tx)
            asked = b'["%b"]' % tx.hash.encode()
            assert (await world.engine.ask("eth_getTransactionByHash", asked).reply())["result"]
        world.pools = {name: set() for name in world.pools}
        world.mine(CANCEL)
        await world.look()
        world.mine()
        world.tell(final=world.head)
        await world.look()
        assert world.state(PAY) is TransactionState.REPLACED
        for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt"):
            reply = await world.engine.ask(method, b'["%b"]' % PAY.hash.encode()).reply()
            assert reply["result"] is None, method
