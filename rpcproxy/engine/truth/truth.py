"""What was told stays true: answers are held against our chain, and against earlier answers.

An answer is not given, but asked of another upstream, where
- the block that it is in is not on our chain, or above the served head (unless enough upstreams
  have that block already: then the served head moves there first);
- it does not name its block as it should, or has less than that block holds (``block_contents``);
- it is null for what was seen before, or pending for what was in a block, and no reorg took that;
- it is a nonce below what the address had at that height or below it, or it fills in such a
  nonce, or another chain's id, for a wallet;
- it came from an upstream that has left our chain, or from before a reorg.

A receipt in no block is none: null, which another upstream confirms.

State: what was told, in ``seen``, ``nonces`` and ``block_contents``, written through here.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.chains.asked_at import LATEST, PENDING
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.engine.clock import Clock
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.engine.truth.block_contents import BlockContents, Search
from rpcproxy.engine.truth.nonces import FILL, MOST_NONCES, NONCE, Nonces
from rpcproxy.engine.truth.preconfirmed import Preconfirmed
from rpcproxy.engine.truth.seen import MOST_SEEN, SeenHashes
from rpcproxy.engine.truth.tagged import Tagged, without_pending
from rpcproxy.messages import Blame, Judgement, Verdict
from rpcproxy.rules.answers.replies import NULL
from rpcproxy.rules.heads.recent_blocks import MOST_BLOCKS
from rpcproxy.rules.requests.refusals import WELL
from rpcproxy.rules.sends.journaled import PoolEntry
from rpcproxy.rules.standing.standings import Standing

RECEIPT: Final = "eth_getTransactionReceipt"

# By the hash of a transaction nodes tell of the chain that they follow.
_CANONICAL: Final = frozenset((RECEIPT, evm.TRANSACTION_BY_HASH))

# How an upstream may answer to a block's hash where it takes numbers only.
_MISUNDERSTOOD: Final = frozenset(
    {Verdict.INVALID_PARAMS, Verdict.UNSUPPORTED, Verdict.SERVER_ERROR, Verdict.UNKNOWN}
)

_EMPTY: Final = frozenset((b"[]", b'"0x"'))
# geth's words, for whatever is asked at a block that is not there
_NO_BLOCK: Final = msgspec.Raw(b'{"code":-32000,"message":"header not found"}')
_NOTHING: Final = b"0" * 64  # the hash of nothing
_HASH: Final = re.compile(rb'\[\s*"0[xX]([0-9a-fA-F]{64})"')
_OWN_HASH: Final = re.compile(rb'"(?:transactionHash|hash)"\s*:\s*"0[xX]([0-9a-fA-F]{64})"')


class Truth:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        executor: Executor,
        ledger: Ledger,
        *,
        clock: Clock,
        most_seen: int = MOST_SEEN,
        most_nonces: int = MOST_NONCES,
    ) -> None:
        """``most_seen`` hashes of each kind are remembered, and ``most_nonces`` of addresses."""
        self._executor = executor
        self._now = clock.monotonic
        self._ledger = ledger
        self._standings = executor.standings
        self._heads = executor.standings.heads
        self._tagged = Tagged(executor, clock)
        self.seen = SeenHashes(most_seen)
        self._preconfirmed = Preconfirmed(executor, clock)
        self.contents = BlockContents(executor.standings, clock=clock)
        self.nonces = Nonces(ledger, clock=clock, most=most_nonces)

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
            self._standings.learn_hashes(call.misread_by, takes=False)
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
            return self._check_null(call, judgement, standing, started)
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
            return self._check_logs(call, judgement, standing, started)
        if method.name == NONCE:
            return self.nonces.check(call, judgement, standing)
        if method.name == FILL:
            return self._check_filled(call, judgement, standing)
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
        if call.method.block_param == 0 and result is not None and bytes(result) in _EMPTY:
            return Judgement(Verdict.DOUBTED, result, detail=detail)
        return Judgement(Verdict.MISSING_DATA, error=_NO_BLOCK, detail=detail)

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
        told = evm.told_by(call.method, result) if call.method.names_block else None
        if is_of_another(call, told, result):
            return False
        if told is None:
            return True
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
        tells_hashes = self._tells_hashes
        told = evm.told_by(method, result, tells_hashes=tells_hashes)
        claim = evm.claim_of(method, call.params, result, told)
        is_another = claim is evm.Claim.FALSE or is_of_another(
            call, told, result, tells_hashes=tells_hashes
        )
        if is_another and not self._tagged.is_below_hole(call, told):
            return Judgement(Verdict.BAD_RESULT, detail="an answer to another question")
        if told is None:
            return self._doubted(claim, judgement)
        number, hash = told
        heads = self._heads
        if call.tag == LATEST and number < call.need.block:
            return refused(f"its latest block is {number}, and clients know {call.need.block}")
        block = result if call.tag == LATEST else None
        if number > heads.served >= 0 and not self._tagged.may_show(told, standing, block):
            if method.name in _CANONICAL and self._preconfirmed.is_so(number, standing):
                claim = evm.Claim.UNMINED
            if claim is not evm.Claim.UNMINED:
                return refused(f"it is in block {number}, above the served head {heads.served}")
        if claim is evm.Claim.UNMINED:
            return self._check_unmined(call, judgement, standing, started)
        if not heads.hash_at(number) and started < heads.turned_at and number > heads.ancestor:
            return refused(f"a reorg replaced block {number} while it was asked for")
        if heads.denies(number, hash):
            detail = f"its block {number} is not on our chain"
            # By a block's hash a node also tells of blocks that it knows to be on no chain.
            is_assertion = method.block_param is not None or method.name in _CANONICAL
            return self._off_chain(standing, detail) if is_assertion else refused(detail)
        if method.name in evm.BLOCKS and hash:
            if self._has_other_time(result):
                return refused(f"its block {number} has another time than the others say")
            held = self.contents.check_block(call, judgement, standing, started, told)
            if held is not judgement:
                return held
        if number < 0 and method.name == evm.TRANSACTION_BY_HASH and self._is_mined(call):
            return Judgement(Verdict.FORGOTTEN, detail="pending, and it was in a block before")
        if claim is evm.Claim.FINE:
            self._learn(call, result, told)
        return self._doubted(claim, judgement)

    def _has_other_time(self, result: msgspec.Raw) -> bool:
        """Whether a block has another time than two or more upstreams told of it."""
        head, served = evm.head_of_block(result), self._heads.served_head
        return head is not None and (
            self._heads.lineage.is_other_time(head)
            or (
                served is not None
                and head.number <= served.number
                and head.timestamp > served.timestamp > 0
            )
        )

    def _doubted(self, claim: evm.Claim, judgement: Judgement) -> Judgement:
        """What does not name its block in full is given where two say so: some nodes never do."""
        if claim is not evm.Claim.VAGUE or not self._tells_hashes:
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
        if call.method.name == RECEIPT:
            detail = "a receipt in no block of our chain"
            none = Judgement(Verdict.NULL, NULL, detail=detail)
            return self._check_null(call, none, standing, started)
        if self._is_mined(call):
            return Judgement(Verdict.FORGOTTEN, detail="pending, and it was in a block before")
        pending = evm.as_pending(judgement.result or NULL)
        return Judgement(Verdict.DOUBTED, pending, detail="a transaction in no block of our chain")

    def _learn(self, call: SingleCall, result: msgspec.Raw, told: evm.ToldBlock) -> None:
        """What a client was told from now on."""
        method, (number, hash) = call.method, told
        if method.name in evm.BLOCKS:
            block = self.contents.learn_given(result, told)
            if block is not None and block.hashes:
                self.seen.see_list(number, block.hashes)
        elif method.block_param is not None or method.is_by_block_hash:
            self._see_list(number, result)
        else:
            self._see(call, number)
        if hash and number >= 0:  # whoever was told of a block may ask for it
            self.seen.see_block(hash, number)
        if method.name in _CANONICAL:
            found = _HASH.match(call.params)
            if found is not None:
                self.nonces.learn(found[1].lower(), number, result)
                if method.name == RECEIPT and number >= 0:
                    self.seen.see_receipt(found[1].lower(), number)

    def on_sent(self, hash: str) -> None:
        """A transaction was accepted: some upstream knows it from now on."""
        self.seen.see(hash.removeprefix("0x").lower().encode(), -1)

    def on_mined(self, entry: PoolEntry) -> None:
        """A transaction of ours is in a block: whoever does not know it has forgotten it."""
        self.seen.set_mined(entry.hash.removeprefix("0x").encode(), entry.block)
        if entry.sender:
            self.nonces.pass_(entry.sender, entry.nonce, entry.block)

    def forget(self, hash: str) -> None:
        """It is in no block after all."""
        self.seen.forget(hash.removeprefix("0x").encode())

    def _off_chain(self, standing: Standing, detail: str) -> Judgement:
        """It says itself that it is on another chain."""
        changes = self._standings.doubt_answer(standing.name, detail, self._now())
        if changes:
            self._executor.on_changes(changes)
        return refused(detail)

    def _check_logs(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement:
        """Each log names its block; none may be of another branch, or of a block not asked for."""
        result = judgement.result
        if result is None:
            return judgement
        blocks, is_vague = evm.blocks_of_logs(result)
        hash = evm.asked_block(call.method, call.params).hash
        span = None if hash else evm.log_range(call.params)
        search = Search(*(span or (0, -1)), hash, blocks)
        for block in blocks:
            if block.number > self._heads.served:
                if self._tagged.is_to_come(call, block.number):
                    continue
                if not self._tagged.may_show(block, standing):
                    return refused(f"a log is of block {block.number}, above the served head")
            is_vague = is_vague or (bool(hash) and block.hash != hash)
            if span is not None and not search.low <= block.number <= search.high:
                return Judgement(Verdict.BAD_RESULT, detail=f"a log of {block.number}, not asked")
            if not hash and self._heads.denies(block.number, block.hash):
                detail = f"its log of block {block.number} is not on our chain"
                return self._off_chain(standing, detail)
        if call.tag == PENDING:  # nobody knows what that block will hold
            return judgement
        if is_vague:
            return self._doubted(evm.Claim.VAGUE, judgement)
        if blocks:
            self._see_list(max(blocks).number, result)
        return self.contents.check_search(call, judgement, standing, started, search)

    def _see(self, call: SingleCall, number: int) -> None:
        found = _HASH.match(call.params)
        if found is not None:
            self.seen.see(found[1].lower(), number)

    def _see_list(self, number: int, result: msgspec.Raw) -> None:
        if number > self._heads.served - MOST_BLOCKS:  # old ones are what everybody has
            self.seen.see_list(number, result)

    def _is_mined(self, call: SingleCall) -> bool:
        """Whether the transaction that is asked for was seen in a block of our chain."""
        found = _HASH.match(call.params)
        known = None if found is None else self.seen.block_of(found[1].lower())
        return known is not None and known >= 0

    def _check_null(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement:
        method = call.method
        found = _HASH.match(call.params)
        if found is None:
            return judgement
        key = found[1].lower()
        if key == _NOTHING:
            return Judgement(Verdict.OK, NULL)
        if method.block_param is not None or method.is_by_block_hash:
            return self._check_null_of_block(call, key, judgement)
        if not method.names_block:
            return judgement
        entry = self._ledger.pool.get("0x" + key.decode())
        if entry is not None and entry.state.is_pending and method.name == evm.TRANSACTION_BY_HASH:
            # Pools forget, and others have not heard of it yet; the wallet was told it is sent.
            pending = self._ledger.object_of(entry)
            if pending:
                return Judgement(Verdict.OK, msgspec.Raw(pending))
        known = self.seen.block_of(key)
        if entry is not None and entry.block >= 0:
            known = entry.block
        if known is None and self.seen.has_block(key):
            return Judgement(Verdict.OK, NULL)  # a block's hash is no transaction's
        if known is None or (known < 0 and method.name == RECEIPT):
            return judgement
        if method.name == RECEIPT and entry is None and not self.seen.has_receipt(key):
            # Transactions of the system itself may be in a block and have no receipt (Polygon).
            hash = "0x" + key.decode()
            if self.contents.is_outvoted(call, hash, standing, started):
                return judgement
        # Pools forget; what was mined is gone in a reorg alone.
        verdict = Verdict.DROPPED if known < 0 else Verdict.FORGOTTEN
        return Judgement(verdict, detail="null for what was seen before")

    def _check_null_of_block(self, call: SingleCall, key: bytes, judgement: Judgement) -> Judgement:
        """Null for what is looked up by a block's hash."""
        if self.seen.has_block(key):
            if call.method.is_indexed:
                return judgement  # how much the block holds is not known
            return Judgement(Verdict.FORGOTTEN, detail="null for a block that was told")
        # Explorers look a hash up as both.
        return judgement if self.seen.block_of(key) is None else Judgement(Verdict.OK, NULL)

    def _check_filled(
        self, call: SingleCall, judgement: Judgement, standing: Standing
    ) -> Judgement:
        """Viem signs what is filled in, chain id and nonce included."""
        filled = evm.filled_by(judgement.result) if judgement.result is not None else None
        if filled is not None and 0 <= filled.chain_id != self._ledger.chain_id:
            return self._off_chain(standing, f"it fills in chain id {filled.chain_id}")
        return self.nonces.check_filled(call, judgement, standing)

    # ---- reorgs and reloads

    def on_turn(self, ancestor: int) -> None:
        """What was seen above ``ancestor`` may be gone."""
        self.seen.on_turn(ancestor)
        self.nonces.on_turn(ancestor)

    def adopt(self, old: Truth) -> None:
        """A reload forgets nothing."""
        self.seen = old.seen
        self.contents.adopt(old.contents)
        self.nonces.adopt(old.nonces)


def is_of_another(
    call: SingleCall,
    told: evm.ToldBlock | None,
    result: bytes | msgspec.Raw,
    *,
    tells_hashes: bool = True,
) -> bool:
    """Whether a result is plainly not of the block or the transaction that was asked for. Where
    this chain ``tells_hashes`` of no block, none is missed.
    """
    name = call.method.name
    if name == "eth_getBlockByNumber" and (call.need.block >= 0 or call.tag):
        # A tag names no number: which one it stands for the upstream says.
        return told is None or (not call.tag and told.number != call.need.block)
    if name != "eth_getBlockByHash" and name not in _CANONICAL:
        return False
    asked = _HASH.match(call.params)
    if asked is None:
        return False
    if name == "eth_getBlockByHash":
        if told is not None and told.number >= 0 and not (told.hash or tells_hashes):
            return False
        return told is None or told.hash != "0x" + asked[1].decode().lower()
    named = _OWN_HASH.search(result)
    return told is None or (named is not None and named[1].lower() != asked[1].lower())


def refused(detail: str) -> Judgement:
    """The answer is not one of our chain."""
    return Judgement(Verdict.OFF_CHAIN, detail=detail)
