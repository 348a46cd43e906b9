"""Answers about a block, held against what the block says that it holds.

What is learned passes through here anyway: the blocks that clients are given and those by which the
watcher follows the head. Nothing is asked for it.

- Fewer entries than the block has, or nothing found in a block that has some, are *disproved*:
  another upstream is asked.
- Where a block admits what a search asks for, and hardly by accident, an answer without any of that
  block is *doubted*: two that say so are right.
- Past the last entry of a block there is none: null at once.

State: ``rules.heads.recent_blocks.RecentBlocks``, one per chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.claims import SearchClaim, ToldBlock
from rpcproxy.chains.parts.contents import Contents, ContentsReader, Fit
from rpcproxy.clock import Clock
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.messages import Blame, Judgement, Verdict
from rpcproxy.rules.answers.replies import NULL
from rpcproxy.rules.heads.recent_blocks import MOST_BLOCKS, MOST_BYTES, RecentBlocks
from rpcproxy.rules.standing.standings import Standing, Standings

# What blocks admit by accident more often than this is no sign of anything.
ACCIDENT: Final = 0.05
_OF_THE_INDEX: Final = (Blame.NOBODY, Blame.CLIENT, Blame.UPSTREAM)


class BlockContents:
    """See the module's docstring. One per chain. Without a ``reader`` nothing is learned, and so
    nothing is held against it.
    """

    def __init__(
        self,
        standings: Standings,
        reader: ContentsReader | None,
        asked_block: Callable[[Method, bytes | msgspec.Raw], ToldBlock],
        *,
        clock: Clock,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """``asked_block`` as in ``chains.parts.claims``. ``most_bytes``: of what blocks say that
        they hold, as ``RecentBlocks`` counts it.
        """
        self._standings = standings
        self._reader = reader
        self._asked_block = asked_block
        self._now = clock.monotonic
        self._heads = standings.heads
        self._blocks = RecentBlocks(most_bytes)

    # ---- what is learned

    def learn(self, block: bytes | msgspec.Raw) -> Contents | None:
        """The JSON text of a block or a header that an upstream told; nothing is learned of an old
        one.
        """
        told = None if self._reader is None else self._reader.read(block)
        if told is None or told.number <= self._heads.served - MOST_BLOCKS:
            return None
        is_ours = self._heads.hash_at(told.number) == told.hash
        self._blocks.learn(told, is_ours=is_ours)
        return told

    def learn_given(self, block: msgspec.Raw, told: ToldBlock) -> Contents | None:
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
        reader, block = self._reader, self._asked(call)
        if reader is None or block is None:
            return judgement
        method, verdict = call.method, judgement.verdict
        if not method.is_indexed and verdict not in (Verdict.OK, Verdict.NULL):
            return judgement
        fit = reader.fit(method, call.params, judgement.result, block)
        if fit is Fit.LACKS:
            return self._disprove(call, judgement, standing, started, block)
        if fit is Fit.AGREES:
            self._blocks.on_agreement(method.name)
        elif fit is Fit.PAST_END:
            # Some nodes refuse an index too high, in words of their own (ethermint 807, sei 3320).
            is_refusal = judgement.error is not None and verdict.blame in _OF_THE_INDEX
            if judgement.result == NULL or is_refusal:
                return Judgement(Verdict.OK, NULL)
        return judgement

    def _asked(self, call: SingleCall) -> Contents | None:
        """The block that is asked about, where it is ours and known."""
        asked = self._asked_block(call.method, call.params)
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
        block: Contents,
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
        told: ToldBlock,
    ) -> Judgement:
        """A block that is given: it is not empty where its other texts are not."""
        reader, known, result = self._reader, self._blocks.get(told.hash), judgement.result
        if reader is None or known is None or known.transactions <= 0 or result is None:
            return judgement
        if not reader.is_hollow(result):
            return judgement
        return self._disprove(call, judgement, standing, started, known)

    # ---- searches

    def check_search(
        self,
        call: SingleCall,
        judgement: Judgement,
        standing: Standing,
        started: float,
        search: SearchClaim,
    ) -> Judgement:
        """A search, held against the blocks that it found nothing in."""
        missing, reader = self._missing(search), self._reader
        wanted = reader.wanted_by(call.method, call.params) if reader and missing else None
        if wanted is None:
            return judgement
        block = next((each for each in missing if wanted.admits(each)), None)
        if block is None:
            return judgement
        if wanted.is_all:
            return self._disprove(call, judgement, standing, started, block)
        # Of many blocks one admits something by accident: a second question each time is no gain.
        if sum(map(wanted.accident, missing)) <= ACCIDENT:
            detail = f"nothing of block {block.number}, though it says that there may be some"
            return Judgement(Verdict.DOUBTED, judgement.result, detail=detail)
        return judgement

    def _missing(self, search: SearchClaim) -> list[Contents]:
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
