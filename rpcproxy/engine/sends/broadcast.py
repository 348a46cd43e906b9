"""Sends: a transaction is read, written down, and sent in several copies; the first yes answers.

The hash is computed here, so that "already known" is a yes and five resubmits give one hash. Two
kinds of sends differ: a type that only its chain can hash goes out first, and is written down once
an upstream told its hash; every other send (conditional, private, bundles) goes to one upstream at
a time, another one after a failure or where no answer came in time, and is never written down.

A send goes on when the client hangs up: its transaction may be out already.

State: sends in flight by transaction hash (a second client with the same one joins), and the one
thread that reads large transactions, so that nobody waits for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import msgspec

from rpcproxy.chains.method import Method, SendForm
from rpcproxy.chains.parts.transactions import BadTransaction, DecodedTransaction, Sends, SyncSends
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain
from rpcproxy.edges.metrics.send_counters import SendCounters
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.engine.attempts.request_log import OpenRequest, RequestLog
from rpcproxy.engine.sends.copies import Copies
from rpcproxy.engine.sends.denials import NOT_SENT, Denial, Unwritten
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.engine.sends.other_hashes import OtherHashes
from rpcproxy.engine.sends.send_orders import SendOrder, SendOutcome
from rpcproxy.engine.sends.whereabouts import Remembering, Whereabouts
from rpcproxy.messages import (
    INTERNAL_ERROR,
    Blame,
    Judgement,
    MethodClass,
    Request,
    Verdict,
    encode_error,
    encode_raw_error,
    encode_result,
)
from rpcproxy.reasons import Reason
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.sends.journaled import TransactionState
from rpcproxy.states import RequestOutcome

# Of the text: what reads a shorter one takes half a millisecond at most.
READ_AT_ONCE: Final = 8 * 1024
COPIES: Final = 3  # asked at once, on distinct fault domains
# The sends that are ours to copy, to write down and to send again.
OURS: Final = (SendForm.OURS, SendForm.SYNC)
RECEIPT_SECONDS: Final = 0.25
UNWRITTEN: Final = (
    "it was not sent, and may be sent later: that it is not to be was not written down"
)
CLOSED: Final = "it may or may not have been sent: the proxy was closed meanwhile"


class SendEnd(NamedTuple):
    """What a wallet gets; ``outcome`` is for the counters, ``None`` where nobody could take it."""

    body: bytes
    outcome: RequestOutcome | None


class Broadcast:
    """See the module's docstring. One per chain."""

    def __init__(  # noqa: PLR0913 - all that a send goes through
        self,
        chain: Chain,
        sends: Sends,
        ledger: Ledger,
        copies: Copies,
        counters: SendCounters,
        log: RequestLog,
        *,
        clock: Clock,
        accepts_while_down: bool = False,
    ) -> None:
        self._now = clock.monotonic
        self._sends = sends
        self._counters = counters
        self._log = log
        self.ledger = ledger
        self.copies = copies
        self._identity = chain.identity
        self.hashes = OtherHashes(copies, sends, chain.identity)
        self._has_private = any(upstream.private for upstream in chain.upstreams)
        self._accepts_while_down = accepts_while_down
        self.on_accepted: Callable[[str], None] = lambda _hash: None
        self._in_flight: dict[tuple[str, str], asyncio.Task[SendOutcome]] = {}
        self.successor: Broadcast | None = None  # after a reload
        self._reader = ThreadPoolExecutor(1, f"rpcproxy-read-{chain.name}")

    @property
    def is_sending(self) -> bool:
        """Whether a send is under way."""
        return bool(self._in_flight)

    def adopt(self, old: Broadcast) -> None:
        """A reload: what sends were answered with is known."""
        self.hashes.adopt(old.hashes)

    def close(self) -> None:
        """The upstreams' connections are about to close: wait for no more answers."""
        for task in self._in_flight.values():
            task.cancel()
        self.copies.close()
        self._reader.shutdown(wait=False, cancel_futures=True)

    def attend(
        self, truth: Remembering, executor: Executor, policies: Mapping[MethodClass, Policy]
    ) -> None:
        """``truth`` is told what was accepted; a private transaction is looked for without its
        hash.
        """
        self.on_accepted = truth.on_sent
        whereabouts = Whereabouts(executor, policies, truth, self._sends.look_ups)
        self.copies.is_mined_quietly = functools.partial(self._is_mined_quietly, truth, whereabouts)

    async def _is_mined_quietly(
        self, truth: Remembering, whereabouts: Whereabouts, hash: str
    ) -> bool:
        """Whether a private transaction is in a block; nobody hears its hash."""
        entry = self.ledger.pool.get(hash)
        seen = None if entry is None else await whereabouts.find(entry)
        if entry is None or seen is None or not seen.is_it:
            return False
        for mined in self.ledger.on_block(seen.block, seen.block_hash, [hash]):
            truth.on_mined(mined)
        return True

    async def send(self, request: Request, method: Method, trace_id: str) -> SendEnd:
        """Carry out a send."""
        started = self._now()
        params = request.params
        is_public = method.send_form in OURS and not self._has_private
        try:
            tx = await self._read(params, is_public=is_public)
        except BadTransaction as bad:
            self._counters.on_rejected("unreadable")
            self._log.refused(OpenRequest(request, trace_id, started), bad.told)
            return SendEnd(encode_error(request.id, bad.code, bad.told), RequestOutcome.OWN_ERROR)
        hash = "" if tx is None else tx.hash
        asked = OpenRequest(request, trace_id, started, hash)
        key = (method.name, hash or params.decode(errors="replace"))
        task = self._in_flight.get(key)
        if task is None:
            work = self._send(method, params, tx)
            task = self._in_flight[key] = tasks.start(work, f"send {hash or method.name}")
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        outcome = await self._outcome_of(task)
        if outcome.result:
            self._counters.on_accepted()
            if hash:
                self.on_accepted(hash)
            # One that waits for its receipt takes as long as its block.
            if method.send_form is not SendForm.SYNC and self._is_slow(started):
                self._log.slow(asked, outcome.tried)
            return SendEnd(encode_result(request.id, outcome.result), RequestOutcome.OK)
        return self._refused(asked, outcome)

    def _is_slow(self, started: float) -> bool:
        return self._now() - started > self._log.slow_seconds[MethodClass.SEND]

    def _refused(self, asked: OpenRequest, outcome: SendOutcome) -> SendEnd:
        """The wallet is told no, or that nobody could take it."""
        verdict, id = outcome.verdict, asked.request.id
        self._counters.on_rejected("unserved" if verdict is None else verdict.label)
        if not outcome.error:
            reason = outcome.reason or Reason(CLOSED)
            self._log.unserved(asked, reason, outcome.tried)
            return SendEnd(encode_error(id, INTERNAL_ERROR, reason.public), None)
        if verdict is None or verdict.blame not in (Blame.CLIENT, Blame.NOBODY):
            label = "unknown" if verdict is None else verdict.label
            why = Reason(f"an upstream's own error was passed on ({label})")
            self._log.failed(asked, why, outcome.tried)
        elif self._is_slow(asked.started):
            self._log.slow(asked, outcome.tried, f"refused ({verdict.label})")
        return SendEnd(encode_raw_error(id, outcome.error), RequestOutcome.RPC_ERROR)

    async def copied(self, order: SendOrder) -> SendOutcome:
        """How its copies ended, and which they were. Where nobody could take it before a reload, it
        is sent to those that are there now.
        """
        outcome = await self.copies.send(order)
        outcome.tried = order.notes.tried
        if self.successor is not None and not (outcome.result or outcome.error):
            return await self.successor.copied(order)
        return outcome

    async def _read(self, params: bytes, *, is_public: bool) -> DecodedTransaction | None:
        """The transaction in it, ``None`` where there is none to read. Raises ``BadTransaction``
        for what no node can include.
        """
        sends = self._sends
        raw = sends.raw_of(params)
        if raw is None:
            return None
        sends.check_size(raw, self._identity, is_public=is_public)
        if len(raw) <= READ_AT_ONCE:
            return sends.decode(raw, self._identity)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, sends.decode, raw, self._identity)

    @staticmethod
    async def _outcome_of(task: asyncio.Task[SendOutcome]) -> SendOutcome:
        """Shielded: the client hanging up must not stop what may be out already."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if not task.cancelled() or (asker is not None and asker.cancelling()):
                raise
            return SendOutcome(reason=Reason(CLOSED))

    async def _send(
        self, method: Method, params: bytes, tx: DecodedTransaction | None
    ) -> SendOutcome:
        if tx is None or method.send_form not in OURS:
            return await self._send_otherwise(method, params, tx)
        sends = self._sends
        plain = sends.plain(params)
        order = SendOrder(sends.method, plain, tx.hash, COPIES, self._has_private)
        outcome = await (self._send_known(order, tx) if tx.hash else self._send_foreign(order, tx))
        if not outcome.result or method.send_form is not SendForm.SYNC or sends.sync is None:
            return outcome
        hash = tx.hash or sends.hash_told(outcome.result)
        return await self._receipt_of(hash, sends.sync.seconds(params), sends.sync)

    async def _send_otherwise(
        self, method: Method, params: bytes, tx: DecodedTransaction | None
    ) -> SendOutcome:
        """Not written down. What it says of those that are, counts for them."""
        hash = "" if tx is None else tx.hash
        if self._has_private:
            self.ledger.watch_private(params)
        outcome = await self.copied(SendOrder(method, params, hash, 1, self._has_private))
        if tx is None:
            outcome = await self.hashes.of_operation(
                method, params, outcome, is_private=self._has_private
            )
        elif outcome.result:
            await self.ledger.on_word_elsewhere(tx)
        cancelled_by = self._sends.cancelled_by
        if outcome.result and cancelled_by is not None:
            taken_back = cancelled_by(method, params, outcome.result)
            if taken_back:
                await self.ledger.on_taken_back(taken_back)
        return outcome

    async def _send_known(self, order: SendOrder, tx: DecodedTransaction) -> SendOutcome:
        """Written down first. What was sent before is answered with its hash, and goes on."""
        ledger = self.ledger
        yes = SendOutcome(result=self._sends.result_of(tx.hash))
        try:
            entry = await ledger.begin(tx, is_private=order.is_private)
        except Unwritten as unwritten:
            why = unwritten.told
            return SendOutcome(
                reason=Reason(f"{NOT_SENT}: {why.public}", f"{NOT_SENT}: {why.detail}")
            )
        if entry.state in (TransactionState.SENT, TransactionState.MINED, TransactionState.FINAL):
            return yes
        ledger.on_step("before broadcast")
        order.is_overtaken = functools.partial(ledger.pool.is_overtaken, entry)
        outcome = await self.copied(order)
        ledger.on_step("before answer")
        if outcome.result or entry.state.is_closed:
            return outcome
        if not outcome.error and self._accepts_while_down:
            ledger.keep(entry)
            return yes
        refusal = await ledger.refuse(entry)
        if refusal is Denial.TOO_LATE:
            return yes  # a yes came while the other words were counted
        if refusal is Denial.UNWRITTEN and outcome.reason:
            outcome.reason = Reason(
                f"{UNWRITTEN}: {ledger.public_trouble}", f"{UNWRITTEN}: {ledger.trouble}"
            )
        return outcome

    async def _send_foreign(self, order: SendOrder, tx: DecodedTransaction) -> SendOutcome:
        """Of a chain's own type: its hash is the upstream's to tell, and is written down then. Sent
        once more, it has the hash that it had.
        """
        if known := await self.ledger.hash_of(tx.raw):
            order.hash = known
            return await self._send_known(order, msgspec.structs.replace(tx, hash=known))
        order.wants_hash = True
        outcome = await self.copied(order)
        hash = await self.hashes.of_transaction(outcome, tx.raw, is_private=order.is_private)
        if not hash:
            return outcome
        # Where it cannot be written down, it is out all the same, and the wallet is told so.
        with contextlib.suppress(Unwritten):
            known_tx = msgspec.structs.replace(tx, hash=hash)
            await self.ledger.begin(known_tx, is_private=order.is_private)
            self.ledger.on_said(hash, "", Judgement(Verdict.OK))
        return outcome if outcome.result else SendOutcome(result=self._sends.result_of(hash))

    async def _receipt_of(self, hash: str, seconds: float, sync: SyncSends) -> SendOutcome:
        """Wait for the receipt: works over every upstream. A private transaction is asked for by
        nobody before its block was seen here.
        """
        deadline = self._now() + seconds
        question = self._sends.look_ups.receipt(hash)
        while True:
            if not self.ledger.is_private(hash):
                left = max(RECEIPT_SECONDS, deadline - self._now())
                settled = await self.copies.look_up(question, left)
                judgement = settled.judgement
                if judgement is not None and judgement.verdict is Verdict.OK and judgement.result:
                    return SendOutcome(result=bytes(judgement.result))
            if self._now() >= deadline:
                break
            await asyncio.sleep(RECEIPT_SECONDS)
        return SendOutcome(error=sync.late(hash, seconds), verdict=Verdict.TIMEOUT)
