"""Sends: one transaction, several upstreams on distinct fault domains, the first yes answers.

The hash is computed here, so that "already known" is a yes and five resubmits give one hash. A
broadcast goes on when the client hangs up: its transaction may be out already.

State: broadcasts in flight by transaction hash (a second client with the same one joins), and
the copies under way, which may outlive their broadcast.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.chains.methods import Method
from rpcproxy.edges.metrics import ChainCounters
from rpcproxy.engine import tasks
from rpcproxy.engine.attempts import Settled
from rpcproxy.engine.calls import SingleCall
from rpcproxy.engine.executor import Executor
from rpcproxy.messages import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    Answer,
    Blame,
    Judgement,
    MethodClass,
    Request,
    Verdict,
    encode_error,
    encode_raw_error,
    encode_result,
)
from rpcproxy.rules.ballot import Tally
from rpcproxy.rules.failover import YOUNG_OUTAGE_SECONDS, Policy
from rpcproxy.rules.outage import explain
from rpcproxy.rules.selection import Need
from rpcproxy.rules.standing import Standing

COPIES: Final = 2  # asked at once, on distinct fault domains
RAW_METHOD: Final = "eth_sendRawTransaction"
SYNC_METHOD: Final = "eth_sendRawTransactionSync"
# Every other send (conditional, private, bundles) goes to one upstream at a time, under the rules
# of that upstream alone.
RECHECK_SECONDS: Final = 0.25
SHORTEST_PATIENCE_SECONDS: Final = 0.25
RECEIPT_SECONDS: Final = 0.25
SYNC_DEFAULT_SECONDS: Final = 20.0  # Nitro's default; its cap is 60 s
SYNC_LONGEST_SECONDS: Final = 60.0
# After these the upstream may have taken the transaction, though it never said so.
MAY_HAVE_TAKEN: Final = (Verdict.TIMEOUT, Verdict.BROKEN, Verdict.OVERTAKEN)
CLOSED: Final = "it may or may not have been sent: the proxy was closed meanwhile"


class Outcome(msgspec.Struct, gc=False):
    """How a send ended: a result's text, or an error's, or ``reason`` in the proxy's own words."""

    result: bytes = b""
    error: bytes = b""
    reason: str = ""


class Broadcast:
    """See the module's docstring."""

    def __init__(
        self,
        executor: Executor,
        counters: ChainCounters,
        *,
        chain_name: str,
        policies: Mapping[MethodClass, Policy],
        private_only: bool,
    ) -> None:
        self._executor = executor
        self._counters = counters
        self._chain_name = chain_name
        self._policy = policies[MethodClass.SEND]
        self._read_policy = policies[MethodClass.LIGHT]
        self._private_only = private_only
        self._rng = random.Random()
        self.on_accepted: Callable[[str], None] = lambda _hash: None
        self._in_flight: dict[tuple[str, str], asyncio.Task[Outcome]] = {}
        self._copies: set[asyncio.Task[tuple[Standing, Judgement]]] = set()

    def close(self) -> None:
        """The upstreams' connections are about to close: wait for no more answers."""
        for task in (*self._in_flight.values(), *self._copies):
            task.cancel()

    async def send(self, request: Request, method: Method) -> tuple[Answer, str]:
        """Carry out a send; the second value is for the counters, ``unserved`` where nobody
        could take it.
        """
        params = request.params
        try:
            raw = evm.raw_transaction(params)
            hash = evm.transaction_hash(raw) if raw else None
        except evm.BadTransaction as bad:
            reason = f"not sent: the transaction cannot be read: {bad}"
            return Answer(encode_error(request.id, INVALID_PARAMS, reason)), "own_error"
        key = (method.name, hash or params.decode(errors="replace"))
        task = self._in_flight.get(key)
        if task is None:
            work = self._send(method, params, hash)
            task = self._in_flight[key] = tasks.start(work, f"send {hash or method.name}")
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        outcome = await self._outcome_of(task)
        if outcome.result:
            self._counters.on_send(is_accepted=True)
            if hash is not None:
                self.on_accepted(hash)
            return Answer(encode_result(request.id, outcome.result)), "ok"
        self._counters.on_send(is_accepted=False)
        if outcome.error:
            return Answer(encode_raw_error(request.id, outcome.error)), "rpc_error"
        answer = Answer(encode_error(request.id, INTERNAL_ERROR, outcome.reason))
        return answer, "unserved"

    @staticmethod
    async def _outcome_of(task: asyncio.Task[Outcome]) -> Outcome:
        """Shielded: the client hanging up must not stop what may be out already."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if not task.cancelled() or (asker is not None and asker.cancelling()):
                raise
            return Outcome(reason=CLOSED)

    async def _send(self, method: Method, params: bytes, hash: str | None) -> Outcome:
        if method.name == SYNC_METHOD and hash is not None:
            return await self._send_and_wait(params, hash)
        copies = COPIES if method.name == RAW_METHOD else 1
        return await self._broadcast(method, params, hash, copies)

    # ---- several upstreams

    async def _broadcast(
        self, method: Method, params: bytes, hash: str | None, copies: int
    ) -> Outcome:
        """Ask ``copies`` at once, then others while nobody said yes and it makes sense."""
        standings = self._executor.standings
        tally = Tally()
        need = Need(
            MethodClass.SEND,
            method.name,
            for_send=True,
            private_only=self._private_only,
            last_resort=False,
        )
        call = SingleCall(method, need, params)
        deadline = time.monotonic() + self._policy.deadline_seconds
        next_copy_at = math.inf
        asked: list[Standing] = []
        running: set[asyncio.Task[tuple[Standing, Judgement]]] = set()
        while (now := time.monotonic()) < deadline:
            candidate = standings.pick(need, asked, now, self._rng)
            if tally.is_rejected(now, can_ask_more=candidate is not None):
                break
            if candidate is not None and (len(running) < copies or now >= next_copy_at):
                asked.append(candidate)
                tally.on_asked()
                if copies > 1:
                    next_copy_at = now + self._patience_seconds()
                copy = tasks.start(self._ask(call, candidate, hash), "send attempt")
                self._copies.add(copy)
                copy.add_done_callback(self._copies.discard)
                running.add(copy)
                continue
            if not running:
                # A copy begun in the last moment would leave open whether it was sent.
                if not self._is_young_outage(now) or deadline - now < 2 * RECHECK_SECONDS:
                    break
                await self._executor.wait_for_recovery(RECHECK_SECONDS)
                asked.clear()
                # Waiting did not help: an upstream out of favour is better than none.
                need = msgspec.structs.replace(need, last_resort=True)
                continue
            until = deadline if candidate is None else min(deadline, next_copy_at)
            done, running = await asyncio.wait(
                running,
                timeout=min(RECHECK_SECONDS, until - now),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                standing, judgement = task.result()
                is_at_head = not standing.is_stale
                tally.on_judgement(
                    standing.name, judgement, time.monotonic(), is_at_head=is_at_head
                )
            if tally.accepted is not None:
                break  # the other copies go on by themselves
        return self._conclude(tally, hash, still_out=len(running))

    async def _ask(
        self, call: SingleCall, standing: Standing, hash: str | None
    ) -> tuple[Standing, Judgement]:
        """One copy to one upstream. "Nonce too low" is a yes when this very transaction is known
        anywhere: it was mined in the meantime.
        """
        settled = await self._executor.ask(call, self._policy, standing)
        settled.close()
        judgement = settled.judgement or Judgement(Verdict.CANCELLED)
        if judgement.verdict is Verdict.NONCE_TOO_LOW and hash and await self._is_known(hash):
            judgement = Judgement(Verdict.ALREADY_KNOWN, error=judgement.error)
        return standing, judgement

    async def _is_known(self, hash: str) -> bool:
        settled = await self._look_up("eth_getTransactionByHash", hash)
        judgement = settled.judgement
        return judgement is not None and judgement.verdict is Verdict.OK

    async def _look_up(self, name: str, hash: str) -> Settled:
        method = evm.describe(name)
        need = Need(MethodClass.LIGHT, name, private_only=self._private_only, last_resort=False)
        policy = msgspec.structs.replace(self._read_policy, confirm_nulls=True)
        settled = await self._executor.run(
            SingleCall(method, need, b'["%b"]' % hash.encode()), policy
        )
        settled.close()
        return settled

    def _patience_seconds(self) -> float:
        """How long all copies may be silent before another upstream gets one: they may hang."""
        return max(
            SHORTEST_PATIENCE_SECONDS, self._executor.standings.hedge_delay(MethodClass.SEND)
        )

    def _is_young_outage(self, now: float) -> bool:
        since = self._executor.standings.outage_since(MethodClass.SEND)
        return since is None or now - since < YOUNG_OUTAGE_SECONDS

    def _conclude(self, tally: Tally, hash: str | None, *, still_out: int) -> Outcome:
        accepted = tally.accepted
        if accepted is not None:
            if hash is not None:
                return Outcome(result=b'"%b"' % hash.encode())
            return Outcome(result=bytes(accepted.result or b""), error=bytes(accepted.error or b""))
        rejection = tally.rejection or tally.weak
        if rejection is not None and rejection.error is not None:
            return Outcome(error=bytes(rejection.error))
        for _, failed in tally.failures:
            if failed.error is not None and failed.verdict.blame in (Blame.UPSTREAM, Blame.NOBODY):
                return Outcome(error=bytes(failed.error))
        unsure = still_out or any(f.verdict in MAY_HAVE_TAKEN for _, f in tally.failures)
        fate = "it may or may not have been sent" if unsure else "not sent, and not sent later"
        since = self._executor.standings.outage_since(MethodClass.SEND)
        seconds = None if since is None else time.monotonic() - since
        count = len(self._executor.standings)
        return Outcome(
            reason=f"{fate}: {explain(self._chain_name, tally.failures, seconds, count)}"
        )

    # ---- send and wait for the receipt, EIP-7966

    async def _send_and_wait(self, params: bytes, hash: str) -> Outcome:
        """Send as any transaction, then wait for the receipt: works over every upstream."""
        plain = evm.describe(RAW_METHOD)
        texts = msgspec.json.decode(params, type=list[msgspec.Raw])
        outcome = await self._broadcast(plain, b"[%b]" % bytes(texts[0]), hash, COPIES)
        if not outcome.result:
            return outcome
        seconds = sync_timeout_seconds(bytes(texts[1]) if len(texts) > 1 else b"")
        deadline = time.monotonic() + seconds
        while True:
            settled = await self._look_up("eth_getTransactionReceipt", hash)
            judgement = settled.judgement
            if judgement is not None and judgement.verdict is Verdict.OK and judgement.result:
                return Outcome(result=bytes(judgement.result))
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(RECEIPT_SECONDS)
        # Code 4: sent, and not mined in time; the hash is in `data` (EIP-7966).
        message = f"the transaction was sent and not mined within {seconds:g} s"
        return Outcome(error=msgspec.json.encode({"code": 4, "message": message, "data": hash}))


def sync_timeout_seconds(text: bytes) -> float:
    """The second parameter: milliseconds, as a number (geth) or a hex quantity (viem, Nitro)."""
    milliseconds = evm.parse_quantity(text)
    if milliseconds is None:
        try:
            milliseconds = int(text)
        except ValueError:
            return SYNC_DEFAULT_SECONDS
    return min(SYNC_LONGEST_SECONDS * 1000, max(0, milliseconds)) / 1000
