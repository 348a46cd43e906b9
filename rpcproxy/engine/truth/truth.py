"""What was told stays true: answers are held against our chain, and against earlier answers.

An answer is not given, but asked of another upstream, where
- the block that it is in is not on our chain, or above the served head (unless enough upstreams
  have that block already: then the served head moves there first);
- it does not name its block as it should, or has less than that block holds (``block_contents``);
- it is null for what was seen before, or pending for what was in a block, and no reorg took that;
- it is an account's counter below what that had at that height or below it, or it fills in such
  a one, or another chain's id, for a wallet;
- it came from an upstream that has left our chain, or from before a reorg.

A receipt in no block is none: null, which another upstream confirms.

State: what was told, in ``seen``, ``counters`` and ``block_contents``, written through here.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rpcproxy.chains.method import Subject
from rpcproxy.chains.parts.asked_at import LATEST, PENDING
from rpcproxy.chains.parts.claims import Claims, Naming, ToldBlock
from rpcproxy.chains.parts.contents import ContentsReader
from rpcproxy.clock import Clock
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.engine.truth.block_contents import BlockContents
from rpcproxy.engine.truth.counters import MOST_COUNTERS, AccountCounters
from rpcproxy.engine.truth.null_answers import NullAnswers
from rpcproxy.engine.truth.preconfirmed import Preconfirmed
from rpcproxy.engine.truth.seen import MOST_SEEN, SeenHashes
from rpcproxy.engine.truth.tagged import Tagged, without_pending
from rpcproxy.messages import Blame, Judgement, Verdict
from rpcproxy.rules.answers.replies import NULL
from rpcproxy.rules.heads.recent_blocks import MOST_BLOCKS
from rpcproxy.rules.requests.refusals import WELL
from rpcproxy.rules.sends.journaled import PoolEntry
from rpcproxy.rules.standing.standings import Standing
from rpcproxy.words import Doubt, DoubtKind, Proof

# By the hash of a transaction nodes tell of the chain that they follow.
_CANONICAL: Final = (Subject.RECEIPT, Subject.TRANSACTION)

# How an upstream may answer to a block's hash where it takes numbers only.
_MISUNDERSTOOD: Final = frozenset(
    {Verdict.INVALID_PARAMS, Verdict.UNSUPPORTED, Verdict.SERVER_ERROR, Verdict.UNKNOWN}
)


class Truth:
    """See the module's docstring. One per chain."""

    def __init__(  # noqa: PLR0913 -- two are bounds
        self,
        executor: Executor,
        ledger: Ledger,
        claims: Claims,
        contents: ContentsReader | None,
        *,
        clock: Clock,
        most_seen: int = MOST_SEEN,
        most_counters: int = MOST_COUNTERS,
    ) -> None:
        """``most_seen`` hashes of each sort are remembered, and ``most_counters`` of accounts."""
        self._executor = executor
        self._now = clock.monotonic
        self._ledger = ledger
        self._standings = executor.standings
        self._heads = executor.standings.heads
        self._claims = claims
        self._asked_key = claims.asked_key
        self._none_at_all = (b"[]", claims.no_data)
        self._tagged = Tagged(executor, claims, clock)
        self.seen = SeenHashes(claims.keys_in, most_seen)
        self._preconfirmed = Preconfirmed(executor, clock)
        self.contents = BlockContents(executor.standings, contents, claims.asked_block, clock=clock)
        self._nulls = NullAnswers(ledger, claims, self.seen, self.contents)
        self.counters: AccountCounters | None = None
        if claims.counters is not None:
            self.counters = AccountCounters(
                claims.counters, ledger, clock=clock, most=most_counters
            )

    def passed(
        self, call: SingleCall, result: msgspec.Raw, standing: Standing, started: float
    ) -> msgspec.Raw | None:
        """``check`` for a plain success: what is to be given, ``None`` where it is refused."""
        heads, block = self._heads, call.need.block
        if (
            call.method.is_bare
            and block <= heads.shown
            and started >= heads.turned_at
            and not standing.is_forked
        ):
            return result
        judgement = self.check(call, Judgement(Verdict.OK, result), standing, started)
        return judgement.result if judgement.verdict is Verdict.OK else None

    def check(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement:
        """The judgement, or another where the answer cannot be given."""
        verdict = judgement.verdict
        if call.misread_by and verdict in WELL:
            # Asked by number it is well: so it was the hash that was not understood.
            self._executor.observe(Proof(call.misread_by, takes_hashes=False), self._now())
            call.misread_by = ""
        if call.tag == PENDING and verdict is not Verdict.OK:
            return without_pending(judgement)
        if verdict is Verdict.MISSING_DATA and self._tagged.is_no_block(call, judgement):
            return Judgement(Verdict.NULL, judgement.result)
        if call.method.is_of_contents and call.tag != PENDING:
            held = self.contents.check(call, judgement, standing, started)
            if held is not judgement:
                return held
        if verdict is Verdict.NULL:
            return self._nulls.check(call, judgement, standing, started)
        if verdict is Verdict.MISSING_DATA and 0 <= call.need.block <= standing.low_water:
            self._executor.on_doubt(standing.name)
        if verdict is not Verdict.OK:
            if call.heights is not None and standing.takes_hashes and verdict in _MISUNDERSTOOD:
                return self._ask_by_number(call, standing)
            return self._of_a_block_to_come(call, judgement)
        heads = self._heads
        need = call.need
        if standing.is_forked:
            return refused("its upstream left our chain")
        if need.block > heads.shown >= 0 and not self._tagged.can_show(need.block):
            return self._of_no_block(call, judgement)
        if started < heads.turned_at and need.block > heads.ancestor:
            return refused("a reorg replaced the block it was asked at")
        method = call.method
        if method.names_block:
            return self._check_block(call, judgement, standing, started)
        if method.is_ranged and (self._is_recent(need.block) or need.block < 0):
            return self._check_search(call, judgement, standing, started)
        if method.subject is Subject.COUNTER or method.subject is Subject.FILLED:
            return self._check_counter(call, judgement, standing)
        return judgement

    def _of_a_block_to_come(self, call: SingleCall, judgement: Judgement) -> Judgement:
        """Of a block above the served head whatever an upstream says in words is about the block,
        and nobody's fault: geth's "block #N not found", reth's "block not found: hash …".
        """
        is_word = judgement.error is not None and judgement.verdict.blame is Blame.UPSTREAM
        if not is_word or not call.need.block > self._heads.served >= 0:
            return judgement
        return Judgement(Verdict.MISSING_DATA, error=judgement.error, detail=judgement.detail)

    def _of_no_block(self, call: SingleCall, judgement: Judgement) -> Judgement:
        """An answer from a block that is not told yet. So far above the head that nobody can have
        it, there is none: some nodes say so by an empty list or text (geth's debug_getRawBlock,
        anvil's trace_block), others answer from their own head, which is of another block.
        """
        block, result = call.need.block, judgement.result
        detail = f"block {block} is above the served head {self._heads.served}"
        if not self._tagged.is_out_of_reach(block):
            return refused(detail)
        is_empty = result is not None and bytes(result) in self._none_at_all
        if is_empty and call.method.block_param == 0:
            return Judgement(Verdict.DOUBTED, result, detail=detail)
        error = msgspec.Raw(self._claims.no_block)
        return Judgement(Verdict.MISSING_DATA, error=error, detail=detail)

    def _is_recent(self, number: int) -> bool:
        """Whether a block may be replaced, or is among the last: old ones are what all have."""
        heads = self._heads
        return number > min(heads.finality.floor, heads.served - MOST_BLOCKS)

    def _ask_by_number(self, call: SingleCall, standing: Standing) -> Judgement:
        """It may not take a hash here, or this request is not understood at all: it is asked by
        number, whoever is next. Where that goes well, this upstream is asked in the old way from
        then on, until it proves again that it takes hashes.
        """
        call.heights = None
        call.misread_by = standing.name
        return Judgement(Verdict.MISREAD, detail="it may not take a block's hash")

    def allows(self, call: SingleCall, result: bytes) -> bool:
        """Whether an answer can be given that an earlier process kept; it is told from then on."""
        if not call.method.names_block:
            return True
        told, naming = self._claims.of_block(call.method, call.params, result)
        if told is None or naming is Naming.WRONG:
            return naming is not Naming.WRONG
        number, hash = told
        if number > self._heads.served or self._heads.denies(number, hash):
            return False
        self._learn(call, msgspec.Raw(result), told)
        return True

    # ---- blocks

    def _check_block(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement:
        result, method = judgement.result, call.method
        if result is None:
            return judgement
        if call.tag == PENDING:
            objection = self._tagged.objection(call, result)
            return refused(objection) if objection else judgement
        told, naming = self._claims.of_block(
            method, call.params, result, tells_hashes=self._tells_hashes
        )
        if naming is Naming.WRONG and not self._tagged.is_below_hole(call, told):
            return Judgement(Verdict.BAD_RESULT, detail="an answer to another question")
        if told is None:
            return self._doubted(naming, judgement)
        number, hash = told
        heads, is_canonical = self._heads, method.subject in _CANONICAL
        if call.tag == LATEST and number < call.need.block:
            return refused(f"its latest block is {number}, and clients know {call.need.block}")
        block = result if call.tag == LATEST else None
        if number > heads.served >= 0 and not self._tagged.may_show(told, standing, block):
            if is_canonical and self._preconfirmed.is_so(number, standing):
                naming = Naming.NOWHERE
            if call.tag == LATEST:
                self._executor.on_doubt(standing.name)  # it has a block that it did not tell yet
            if naming is not Naming.NOWHERE:
                return refused(f"it is in block {number}, above the served head {heads.served}")
        if naming is Naming.NOWHERE:
            return self._check_unmined(call, judgement, standing, started)
        if not heads.hash_at(number) and started < heads.turned_at and number > heads.ancestor:
            return refused(f"a reorg replaced block {number} while it was asked for")
        if heads.denies(number, hash):
            detail = f"its block {number} is not on our chain"
            # By a block's hash a node also tells of blocks that it knows to be on no chain.
            is_assertion = method.block_param is not None or is_canonical
            return self._off_chain(standing, detail) if is_assertion else refused(detail)
        if method.subject is Subject.BLOCK and hash:
            if self._has_other_time(result):
                return refused(f"its block {number} has another time than the others say")
            held = self.contents.check_block(call, judgement, standing, started, told)
            if held is not judgement:
                return held
        if number < 0 and method.subject is Subject.TRANSACTION and self._nulls.is_mined(call):
            return Judgement(Verdict.FORGOTTEN, detail="pending, and it was in a block before")
        if naming is Naming.CLEAR:
            self._learn(call, result, told)
        return self._doubted(naming, judgement)

    def _has_other_time(self, result: msgspec.Raw) -> bool:
        """Whether a block has another time than two or more upstreams told of it."""
        head, served = self._claims.head_in(result), self._heads.served_head
        return head is not None and (
            self._heads.lineage.is_other_time(head)
            or (
                served is not None
                and head.number <= served.number
                and head.timestamp > served.timestamp > 0
            )
        )

    def _doubted(self, naming: Naming, judgement: Judgement) -> Judgement:
        """What does not name its block in full is given where two say so: some nodes never do."""
        if naming is not Naming.VAGUE or not self._tells_hashes:
            return judgement
        return Judgement(Verdict.DOUBTED, judgement.result, detail="it does not name its block")

    @property
    def _tells_hashes(self) -> bool:
        """Whether blocks of this chain are told with their hashes."""
        head = self._heads.served_head
        return head is None or bool(head.hash)

    def _check_unmined(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement:
        """It is in no block of our chain, though it looks as if it were: a receipt is none then,
        and a transaction waits.
        """
        if call.method.subject is Subject.RECEIPT:
            detail = "a receipt in no block of our chain"
            none = Judgement(Verdict.NULL, NULL, detail=detail)
            return self._nulls.check(call, none, standing, started)
        if self._nulls.is_mined(call):
            return Judgement(Verdict.FORGOTTEN, detail="pending, and it was in a block before")
        pending = self._claims.as_waiting(judgement.result or NULL)
        return Judgement(Verdict.DOUBTED, pending, detail="a transaction in no block of our chain")

    def _learn(self, call: SingleCall, result: msgspec.Raw, told: ToldBlock) -> None:
        """What a client was told from now on."""
        method, (number, hash) = call.method, told
        if hash and number >= 0:  # whoever was told of a block may ask for it
            self.seen.see_block(hash, number)
        if method.subject is Subject.BLOCK:
            block = self.contents.learn_given(result, told)
            if block is not None and block.hashes:
                self.seen.see_list(number, block.hashes)
            return
        if method.block_param is not None or method.is_by_block_hash:
            self._see_list(number, result)
            return
        key = self._asked_key(call.params)
        if not key:
            return
        self.seen.see(key, number)
        if method.subject in _CANONICAL and self.counters is not None:
            self.counters.learn(key, number, result)
        if method.subject is Subject.RECEIPT and number >= 0:
            self.seen.see_receipt(key, number)

    def on_sent(self, hash: str) -> None:
        """A transaction was accepted: some upstream knows it from now on."""
        self.seen.see(self._claims.key_of(hash), -1)

    def on_mined(self, entry: PoolEntry) -> None:
        """A transaction of ours is in a block: whoever does not know it has forgotten it."""
        self.seen.set_mined(entry.hash, entry.block)
        if entry.lane and self.counters is not None:
            self.counters.pass_(entry.lane, entry.order, entry.block)

    def forget(self, hash: str) -> None:
        """It is in no block after all."""
        self.seen.forget(hash)

    def _off_chain(self, standing: Standing, detail: str) -> Judgement:
        """It says itself that it is on another chain."""
        self._executor.observe(Doubt(standing.name, DoubtKind.ANSWER, detail), self._now())
        return refused(detail)

    def _check_search(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement:
        """Each entry names its block: none of another branch, and none that was not asked for."""
        result = judgement.result
        if result is None:
            return judgement
        search = self._claims.of_search(call.method, call.params, result)
        for block in search.found:
            if block.number > self._heads.served:
                if self._tagged.is_to_come(call, block.number):
                    continue
                if not self._tagged.may_show(block, standing):
                    return refused(f"an entry is of block {block.number}, above the served head")
            if search.high >= 0 and not search.low <= block.number <= search.high:
                detail = f"an entry of block {block.number}, not asked for"
                return Judgement(Verdict.BAD_RESULT, detail=detail)
            if not search.hash and self._heads.denies(block.number, block.hash):
                detail = f"its entry of block {block.number} is not on our chain"
                return self._off_chain(standing, detail)
        if call.tag == PENDING:  # nobody knows what that block will hold
            return judgement
        if search.is_vague:
            return self._doubted(Naming.VAGUE, judgement)
        if search.found:
            self._see_list(max(search.found).number, result)
        return self.contents.check_search(call, judgement, standing, started, search)

    def _see_list(self, number: int, result: msgspec.Raw) -> None:
        if number > self._heads.served - MOST_BLOCKS:  # old ones are what everybody has
            self.seen.see_list(number, result)

    # ---- counters

    def _check_counter(
        self, call: SingleCall, judgement: Judgement, standing: Standing
    ) -> Judgement:
        """Wallets sign with it, and sign what is filled in, chain id included (viem)."""
        reader, result = self._claims.counters, judgement.result
        if reader is None or self.counters is None or result is None:
            return judgement
        claim = reader.read(call.method, call.params, result)
        if claim is None:
            return judgement
        if call.method.subject is Subject.COUNTER:
            return self.counters.check(claim, call.need.block, judgement, standing)
        if claim.identity and claim.identity != self._ledger.identity:
            return self._off_chain(standing, f"it fills in chain id {claim.identity}")
        return self.counters.check_filled(claim, judgement, standing)

    # ---- reorgs and reloads

    def on_turn(self, ancestor: int) -> None:
        """What was seen above ``ancestor`` may be gone."""
        self.seen.on_turn(ancestor)
        if self.counters is not None:
            self.counters.on_turn(ancestor)

    def adopt(self, old: Truth) -> None:
        """A reload forgets nothing. What was seen is one for both: the old one has answers under
        way, and room for what is not read yet is counted in one place.
        """
        self.seen = old.seen
        self._nulls.adopt(old.seen)
        self.contents.adopt(old.contents)
        if self.counters is not None and old.counters is not None:
            self.counters.adopt(old.counters)


def refused(detail: str) -> Judgement:
    """The answer is not one of our chain."""
    return Judgement(Verdict.OFF_CHAIN, detail=detail)
