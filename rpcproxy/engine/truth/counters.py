"""Counters of accounts as wallets were told them: a lower value is not given afterwards.

What is mined takes its sender past a value from that block on; what was told with all that waits
stands for a while, since a transaction that an upstream forgets may be gone.

State: by account the highest values told, and by hash what a pending transaction uses up; each
bounded by ``MOST_COUNTERS``, written here alone.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from rpcproxy.chains.parts.claims import CounterClaim, CounterReader, CounterUse
from rpcproxy.clock import Clock
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.standing.standings import Standing

MOST_COUNTERS: Final = 50_000
# A transaction that an upstream forgets may be gone; until then what was told with it stands.
PENDING_SECONDS: Final = 60.0


class _Told(msgspec.Struct, gc=False):
    value: int
    block: int
    doubted_by: str = ""


class AccountCounters:
    """See the module's docstring. One per chain. ``most``: how many of each are remembered."""

    def __init__(
        self, reader: CounterReader, ledger: Ledger, *, clock: Clock, most: int = MOST_COUNTERS
    ) -> None:
        self._title = reader.title
        self._text = reader.text
        self._used_by = reader.used_by
        self._ledger = ledger
        self._now = clock.monotonic
        self._most = most
        self._mined: OrderedDict[str, _Told] = OrderedDict()
        # By the hashes of transactions that were shown as pending.
        self._uses: OrderedDict[str, CounterUse] = OrderedDict()
        self._pending: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def learn(self, key: str, number: int, result: msgspec.Raw) -> None:
        """A transaction or a receipt was shown, of block ``number``: its sender's counter is past
        it from that block on. A receipt does not tell the value; the transaction did, where it was
        looked up. ``key``: of the transaction.
        """
        use = self._used_by(result) or self._uses.get(key)
        if use is None:
            entry = self._ledger.pool.get(key)
            if entry is None or not entry.lane:
                return
            use = CounterUse(entry.lane, entry.order)
        if number < 0:
            self._uses[key] = use
            if len(self._uses) > self._most:
                self._uses.popitem(last=False)
            return
        self._uses.pop(key, None)
        self.pass_(*use, number)

    def pass_(self, account: str, value: int, number: int) -> None:
        """From that block on the account's counter is past this value."""
        known = self._mined.get(account)
        if known is None or known.value <= value:
            self._tell(account, value + 1, number)

    def _tell(self, account: str, value: int, number: int) -> None:
        self._mined[account] = _Told(value, number)
        if len(self._mined) > self._most:
            self._mined.popitem(last=False)

    def check(
        self, claim: CounterClaim, block: int, judgement: Judgement, standing: Standing
    ) -> Judgement:
        """A counter, held against what was told of its account. ``block``: which the answer is of,
        where that is there already.
        """
        account, value = claim.account, claim.value
        if claim.is_to_come:
            return self._check_pending(account, value, judgement, standing)
        known = self._mined.get(account)
        if known is not None and block >= known.block and value < known.value:
            if known.doubted_by in ("", standing.name):
                known.doubted_by = standing.name
                detail = f"{self._title} {value} at block {block}, {known.value} before"
                return Judgement(Verdict.STALE, detail=detail)
            known = None  # two say so: the earlier word was wrong
        if known is None or (block >= known.block and value >= known.value):
            self._tell(account, value, block)
        return judgement

    def check_filled(
        self, claim: CounterClaim, judgement: Judgement, standing: Standing
    ) -> Judgement:
        """Viem signs what is filled in, nonce included (its prepareTransactionRequest); where
        nobody fills in well, it asks for each by itself.
        """
        account, value = claim.account, claim.value
        if not account or self._check_pending(account, value, judgement, standing) is judgement:
            return judgement
        return Judgement(Verdict.STALE, detail=f"it fills in {self._title} {value}, told before")

    def _check_pending(
        self, account: str, value: int, judgement: Judgement, standing: Standing
    ) -> Judgement:
        """Below what is mined it is late. What another upstream's pool holds counts on, and what
        was sent through here.
        """
        mined = self._mined.get(account)
        if mined is not None and value < mined.value:
            return Judgement(Verdict.STALE, detail=f"{standing.name} is behind what was told")
        ours = self._ledger.pool.next_order(account, value)
        if ours > value:
            value, judgement = ours, Judgement(Verdict.OK, msgspec.Raw(self._text(ours)))
        now = self._now()
        before, until = self._pending.get(account, (-1, 0.0))
        if value < before and now < until:
            return Judgement(Verdict.OK, msgspec.Raw(self._text(before)))
        self._pending[account] = value, now + PENDING_SECONDS
        if len(self._pending) > self._most:
            self._pending.popitem(last=False)
        return judgement

    def on_turn(self, ancestor: int) -> None:
        """What was told above ``ancestor`` may be gone."""
        self._mined = OrderedDict(
            (key, known) for key, known in self._mined.items() if known.block <= ancestor
        )
        self._pending.clear()

    def adopt(self, old: AccountCounters) -> None:
        """A reload forgets nothing."""
        self._mined, self._uses, self._pending = old._mined, old._uses, old._pending
