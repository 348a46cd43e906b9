"""The genesis block: an upstream with our chain id and another block 0 serves nobody."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from rpcproxy.chains.evm.questions import NEWEST, QUESTIONS
from rpcproxy.chains.known import KNOWN
from rpcproxy.chains.parts.inquiries import single
from rpcproxy.config.load import load_text
from rpcproxy.config.model import Known, KnownChain
from rpcproxy.engine.watch.genesis import Genesis
from rpcproxy.engine.watch.probes import Probes
from rpcproxy.engine.watch.watcher import IDENTITY_SECONDS
from rpcproxy.messages import Verdict
from tests.kits.engine_kit import Engine, FakeWire, Sent, virtual
from tests.unit.engine.watch.test_watcher import Node, block, cold, watching

OURS, OTHER = f"0x{7:064x}", f"0x{8:064x}"


class Rooted(Node):
    """``block_0`` is what it answers for block 0: a JSON text, or an error's code and text."""

    def __init__(self, block_0: bytes | tuple[int, str] = b"") -> None:
        super().__init__()
        self.block_0 = block_0 or root(OURS)

    def _answer(self, sent: Sent) -> None:
        if sent.params[:1] != ["0x0"]:
            super()._answer(sent)
        elif isinstance(self.block_0, bytes):
            sent.reply(self.block_0)
        else:
            sent.refuse(*self.block_0)


def root(hash: str) -> bytes:
    return b'{"number":"0x0","hash":"%s","parentHash":"0x%064x"}' % (hash.encode(), 0)


def rooted(other: Rooted) -> Engine:
    engine = cold(Rooted(), 2, genesis_hash=OURS)
    engine.behave(b=other)
    return engine


def asked(wire: FakeWire) -> int:
    return sum(sent.params[:1] == ["0x0"] for sent in wire.sent)


@virtual
async def test_everyone_is_asked_once() -> None:
    engine = rooted(Rooted())
    async with watching(engine):
        await engine.rest(1.2 * IDENTITY_SECONDS)
        assert {name: asked(wire) for name, wire in engine.wires.items()} == dict.fromkeys(
            engine.wires, 1
        )
        assert {engine.standings[name].state for name in engine.wires} == {"up"}


@virtual
async def test_a_genesis_of_ours_counts_once_somebody_has_it() -> None:
    engine = cold(Rooted(root(OTHER)), 2, genesis_hash=OURS, genesis_guessed=True)
    late = Rooted((-32000, "not yet"))
    engine.behave(b=late)
    async with watching(engine):
        await asyncio.sleep(5)
        assert {engine.standings[name].state for name in "ab"} == {"up"}  # a development chain
        late.block_0 = root(OURS)
        engine.observe("b", Verdict.WRONG_CHAIN)  # asked once more when it is admitted again
        await asyncio.sleep(5)
        assert engine.standings["b"].state == "up"
        assert engine.standings["a"].state == "quarantined"


@virtual
async def test_another_genesis_is_quarantined_in_words_until_it_is_ours() -> None:
    wrong = Rooted(root(OTHER))
    engine = rooted(wrong)
    async with watching(engine):
        await asyncio.sleep(5)
        b = engine.standings["b"]
        assert b.state == "quarantined"
        assert "another chain (its block 0 is 0x0000000000…, expected" in b.reason
        assert {sent.params[0] for sent in engine.wires["b"].sent if sent.params} == {"0x0"}
        wrong.block_0 = root(OURS)
        await asyncio.sleep(3)
        assert b.state == "up"
        before = asked(engine.wires["b"])
        engine.observe("b", Verdict.WRONG_CHAIN)  # admitted once more, asked once more
        await asyncio.sleep(5)
        assert b.state == "up"
        assert asked(engine.wires["b"]) == before + 1


@pytest.mark.parametrize(
    ("block_0", "times"),
    [
        (b"null", 1),
        (block(100), 1),
        (b'{"number":"0x0"}', 1),
        ((-32000, "missing trie node"), 1),
        ((-32601, "the method does not exist"), 1),
        ((429, "too many requests"), 2),
        ((-32000, "something nobody has heard of"), 2),
    ],
)
@virtual
async def test_who_cannot_show_block_0_is_not_blamed(
    block_0: bytes | tuple[int, str], times: int
) -> None:
    """A limit or a fault says nothing: then it is asked again, but seldom."""
    engine = rooted(Rooted(block_0))
    async with watching(engine):
        await engine.rest(1.1 * IDENTITY_SECONDS)
        assert engine.standings["b"].state == "up"
        assert asked(engine.wires["b"]) == times
        assert "b" not in " ".join(change for change in engine.changes if "ejected" in change)


@virtual
async def test_nobody_is_asked_where_it_is_not_known() -> None:
    engine = cold(Rooted(root(OTHER)))
    async with watching(engine):
        await asyncio.sleep(1)
        assert sum(map(asked, engine.wires.values())) == 0


def test_a_known_chain_has_its_own_and_a_file_may_say_otherwise() -> None:
    known = KnownChain(
        name="base", chain_id=8453, block_time_seconds=2, max_lag_blocks=2, genesis_hash=OURS
    )

    every = Known({"base": known}, KNOWN.kinds)

    def of(keys: str) -> str | None:
        text = f"chains: [{{{keys}, upstreams: [https://a.com, https://b.com]}}]"
        return load_text(text, file="f", known=every, environ={}).chains[0].genesis_hash

    assert of("name: base") == of("name: mine, chain_id: 8453") == OURS
    assert of("name: base, genesis: off") is None
    assert of("name: base, genesis: '0x" + "AB" * 32 + "'") == "0x" + "ab" * 32
    assert of("name: x, chain_id: 5") is None


@virtual
async def test_the_first_block_is_called_by_its_number() -> None:
    engine = cold(Rooted(), 1, genesis_hash=OURS)
    questions = structs.replace(QUESTIONS, genesis=lambda: single(NEWEST), first_number=100)
    probes = Probes(engine.executor, clock=engine.clock)
    genesis = Genesis(engine.chain, probes, engine.counters, questions, lambda _names: None)
    objection = await genesis.objection(engine.members["a"])
    assert objection.startswith("its block 100 is 0x")
