"""Answers about a block, held against what the block says that it holds.

What is learned passes through here anyway: the blocks that clients are given and those by which the
watcher follows the head. Nothing is asked for it.

- Fewer receipts, traces or transactions than the block has, or no logs of a block whose bloom is
  not empty, are *disproved*: another upstream is asked.
- Where a bloom admits what a search for logs asks for, and hardly by accident, an answer without
  logs of that block is *doubted*: two that say so are right.
- Past the number of a block's transactions, or uncles, there is none: null at once.

State: ``rules.heads.recent_blocks.RecentBlocks``, one per chain.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from rpcproxy.chains import evm
from rpcproxy.chains.evm import contents
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.clock import Clock
from rpcproxy.messages import Blame, Judgement, Verdict
from rpcproxy.rules.answers.replies import NULL
from rpcproxy.rules.heads.recent_blocks import MOST_BLOCKS, MOST_BYTES, RecentBlocks
from rpcproxy.rules.standing.standings import Standing, Standings


class Search(NamedTuple):
    """A search over blocks, from ``low`` to ``high``, or in the block with ``hash``; ``found``
    are the blocks that it found some in.
    """

    low: int
    high: int
    hash: str
    found: set[evm.ToldBlock]


class BlockContents:
    """See the module's docstring. One per chain."""

    def __init__(self, standings: Standings, *, clock: Clock, most_bytes: int = MOST_BYTES) -> None:
        """``most_bytes``: of what blocks say that they hold, as ``RecentBlocks`` counts it."""
        self._standings = standings
        self._now = clock.monotonic
        self._heads = standings.heads
        self._blocks = RecentBlocks(most_bytes)

    # ---- what is learned

    def learn(self, block: bytes | msgspec.Raw) -> evm.Contents | None:
        """The JSON text of a block or a header that an upstream told; nothing is learned of an old
        one.
        """
        told = evm.contents_of(block)
        if told is None or told.number <= self._heads.served - MOST_BLOCKS:
            return None
        is_ours = self._heads.hash_at(told.number) == told.hash
        self._blocks.learn(told, is_ours=is_ours)
        return told

    def learn_given(self, block: msgspec.Raw, told: evm.ToldBlock) -> evm.Contents | None:
        """The same, of a block that is given to a client: most are known from the watcher."""
        if told.number <= self._heads.served - MOST_BLOCKS:
            return None
        known = self._blocks.get(told.hash)
        return known if known is not None and known.hashes else self.learn(block)

    def adopt(self, old: BlockContents) -> None:
        """A reload forgets nothing."""
        self._blocks = old._blocks

    # ---- answers about one block

    def check(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement:
        """An answer to a method that is ``is_of_contents``, whatever was judged of it so far: the
        judgement itself where nothing speaks against it, else one that stands.
        """
        block = self._asked(call)
        if block is None:
            return judgement
        name = call.method.name
        if name in contents.INDEXED or name in contents.INDEXED_UNCLES:
            return self._check_indexed(call, judgement, standing, started, block)
        result = judgement.result
        if result is None or judgement.verdict not in (Verdict.OK, Verdict.NULL):
            return judgement
        if name in contents.ENTRIES:
            is_less = contents.has_fewer(name, result, block.transactions)
        else:
            is_of_uncles = name in contents.UNCLE_COUNTS
            held = block.uncles if is_of_uncles else block.transactions
            is_less = held >= 0 and contents.count_in(result) != held
        if not is_less:
            self._blocks.on_agreement(name)
            return judgement
        return self._disprove(call, judgement, standing, started, block)

    def _check_indexed(
        self,
        call: SingleCall,
        judgement: Judgement,
        standing: Standing,
        started: float,
        block: evm.Contents,
    ) -> Judgement:
        is_uncle = call.method.name in contents.INDEXED_UNCLES
        held = block.uncles if is_uncle else block.transactions
        index = contents.index_in(call.params)
        if held < 0 or index < 0:
            return judgement
        is_null = judgement.result == NULL
        if index < held:
            is_other = not is_uncle and contents.is_another(judgement.result, block, index)
            if not is_null and not is_other:
                return judgement
            return self._disprove(call, judgement, standing, started, block)
        # Some nodes refuse an index too high, in words of their own (ethermint 807, sei 3320).
        is_refusal = judgement.error is not None and judgement.verdict.blame in _OF_THE_INDEX
        return Judgement(Verdict.OK, NULL) if is_null or is_refusal else judgement

    def _asked(self, call: SingleCall) -> evm.Contents | None:
        """The block that is asked about, where it is ours and known."""
        asked = evm.asked_block(call.method, call.params)
        if asked.number < 0:
            return self._blocks.get(asked.hash) if asked.hash else None
        hash = self._heads.hash_at(asked.number)
        return self._blocks.get(hash, is_ours=True) if hash else None

    def _disprove(
        self,
        call: SingleCall,
        judgement: Judgement,
        standing: Standing,
        started: float,
        block: evm.Contents,
    ) -> Judgement:
        now = self._now()
        name = call.method.name
        if self._blocks.is_quiet(name, now) or self.is_outvoted(
            call, block.hash, standing, started
        ):
            return judgement
        detail = f"less than block {block.number} says that it holds"
        return Judgement(Verdict.DISPROVED, judgement.result, detail=detail)

    def is_outvoted(self, call: SingleCall, hash: str, standing: Standing, started: float) -> bool:
        """``standing``, asked at that time, contradicts what a block says of itself or of the
        transaction with that hash: whether all do that can be asked, and it does again.
        """
        now = self._now()
        name = call.method.name
        usable = [
            each.name
            for each in self._standings.usable(call.need.method_class)
            if each.exclusions.methods.get(name, 0.0) <= now
        ]
        return self._blocks.is_outvoted(name, hash, standing.name, started, usable)

    def check_block(
        self,
        call: SingleCall,
        judgement: Judgement,
        standing: Standing,
        started: float,
        told: evm.ToldBlock,
    ) -> Judgement:
        """A block that is given: it is not empty where its other texts are not."""
        known, result = self._blocks.get(told.hash), judgement.result
        if known is None or known.transactions <= 0 or result is None:
            return judgement
        if not contents.is_empty_block(result):
            return judgement
        return self._disprove(call, judgement, standing, started, known)

    # ---- searches

    def check_search(
        self,
        call: SingleCall,
        judgement: Judgement,
        standing: Standing,
        started: float,
        search: Search,
    ) -> Judgement:
        """A search for logs or traces, held against the blocks that it found none in."""
        name = call.method.name
        missing = self._missing(search)
        if name in contents.SEARCHES_TRACES:
            missing = [each for each in missing if each.transactions > 0]
            if not missing or not contents.wants_all_traces(call.params):
                return judgement
            return self._disprove(call, judgement, standing, started, missing[0])
        if name not in contents.SEARCHES_LOGS:
            return judgement
        missing = [each for each in missing if each.bloom]
        wanted = contents.wanted_by(call.params) if missing else None
        if wanted is None:
            return judgement
        block = next((each for each in missing if wanted.admits(each.bloom)), None)
        if block is None:
            return judgement
        if not wanted.places:
            return self._disprove(call, judgement, standing, started, block)
        # Of many blocks one admits something by accident: a second question each time is no gain.
        if sum(wanted.accident(each.bloom) for each in missing) <= contents.ACCIDENT:
            detail = f"no log of block {block.number}, though its bloom admits one"
            return Judgement(Verdict.DOUBTED, judgement.result, detail=detail)
        return judgement

    def _missing(self, search: Search) -> list[evm.Contents]:
        """The known blocks of our chain that were searched, in which nothing was found."""
        heads = self._heads
        if search.hash:
            hashes = [search.hash]
        else:
            low = max(search.low, heads.served - MOST_BLOCKS)
            hashes = [heads.hash_at(n) for n in range(low, min(search.high, heads.served) + 1)]
        found = {told.number for told in search.found}
        blocks = (self._blocks.get(hash, is_ours=not search.hash) for hash in hashes if hash)
        return [each for each in blocks if each and each.number not in found]


_OF_THE_INDEX: Final = (Blame.NOBODY, Blame.CLIENT, Blame.UPSTREAM)
