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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.chains.method import Method
from rpcproxy.config.model import Chain
from rpcproxy.edges.metrics.send_counters import SendCounters
from rpcproxy.engine import tasks
from rpcproxy.engine.clock import Clock
from rpcproxy.engine.sends.copies import Copies, SendOrder, SendOutcome
from rpcproxy.engine.sends.ledger import Denial, Ledger, Unwritten
from rpcproxy.engine.sends.other_hashes import OtherHashes
from rpcproxy.messages import (
    INTERNAL_ERROR,
    Answer,
    Judgement,
    Request,
    Verdict,
    encode_error,
    encode_raw_error,
    encode_result,
)
from rpcproxy.rules.sends.journaled import TransactionState
from rpcproxy.states import RequestOutcome

# Of hex digits: what reads a shorter one takes half a millisecond at most.
READ_AT_ONCE: Final = 8 * 1024
COPIES: Final = 3  # asked at once, on distinct fault domains
RAW_METHOD: Final = "eth_sendRawTransaction"
SYNC_METHOD: Final = "eth_sendRawTransactionSync"
# The sends that are ours to copy, to write down and to send again.
_OURS: Final = (RAW_METHOD, SYNC_METHOD)
RECEIPT_SECONDS: Final = 0.25
SYNC_DEFAULT_SECONDS: Final = 20.0  # Nitro's default; its cap is 60 s
SYNC_LONGEST_SECONDS: Final = 60.0
UNWRITTEN: Final = (
    "it was not sent, and may be sent later: that it is not to be was not written down"
)
CLOSED: Final = "it may or may not have been sent: the proxy was closed meanwhile"


class Broadcast:
    """See the module's docstring. One per chain."""

    def __init__(
        self,
        chain: Chain,
        ledger: Ledger,
        copies: Copies,
        counters: SendCounters,
        *,
        clock: Clock,
        accepts_while_down: bool = False,
    ) -> None:
        self._now = clock.monotonic
        self._counters = counters
        self.ledger = ledger
        self.copies = copies
        self._chain_id = chain.chain_id
        self.hashes = OtherHashes(copies, chain.chain_id)
        self._has_private = any(upstream.private for upstream in chain.upstreams)
        self._accepts_while_down = accepts_while_down
        self.on_accepted: Callable[[str], None] = lambda _hash: None
        self._in_flight: dict[tuple[str, str], asyncio.Task[SendOutcome]] = {}
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

    async def send(self, request: Request, method: Method) -> tuple[Answer, RequestOutcome | None]:
        """Carry out a send; the second value is for the counters, ``None`` where nobody could
        take it.
        """
        params = request.params
        try:
            tx = await self._read(params, is_public=method.name in _OURS and not self._has_private)
        except evm.BadTransaction as bad:
            self._counters.on_rejected("unreadable")
            return Answer(encode_error(request.id, bad.code, bad.told)), RequestOutcome.OWN_ERROR
        hash = "" if tx is None else tx.hash
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
            return Answer(encode_result(request.id, outcome.result)), RequestOutcome.OK
        verdict = outcome.verdict
        self._counters.on_rejected("unserved" if verdict is None else verdict.label)
        if outcome.error:
            return Answer(encode_raw_error(request.id, outcome.error)), RequestOutcome.RPC_ERROR
        answer = Answer(encode_error(request.id, INTERNAL_ERROR, outcome.reason))
        return answer, None

    async def _read(self, params: bytes, *, is_public: bool) -> evm.SignedTransaction | None:
        """The transaction in it, ``None`` where there is none to read. Raises ``BadTransaction``
        for what no node can include.
        """
        raw = evm.raw_transaction(params)
        if raw is None:
            return None
        evm.check_size(raw, self._chain_id, is_public=is_public)
        if len(raw) <= READ_AT_ONCE:
            return evm.decode(raw, self._chain_id)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, evm.decode, raw, self._chain_id)

    @staticmethod
    async def _outcome_of(task: asyncio.Task[SendOutcome]) -> SendOutcome:
        """Shielded: the client hanging up must not stop what may be out already."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if not task.cancelled() or (asker is not None and asker.cancelling()):
                raise
            return SendOutcome(reason=CLOSED)

    async def _send(
        self, method: Method, params: bytes, tx: evm.SignedTransaction | None
    ) -> SendOutcome:
        if tx is None or method.name not in _OURS:
            return await self._send_otherwise(method, params, tx)
        plain = evm.describe(RAW_METHOD)
        is_sync = method.name == SYNC_METHOD
        texts = msgspec.json.decode(params, type=list[msgspec.Raw])
        order = SendOrder(plain, b"[%b]" % bytes(texts[0]), tx.hash, COPIES, self._has_private)
        outcome = await (self._send_known(order, tx) if tx.hash else self._send_foreign(order, tx))
        if not outcome.result or not is_sync:
            return outcome
        hash = tx.hash or msgspec.json.decode(outcome.result, type=str)
        return await self._receipt_of(hash, bytes(texts[1]) if len(texts) > 1 else b"")

    async def _send_otherwise(
        self, method: Method, params: bytes, tx: evm.SignedTransaction | None
    ) -> SendOutcome:
        """Not written down. What it says of those that are, counts for them."""
        hash = "" if tx is None else tx.hash
        if self._has_private:
            self.ledger.watch_private(params)
        outcome = await self.copies.send(SendOrder(method, params, hash, 1, self._has_private))
        if tx is None:
            outcome = await self.hashes.of_operation(
                method.name, params, outcome, is_private=self._has_private
            )
        elif outcome.result:
            await self.ledger.on_word_elsewhere(tx)
        if outcome.result and (taken_back := evm.cancelled_by(method, params, outcome.result)):
            await self.ledger.on_taken_back(taken_back)
        return outcome

    async def _send_known(self, order: SendOrder, tx: evm.SignedTransaction) -> SendOutcome:
        """Written down first. What was sent before is answered with its hash, and goes on."""
        ledger = self.ledger
        yes = SendOutcome(result=b'"%b"' % tx.hash.encode())
        try:
            entry = await ledger.begin(tx, is_private=order.is_private)
        except Unwritten as unwritten:
            return SendOutcome(reason=f"not sent, and not sent later: {unwritten}")
        if entry.state in (TransactionState.SENT, TransactionState.MINED, TransactionState.FINAL):
            return yes
        ledger.on_step("before broadcast")
        order.is_overtaken = functools.partial(ledger.pool.is_overtaken, entry)
        outcome = await self.copies.send(order)
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
            outcome.reason = f"{UNWRITTEN}: {ledger.trouble}"
        return outcome

    async def _send_foreign(self, order: SendOrder, tx: evm.SignedTransaction) -> SendOutcome:
        """Of a chain's own type: its hash is the upstream's to tell, and is written down then. Sent
        once more, it has the hash that it had.
        """
        if known := await self.ledger.hash_of(tx.raw):
            order.hash = known
            return await self._send_known(order, msgspec.structs.replace(tx, hash=known))
        order.wants_hash = True
        outcome = await self.copies.send(order)
        hash = await self.hashes.of_transaction(outcome, tx.raw, is_private=order.is_private)
        if not hash:
            return outcome
        # Where it cannot be written down, it is out all the same, and the wallet is told so.
        with contextlib.suppress(Unwritten):
            known_tx = msgspec.structs.replace(tx, hash=hash)
            await self.ledger.begin(known_tx, is_private=order.is_private)
            self.ledger.on_said(hash, "", Judgement(Verdict.OK))
        return outcome if outcome.result else SendOutcome(result=b'"%b"' % hash.encode())

    async def _receipt_of(self, hash: str, patience: bytes) -> SendOutcome:
        """Wait for the receipt (EIP-7966): works over every upstream. A private transaction is
        asked for by nobody before its block was seen here.
        """
        seconds = sync_timeout_seconds(patience)
        deadline = self._now() + seconds
        while True:
            if not self.ledger.is_private(hash):
                left = max(RECEIPT_SECONDS, deadline - self._now())
                settled = await self.copies.look_up("eth_getTransactionReceipt", hash, left)
                judgement = settled.judgement
                if judgement is not None and judgement.verdict is Verdict.OK and judgement.result:
                    return SendOutcome(result=bytes(judgement.result))
            if self._now() >= deadline:
                break
            await asyncio.sleep(RECEIPT_SECONDS)
        # Code 4: sent, and not mined in time; the hash is in `data` (EIP-7966).
        # The words are geth 1.17.10's.
        message = (
            "The transaction was added to the transaction pool but wasn't processed in"
            f" {seconds:g}s (it was sent)"
        )
        error = msgspec.json.encode({"code": 4, "message": message, "data": hash})
        return SendOutcome(error=error, verdict=Verdict.TIMEOUT)


def sync_timeout_seconds(text: bytes) -> float:
    """The second parameter: milliseconds, as a number (geth) or a hex quantity (viem, Nitro)."""
    milliseconds = evm.parse_quantity(text)
    if milliseconds is None:
        try:
            milliseconds = int(text)
        except ValueError:
            return SYNC_DEFAULT_SECONDS
    return min(SYNC_LONGEST_SECONDS * 1000, max(0, milliseconds)) / 1000
