"""A small chain with honest upstreams, liars and faults, for the properties of the whole engine.

The true chain is a tree of blocks: what the majority mined, reorged-away branches included. State
is a function of the block's hash, so that every value tells which block it is from. Liars grow
branches of their own; nothing of these may ever reach a client. How questions and answers are
spelled is the ``spelling`` of a kind of chain.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from rpcproxy.chains.parts.asked_at import FINALIZED, HASH, LATEST, SAFE
from rpcproxy.messages import FailureKind, Head
from tests.kits.engine_kit import CHAIN_ID, Sent, current_loop, error_of, now, result_of
from tests.kits.evm_spelling import EVM_SPELLING, TOKEN
from tests.kits.spelling import (
    BALANCE,
    BLOCK,
    CALL,
    HEADER,
    IDENTITY,
    LOGS,
    LOOKUPS,
    NONCE,
    NUMBER,
    Ask,
    Entry,
    Header,
    Spelling,
    Told,
    Value,
)

START: Final = 1000
PAST: Final = 24  # blocks before the first second
WALLETS: Final = tuple("0x" + f"{i + 1:02x}" * 20 for i in range(3))
WALL_SECONDS: Final = 1_800_000_000  # of the engine kit's clock, at loop time 0
LIES: Final = (
    "inflated",
    "linked_ahead",
    "unlinked_ahead",
    "two_branches",
    "forked",
    "falling",
    "alternating",
    "stale_state",
    "stale_values",
    "nulls",
    "wrong_chain",
    "future_times",
)
FAULTS: Final = ("silent", "refused", "errors")
TAKE_HASHES: Final = "ace"  # these look at a hash in place of a number
# Lies under which an upstream gives state of another block, and nothing tells.
UNTOLD: Final = frozenset({"stale_values"})
NULLED: Final = frozenset({BLOCK, HEADER, *LOOKUPS})
FROM_ELSEWHERE: Final = frozenset({"two_branches", "forked", "wrong_chain"})


def digest(*words: object, prefix: str = "0x") -> str:
    digits = hashlib.blake2b("|".join(map(str, words)).encode(), digest_size=32).hexdigest()
    return prefix + digits


@dataclass(frozen=True)
class Tx:
    """``prefix``: of hashes on its chain."""

    wallet: str
    nonce: int
    prefix: str = "0x"

    @property
    def hash(self) -> str:
        return digest("tx", self.wallet, self.nonce, prefix=self.prefix)


@dataclass(eq=False)
class Block:
    number: int
    hash: str
    parent: Block | None
    parent_hash: str
    timestamp: int
    txs: tuple[Tx, ...]
    nonces: dict[str, int]
    is_true: bool
    prefix: str = "0x"  # of hashes

    def __repr__(self) -> str:
        return f"{self.number}:{self.hash[2:8]}{'' if self.is_true else ' INVENTED'}"

    def back(self) -> Iterator[Block]:
        block: Block | None = self
        while block is not None:
            yield block
            block = block.parent

    def at(self, number: int) -> Block | None:
        """The block of this branch at a height."""
        if number > self.number:
            return None
        return next((block for block in self.back() if block.number == number), None)

    def below(self, number: int) -> Block:
        """The highest block of this branch up to a height."""
        return next(block for block in self.back() if block.number <= number)

    def holding(self, tx_hash: str) -> tuple[Block, int] | None:
        for block in self.back():
            for index, tx in enumerate(block.txs):
                if tx.hash == tx_hash:
                    return block, index
        return None


def mine(
    parent: Block,
    salt: object,
    at: float,
    txs: tuple[Tx, ...],
    *,
    is_true: bool = True,
    skipped: int = 0,
) -> Block:
    """``skipped``: so many heights in between have no block."""
    nonces = dict(parent.nonces)
    for tx in txs:
        nonces[tx.wallet] = tx.nonce + 1
    number = parent.number + 1 + skipped
    return Block(
        number,
        digest(parent.hash, number, salt, prefix=parent.prefix),
        parent,
        parent.hash,
        max(int(WALL_SECONDS + at), parent.timestamp + 1),
        txs,
        nonces,
        is_true,
        parent.prefix,
    )


def next_txs(parent: Block, rng: random.Random) -> tuple[Tx, ...]:
    """What the wallets send next: nothing, or one each."""
    prefix = parent.prefix
    return tuple(Tx(w, parent.nonces[w], prefix) for w in WALLETS if rng.random() < 0.4)


def head_of_block(block: Block, *, tells_parent_number: bool) -> Head:
    """As an upstream tells it."""
    before = -1 if block.parent is None or not tells_parent_number else block.parent.number
    return Head(block.number, block.hash, block.parent_hash, block.timestamp, before)


@dataclass(frozen=True)
class Reorg:
    at: float
    depth: int
    growth: int  # how far the new branch is above the old


class TrueChain:
    """What the majority mined. ``tips``: every tip in turn, and since when. ``skips``: every fourth
    height or so has no block.
    """

    def __init__(
        self,
        start: float,
        seconds: float,
        block_time: float,
        reorgs: tuple[Reorg, ...],
        halts: tuple[tuple[float, float], ...],
        rng: random.Random,
        *,
        skips: bool = False,
        hash_prefix: str = "0x",
    ) -> None:
        self.skips = skips
        self.hash_prefix = hash_prefix
        self.block_time = block_time
        self.blocks: dict[str, Block] = {}
        self.tips: list[tuple[float, Block]] = []
        self.turns: list[tuple[float, int, int]] = []  # when, the common ancestor, the depth
        first, zero = (digest(word, prefix=hash_prefix) for word in ("first", "zero"))
        block = Block(START - PAST, first, None, zero, WALL_SECONDS, (),
                      dict.fromkeys(WALLETS, 5), True, hash_prefix)  # fmt: skip
        self.blocks[block.hash] = block
        for left in range(PAST, 0, -1):
            block = self._mine(block, "main", start - left * block_time, rng)
        self.tips.append((-math.inf, block))
        left = sorted(reorgs, key=lambda reorg: reorg.at)
        at = start + block_time
        while at < start + seconds:
            if any(start + low <= at < start + high for low, high in halts):
                at += block_time
                continue
            if left and at >= start + left[0].at:
                reorg = left.pop(0)
                old = block
                ancestor = block.below(max(START, block.number - reorg.depth))
                block = ancestor
                target = max(ancestor.number + 1, old.number + reorg.growth)
                while block.number < target:
                    block = self._mine(block, f"reorg {at}", at, rng)
                if old is not ancestor:
                    self.turns.append((at, ancestor.number, old.number - ancestor.number))
            else:
                block = self._mine(block, "main", at, rng)
            self.tips.append((at, block))
            at += block_time * rng.choice((1, 1, 1, 0.7, 1.3, 2))

    def _mine(self, parent: Block, salt: object, at: float, rng: random.Random) -> Block:
        skipped = rng.choice((0, 0, 0, 1, 3)) if self.skips else 0
        block = mine(parent, salt, at, next_txs(parent, rng), skipped=skipped)
        self.blocks[block.hash] = block
        return block

    def tip(self, now: float) -> Block:
        return next(block for at, block in reversed(self.tips) if at <= now)

    def turned_below(self, number: int, since: float, until: float) -> bool:
        """Whether a reorg in that time took the block at a height."""
        return any(since <= at <= until and ancestor < number for at, ancestor, _ in self.turns)


@dataclass(frozen=True)
class Spell:
    """Something is wrong with an upstream for a while; seconds since the start."""

    upstream: str
    kind: str
    begin: float
    end: float


@dataclass
class Node:
    """One upstream. ``delay``: how late blocks reach it, at most."""

    name: str
    chain: TrueChain
    start: float
    delay: float
    latency: float
    spells: list[Spell]
    rng: random.Random
    values: dict[str, Block]
    clock: Callable[[], float] = now
    spelling: Spelling = EVM_SPELLING
    _delays: dict[str, float] = field(default_factory=dict)
    _invented: dict[tuple[str, str], Block] = field(default_factory=dict)
    _turn: int = 0

    def spell(self, kinds: tuple[str, ...]) -> Spell | None:
        at = self.clock() - self.start
        for spell in self.spells:
            if spell.kind in kinds and spell.begin <= at < spell.end:
                return spell
        return None

    def has_lie(self, kind: str) -> bool:
        return self.spell((kind,)) is not None

    def __call__(self, sent: Sent) -> None:
        loop = current_loop()
        fault = self.spell(FAULTS)
        act: Callable[[Sent], None] = self._answer
        seconds = self.latency * (0.7 + 0.6 * self.rng.random())
        if fault is not None and fault.kind == "silent":
            return
        if fault is not None and fault.kind == "refused":
            act = lambda each: each.fail(FailureKind.CONNECT)  # noqa: E731 - one of three
            seconds = 0.001
        elif fault is not None:
            act = lambda each: each.say(b"oops", 502)  # noqa: E731
        loop.call_later(seconds, loop.call_soon, act, sent)

    # ---- what it takes for the chain

    def true_tip(self) -> Block:
        """By what has reached it so far."""
        until = self.clock()
        for at, block in reversed(self.chain.tips):
            if at > until:
                continue
            late = self._delays.setdefault(block.hash, self.delay * self.rng.random())
            if at + late <= until:
                return block
        raise AssertionError("no block at all")

    def _grow(self, base: Block, salt: str, count: int, *, is_linked: bool = True) -> Block:
        key = (base.hash, f"{salt} {count}")
        block = self._invented.get(key)
        if block is None:
            block = base
            for _ in range(count):
                block = mine(
                    block,
                    f"{self.name} {salt}",
                    self.clock(),
                    tuple(Tx(w, block.nonces[w], block.prefix) for w in WALLETS[:2]),
                    is_true=False,
                )
            if not is_linked:
                block.parent_hash = digest("nobody", block.hash, prefix=block.prefix)
            self._invented[key] = block
        return block

    def _grow_to(self, base: Block, number: int) -> Block:
        while base.number < number:
            base = self._grow(base, "fork", 1)
        return base

    def tip(self) -> Block:
        """The end of the chain that this answer is from."""
        tip = self.true_tip()
        lie = self.spell(LIES)
        self._turn += 1
        back = tip.below(tip.number - 3)
        if lie is None:
            return tip
        if lie.kind == "inflated":
            block = self._grow(tip, "far", 1, is_linked=False)
            block.number = tip.number + 1000
            return block
        if lie.kind == "linked_ahead":
            return self._grow(tip, "ahead", 3)
        if lie.kind == "unlinked_ahead":
            return self._grow(tip, "loose", 3, is_linked=False)
        if lie.kind == "two_branches":
            return tip if self._turn % 2 else self._grow(back, "branch", 3)
        if lie.kind == "forked":
            # Its branch left the chain when the lie began, and grows as the chain does.
            base = self.chain.tip(self.start + lie.begin)
            base = base.below(base.number - 2)
            return self._grow_to(base, tip.number)
        if lie.kind == "falling":
            return tip.below(max(START - PAST, tip.number - self._turn % 8))
        if lie.kind == "alternating":
            return tip if self._turn % 2 else back
        if lie.kind == "wrong_chain":
            first = next(iter(self.chain.blocks.values()))
            return self._grow(first, "other chain", tip.number - first.number - 1)
        return tip

    # ---- answers

    def _answer(self, sent: Sent) -> None:
        texts = []
        status = 200
        for call in sent.calls:
            try:
                ask = self.spelling.asked(call["method"], call["params"])
                answer = self.spelling.answer(ask, self._told(ask))
                texts.append(result_of(call, msgspec.json.encode(answer)))
            except LookupError:
                code, words, status = self.spelling.no_block
                texts.append(error_of(call, code, words))
            except TypeError:
                texts.append(error_of(call, -32602, "cannot unmarshal object into string"))
        if sent.is_batch:
            sent.say(b"[%b]" % b",".join(texts))
        else:
            sent.say(texts[0], status)

    def _told(self, ask: Ask) -> Told:
        lie = self.spell(LIES)
        kind = lie.kind if lie is not None else ""
        if ask.what == IDENTITY:
            return CHAIN_ID + (kind == "wrong_chain")
        is_newest = ask.what == BLOCK and ask.at == LATEST
        if kind == "nulls" and ask.what in NULLED and not is_newest:
            return None
        tip = self.tip()
        if ask.what == NUMBER:
            return tip.number
        if ask.what in (BALANCE, NONCE, CALL):
            return self._state(ask, tip, lie)
        if ask.what == LOGS:
            low, high = (tip.number if end == LATEST else end for end in (ask.low, ask.at))
            return logs_of(tip, low, high)
        if ask.what == BLOCK:
            block = self._at(ask, tip)
            return block and self._header(block, kind)
        if ask.what == HEADER:
            known = next((b for b in tip.back() if b.hash == ask.of), None)
            return known and self._header(known, kind)
        assert ask.what in LOOKUPS, ask
        found = tip.holding(ask.of)
        if found is None:
            return None
        block, index = found
        return Entry(block.number, block.hash, ask.of, index, block.txs[index].wallet)

    def _at(self, ask: Ask, tip: Block) -> Block | None:
        if ask.at == HASH:
            if self.name not in TAKE_HASHES:
                raise TypeError
            return next((block for block in tip.back() if block.hash == ask.hash), None)
        if ask.at == LATEST:
            return tip
        if ask.at in (SAFE, FINALIZED):
            return tip.below(tip.number - 12)
        return tip if ask.at == tip.number else tip.at(ask.at)

    def _state(self, ask: Ask, tip: Block, lie: Spell | None) -> int | Value:
        block = self._at(ask, tip)
        if block is None:
            raise LookupError
        if lie is not None and lie.kind in ("stale_state", "stale_values"):
            frozen = self.chain.tip(self.start + lie.begin)
            if block.number > frozen.number:
                if lie.kind == "stale_state":
                    raise LookupError
                block = frozen
        if ask.what == NONCE:
            return block.nonces[ask.of]
        word = state_of(block, ask.what, ask.of)
        self.values[word] = block
        return Value(word, block.number, block.hash)

    @staticmethod
    def _header(block: Block, lie: str) -> Header:
        head = head_of_block(block, tells_parent_number=True)
        return Header(
            head.number,
            head.hash,
            head.parent_hash,
            head.timestamp + (3600 if lie == "future_times" else 0),
            head.parent_number,
            tuple(tx.hash for tx in block.txs),
        )


def state_of(block: Block, what: str, of: str) -> str:
    """A balance, or what a call of the token returns."""
    if what == BALANCE:
        return "0x1" + digest("balance", of, block.hash)[2:18]
    return digest("call", TOKEN, of, block.hash)


def logs_of(tip: Block, low: int, high: int) -> list[Entry]:
    blocks = [block for block in tip.back() if low <= block.number <= high]
    return [
        Entry(block.number, block.hash, tx.hash, index)
        for block in reversed(blocks)
        for index, tx in enumerate(block.txs)
    ]


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait on the virtual clock; whether it came."""
    due = now() + seconds
    while now() < due:
        if condition():
            return True
        await asyncio.sleep(0.05)
    return condition()
