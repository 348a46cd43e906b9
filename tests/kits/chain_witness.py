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

from rpcproxy.messages import Answer, Pending
from rpcproxy.rules.answers.caching import AnswerCache
from tests.kits.chain_world import (
    FROM_ELSEWHERE,
    TOKEN,
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

# Between a reorg and the moment when the proxy has followed it: reports, and headers in between.
FOLLOW_SECONDS: Final = 3.0
STATE: Final = ("eth_getBalance", "eth_call")
LOOKUPS: Final = ("eth_getTransactionReceipt", "eth_getTransactionByHash")
BEHIND: Final = ("alternating", "falling", "two_branches")
KINDS: Final = (
    *("number", "number", "latest", "by number", "by hash", "balance", "balance", "call", "nonce"),
    *("nonce", "balance at", "nonce at", "receipt", "receipt", "tx", "logs", "logs range"),
)
Ask = tuple[str, list[Any]]


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

    kinds: tuple[str, ...] = KINDS

    def __init__(
        self,
        engine: Engine,
        chain: TrueChain,
        spells: tuple[Spell, ...],
        start: float,
        values: dict[str, Block],
        rng: random.Random,
    ) -> None:
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
        call = {"to": TOKEN, "data": "0x70a08231" + wallet[2:].zfill(64)}
        if kind == "number" or top is None or block is None:
            return ("eth_blockNumber", []) if kind == "number" else (
                "eth_getBlockByNumber", ["latest", False])  # fmt: skip
        number = hex(block.number)
        tip = self.chain.tip(now())
        tx = Tx(wallet, max(0, tip.nonces[wallet] + rng.choice((-3, -2, -1, -1, 0))))
        range_ = {"address": TOKEN, "fromBlock": hex(max(0, top.number - 3)), "toBlock": "latest"}
        asks: dict[str, Ask] = {
            "latest": ("eth_getBlockByNumber", ["latest", False]),
            "by number": ("eth_getBlockByNumber", [number, False]),
            "by hash": ("eth_getBlockByHash", [block.hash, False]),
            "balance": ("eth_getBalance", [wallet, "latest"]),
            "call": ("eth_call", [call, "latest"]),
            "nonce": ("eth_getTransactionCount", [wallet, "latest"]),
            "balance at": ("eth_getBalance", [wallet, number]),
            "nonce at": ("eth_getTransactionCount", [wallet, number]),
            "receipt": ("eth_getTransactionReceipt", [tx.hash]),
            "tx": ("eth_getTransactionByHash", [tx.hash]),
            "logs": ("eth_getLogs", [range_]),
            "logs range": ("eth_getLogs", [range_ | {"toBlock": number}]),
        }
        return asks[kind]

    def ask(self, client: Client, *asks: Ask) -> None:
        """One request, or a batch."""
        askings = [self._asking(client, ask) for ask in asks]
        bodies = [
            request(method, msgspec.json.encode(params), b"%d" % id)
            for id, (method, params) in enumerate(asks)
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
        if ask[0] in LOOKUPS and self.served:
            was_mined = self.served[-1][1].holding(ask[1][0]) is not None
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
                self._check(asking, reply["result"])
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
        last = asking.ask[1][-1] if asking.ask[1] else None
        number = last if isinstance(last, str) else asking.ask[1][0] if asking.ask[1] else ""
        if isinstance(number, dict):
            number = number["toBlock"]
        if not number.startswith("0x") or len(number) > 20:
            return False
        heads = self.candidates(asking.served)
        height = int(number, 16)
        return any(height > head.number or head.at(height) is None for head in heads)

    def _check(self, asking: Asking, result: Any) -> None:
        method, params = asking.ask
        if method == "eth_blockNumber":
            number = int(result, 16)
            if number not in {block.number for block in self.candidates(asking.served)}:
                self.say("a number that was not the served head")
            self._saw(asking, number)
        elif method in STATE:
            self._check_state(asking, result)
        elif method == "eth_getTransactionCount":
            self._check_nonce(asking, int(result, 16))
        elif method == "eth_getLogs":
            self._check_logs(asking, params[0], result)
        elif method in LOOKUPS:
            self._check_lookup(asking, result)
        else:
            self._check_block(asking, result)

    def _saw(self, asking: Asking, number: int, block: Block | None = None) -> None:
        client = asking.client
        before, at = asking.seen
        if number < before and not self.is_reorg(before, at):
            self.say(f"client saw {before} before, and now {number}")
        if number >= client.seen or self.is_reorg(client.seen, client.seen_at):
            client.seen, client.seen_at = number, now()
        if block is not None:
            client.blocks = [*client.blocks[-10:], block]

    def _check_block(self, asking: Asking, result: Any) -> None:
        method, params = asking.ask
        if result is None:
            self._check_no_block(asking)
            return
        block = self.chain.blocks.get(result["hash"])
        if block is None:
            self.say("an invented block")
            return
        right = (hex(block.number), block.parent_hash, hex(block.timestamp))
        if (result["number"], result["parentHash"], result["timestamp"]) != right:
            self.say("a block's header is not the true one")
        heads = self.candidates(asking.served)
        if params[0] == "latest":
            if block not in self.latest(asking):
                self.say("latest is not the served head")
            self._saw(asking, block.number, block)
        elif not any(head.at(block.number) is block for head in heads):
            self.say("a block that is not on our chain")
        if method == "eth_getBlockByNumber" and params[0] not in ("latest", result["number"]):
            self.say("another block")

    def _check_no_block(self, asking: Asking) -> None:
        method, params = asking.ask
        if method == "eth_getBlockByHash":
            block = self.chain.blocks[params[0]]
            if not self.is_reorg(block.number, self.start):
                self.say("null for a block that was seen")
        elif not self._is_taken(asking):
            self.say("null for a block that is there")

    def _check_state(self, asking: Asking, result: str) -> None:
        block = self.values.get(result)
        if block is None:
            self.say("a value that nobody gave")
            return
        tag = asking.ask[1][1]
        heads = self.candidates(asking.served)
        latest = self.latest(asking)
        allowed = latest if tag == "latest" else [head.at(int(tag, 16)) for head in heads]
        if not any(block is each for each in allowed):
            if self.is_excused() or self._was_untold(asking):
                return
            self.say(f"state of {block}")
        if tag == "latest" and block.is_true:
            self._saw(asking, block.number)

    def _check_nonce(self, asking: Asking, nonce: int) -> None:
        address, tag = asking.ask[1]
        heads = self.candidates(asking.served)
        latest = self.latest(asking)
        blocks = latest if tag == "latest" else [head.at(int(tag, 16)) for head in heads]
        if nonce not in {block.nonces[address] for block in blocks if block is not None}:
            if not (self.is_excused() or self._was_untold(asking)):
                self.say(f"nonce {nonce} of another block")
            return
        if tag != "latest":
            return
        before, at = asking.nonces.get(address, (-1, 0.0))
        if nonce < before and not self.chain.turned_below(10**9, at - self.follow, now()):
            self.say(f"nonce {nonce} after {before}")
        asking.client.nonces[address] = (nonce, now())

    def _check_logs(self, asking: Asking, query: dict[str, Any], result: Any) -> None:
        low = int(query["fromBlock"], 16)
        high = query["toBlock"]
        if high == "latest":
            right = [logs_of(head, low, head.number) for head in self.latest(asking)]
        else:
            heads = self.candidates(asking.served)
            right = [logs_of(head, low, int(high, 16)) for head in heads]
        if result not in right and not self._is_cut_short(result, right):
            named = [self.chain.blocks.get(log["blockHash"]) for log in result]
            self.say(f"logs of {named}, right were {[len(r) for r in right]}")

    def _is_cut_short(self, result: list[Any], right: list[list[Any]]) -> bool:
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

    def _check_lookup(self, asking: Asking, result: Any) -> None:
        method, (hash,) = asking.ask
        heads = self.candidates(asking.served)
        if result is None:
            number, at = self.seen_txs.get(hash, (-1, 0.0))
            is_lost = self.chain.turned_below(10**9, min(at, asking.at) - self.follow, now())
            if number >= 0 and not is_lost:
                self.say(f"null for a transaction that was seen in {number}")
            elif asking.was_mined and not is_lost:
                self.say("null for a transaction that is mined")
            return
        block = self.chain.blocks.get(result["blockHash"])
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
            self.say(f"{method} of {block}, which eth_getBlockByNumber does not give now")
        self.seen_txs[hash] = (block.number, now())
        self._saw(asking, max(block.number, asking.seen[0]))
        # And it is there to be asked for.
        self.ask(asking.client, ("eth_getBlockByNumber", [hex(block.number), False]))

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
        if name in STATE or name == "eth_getTransactionCount":
            block = tip.at(int(params[1], 16))
            assert block is not None, key
            right: Any = (
                hex(block.nonces[params[0]])
                if name == "eth_getTransactionCount"
                else state_of(block, name, params[0])
            )
            if result != right and key not in self.untold:
                self.say(f"kept: {name} {params} is {result} of {self.values.get(result)}")
        elif name == "eth_getLogs":
            low, high = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
            if result != logs_of(tip, low, high):
                self.say(
                    f"kept: {key!r} {[(r['blockNumber'], r['blockHash'][:8]) for r in result]}"
                )
        else:
            hash = result.get("blockHash") or result["hash"]
            number = int(result.get("blockNumber") or result["number"], 16)
            block = tip.at(number)
            if block is None or block.hash != hash:
                self.say(f"kept: {name} {params} is in {number} {hash[:8]}")

    def _was_untold(self, asking: Asking) -> bool:
        """Whether the answer may have been kept at a moment that excuses it."""
        method, params = asking.ask
        *_, tag = params
        numbers = (
            [head.number for head in self.candidates(asking.served)]
            if tag == "latest"
            else [int(tag, 16)]
        )
        return any(
            b"%b %b" % (method.encode(), msgspec.json.encode([*params[:-1], hex(number)]))
            in self.untold
            for number in numbers
        )


class RoutedWitness(Witness):
    """Where upstreams answer `latest` from their own heads: these may be above the served one. State
    tells no block, so it is not asked for.
    """

    kinds = tuple(kind for kind in KINDS if not kind.startswith(("balance", "call", "nonce")))

    def candidates(self, index: int) -> list[Block]:
        """All that were the end of the chain since the served head of then was."""
        heads = super().candidates(index)
        since = self.served[max(0, index)][0] - self.follow
        return [*heads, *(block for at, block in self.chain.tips if since <= at <= now())]
