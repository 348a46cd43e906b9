"""Chains with heights without a block: Filecoin's null rounds, as Lotus, Forest and Venus have them.

What nodes answer for such a height differs: null (Lotus until 12633), an error (Lotus 12633 and
13694, Venus 6564), the block below (Forest 7276); indexers stop at it (shovel 293).
"""

from __future__ import annotations

import asyncio
import random

import pytest

from rpcproxy.messages import Head
from tests.kits.chain_world import Block, Node, TrueChain, until
from tests.kits.engine_kit import (
    Engine,
    Sent,
    after,
    answering,
    hash_of,
    now,
    on_chain,
    refusing,
    run_virtual,
    to_head,
    virtual,
)
from tests.kits.fleet import upstream
from tests.kits.sends_kit import rebroadcast_of

BLOCK = "eth_getBlockByNumber"
SECONDS = 40.0


@pytest.mark.parametrize("block_time", [1.0, 4.0])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_head_follows_however_many_heights_are_skipped(count: int, block_time: float) -> None:
    lags: list[float] = []

    async def main() -> None:
        rng = random.Random(count)
        start = now()
        chain = TrueChain(start, SECONDS, block_time, (), (), rng, skips=True)
        engine = Engine(
            [upstream(name) for name in "abcd"[:count]],
            are_admitted=False,
            block_time_seconds=block_time,
        )
        values: dict[str, Block] = {}
        for name, wire in engine.wires.items():
            wire.behaviour = Node(name, chain, start, 0.1, 0.02, [], random.Random(name), values)
        watcher = engine.watcher()
        heads = engine.standings.heads
        watcher.start()
        try:
            assert await until(lambda: heads.served >= 0, 5.0)
            while now() < start + SECONDS:
                await asyncio.sleep(0.1)
                engine.standings.tick(now())
                late = chain.tip(now() - block_time / 2 - 2.0)
                lags.append(late.number - heads.served)
                if heads.served_head is not None:
                    assert chain.blocks[heads.served_head.hash].number == heads.served
            assert heads.turns == 0
            assert not any(heads.forked)
        finally:
            await watcher.stop()
            engine.close()

    assert not run_virtual(main)
    assert max(lags[10:]) <= 0


def skipping() -> Engine:
    """At block 100, and then at 103, which follows it."""
    engine = on_chain()
    to_head(engine, Head(103, hash_of(103), hash_of(100)))
    assert engine.standings.heads.served == 103
    assert engine.standings.heads.lineage.skips
    engine.changes.clear()
    return engine


def at(number: int) -> bytes:
    return b'["0x%x",false]' % number


@virtual
async def test_null_for_a_height_without_a_block_is_the_answer() -> None:
    engine = skipping()
    engine.all_behave(answering(b"null"))
    started = now()
    answer = await engine.ask(BLOCK, at(101)).answer()
    assert b'"result":null' in answer.body
    assert engine.asked == "a"
    assert now() - started < 0.1
    assert engine.changes == []


@virtual
async def test_the_block_below_a_height_without_one_may_be_given() -> None:
    engine = skipping()
    below = b'{"number":"0x64","hash":"%b"}' % hash_of(100).encode()
    engine.all_behave(answering(below))
    for number in (101, 102, 101):
        assert below in (await engine.ask(BLOCK, at(number)).answer()).body
    assert engine.changes == []
    # Where there is a block, another is none.
    engine.behave(b=answering(b'{"number":"0x67","hash":"%b"}' % hash_of(103).encode()))
    assert b'"0x67"' in (await engine.ask(BLOCK, at(103)).answer()).body


@virtual
async def test_the_error_for_a_height_without_a_block_passes_at_once() -> None:
    engine = skipping()
    engine.all_behave(refusing(12, "requested epoch was a null round (101)"))
    for _ in range(8):
        answer = await engine.ask(BLOCK, at(101)).answer()
        assert b"null round" in answer.body
    assert len(engine.sent) == 4 + 7  # all say so once; then the first is enough
    assert engine.changes == []


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getTransactionReceipt", b'["0x%064x"]' % 9),
        ("eth_getLogs", b'[{"fromBlock":"0x63","toBlock":"0x67"}]'),
        ("eth_getBlockReceipts", b'["0x65"]'),
    ],
)
@virtual
async def test_what_is_said_to_be_in_a_block_at_such_a_height_is_not_given(
    method: str, params: bytes
) -> None:
    entry = b'{"blockNumber":"0x%x","blockHash":"%b"}'
    lie = entry % (101, hash_of(101, 3).encode())
    right = entry % (103, hash_of(103).encode())
    if method != "eth_getTransactionReceipt":
        lie, right = b"[%b]" % lie, b"[%b]" % right
    if method == "eth_getBlockReceipts":
        right = b"null"
    engine = skipping()
    engine.all_behave(answering(right))
    engine.behave(a=answering(lie))
    assert right in (await engine.ask(method, params).answer()).body
    assert engine.asked[0] == "a"
    assert len(engine.asked) == 2


@virtual
async def test_where_nothing_was_skipped_another_block_is_another() -> None:
    engine = on_chain()
    engine.all_behave(answering(b'{"number":"0x63","hash":"%b"}' % hash_of(99).encode()))
    engine.behave(b=after(0.0, lambda sent: sent.reply(b'{"number":"0x64","hash":"%b"}' % hash_of(100).encode())))  # fmt: skip
    assert b'"0x64"' in (await engine.ask(BLOCK, at(100)).answer()).body
    assert engine.asked == "ab"


@virtual
async def test_blocks_are_read_past_heights_without_one() -> None:
    """Of what was sent through here each new block is read, and none waits for such a height."""
    engine = skipping()

    def read(sent: Sent) -> None:
        number = int(sent.params[0], 16)
        known = b'{"number":"0x%x","hash":"%b","transactions":[]}'
        sent.reply(b"null" if number in (101, 102) else known % (number, hash_of(number).encode()))

    engine.all_behave(after(0.01, read))
    rebroadcast = rebroadcast_of(engine)
    rebroadcast._read_to = 99
    await rebroadcast._read_blocks(103)
    assert rebroadcast._read_to == 103
    assert [sent.params[0] for sent in engine.sent] == ["0x64", "0x67"]
