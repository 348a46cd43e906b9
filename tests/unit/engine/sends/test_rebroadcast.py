"""What becomes of transactions: sent again until they are in a block for good, or cannot be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from rpcproxy.engine.sends.rebroadcast import LOOK_SECONDS
from rpcproxy.messages import Head, Verdict
from rpcproxy.rules.sends.journaled import TransactionState
from rpcproxy.rules.sends.pool import Pool
from tests.kits.engine_kit import Behaviour, Engine, Sent, after, failing, now, virtual
from tests.kits.fleet import upstream
from tests.kits.sends_kit import Signed, rebroadcast_of, signed

HEAD = 100


def block_hash(number: int, branch: str = "a") -> str:
    return "0x" + f"{branch}{number:x}".rjust(64, "0")


class World:
    """Upstreams of one chain, each with a pool of its own, and whoever looks after what is sent.

    ``keeps``: those that keep what they take. ``blocks``: hashes of transactions by number.
    """

    def __init__(self, **chain: Any) -> None:
        self.engine = Engine(**chain)
        self.keeps = set(self.engine.wires)
        self.pools: dict[str, set[str]] = {name: set() for name in self.engine.wires}
        self.blocks: dict[int, list[str]] = {}
        self.nonces: dict[str, int] = {}
        self.nonces_since: dict[str, int] = {}  # from that height on
        self.branch = "a"
        self.head = HEAD
        for name, wire in self.engine.wires.items():
            wire.behaviour = self._upstream(name)
        self.rebroadcast = rebroadcast_of(self.engine)

    def _upstream(self, name: str) -> Behaviour:
        answers: dict[str, Callable[[str, Any], object]] = {
            "eth_sendRawTransaction": self._send,
            "eth_getBlockByNumber": self._block,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionCount": self._count,
        }

        def act(sent: Sent) -> None:
            result = answers[sent.method](name, sent.params)
            if isinstance(result, tuple):
                sent.refuse(*result)
            else:
                sent.reply(json.dumps(result).encode())

        return after(0.01, act)

    # ---- what upstreams answer

    def _send(self, name: str, params: list[str]) -> object:
        known = next(tx for tx in ALL if tx.raw == params[0])
        if self.nonces.get(known.sender, 0) > known.nonce:
            return -32000, "nonce too low"
        if known.hash in self.pools[name]:
            return -32000, "already known"
        if name in self.keeps:
            self.pools[name].add(known.hash)
        return known.hash

    def _block(self, _: str, params: list[Any]) -> object:
        number = int(params[0], 16)
        return {
            "number": hex(number),
            "hash": block_hash(number, self.branch),
            "parentHash": block_hash(number - 1, self.branch),
            "timestamp": "0x0",
            "transactions": self.blocks.get(number, []),
        }

    def _receipt(self, _: str, params: list[str]) -> object:
        for number, hashes in self.blocks.items():
            if params[0] in hashes:
                return {
                    "transactionHash": params[0],
                    "blockNumber": hex(number),
                    "blockHash": block_hash(number, self.branch),
                }
        return None

    def _transaction(self, name: str, params: list[str]) -> object:
        return {"hash": params[0]} if params[0] in self.pools[name] else None

    def _count(self, _: str, params: list[str]) -> object:
        height = int(params[1], 16) if params[1].startswith("0x") else self.head
        is_past = height >= self.nonces_since.get(params[0], 0)
        return hex(self.nonces.get(params[0], 0) if is_past else 0)

    # ---- what happens

    def mine(self, *transactions: Signed) -> None:
        """One more block; everybody tells of it."""
        self.head += 1
        self.blocks[self.head] = [tx.hash for tx in transactions]
        for tx in transactions:
            self.nonces[tx.sender] = tx.nonce + 1
        self.tell()

    def tell(self, final: int | None = None) -> None:
        def head(number: int) -> Head:
            parent = block_hash(number - 1, self.branch)
            return Head(number, block_hash(number, self.branch), parent)

        finalized = None if final is None else head(final)
        for name in self.engine.wires:
            self.engine.observe(
                name,
                Verdict.OK,
                method="eth_getBlockByNumber",
                head=head(self.head),
                anchors=(finalized,),
                is_probe=True,
            )

    async def look(self) -> None:
        """Until whoever looks after it has had its turn."""
        await asyncio.sleep(LOOK_SECONDS * 1.5)

    async def send(self, tx: Signed) -> dict[str, Any]:
        reply: dict[str, Any] = await self.engine.ask("eth_sendRawTransaction", tx.params).reply()
        return reply

    def copies(self, tx: Signed) -> int:
        """How many went out so far."""
        return sum(tx.raw in sent.payload.decode() for sent in self.engine.sent)

    def state(self, tx: Signed) -> TransactionState | None:
        entry = self.engine.ledger.pool.get(tx.hash)
        return self.engine.ledger.pool.end_of(tx.hash) if entry is None else entry.state


ALL = [*(signed(nonce) for nonce in range(4)), signed(0, tip=2), signed(0, account=2)]


@asynccontextmanager
async def living(**chain: Any) -> AsyncIterator[World]:
    world = World(**chain)
    world.tell()
    world.rebroadcast.start()
    try:
        yield world
    finally:
        await world.rebroadcast.close()


@virtual
async def test_mined_and_final() -> None:
    async with living() as world:
        tx = signed()
        assert (await world.send(tx))["result"] == tx.hash
        assert world.state(tx) is TransactionState.SENT
        await world.look()
        world.mine(tx)
        await world.look()
        assert world.state(tx) is TransactionState.MINED
        assert world.engine.counters.sends.mined_seconds > 0
        for _ in range(3):
            world.mine()
        await world.look()
        assert world.state(tx) is TransactionState.MINED
        world.tell(final=world.head - 1)
        await world.look()
        assert world.state(tx) is TransactionState.FINAL
        assert len(world.engine.ledger.pool) == 0


@virtual
async def test_who_says_yes_and_keeps_nothing_is_sent_it_again() -> None:
    async with living() as world:
        world.keeps.clear()
        tx = signed()
        assert (await world.send(tx))["result"] == tx.hash
        await world.look()
        assert not any(world.pools.values())
        world.keeps = set("cd")
        world.mine()
        await world.look()
        assert all(tx.hash in world.pools[name] for name in "cd")
        before = world.copies(tx)
        world.mine()
        await world.look()
        # Those that know it are not told again so soon: the others are.
        again = [sent.wire.name for sent in world.engine.sent if tx.raw in sent.payload.decode()]
        assert world.copies(tx) > before
        assert again.count("a") > 1
        assert world.engine.counters.sends.rebroadcasts > 0


@virtual
async def test_it_goes_out_at_three_blocks_and_then_seldom() -> None:
    async with living(block_time_seconds=2.0) as world:
        world.keeps.clear()
        tx = signed()
        await world.send(tx)
        counts = []
        for _ in range(40):
            await asyncio.sleep(2)
            world.mine()
            await asyncio.sleep(0.5)
            counts.append(world.copies(tx))
        assert counts[0] < counts[1] < counts[2]
        rises = sum(later > earlier for earlier, later in pairwise(counts))
        assert 3 <= rises <= 10


@virtual
async def test_a_reorg_that_takes_its_block_sends_it_again() -> None:
    async with living() as world:
        tx = signed()
        await world.send(tx)
        world.mine(tx)
        await world.look()
        assert world.state(tx) is TransactionState.MINED
        world.blocks[world.head] = []
        world.nonces.clear()
        world.pools = {name: set() for name in world.pools}
        world.branch = "b"
        world.head += 1
        for _ in range(3):
            world.tell()
            await world.look()
        world.mine()
        await world.look()
        assert world.state(tx) is TransactionState.SENT
        assert any(tx.hash in pool for pool in world.pools.values())


@virtual
async def test_another_one_of_its_nonce_is_final() -> None:
    async with living() as world:
        first, second = signed(0), signed(0, tip=2)
        await world.send(first)
        await world.send(second)
        world.mine(second)
        await world.look()
        assert world.state(second) is TransactionState.MINED
        world.mine()
        world.tell(final=world.head - 1)
        await world.look()
        assert (world.state(first), world.state(second)) == (
            TransactionState.REPLACED,
            TransactionState.FINAL,
        )


@virtual
async def test_a_nonce_that_was_used_elsewhere_closes_it_when_that_is_final() -> None:
    async with living() as world:
        world.keeps.clear()
        tx = signed()
        await world.send(tx)
        world.nonces[tx.sender] = 1  # sent by another way, by the same account
        world.mine()
        world.nonces_since[tx.sender] = world.head
        await world.look()
        assert world.state(tx) is TransactionState.SENT  # not final yet
        for _ in range(3):
            world.mine()
            await world.look()
        world.tell(final=world.head - 1)
        for _ in range(80):
            world.mine()
            await world.look()
        assert world.state(tx) is TransactionState.REPLACED


@virtual
async def test_in_an_outage_it_waits_and_goes_on() -> None:
    async with living() as world:
        world.keeps.clear()
        tx = signed()
        await world.send(tx)
        behaviours = {name: wire.behaviour for name, wire in world.engine.wires.items()}
        world.engine.all_behave(failing())
        world.engine.eject(*world.engine.wires)
        before = world.copies(tx)
        await world.engine.rest(30)
        assert world.copies(tx) == before  # nobody to send it to
        world.engine.behave(**behaviours)
        world.engine.recover(*world.engine.wires)
        world.keeps = set("abcd")
        for _ in range(3):
            world.mine()
            await world.look()
        assert any(tx.hash in pool for pool in world.pools.values())


@virtual
async def test_what_nobody_includes_expires() -> None:
    async with living() as world:
        world.engine.ledger.pool = Pool(expiry_seconds=120.0)
        tx = signed()
        await world.send(tx)
        await world.engine.rest(100)
        assert world.state(tx) is TransactionState.SENT
        await world.engine.rest(30)
        assert world.state(tx) is TransactionState.EXPIRED
        assert world.engine.counters.sends.expired == 1


@virtual
async def test_nothing_is_asked_while_nothing_is_pending() -> None:
    async with living() as world:
        await world.look()
        before = len(world.engine.sent)
        for _ in range(5):
            world.mine()
            await world.look()
        assert len(world.engine.sent) == before


@virtual
async def test_one_call_a_block_whatever_is_pending() -> None:
    async with living() as world:
        for nonce in range(4):
            await world.send(signed(nonce))
        await world.look()
        mined_at = now()
        world.mine(*(signed(nonce) for nonce in range(4)))
        await world.look()
        asked = [sent.method for sent in world.engine.sent if sent.at >= mined_at]
        assert asked.count("eth_getBlockByNumber") == 1
        assert "eth_getTransactionReceipt" not in asked
        assert all(world.state(signed(nonce)) is TransactionState.MINED for nonce in range(4))


@virtual
async def test_after_a_long_pause_receipts_tell() -> None:
    async with living() as world:
        tx = signed()
        await world.send(tx)
        world.mine(tx)
        for _ in range(100):
            world.mine()
        assert world.state(tx) is TransactionState.SENT  # no turn of the loop was had
        asked_at = now()
        await world.look()
        assert world.state(tx) is TransactionState.FINAL
        asked = [sent.method for sent in world.engine.sent if sent.at >= asked_at]
        assert asked.count("eth_getBlockByNumber") <= 1


# ---- private ones


def private_fleet() -> list[Any]:
    return [upstream("a"), upstream("b", private=True), upstream("c"), upstream("d", private=True)]


@virtual
async def test_private_ones_are_never_heard_of_elsewhere() -> None:
    async with living(upstreams=private_fleet()) as world:
        world.keeps.clear()
        tx = signed()
        assert (await world.send(tx))["result"] == tx.hash
        for _ in range(5):
            world.mine()
            await world.look()
            for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt"):
                await world.engine.ask(method, b'["%b"]' % tx.hash.encode()).answer()
        heard = {
            sent.wire.name
            for sent in world.engine.sent
            if tx.hash[2:] in sent.payload.decode() or tx.raw[2:] in sent.payload.decode()
        }
        assert heard == {"b", "d"}


@virtual
async def test_a_fallback_to_everybody_must_be_asked_for() -> None:
    async with living(upstreams=private_fleet()) as world:
        world.engine.ledger.privacy.fallback_seconds = 30.0
        world.keeps = set("ac")
        tx = signed()
        await world.send(tx)
        started = now()
        while now() - started < 25:
            world.mine()
            await world.look()
        assert not world.pools["a"]
        for _ in range(40):
            world.mine()
            await world.look()
        assert tx.hash in world.pools["a"]


# ---- what wallets see


@virtual
async def test_it_is_pending_from_the_first_moment_whoever_is_asked() -> None:
    async with living() as world:
        world.keeps.clear()
        tx = signed()
        await world.send(tx)
        ask = world.engine.ask
        seen = (await ask("eth_getTransactionByHash", b'["%b"]' % tx.hash.encode()).reply())[
            "result"
        ]
        assert (seen["hash"], seen["from"], seen["blockHash"]) == (tx.hash, tx.sender, None)
        question = b'{"id":1,"method":"eth_getTransactionByHash","params":["%b"]}'
        batch = world.engine.handle(b"[" + question % tx.hash.encode() + b"]")
        assert json.loads((await batch.answer()).body)[0]["result"] == seen
        world.engine.behave(a=failing(), b=failing(), c=failing(), d=failing())
        reply = await ask("eth_getTransactionByHash", b'["%b"]' % tx.hash.encode()).reply()
        assert reply["result"]["hash"] == tx.hash


@virtual
async def test_the_pending_nonce_counts_on_without_a_gap() -> None:
    async with living() as world:
        for nonce in (0, 1, 3):
            await world.send(signed(nonce))
        sender = signed().sender.encode()
        reply = await world.engine.ask(
            "eth_getTransactionCount", b'["%b","pending"]' % sender
        ).reply()
        assert reply["result"] == "0x2"
        latest = await world.engine.ask(
            "eth_getTransactionCount", b'["%b","latest"]' % sender
        ).reply()
        assert latest["result"] == "0x0"


@pytest.mark.parametrize("method", ["eth_getTransactionByHash", "eth_getTransactionReceipt"])
@virtual
async def test_what_is_mined_is_asked_of_others_where_one_does_not_know_it(method: str) -> None:
    async with living() as world:
        tx = signed()
        await world.send(tx)
        world.mine(tx)
        await world.look()
        found = {
            "hash": tx.hash,
            "transactionHash": tx.hash,
            "blockNumber": hex(world.head),
            "blockHash": block_hash(world.head),
        }
        for name in "abc":
            world.engine.wires[name].behaviour = after(0.01, lambda sent: sent.reply(b"null"))
        world.engine.wires["d"].behaviour = after(
            0.01, lambda sent: sent.reply(json.dumps(found).encode())
        )
        reply = await world.engine.ask(method, b'["%b"]' % tx.hash.encode()).reply()
        assert reply["result"] == found


@virtual
async def test_a_nonce_is_past_what_was_mined_whatever_one_says() -> None:
    """A receipt does not tell the nonce, and nobody looked at the transaction."""
    async with living() as world:
        tx = signed()
        await world.send(tx)
        world.mine(tx)
        await world.look()
        world.engine.wires["a"].behaviour = after(0.01, lambda sent: sent.reply(b'"0x0"'))
        for _ in range(8):
            params = b'["%b","latest"]' % tx.sender.encode()
            reply = await world.engine.ask("eth_getTransactionCount", params).reply()
            assert reply["result"] == "0x1"
