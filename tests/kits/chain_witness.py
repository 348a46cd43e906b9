"""What clients of a chain may see, and who tells where they saw something else.

``Witness`` asks as wallets do, and holds every answer against the true chain and against the
served heads of the time between question and answer.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from rpcproxy.chains.parts.asked_at import LATEST
from rpcproxy.messages import Answer, Pending
from rpcproxy.rules.answers.caching import AnswerCache
from tests.kits.chain_world import (
    FROM_ELSEWHERE,
    UNTOLD,
    WALLETS,
    Block,
    Spell,
    TrueChain,
    Tx,
    logs_of,
    state_of,
)
from tests.kits.engine_kit import Engine, current_loop, now, request
from tests.kits.evm_spelling import EVM_SPELLING, TOKEN
from tests.kits.spelling import (
    BALANCE,
    BLOCK,
    CALL,
    HEADER,
    LOGS,
    LOOKUPS,
    NONCE,
    NUMBER,
    RECEIPT,
    STATE,
    TX,
    Ask,
    Entry,
    Header,
    Spelling,
    Told,
    Value,
)

# Between a reorg and the moment when the proxy has followed it: reports, and headers in between.
FOLLOW_SECONDS: Final = 3.0
BEHIND: Final = ("alternating", "falling", "two_branches")


@dataclass
class Client:
    """What one wallet has seen."""

    name: int
    seen: int = -1
    seen_at: float = 0.0
    nonces: dict[str, tuple[int, float]] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)


@dataclass
class Asking:
    client: Client
    ask: Ask
    at: float
    seen: tuple[int, float]
    nonces: dict[str, tuple[int, float]]
    served: int  # index of the served head at that time
    was_mined: bool


class _Watched(AnswerCache):
    """Tells the witness what is kept."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(16 * 2**20)
        self._witness = witness

    def put(
        self, key: bytes, result: bytes, block: int, now: float, until: float = math.inf
    ) -> bool:
        witness = self._witness
        (witness.untold.add if witness.is_excused() else witness.untold.discard)(key)
        return super().put(key, result, block, now, until)

    def put_brief(self, key: bytes, result: bytes, block: int, now: float) -> None:
        witness = self._witness
        if key not in self._elder:
            (witness.untold.add if witness.is_excused() else witness.untold.discard)(key)
        super().put_brief(key, result, block, now)


class Witness:
    """See the module's docstring. ``violations``: what must never be, in words."""

    def __init__(
        self,
        engine: Engine,
        chain: TrueChain,
        spells: tuple[Spell, ...],
        start: float,
        values: dict[str, Block],
        rng: random.Random,
        *,
        spelling: Spelling = EVM_SPELLING,
    ) -> None:
        self.spelling = spelling
        self.kinds = self.asked_kinds(spelling)
        self.engine, self.chain, self.spells, self.start = engine, chain, spells, start
        self.values, self.rng = values, rng
        self.violations: list[str] = []
        self.trace: list[str] = []
        self.served: list[tuple[float, Block]] = []
        self.open = 0
        self.asked = 0
        self.answered = 0
        self.seen_txs: dict[str, tuple[int, float]] = {}
        self._turns = 0
        # Keys of answers kept while nobody could tell that they were wrong.
        self.untold: set[bytes] = set()
        engine.pipeline.sharing.cache = _Watched(self)
        engine.standings.on_served.append(self._on_served)

    @staticmethod
    def asked_kinds(spelling: Spelling) -> tuple[str, ...]:
        """What wallets ask for, some more often."""
        return tuple(spelling.wallets_ask)

    # ---- the served head

    @property
    def follow(self) -> float:
        return FOLLOW_SECONDS + 1.5 * self.chain.block_time

    def say(self, words: str) -> None:
        self.violations.append(f"{now() - self.start:.3f}: {words}")

    def _on_served(self) -> None:
        heads = self.engine.standings.heads
        head = heads.served_head
        assert head is not None
        self.trace.append(f"{now() - self.start:.3f}: served {head.number}:{head.hash[2:8]}")
        block = self.chain.blocks.get(head.hash)
        if block is None or block.number != head.number:
            self.say(f"served head {head.number} {head.hash[:8]} is invented")
            return
        if self.served:
            before = self.served[-1][1]
            is_on = block.at(before.number) is before
            if not is_on and not self.is_reorg(before.number, now()):
                self.say(f"served head went from {before} to {block} without a reorg")
            if heads.turns != self._turns and not heads.last_reorg.is_gap:  # type: ignore[union-attr]
                self._check_depth(before, block)
        self._turns = heads.turns
        tip = self.chain.tip(now())
        if tip.at(block.number) is not block and not self.is_reorg(block.number, now()):
            self.say(f"served head {block} is of a branch that was left long ago")
        self.served.append((now(), block))

    def _check_depth(self, before: Block, block: Block) -> None:
        reorg = self.engine.standings.heads.last_reorg
        assert reorg is not None
        common = next(b for b in before.back() if block.at(b.number) is b)
        if reorg.ancestor != common.number or reorg.depth != before.number - common.number:
            self.say(f"{reorg} from {before} to {block}: the common ancestor is {common}")

    def is_reorg(self, number: int, since: float) -> bool:
        """Whether what was so at ``since`` at this height may have been replaced until now."""
        return self.chain.turned_below(number, since - self.follow, now())

    def candidates(self, index: int) -> list[Block]:
        """The served heads from then until now."""
        return [block for _, block in self.served[max(0, index) :]]

    def latest(self, asking: Asking) -> list[Block]:
        """What ``latest`` may be: a served head, or the same number after a reorg."""
        heads = self.candidates(asking.served)
        numbers = {head.number for head in heads}
        blocks = [head.at(number) for head in heads for number in numbers]
        return [block for block in blocks if block is not None]

    def is_excused(self) -> bool:
        """State at a number of an upstream that forked a moment ago, or of one whose state
        stands still, cannot be told from the true one.
        """
        at = now() - self.start
        grace = self.chain.block_time + 0.5
        return any(
            spell.begin <= at < (math.inf if spell.kind in UNTOLD else spell.begin + grace + 0.3)
            for spell in self.spells
            if spell.kind in UNTOLD or spell.kind in FROM_ELSEWHERE
        ) or any(turned <= now() < turned + grace + 0.3 for turned, _, _ in self.chain.turns)  # fmt: skip

    # ---- asking

    def choose(self, client: Client, kind: str) -> Ask:
        rng = self.rng
        wallet = rng.choice(WALLETS)
        top = client.blocks[-1] if client.blocks else None
        block = rng.choice(client.blocks[-6:]) if client.blocks else None
        if kind == "number" or top is None or block is None:
            return Ask(NUMBER if kind == "number" else BLOCK)
        tip = self.chain.tip(now())
        nonce = max(0, tip.nonces[wallet] + rng.choice((-3, -2, -1, -1, 0)))
        tx = Tx(wallet, nonce, self.chain.hash_prefix)
        logs = Ask(LOGS, TOKEN, low=max(0, top.number - 3))
        asks: dict[str, Ask] = {
            "latest": Ask(BLOCK),
            "by number": Ask(BLOCK, at=block.number),
            "by hash": Ask(HEADER, block.hash),
            "balance": Ask(BALANCE, wallet),
            "call": Ask(CALL, wallet),
            "nonce": Ask(NONCE, wallet),
            "balance at": Ask(BALANCE, wallet, block.number),
            "nonce at": Ask(NONCE, wallet, block.number),
            "receipt": Ask(RECEIPT, tx.hash),
            "tx": Ask(TX, tx.hash),
            "logs": logs,
            "logs range": logs._replace(at=block.number),
        }
        return asks[kind]

    def ask(self, client: Client, *asks: Ask) -> None:
        """One request, or a batch."""
        askings = [self._asking(client, ask) for ask in asks]
        bodies = [
            request(method, msgspec.json.encode(params), b"%d" % id)
            for id, (method, params) in enumerate(map(self.spelling.request, asks))
        ]
        body = bodies[0] if len(bodies) == 1 else b"[%b]" % b",".join(bodies)
        self.open += 1
        self.asked += 1
        replies: list[Answer] = []

        def deliver(answer: Answer) -> None:
            replies.append(answer)
            if len(replies) > 1:
                self.say(f"{len(replies)} replies to {asks}")
                return
            self.open -= 1
            self._on_answer(askings, answer)

        handled = self.engine.pipeline.handle(body, "trace")
        if isinstance(handled, Answer):
            deliver(handled)
        elif isinstance(handled, Pending):
            handled.deliver = deliver
        else:
            task = current_loop().create_task(handled)
            task.add_done_callback(lambda done: deliver(done.result()))

    def _asking(self, client: Client, ask: Ask) -> Asking:
        was_mined = False
        if ask.what in LOOKUPS and self.served:
            was_mined = self.served[-1][1].holding(ask.of) is not None
        return Asking(client, ask, now(), (client.seen, client.seen_at), dict(client.nonces),
                      len(self.served) - 1, was_mined)  # fmt: skip

    def _on_answer(self, askings: list[Asking], answer: Answer) -> None:
        decoded = msgspec.json.decode(answer.body)
        replies = decoded if isinstance(decoded, list) else [decoded]
        if [reply.get("id") for reply in replies] != list(range(len(askings))):
            self.say(f"replies {replies} to {[a.ask for a in askings]}")
            return
        for asking, reply in zip(askings, replies, strict=True):
            before = len(self.violations)
            self.answered += 1
            if "result" in reply:
                self._check(asking, self.spelling.read(asking.ask, reply["result"]))
            else:
                self._check_error(asking, reply)
            if len(self.violations) > before:
                self.violations[-1] += (
                    f" | client {asking.client.name} asked {asking.ask} at "
                    f"{asking.at - self.start:.3f}, answer {str(reply)[:300]}, "
                    f"served {self.candidates(asking.served)}"
                )

    # ---- answers

    def _check_error(self, asking: Asking, reply: dict[str, Any]) -> None:
        if not self._is_taken(asking):
            self.say("error")

    def _is_taken(self, asking: Asking) -> bool:
        """Whether it asked for a block that a reorg lowered the head below, or at a height that
        has none since then.
        """
        at = asking.ask.at
        heads = self.candidates(asking.served)
        return at >= 0 and any(at > head.number or head.at(at) is None for head in heads)

    def _check(self, asking: Asking, told: Told) -> None:
        what = asking.ask.what
        if what == NUMBER and isinstance(told, int):
            if told not in {block.number for block in self.candidates(asking.served)}:
                self.say("a number that was not the served head")
            self._saw(asking, told)
        elif what in STATE and isinstance(told, Value):
            self._check_state(asking, told)
        elif what == NONCE and isinstance(told, int):
            self._check_nonce(asking, told)
        elif what == LOGS and isinstance(told, list):
            self._check_logs(asking, told)
        elif what in LOOKUPS and (told is None or isinstance(told, Entry)):
            self._check_lookup(asking, told)
        elif what in (BLOCK, HEADER) and (told is None or isinstance(told, Header)):
            self._check_block(asking, told)
        else:
            self.say("an answer to another question")

    def _saw(self, asking: Asking, number: int, block: Block | None = None) -> None:
        client = asking.client
        before, at = asking.seen
        if number < before and not self.is_reorg(before, at):
            self.say(f"client saw {before} before, and now {number}")
        if number >= client.seen or self.is_reorg(client.seen, client.seen_at):
            client.seen, client.seen_at = number, now()
        if block is not None:
            client.blocks = [*client.blocks[-10:], block]

    def _check_block(self, asking: Asking, told: Header | None) -> None:
        ask = asking.ask
        if told is None:
            self._check_no_block(asking)
            return
        block = self.chain.blocks.get(told.hash)
        if block is None:
            self.say("an invented block")
            return
        right = (block.number, block.hash, block.parent_hash, block.timestamp)
        if told[:4] != right:
            self.say("a block's header is not the true one")
        heads = self.candidates(asking.served)
        if ask == Ask(BLOCK):
            if block not in self.latest(asking):
                self.say("latest is not the served head")
            self._saw(asking, block.number, block)
        elif not any(head.at(block.number) is block for head in heads):
            self.say("a block that is not on our chain")
        if ask.what == BLOCK and 0 <= ask.at != told.number:
            self.say("another block")

    def _check_no_block(self, asking: Asking) -> None:
        if asking.ask.what == HEADER:
            block = self.chain.blocks[asking.ask.of]
            if not self.is_reorg(block.number, self.start):
                self.say("null for a block that was seen")
        elif not self._is_taken(asking):
            self.say("null for a block that is there")

    def _check_state(self, asking: Asking, told: Value) -> None:
        block = self.values.get(told.word)
        if block is None:
            self.say("a value that nobody gave")
            return
        if told.hash and (told.number, told.hash) != (block.number, block.hash):
            self.say(f"a value of {block} as one of {told.number}")
        at = asking.ask.at
        heads = self.candidates(asking.served)
        latest = self.latest(asking)
        allowed = latest if at == LATEST else [head.at(at) for head in heads]
        if not any(block is each for each in allowed):
            is_told = bool(told.hash)  # then it can always be told
            if not is_told and (self.is_excused() or self._was_untold(asking)):
                return
            self.say(f"state of {block}")
        if at == LATEST and block.is_true:
            self._saw(asking, block.number)

    def _check_nonce(self, asking: Asking, nonce: int) -> None:
        address, at_block = asking.ask.of, asking.ask.at
        heads = self.candidates(asking.served)
        latest = self.latest(asking)
        blocks = latest if at_block == LATEST else [head.at(at_block) for head in heads]
        if nonce not in {block.nonces[address] for block in blocks if block is not None}:
            if not (self.is_excused() or self._was_untold(asking)):
                self.say(f"nonce {nonce} of another block")
            return
        if at_block != LATEST:
            return
        before, at = asking.nonces.get(address, (-1, 0.0))
        if nonce < before and not self.chain.turned_below(10**9, at - self.follow, now()):
            self.say(f"nonce {nonce} after {before}")
        asking.client.nonces[address] = (nonce, now())

    def _check_logs(self, asking: Asking, result: list[Entry]) -> None:
        low, high = asking.ask.low, asking.ask.at
        if high == LATEST:
            right = [logs_of(head, low, head.number) for head in self.latest(asking)]
        else:
            heads = self.candidates(asking.served)
            right = [logs_of(head, low, high) for head in heads]
        if result not in right and not self._is_cut_short(result, right):
            named = [self.chain.blocks.get(entry.hash) for entry in result]
            self.say(f"logs of {named}, right were {[len(r) for r in right]}")

    def _is_cut_short(self, result: list[Entry], right: list[list[Entry]]) -> bool:
        """A machine behind the head leaves out the logs of blocks that it lacks, and says nothing:
        until it is seen to be behind, that cannot be told.
        """
        at = now() - self.start
        grace = self.chain.block_time + 0.5 + 0.3
        is_behind = any(
            spell.kind in BEHIND and spell.begin <= at < spell.begin + grace
            for spell in self.spells
        )
        is_behind |= any(turned <= now() < turned + grace for turned, _, _ in self.chain.turns)
        return is_behind and any(result == logs[: len(result)] for logs in right)

    def _check_lookup(self, asking: Asking, result: Entry | None) -> None:
        method, hash = asking.ask.what, asking.ask.of
        heads = self.candidates(asking.served)
        if result is None:
            number, at = self.seen_txs.get(hash, (-1, 0.0))
            is_lost = self.chain.turned_below(10**9, min(at, asking.at) - self.follow, now())
            if number >= 0 and not is_lost:
                self.say(f"null for a transaction that was seen in {number}")
            elif asking.was_mined and not is_lost:
                self.say("null for a transaction that is mined")
            return
        block = self.chain.blocks.get(result.hash)
        if block is None:
            self.say(f"{method} of an invented block")
            return
        if not any(head.at(block.number) is block for head in heads):
            self.say(f"{method} of {block}, which is not on our chain")
            return
        served = self.engine.standings.heads
        if served.shown < block.number or served.hash_at(block.number) not in (
            "",  # further back than is known so far
            block.hash,
        ):
            self.say(f"{method} of {block}, which is not given by its number now")
        self.seen_txs[hash] = (block.number, now())
        self._saw(asking, max(block.number, asking.seen[0]))
        # And it is there to be asked for.
        self.ask(asking.client, Ask(BLOCK, at=block.number))

    # ---- what is kept

    def check_cache(self, cache: AnswerCache) -> None:
        tip = self.served[-1][1]
        for queue in (cache._small, cache._main):
            for key, entry in queue.items():
                if not cache._is_over(entry, now()):
                    self._check_kept(key, msgspec.json.decode(entry.result), tip)
        for generation in (cache._younger, cache._elder):
            for key, result in generation.items():
                self._check_kept(key, msgspec.json.decode(result), tip)

    def _check_kept(self, key: bytes, result: Any, tip: Block) -> None:
        name, _, text = key.decode().partition(" ")
        params = msgspec.json.Decoder(list[Any]).decode(text[: text.rindex("]") + 1])
        ask = self.spelling.asked(name, params)
        told = self.spelling.read(ask, result)
        if ask.what in STATE or ask.what == NONCE:
            block = tip.at(ask.at)
            assert block is not None, key
            word = told.word if isinstance(told, Value) else ""
            right: Any = (
                block.nonces[ask.of] if ask.what == NONCE else state_of(block, ask.what, ask.of)
            )
            if right not in (told, word) and key not in self.untold:
                self.say(f"kept: {name} {params} is {told} of {self.values.get(word)}")
        elif ask.what == LOGS:
            if told != logs_of(tip, ask.low, ask.at):
                self.say(f"kept: {key!r} {told}")
        elif isinstance(told, Header | Entry):
            block = tip.at(told.number)
            if block is None or block.hash != told.hash:
                self.say(f"kept: {name} {params} is in {told.number} {told.hash[:8]}")

    def _was_untold(self, asking: Asking) -> bool:
        """Whether the answer may have been kept at a moment that excuses it."""
        at = asking.ask.at
        heads = self.candidates(asking.served)
        asks = (asking.ask._replace(at=n) for n in ([h.number for h in heads] if at < 0 else [at]))
        return any(
            b"%b %b" % (method.encode(), msgspec.json.encode(params)) in self.untold
            for method, params in map(self.spelling.request, asks)
        )


class RoutedWitness(Witness):
    """Where upstreams answer `latest` from their own heads: these may be above the served one. State
    is not asked for: where it tells no block, nobody knows which one it is of.
    """

    @staticmethod
    def asked_kinds(spelling: Spelling) -> tuple[str, ...]:
        asked = Witness.asked_kinds(spelling)
        return tuple(kind for kind in asked if not kind.startswith(("balance", "call", "nonce")))

    def candidates(self, index: int) -> list[Block]:
        """All that were the end of the chain since the served head of then was."""
        heads = super().candidates(index)
        since = self.served[max(0, index)][0] - self.follow
        return [*heads, *(block for at, block in self.chain.tips if since <= at <= now())]
