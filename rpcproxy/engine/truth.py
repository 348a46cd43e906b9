"""What was told stays true: answers are held against our chain, and against earlier answers.

An answer is not given, but asked of another upstream, where
- the block that it is in is not on our chain, or above the served head (unless enough upstreams
  have that block already: then the served head moves there first);
- it is null for what was seen before, or pending for what was in a block, and no reorg took that;
- it is a nonce below what the address had at that height or below it, or it fills in such a
  nonce, or another chain's id, for a wallet;
- it came from an upstream that has left our chain, or from before a reorg.

State: hashes seen, with their blocks; the highest nonces told. Bounded; written here alone.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.engine.calls import SingleCall
from rpcproxy.engine.executor import Executor
from rpcproxy.engine.ledger import Ledger
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.journaled import Entry
from rpcproxy.rules.refusals import WELL
from rpcproxy.rules.standing import Standing

MOST_SEEN: Final = 100_000
MOST_NONCES: Final = 50_000
# A transaction that an upstream forgets may be gone; until then the pending nonce stands.
PENDING_NONCE_SECONDS: Final = 60.0
NONCE: Final = "eth_getTransactionCount"
FILL: Final = "eth_fillTransaction"
RECEIPT: Final = "eth_getTransactionReceipt"
TRANSACTION: Final = "eth_getTransactionByHash"

# By the hash of a transaction nodes tell of the chain that they follow.
_CANONICAL: Final = frozenset((RECEIPT, TRANSACTION))

# How an upstream may answer to a block's hash where it takes numbers only.
_MISUNDERSTOOD: Final = frozenset(
    {Verdict.INVALID_PARAMS, Verdict.UNSUPPORTED, Verdict.SERVER_ERROR, Verdict.UNKNOWN}
)

_HASH: Final = re.compile(rb'\[\s*"0[xX]([0-9a-fA-F]{64})"')
_OWN_HASH: Final = re.compile(rb'"(?:transactionHash|hash)"\s*:\s*"0[xX]([0-9a-fA-F]{64})"')
_ADDRESS: Final = re.compile(rb'\[\s*"0[xX]([0-9a-fA-F]{40})"')
_GIVEN_NONCE: Final = re.compile(rb'"nonce"\s*:\s*"')


class _Nonce(msgspec.Struct, gc=False):
    nonce: int
    block: int
    doubted_by: str = ""


class Truth:
    """See the module's docstring. One per chain."""

    def __init__(self, executor: Executor, ledger: Ledger) -> None:
        self._executor = executor
        self._ledger = ledger
        self._standings = executor.standings
        self._heads = executor.standings.heads
        # By hash: the block it was seen in, −1 while it was pending.
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._nonces: OrderedDict[bytes, _Nonce] = OrderedDict()
        # Of transactions shown as pending: sender and nonce, by hash.
        self._senders: OrderedDict[bytes, tuple[str, int]] = OrderedDict()
        self._pending: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def passed(
        self, call: SingleCall, result: msgspec.Raw, standing: Standing, started: float
    ) -> msgspec.Raw | None:
        """``check`` for a plain success: what is to be given, ``None`` where it is refused."""
        heads, block = self._heads, call.need.block
        if (
            call.method.is_bare
            and block <= heads.served
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
        if verdict is Verdict.NULL:
            return self._check_null(call, judgement)
        if verdict is Verdict.MISSING_DATA and 0 <= call.need.block <= standing.low_water:
            self._executor.on_doubt(standing.name)
        if verdict is not Verdict.OK:
            if call.heights is not None and standing.takes_hashes and verdict in _MISUNDERSTOOD:
                return self._ask_by_number(call, standing)
            return judgement
        heads = self._heads
        need = call.need
        if standing.is_forked:
            return refused("its upstream left our chain")
        if need.block > heads.served >= 0:
            return refused(f"block {need.block} is above the served head {heads.served}")
        if started < heads.turned_at and need.block > heads.ancestor:
            return refused("a reorg replaced the block it was asked at")
        method = call.method
        if method.names_block:
            return self._check_block(call, judgement, standing, started)
        if need.block > heads.finality.floor and evm.has_range(method):
            return self._check_logs(judgement, standing)
        if method.name == NONCE:
            return self._check_nonce(call, judgement, standing)
        if method.name == FILL:
            return self._check_filled(call, judgement, standing)
        return judgement

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
        ours = self._heads.hash_at(number)
        if number > self._heads.served or (ours and hash and ours != hash):
            return False
        self._see(call, number)
        return True

    # ---- blocks

    def _check_block(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement:
        result = judgement.result
        told = evm.told_by(call.method, result) if result is not None else None
        if result is not None and is_of_another(call, told, result):
            return Judgement(Verdict.BAD_RESULT, detail="an answer to another question")
        if told is None:
            return judgement
        number, hash = told
        heads = self._heads
        if number > heads.served >= 0 and not self._raise_to(number, hash):
            return refused(f"it is in block {number}, above the served head {heads.served}")
        ours = heads.hash_at(number)
        if not ours and started < heads.turned_at and number > heads.ancestor:
            return refused(f"a reorg replaced block {number} while it was asked for")
        if ours and hash and hash != ours:
            detail = f"its block {number} is not on our chain"
            # By a block's hash a node also tells of blocks that it knows to be on no chain.
            is_assertion = call.method.block_param is not None or call.method.name in _CANONICAL
            return self._off_chain(standing, detail) if is_assertion else refused(detail)
        if call.method.names_block and result is not None and hash:
            head = evm.head_of_block(result)
            served = heads.served_head
            if head is not None and (
                heads.lineage.is_other_time(head)
                or (served is not None and head.timestamp > served.timestamp > 0)
            ):
                return refused(f"its block {number} has another time than the others say")
        if number < 0 and call.method.name == TRANSACTION and self._is_mined(call):
            return Judgement(Verdict.FORGOTTEN, detail="pending, and it was in a block before")
        self._see(call, number)
        if hash and number >= 0:  # whoever was told of a block may ask for it
            self._remember(hash.removeprefix("0x").encode(), number)
        if result is not None and call.method.name in _CANONICAL:
            self._learn_nonce(call, number, result)
        return judgement

    def _learn_nonce(self, call: SingleCall, number: int, result: msgspec.Raw) -> None:
        """A transaction that was shown as mined: its sender's nonce is past it from that block
        on. A receipt does not tell the nonce; the transaction did, where it was looked up.
        """
        found = _HASH.match(call.params)
        if found is None:
            return
        key = found[1].lower()
        sent = evm.sender_of(result) or self._senders.get(key)
        if sent is None:
            entry = self._ledger.pool.get("0x" + key.decode())
            if entry is None or not entry.sender:
                return
            sent = entry.sender, entry.nonce
        if number < 0:
            self._senders[key] = sent
            if len(self._senders) > MOST_NONCES:
                self._senders.popitem(last=False)
            return
        self._senders.pop(key, None)
        self._pass_nonce(*sent, number)

    def _pass_nonce(self, sender: str, nonce: int, number: int) -> None:
        """From that block on the sender's nonce is past this one."""
        address = sender.removeprefix("0x").encode()
        known = self._nonces.get(address)
        if known is None or known.nonce <= nonce:
            self._nonces[address] = _Nonce(nonce + 1, number)
            if len(self._nonces) > MOST_NONCES:
                self._nonces.popitem(last=False)

    def on_sent(self, hash: str) -> None:
        """A transaction was accepted: some upstream knows it from now on."""
        key = hash.removeprefix("0x").lower().encode()
        self._remember(key, self._seen.get(key, -1))

    def on_mined(self, entry: Entry) -> None:
        """A transaction of ours is in a block: whoever does not know it has forgotten it."""
        self._remember(entry.hash.removeprefix("0x").encode(), entry.block)
        if entry.sender:
            self._pass_nonce(entry.sender, entry.nonce, entry.block)

    def forget(self, hash: str) -> None:
        """It is in no block after all."""
        self._seen.pop(hash.removeprefix("0x").encode(), None)

    def _off_chain(self, standing: Standing, detail: str) -> Judgement:
        """It says itself that it is on another chain."""
        changes = self._standings.doubt_answer(standing.name, detail, time.monotonic())
        if changes:
            self._executor.on_changes(changes)
        return refused(detail)

    def _check_logs(self, judgement: Judgement, standing: Standing) -> Judgement:
        """Each log names its block; none may be of another branch."""
        if judgement.result is None:
            return judgement
        for number, hash in evm.blocks_of_logs(judgement.result):
            if number > self._heads.served:
                return refused(f"a log is of block {number}, above the served head")
            ours = self._heads.hash_at(number)
            if ours and ours != hash:
                return self._off_chain(standing, f"its log of block {number} is not on our chain")
        return judgement

    def _raise_to(self, number: int, hash: str) -> bool:
        """Whether the served head could move up to a block that an answer names."""
        changes = self._standings.raise_served(number, hash, time.monotonic())
        if changes:
            self._executor.on_changes(changes)
        return number <= self._heads.served

    def _see(self, call: SingleCall, number: int) -> None:
        found = _HASH.match(call.params)
        if found is None:
            return
        key = found[1].lower()
        known = self._seen.get(key)
        if known is None or number > known:
            self._remember(key, number)

    def _is_mined(self, call: SingleCall) -> bool:
        """Whether the transaction that is asked for was seen in a block of our chain."""
        found = _HASH.match(call.params)
        return found is not None and self._seen.get(found[1].lower(), -1) >= 0

    def _remember(self, key: bytes, number: int) -> None:
        self._seen[key] = number
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    def _check_null(self, call: SingleCall, judgement: Judgement) -> Judgement:
        if not call.method.names_block or not (self._seen or len(self._ledger.pool)):
            return judgement
        found = _HASH.match(call.params)
        if found is None:
            return judgement
        key = found[1].lower()
        entry = self._ledger.pool.get("0x" + key.decode())
        if entry is not None and entry.state.is_pending and call.method.name == TRANSACTION:
            # Pools forget, and others have not heard of it yet; the wallet was told it is sent.
            pending = self._ledger.object_of(entry)
            if pending:
                return Judgement(Verdict.OK, msgspec.Raw(pending))
        known = self._seen.get(key)
        if entry is not None and entry.block >= 0:
            known = entry.block
        if known is None or (known < 0 and call.method.name == RECEIPT):
            return judgement
        # Pools forget; what was mined is gone in a reorg alone.
        verdict = Verdict.DROPPED if known < 0 else Verdict.FORGOTTEN
        return Judgement(verdict, detail="null for what was seen before")

    # ---- nonces

    def _check_nonce(self, call: SingleCall, judgement: Judgement, standing: Standing) -> Judgement:
        result = judgement.result
        nonce = evm.nonce_of(result) if result is not None else None
        found = _ADDRESS.match(call.params)
        if nonce is None or found is None:
            return judgement
        address = found[1].lower()
        if b'"pending"' in bytes(call.params):
            return self._check_pending(address, nonce, judgement, standing)
        block = call.need.block
        known = self._nonces.get(address)
        if known is not None and block >= known.block and nonce < known.nonce:
            if known.doubted_by in ("", standing.name):
                known.doubted_by = standing.name
                return Judgement(
                    Verdict.STALE, detail=f"nonce {nonce} at block {block}, {known.nonce} before"
                )
            known = None  # two say so: the earlier word was wrong
        if known is None or (block >= known.block and nonce >= known.nonce):
            self._nonces[address] = _Nonce(nonce, block)
            if len(self._nonces) > MOST_NONCES:
                self._nonces.popitem(last=False)
        return judgement

    def _check_filled(
        self, call: SingleCall, judgement: Judgement, standing: Standing
    ) -> Judgement:
        """Viem signs what is filled in, chain id and nonce included (its
        prepareTransactionRequest); where nobody fills in well, it asks for each by itself.
        """
        result = judgement.result
        filled = evm.filled_by(result) if result is not None else None
        if filled is None:
            return judgement
        if filled.chain_id >= 0 and filled.chain_id != self._ledger.chain_id:
            return self._off_chain(standing, f"it fills in chain id {filled.chain_id}")
        if filled.nonce < 0 or not filled.sender or _GIVEN_NONCE.search(call.params):
            return judgement
        address = filled.sender.removeprefix("0x").encode()
        if self._check_pending(address, filled.nonce, judgement, standing) is judgement:
            return judgement
        return Judgement(Verdict.STALE, detail=f"it fills in nonce {filled.nonce}, told before")

    def _check_pending(
        self, address: bytes, nonce: int, judgement: Judgement, standing: Standing
    ) -> Judgement:
        """Below what is mined it is late. What another upstream's pool holds counts on, and what
        was sent through here.
        """
        mined = self._nonces.get(address)
        if mined is not None and nonce < mined.nonce:
            return Judgement(Verdict.STALE, detail=f"{standing.name} is behind what was told")
        ours = self._ledger.pool.pending_nonce("0x" + address.decode(), nonce)
        if ours > nonce:
            nonce, judgement = ours, Judgement(Verdict.OK, msgspec.Raw(b'"0x%x"' % ours))
        now = time.monotonic()
        before, until = self._pending.get(address, (-1, 0.0))
        if nonce < before and now < until:
            return Judgement(Verdict.OK, msgspec.Raw(b'"0x%x"' % before))
        self._pending[address] = nonce, now + PENDING_NONCE_SECONDS
        if len(self._pending) > MOST_NONCES:
            self._pending.popitem(last=False)
        return judgement

    # ---- reorgs and reloads

    def on_turn(self, ancestor: int) -> None:
        """What was seen above ``ancestor`` may be gone."""
        self._seen = OrderedDict(
            (key, block) for key, block in self._seen.items() if block <= ancestor
        )
        self._nonces = OrderedDict(
            (key, known) for key, known in self._nonces.items() if known.block <= ancestor
        )
        self._pending.clear()

    def adopt(self, old: Truth) -> None:
        """A reload forgets nothing."""
        self._seen, self._nonces = old._seen, old._nonces
        self._senders, self._pending = old._senders, old._pending


def is_of_another(call: SingleCall, told: evm.Told | None, result: bytes | msgspec.Raw) -> bool:
    """Whether a result is plainly not of the block or the transaction that was asked for."""
    name = call.method.name
    if name == "eth_getBlockByNumber" and call.need.block >= 0:
        return told is None or told.number != call.need.block
    if name != "eth_getBlockByHash" and name not in _CANONICAL:
        return False
    asked = _HASH.match(call.params)
    if asked is None:
        return False
    if name == "eth_getBlockByHash":
        return told is None or told.hash != "0x" + asked[1].decode().lower()
    named = _OWN_HASH.search(result)
    return told is None or (named is not None and named[1].lower() != asked[1].lower())


def refused(detail: str) -> Judgement:
    """The answer is not one of our chain."""
    return Judgement(Verdict.OFF_CHAIN, detail=detail)
