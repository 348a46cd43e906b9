"""Nonces as wallets were told them: an older one is not given afterwards.

What is mined takes its sender past a nonce from that block on; what was told of the pending nonce
stands for a while, since a transaction that an upstream forgets may be gone.

State: by address the highest nonces told, and by hash whose a pending transaction is; each bounded
by ``MOST_NONCES``, written here alone.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.clock import Clock
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.standing.standings import Standing

MOST_NONCES: Final = 50_000
# A transaction that an upstream forgets may be gone; until then the pending nonce stands.
PENDING_NONCE_SECONDS: Final = 60.0
NONCE: Final = "eth_getTransactionCount"
FILL: Final = "eth_fillTransaction"

_ADDRESS: Final = re.compile(rb'\[\s*"0[xX]([0-9a-fA-F]{40})"')
_GIVEN_NONCE: Final = re.compile(rb'"nonce"\s*:\s*"')


class _Nonce(msgspec.Struct, gc=False):
    nonce: int
    block: int
    doubted_by: str = ""


class Nonces:
    """See the module's docstring. One per chain. ``most``: how many of each are remembered."""

    def __init__(self, ledger: Ledger, *, clock: Clock, most: int = MOST_NONCES) -> None:
        self._ledger = ledger
        self._now = clock.monotonic
        self._most = most
        self._mined: OrderedDict[bytes, _Nonce] = OrderedDict()
        # Of transactions shown as pending: sender and nonce, by hash.
        self._senders: OrderedDict[bytes, tuple[str, int]] = OrderedDict()
        self._pending: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def learn(self, key: bytes, number: int, result: msgspec.Raw) -> None:
        """A transaction or a receipt was shown, of block ``number``: its sender's nonce is past it
        from that block on. A receipt does not tell the nonce; the transaction did, where it was
        looked up. ``key``: the digits of its hash.
        """
        sent = evm.sender_of(result) or self._senders.get(key)
        if sent is None:
            entry = self._ledger.pool.get("0x" + key.decode())
            if entry is None or not entry.sender:
                return
            sent = entry.sender, entry.nonce
        if number < 0:
            self._senders[key] = sent
            if len(self._senders) > self._most:
                self._senders.popitem(last=False)
            return
        self._senders.pop(key, None)
        self.pass_(*sent, number)

    def pass_(self, sender: str, nonce: int, number: int) -> None:
        """From that block on the sender's nonce is past this one."""
        address = sender.removeprefix("0x").encode()
        known = self._mined.get(address)
        if known is None or known.nonce <= nonce:
            self._tell(address, nonce + 1, number)

    def _tell(self, address: bytes, nonce: int, number: int) -> None:
        self._mined[address] = _Nonce(nonce, number)
        if len(self._mined) > self._most:
            self._mined.popitem(last=False)

    def check(self, call: SingleCall, judgement: Judgement, standing: Standing) -> Judgement:
        """A nonce, held against what was told of its address."""
        result = judgement.result
        nonce = evm.nonce_of(result) if result is not None else None
        found = _ADDRESS.match(call.params)
        if nonce is None or found is None:
            return judgement
        address = found[1].lower()
        if b'"pending"' in bytes(call.params):
            return self._check_pending(address, nonce, judgement, standing)
        block = call.need.block
        known = self._mined.get(address)
        if known is not None and block >= known.block and nonce < known.nonce:
            if known.doubted_by in ("", standing.name):
                known.doubted_by = standing.name
                return Judgement(
                    Verdict.STALE, detail=f"nonce {nonce} at block {block}, {known.nonce} before"
                )
            known = None  # two say so: the earlier word was wrong
        if known is None or (block >= known.block and nonce >= known.nonce):
            self._tell(address, nonce, block)
        return judgement

    def check_filled(self, call: SingleCall, judgement: Judgement, standing: Standing) -> Judgement:
        """Viem signs what is filled in, nonce included (its prepareTransactionRequest); where
        nobody fills in well, it asks for each by itself.
        """
        result = judgement.result
        filled = evm.filled_by(result) if result is not None else None
        if filled is None or filled.nonce < 0 or not filled.sender:
            return judgement
        if _GIVEN_NONCE.search(call.params):
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
        mined = self._mined.get(address)
        if mined is not None and nonce < mined.nonce:
            return Judgement(Verdict.STALE, detail=f"{standing.name} is behind what was told")
        ours = self._ledger.pool.pending_nonce("0x" + address.decode(), nonce)
        if ours > nonce:
            nonce, judgement = ours, Judgement(Verdict.OK, msgspec.Raw(b'"0x%x"' % ours))
        now = self._now()
        before, until = self._pending.get(address, (-1, 0.0))
        if nonce < before and now < until:
            return Judgement(Verdict.OK, msgspec.Raw(b'"0x%x"' % before))
        self._pending[address] = nonce, now + PENDING_NONCE_SECONDS
        if len(self._pending) > self._most:
            self._pending.popitem(last=False)
        return judgement

    def on_turn(self, ancestor: int) -> None:
        """What was told above ``ancestor`` may be gone."""
        self._mined = OrderedDict(
            (key, known) for key, known in self._mined.items() if known.block <= ancestor
        )
        self._pending.clear()

    def adopt(self, old: Nonces) -> None:
        """A reload forgets nothing."""
        self._mined, self._senders, self._pending = old._mined, old._senders, old._pending
