"""Reads that name a private transaction: the ledger answers, and nobody else hears of it.

While it waits for its block, the ledger knows all that there is to know: nodes show it as pending,
have no receipt, and trace nothing. Builders and relays answer no reads (MetaMask 30419 and 30410:
HTTP 400 and 403 for a receipt). Once its block was seen here, anybody may be asked. What names it
and is no look-up (a call, a simulation) goes to private upstreams that take reads, or to nobody.

An answer waits, for a moment, until the block that was told last was looked through: a library
that asks for a receipt at each new block would learn a whole block later of it.

No state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rpcproxy.clock import Clock
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.answers.sharing import answer_of
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.request_log import OpenRequest, RequestLog
from rpcproxy.engine.reads.profiles import Profile
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.messages import (
    INTERNAL_ERROR,
    Answer,
    Caller,
    Handled,
    Request,
    encode_error,
    encode_raw_error,
    encode_result,
)
from rpcproxy.reasons import Reason
from rpcproxy.rules.heads.heads import Heads
from rpcproxy.states import RequestOutcome

# For a block to be looked through: one round trip, or a second one.
LOOK_SECONDS: Final = 1.5
# Of the time that a read has, so much is spent on a journal that is being opened.
OPENING_SHARE: Final = 0.75
UNSURE: Final = (
    "whether it names a private transaction is not known yet, as the journal of transactions is"
    " still being opened: it was sent to nobody"
)
NOBODY: Final = (
    "it names a private transaction that waits for its block, and no private upstream takes reads:"
    " it was sent to nobody"
)


class PrivateReads:
    """See the module's docstring. One per chain."""

    def __init__(  # noqa: PLR0913 -- what it may need; nothing of it is made here
        self,
        ledger: Ledger,
        heads: Heads,
        counters: ChainCounters,
        log: RequestLog,
        read: Callable[[Request, Profile, Caller], Handled],
        *,
        has_readers: bool,
        clock: Clock,
    ) -> None:
        """``read`` reads as if it named nothing private. ``has_readers``: whether a private
        upstream takes reads.
        """
        self._ledger, self._shown = ledger, ledger.shown
        self._now = clock.monotonic
        self._heads = heads
        self._counters = counters
        self._log = log
        self._read = read
        self._has_readers = has_readers

    def read(
        self, request: Request, profile: Profile, call: SingleCall, caller: Caller
    ) -> Handled | None:
        """``None`` where private upstreams are to be asked."""
        if self._ledger.privacy.is_unsure:
            return self._after_opening(request, profile, caller)
        if not self._shown.looked_up(profile.method, request.params):
            if self._has_readers:
                return None
            self._counters.on_request(call.need.method_class, 0.0, RequestOutcome.OWN_ERROR)
            reason = f"{profile.method.name}: {NOBODY}"
            asked = OpenRequest(request, caller.trace_id, self._now(), is_private=True)
            self._log.refused(asked, reason)
            return Answer(encode_error(request.id, INTERNAL_ERROR, reason))
        if self._ledger.has_looked_to(self._heads.served):
            return self._answer(request, profile)
        return self._after_the_look(request, profile, caller)

    async def _after_opening(self, request: Request, profile: Profile, caller: Caller) -> Answer:
        """What a process before this one left is about to be known."""
        started = self._now()
        await self._ledger.wait_for_journal(OPENING_SHARE * profile.policy.deadline_seconds)
        if not self._ledger.privacy.is_unsure:
            return await answer_of(self._read(request, profile, caller))
        seconds = self._now() - started
        self._counters.on_request(profile.method_class, seconds, RequestOutcome.OWN_ERROR)
        reason = Reason(f"{profile.method.name}: {UNSURE}")
        asked = OpenRequest(request, caller.trace_id, started, is_private=True)
        self._log.unserved(asked, reason)
        return Answer(encode_error(request.id, INTERNAL_ERROR, reason.public))

    async def _after_the_look(self, request: Request, profile: Profile, caller: Caller) -> Answer:
        await self._ledger.look_to(self._heads.served, LOOK_SECONDS)
        if self._ledger.names_private(request.params):
            return self._answer(request, profile)
        return await answer_of(self._read(request, profile, caller))

    def _answer(self, request: Request, profile: Profile) -> Answer:
        self._counters.on_local()
        said = self._shown.said(profile.method, request.params)
        if said.error:
            return Answer(encode_raw_error(request.id, said.error))
        return Answer(encode_result(request.id, said.result))
