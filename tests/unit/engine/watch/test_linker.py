"""The linker: headers between a head and our chain, each asked for once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from rpcproxy.chains.evm.questions import QUESTIONS
from rpcproxy.engine.watch.linker import AGAIN_SECONDS, MOST_AT_ONCE, Linker
from rpcproxy.engine.watch.probes import Probes
from rpcproxy.messages import FailureKind, Head
from rpcproxy.rules.heads.heads import WantedHeader
from tests.kits.engine_kit import (
    Behaviour,
    Engine,
    Sent,
    after,
    answering,
    failing,
    hash_of,
    head_of,
    now,
    on_chain,
    refusing,
    silent,
    to_head,
    virtual,
)

BY_HASH = "eth_getBlockByHash"


def header(number: int, branch: int = 0, since: int = 0) -> bytes:
    head = head_of(number, branch, since)
    return b'{"number":"0x%x","hash":"%b","parentHash":"%b"}' % (
        number,
        head.hash.encode(),
        head.parent_hash.encode(),
    )


def node(branch: int = 0, since: int = 0) -> Behaviour:
    """Knows every block of a branch by its hash, and no other."""

    def answer(sent: Sent) -> None:
        hash = sent.params[0]
        number = int(hash[3:], 16)
        is_known = hash == hash_of(number, branch, since)
        sent.reply(header(number, branch, since) if is_known else b"null")

    return after(0.01, answer)


def linking(engine: Engine) -> Linker:
    return Linker(
        engine.members,
        engine.executor,
        Probes(engine.executor, clock=engine.clock),
        QUESTIONS,
        clock=engine.clock,
    )


def asked_for(engine: Engine) -> list[int]:
    """Numbers of the blocks that were asked for by hash, in order."""
    sent = sorted(engine.sent, key=lambda each: each.at)
    assert all(each.method == BY_HASH and each.params[1] is False for each in sent)
    return [int(each.params[0][3:], 16) for each in sent]


async def idle(linker: Linker) -> None:
    if linker._task is not None:
        await linker._task


def quiet(engine: Engine) -> None:
    """Our own chain is known as far back as anybody wants."""
    heads = engine.standings.heads
    for number in range(heads.served, heads.served - 80, -1):
        heads.learn(head_of(number), "a")
    engine.standings.tick(now())
    assert heads.wanted == ()


@virtual
async def test_a_head_far_ahead_is_linked_step_by_step() -> None:
    engine = on_chain()
    quiet(engine)
    engine.all_behave(node())
    linker = linking(engine)
    texts: list[bytes] = []
    linker.on_block = texts.append
    linker.look()
    assert linker._task is None  # nothing is wanted
    to_head(engine, head_of(106))
    assert engine.standings.heads.served == 100
    linker.look()
    linker.look()  # under way already
    started = now()
    await idle(linker)
    assert asked_for(engine) == [105, 104, 103, 102, 101]
    assert texts == [header(number) for number in asked_for(engine)]
    assert engine.asked == "aaaaa"
    assert engine.standings.heads.served == 106
    assert now() - started < 0.1
    assert engine.counters.probes["a"] == {"ok": 5}
    assert engine.changes == []
    engine.assert_idle()


@virtual
async def test_a_reorg_is_followed_down_to_the_common_ancestor() -> None:
    engine = on_chain()
    quiet(engine)
    for number in (101, 102):
        to_head(engine, head_of(number))
    engine.all_behave(node(1, 100))
    linker = linking(engine)
    to_head(engine, head_of(103, 1, 100))
    linker.look()
    await idle(linker)
    heads = engine.standings.heads
    assert (heads.served, heads.hash_at(102)) == (103, hash_of(102, 1, 100))
    assert heads.last_reorg is not None
    assert (heads.last_reorg.ancestor, heads.last_reorg.depth) == (100, 2)
    engine.assert_idle()


@virtual
async def test_our_own_chain_is_followed_back_at_leisure() -> None:
    engine = on_chain()
    engine.all_behave(node())
    linker = linking(engine)
    linker.look()
    await idle(linker)
    heads = engine.standings.heads
    assert heads.wanted == ()
    assert heads.lineage.bottom < 100
    assert len(engine.sent) == len(set(asked_for(engine)))


@pytest.mark.parametrize(
    "behaviour",
    [
        failing(FailureKind.CONNECT),
        silent,
        answering(b"null"),
        answering(b"[]"),
        answering(header(50)),  # another block than was asked for
        answering(header(105, 7)),
        refusing(-32601, "method not found"),
    ],
)
@virtual
async def test_who_told_the_head_and_cannot_link_it_is_followed_by_one_other(
    behaviour: Behaviour,
) -> None:
    engine = on_chain()
    quiet(engine)
    engine.all_behave(node())
    engine.behave(a=behaviour)
    linker = linking(engine)
    to_head(engine, head_of(102))
    linker.look()
    await idle(linker)
    assert engine.asked == "ab"
    assert engine.standings.heads.served == 102
    await engine.assert_soon_idle()


@virtual
async def test_what_nobody_has_is_asked_for_again_later() -> None:
    engine = on_chain()
    quiet(engine)
    engine.all_behave(answering(b"null"))
    linker = linking(engine)
    to_head(engine, head_of(102), "d")
    linker.look()
    await idle(linker)
    assert engine.asked == "da"
    linker.look()
    await idle(linker)
    assert engine.asked == "da"
    await asyncio.sleep(AGAIN_SECONDS)
    engine.all_behave(node())
    linker.look()
    await idle(linker)
    assert engine.asked == "dad"
    assert engine.standings.heads.wanted == ()


@virtual
async def test_only_so_many_at_once() -> None:
    engine = on_chain()
    engine.all_behave(silent)
    linker = linking(engine)
    engine.standings.heads.wanted = tuple(
        WantedHeader("a", hash_of(200 + number), 200 + number) for number in range(10)
    )
    linker.look()
    await asyncio.sleep(0.1)
    assert len(engine.wires["a"].open) == MOST_AT_ONCE
    await linker.stop()
    engine.assert_idle()


@virtual
async def test_an_upstream_that_is_gone_is_not_asked() -> None:
    engine = on_chain()
    engine.all_behave(node())
    linker = linking(engine)
    engine.standings.heads.wanted = (WantedHeader("gone", hash_of(99), 99),)
    linker.look()
    await asyncio.sleep(0.015)
    assert engine.asked[:1] == "a"
    await linker.stop()


@virtual
async def test_stop_gives_up_what_is_under_way() -> None:
    engine = on_chain()
    engine.all_behave(silent)
    linker = linking(engine)
    await linker.stop()  # nothing is
    linker.look()
    await asyncio.sleep(0.1)
    assert engine.wires["a"].open
    await linker.stop()
    engine.assert_idle()


@virtual
async def test_a_header_tells_nothing_of_how_its_upstream_does() -> None:
    engine = on_chain()
    quiet(engine)
    engine.all_behave(node())
    before = engine.standings["a"].light.latency.seconds
    linker = linking(engine)
    to_head(engine, head_of(103))
    linker.look()
    await idle(linker)
    assert engine.standings["a"].light.latency.seconds == pytest.approx(before, rel=0.3)
    assert isinstance(engine.standings["a"].head, Head)
    assert msgspec.json.decode(engine.sent[0].payload)["method"] == BY_HASH
