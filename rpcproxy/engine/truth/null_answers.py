"""Null, held against what was seen: what a client was shown does not become nothing.

Pools forget, and upstreams are behind; what was in a block is gone in a reorg alone. No state of
its own.
"""

from __future__ import annotations

import msgspec

from rpcproxy.chains.method import Subject
from rpcproxy.chains.parts.claims import Claims
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.engine.truth.block_contents import BlockContents
from rpcproxy.engine.truth.seen import SeenHashes
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.answers.replies import NULL
from rpcproxy.rules.standing.standings import Standing


class NullAnswers:
    """See the module's docstring. One per chain."""

    def __init__(
        self, ledger: Ledger, claims: Claims, seen: SeenHashes, contents: BlockContents
    ) -> None:
        self._ledger, self._shown = ledger, ledger.shown
        self._asked_key = claims.asked_key
        self._nothing = claims.nothing
        self._seen = seen
        self._contents = contents

    def adopt(self, seen: SeenHashes) -> None:
        """A reload: ``seen`` is what is known from now on."""
        self._seen = seen

    def is_mined(self, call: SingleCall) -> bool:
        """Whether the transaction that is asked for was seen in a block of our chain."""
        key = self._asked_key(call.params)
        known = self._seen.block_of(key) if key else None
        return known is not None and known >= 0

    def check(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement:
        """The judgement of a null, or another where that cannot be given."""
        method, key = call.method, self._asked_key(call.params)
        if not key:
            return judgement
        if key == self._nothing:
            return Judgement(Verdict.OK, NULL)
        if method.block_param is not None or method.is_by_block_hash:
            return self._check_block(call, key, judgement)
        if not method.names_block:
            return judgement
        entry, is_receipt = self._ledger.pool.get(key), method.subject is Subject.RECEIPT
        if entry and entry.state.is_pending and method.subject is Subject.TRANSACTION:
            # Pools forget, and others have not heard of it yet; the wallet was told it is sent.
            pending = self._shown.object_of(entry)
            if pending:
                return Judgement(Verdict.OK, msgspec.Raw(pending))
        known = self._seen.block_of(key)
        if entry is not None and entry.block >= 0:
            known = entry.block
        if known is None and self._seen.has_block(key):
            return Judgement(Verdict.OK, NULL)  # a block's hash is no transaction's
        if known is None or (known < 0 and is_receipt):
            return judgement
        # Transactions of the system itself may be in a block and have no receipt (Polygon).
        may_have_none = is_receipt and entry is None and not self._seen.has_receipt(key)
        if may_have_none and self._contents.is_outvoted(call, key, standing, started):
            return judgement
        verdict = Verdict.DROPPED if known < 0 else Verdict.FORGOTTEN
        return Judgement(verdict, detail="null for what was seen before")

    def _check_block(self, call: SingleCall, key: str, judgement: Judgement) -> Judgement:
        """Null for what is looked up by a block's hash."""
        if self._seen.has_block(key):
            if call.method.is_indexed:
                return judgement  # how much the block holds is not known
            return Judgement(Verdict.FORGOTTEN, detail="null for a block that was told")
        # Explorers look a hash up as both.
        return judgement if self._seen.block_of(key) is None else Judgement(Verdict.OK, NULL)
