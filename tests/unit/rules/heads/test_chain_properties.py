"""One chain, whoever answers: properties of the whole engine, and of the heads' rules alone.

Histories of blocks, reorgs, halts, lies and failures are generated, and wallets ask all the while.
The honest hold a majority at every moment.

What cannot be told is excused: state at a number, from an upstream that has left the chain, until
its next report of a head; at most a block time and half a second after its lie or the reorg
began. The values of an upstream that reports heads and computes from older ones look like any
others, and a machine that lacks blocks leaves out their logs without a word: the end of a range
may be missing as long after a fall of its head began. Of blocks, receipts and logs that are given
none is excused.

``CHAIN_EXAMPLES`` sets how many histories are played (ten, the same each time, show what a
change broke in earnest; hundreds look for what is rare), ``CHAIN_SEED`` (any value) draws new
ones, ``CHAIN_SHRINK`` looks for the smallest story that fails.
"""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from rpcproxy.messages import Head
from rpcproxy.rules.heads.head_track import HeadTrack
from rpcproxy.rules.heads.heads import Heads
from rpcproxy.rules.heads.heads import Reorg as Reorged
from tests.kits.chain_witness import Client, RoutedWitness, Witness
from tests.kits.chain_world import (
    FAULTS,
    LIES,
    Block,
    Node,
    Reorg,
    Spell,
    TrueChain,
    head_of_block,
    until,
)
from tests.kits.engine_kit import Engine, current_loop, now, run_virtual
from tests.kits.evm_spelling import EVM_SPELLING
from tests.kits.fleet import upstream
from tests.kits.spelling import Spelling
from tests.kits.toy_spelling import TOY_SPELLING

EXAMPLES = int(os.environ.get("CHAIN_EXAMPLES", "10"))
# Shrinking a story takes minutes.
SHRINKING = (Phase.shrink,) if "CHAIN_SHRINK" in os.environ else ()
PHASES = (Phase.explicit, Phase.generate, *SHRINKING)
SECONDS = 30.0
CLIENTS = 3
of_each_kind = pytest.mark.parametrize(
    "spelling",
    [EVM_SPELLING, TOY_SPELLING],
    ids=lambda spelling: spelling.kind.name,
)
# Until a block of the honest is served: it reaches them, they report it, and it is held.
SETTLED_SECONDS = 3.0


@dataclass(frozen=True)
class Story:
    """One history, as drawn."""

    seed: int
    count: int
    block_time: float
    delay: float
    reorgs: tuple[Reorg, ...]
    halts: tuple[tuple[float, float], ...]
    spells: tuple[Spell, ...]
    requests: int
    skips: bool = False
    spelling: Spelling = EVM_SPELLING

    def of(self, spelling: Spelling) -> Story:
        """The same on a chain of another kind, as far as its traits allow: what is final at once
        never turns.
        """
        traits = spelling.kind.traits
        return replace(
            self,
            spelling=spelling,
            reorgs=() if traits.final_depth == 0 else self.reorgs,
            skips=self.skips or traits.skips_numbers,
        )


@st.composite
def stories(draw: st.DrawFn) -> Story:
    count = draw(st.integers(3, 5))
    names = "abcde"[:count]
    block_time = draw(st.sampled_from((2.0, 1.0, 4.0)))
    times = st.integers(4, int(SECONDS) - 4).map(float)
    liars = draw(st.integers(0, (count - 1) // 2))
    spells = []
    for name in names[:liars]:
        for _ in range(draw(st.integers(1, 2))):
            begin = draw(times)
            kind = draw(st.sampled_from(LIES))
            spells.append(Spell(name, kind, begin, begin + draw(st.integers(1, 15))))
    spare = (count - 1) // 2 - liars  # so many honest ones may fail at once
    for name in names[liars : liars + spare]:
        for _ in range(draw(st.integers(0, 2))):
            begin = draw(times)
            kind = draw(st.sampled_from(FAULTS))
            spells.append(Spell(name, kind, begin, begin + draw(st.integers(1, 10))))
    reorg = st.builds(Reorg, times, st.integers(1, 6), st.integers(-1, 2))
    reorgs = tuple(draw(st.lists(reorg, max_size=2, unique_by=lambda r: r.at // 8)))
    halts = tuple((begin, begin + 12.0) for begin in draw(st.lists(times, max_size=1)))
    return Story(
        draw(st.integers(0, 10_000)),
        count,
        block_time,
        draw(st.sampled_from((0.0, 0.1, 0.3, 0.6))),
        reorgs,
        halts,
        tuple(spells),
        draw(st.sampled_from((40, 120))),
        draw(st.booleans()),
    )


async def live(
    story: Story, consistency: str = "pinned", witnessing: type[Witness] = Witness
) -> Witness:
    """Play a story; whoever saw it tells."""
    rng = random.Random(story.seed)
    start = now()
    chain = TrueChain(
        start, SECONDS, story.block_time, story.reorgs, story.halts, rng, skips=story.skips,
        hash_prefix=story.spelling.hash_prefix,
    )  # fmt: skip
    upstreams = [upstream(name) for name in "abcde"[: story.count]]
    engine = Engine(
        upstreams, are_admitted=False, block_time_seconds=story.block_time, selection="fastest",
        consistency=consistency, kind=story.spelling.kind,
    )  # fmt: skip
    engine.executor.rng = random.Random(story.seed)
    engine.executor.tick_every(0.1)  # as seldom as the standings allow: ticks are half the cost
    values: dict[str, Block] = {}
    for name, wire in engine.wires.items():
        own = [spell for spell in story.spells if spell.upstream == name]
        wire.behaviour = Node(
            name, chain, start, story.delay, rng.choice((0.005, 0.02, 0.08)), own,
            random.Random(f"{story.seed} {name}"), values, spelling=story.spelling,
        )  # fmt: skip
    watcher = engine.watcher(story.seed)
    witness = witnessing(engine, chain, story.spells, start, values, rng, spelling=story.spelling)
    engine.executor.listeners.append(
        lambda changes: witness.trace.extend(
            f"{now() - start:.3f}: {c.upstream} {c.kind} {c.reason}" for c in changes
        )
    )
    watcher.start()
    try:
        assert await until(lambda: engine.standings.heads.served >= 0, 5.0)
        clients = [Client(i) for i in range(CLIENTS)]
        loop = current_loop()
        for _ in range(story.requests):
            at = start + rng.random() * (SECONDS + 3)
            loop.call_at(max(at, now()), ask, witness, rng.choice(clients))
        await asyncio.sleep(start + SECONDS + 8 - now())
        # Nothing is wrong any more: everybody is at the true head.
        tip = chain.tip(now())
        head = engine.standings.heads.served_head
        if head is None or head.hash != tip.hash:
            witness.say(f"at the end served is {head}, not {tip}")
        await until(lambda: not witness.open, 40)
        if witness.open:
            witness.say(f"{witness.open} requests never got a reply")
        witness.check_cache(engine.pipeline.sharing.cache)
    finally:
        await watcher.stop()
        engine.close()
    return witness


def ask(witness: Witness, client: Client) -> None:
    rng = witness.rng
    count = rng.randint(2, 5) if rng.random() < 0.2 else 1
    witness.ask(client, *(witness.choose(client, rng.choice(witness.kinds)) for _ in range(count)))


def play(story: Story, consistency: str = "pinned", witnessing: type[Witness] = Witness) -> Witness:
    seen: list[Witness] = []

    async def main() -> None:
        seen.append(await live(story, consistency, witnessing))

    assert not run_virtual(main)
    return seen[0]


# A receipt from the old branch arrived after the reorg, of a height whose new hash was not known.
REPLACED_MEANWHILE = Story(
    seed=590,
    count=3,
    block_time=1.0,
    delay=0.1,
    reorgs=(Reorg(13.0, 5, -1), Reorg(4.0, 3, 2)),
    halts=((24.0, 36.0),),
    spells=(),
    requests=120,
)


@of_each_kind
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CHAIN_SEED" not in os.environ,
    database=None,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
)
@example(story=REPLACED_MEANWHILE)
@given(story=stories())
def test_every_client_sees_one_chain(story: Story, spelling: Spelling) -> None:
    witness = play(story.of(spelling))
    assert not witness.violations, "\n".join([*witness.violations, "", *witness.trace])


# ---- where `latest` is left to the upstreams


@st.composite
def fast_stories(draw: st.DrawFn) -> Story:
    """Of a fast chain: blocks come late to some, and one may fail. Nobody lies: what `latest` is
    only the upstream knows.
    """
    story = draw(stories())
    faults = tuple(spell for spell in story.spells if spell.kind in FAULTS)
    block_time = draw(st.sampled_from((0.4, 1.0)))
    return replace(story, block_time=block_time, spells=faults, halts=())


@of_each_kind
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CHAIN_SEED" not in os.environ,
    database=None,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
)
@given(story=fast_stories())
def test_latest_never_goes_back_where_it_is_left_to_the_upstreams(
    story: Story, spelling: Spelling
) -> None:
    witness = play(story.of(spelling), "routed", RoutedWitness)
    assert not witness.violations, "\n".join([*witness.violations, "", *witness.trace])


# ---- the rules of the heads alone


@dataclass
class Teller:
    """An upstream as ``Heads`` sees it."""

    name: str
    provider: str
    track: HeadTrack


@st.composite
def tales(draw: st.DrawFn) -> Story:
    """As stories, without faults and requests."""
    count = draw(st.integers(3, 5))
    liars = draw(st.integers(0, (count - 1) // 2))
    times = st.integers(4, int(SECONDS) - 4).map(float)
    kinds = st.sampled_from([lie for lie in LIES if "st" not in lie])
    spells = []
    for name in "abcde"[:liars]:
        begin = draw(times)
        spells.append(Spell(name, draw(kinds), begin, begin + draw(st.integers(1, 15))))
    reorg = st.builds(Reorg, times, st.integers(1, 6), st.integers(-1, 2))
    reorgs = tuple(draw(st.lists(reorg, max_size=2, unique_by=lambda r: r.at // 8)))
    return Story(
        draw(st.integers(0, 10_000)), count, 2.0, draw(st.sampled_from((0.0, 0.3, 0.6))),
        reorgs, (), tuple(spells), 0, draw(st.booleans()),
    )  # fmt: skip


class Telling:
    """Upstreams tell their heads at times of their own; headers that are wanted come soon."""

    def __init__(self, story: Story) -> None:
        self.story = story
        rng = random.Random(story.seed)
        self.now = self.start = 1000.0
        self.chain = TrueChain(
            self.start, SECONDS, story.block_time, story.reorgs, (), rng, skips=story.skips,
            hash_prefix=story.spelling.hash_prefix,
        )  # fmt: skip
        names = "abcde"[: story.count]
        self.nodes = {
            name: Node(
                name, self.chain, self.start, story.delay, 0.0,
                [spell for spell in story.spells if spell.upstream == name],
                random.Random(f"{story.seed} {name}"), {}, lambda: self.now,
            )
            for name in names
        }  # fmt: skip
        self.tellers = {name: Teller(name, name, HeadTrack()) for name in names}
        self.liars = {spell.upstream for spell in story.spells}
        self.heads = Heads(story.block_time, traits=story.spelling.kind.traits)
        self.tells_parent_number = story.spelling.kind.traits.skips_numbers
        self.told: set[str] = set()
        self.due = dict.fromkeys(names, self.start)
        self.rng = rng
        self.served: Block | None = None
        self.isolated: dict[str, float] = {}
        self.stale_since: float | None = None

    def learn(self, name: str, block: Block) -> Head:
        head = head_of_block(block, tells_parent_number=self.tells_parent_number)
        if self.nodes[name].has_lie("future_times"):
            head = structs.replace(head, timestamp=head.timestamp + 3600)
        self.told |= {head.hash, head.parent_hash}
        self.heads.learn(head, name)
        return head

    def step(self) -> None:
        self.now += 0.1
        for name, node in self.nodes.items():
            if self.now >= self.due[name]:
                self.due[name] = self.now + 0.3 + 0.3 * self.rng.random()
                self.tellers[name].track.report(self.learn(name, node.tip()), self.now)
        for teller, hash, _ in self.heads.wanted:
            for name in (teller, *self.nodes):
                known = (block for block in self.nodes[name].tip().back() if block.hash == hash)
                found = next(known, None)
                if found is not None:
                    self.learn(name, found)
                    break
        turns = self.heads.turns
        self.heads.settle(list(self.tellers.values()), self.story.count, self.now)
        self.check(has_turned=self.heads.turns != turns)

    def check(self, *, has_turned: bool) -> None:
        heads = self.heads
        if heads.served_head is None:
            return
        assert heads.served_head.hash in self.told
        block = self.chain.blocks.get(heads.served_head.hash)
        assert block is not None, f"{heads.served_head} is invented"
        before, self.served = self.served, block
        if before is not None and block.at(before.number) is not before:
            assert has_turned
            common = next(each for each in before.back() if block.at(each.number) is each)
            depth = before.number - common.number
            assert heads.last_reorg == Reorged(common.number, depth, is_gap=False)
            assert self.chain.turned_below(before.number, self.now - SETTLED_SECONDS - 4, self.now)
        else:
            assert not has_turned
        self.check_pace(block)
        self.check_isolated()

    def check_pace(self, block: Block) -> None:
        """Served reaches what the honest reported, soon."""
        late = self.chain.tip(self.now - SETTLED_SECONDS)
        assert block.number >= late.number or not self.is_calm(), f"{block} long after {late}"
        assert not self.is_calm() or self.chain.tip(self.now).at(block.number) is block

    def check_isolated(self) -> None:
        for name in self.nodes:
            if name in self.heads.forked and name not in self.liars:
                since = self.isolated.setdefault(name, self.now)
                assert self.now - since <= SETTLED_SECONDS, f"{name} is honest"
            else:
                self.isolated.pop(name, None)

    def is_calm(self) -> bool:
        return not self.chain.turned_below(2**60, self.now - SETTLED_SECONDS - 2, self.now)


@of_each_kind
@settings(
    max_examples=EXAMPLES * 8,
    deadline=None,
    derandomize="CHAIN_SEED" not in os.environ,
    database=None,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
)
@given(story=tales())
def test_the_served_head_follows_the_majority_alone(story: Story, spelling: Spelling) -> None:
    telling = Telling(story.of(spelling))
    while telling.now < telling.start + SECONDS + 8:
        telling.step()
    assert telling.served is telling.chain.tip(telling.now)
