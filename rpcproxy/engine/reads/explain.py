"""What would become of a request, without sending it: answered here, or by whom, and why.

No state, and none is changed but the memory of method names.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rpcproxy.chains.method import Method, MethodKind, Subject
from rpcproxy.chains.parts.transactions import BadTransaction
from rpcproxy.engine.reads.pipeline import Pipeline
from rpcproxy.engine.reads.profiles import Profile
from rpcproxy.engine.reads.ways import ReadWay
from rpcproxy.engine.sends.broadcast import COPIES, OURS
from rpcproxy.engine.sends.copies import need_of
from rpcproxy.engine.sends.send_orders import SendOrder
from rpcproxy.messages import CLASS_NAMES, PARSE_ERROR, Malformed, Request
from rpcproxy.rules.requests.explained import AskingOrder, order_of
from rpcproxy.rules.requests.steps import MAX_ATTEMPTS, Policy
from rpcproxy.rules.sends.journaled import TransactionState
from rpcproxy.rules.standing.need import Need


class Needs(msgspec.Struct, frozen=True):
    """What an upstream must have. ``block``: up to which; ``lowest`` and ``span``: how far back
    and how wide; ``None`` where it does not matter.
    """

    block: int | None
    latest_state: bool
    lowest: int | None
    span: int | None
    private: bool


class ExplainedTimes(msgspec.Struct, frozen=True):
    """All in seconds. ``second_copy``: ``None`` where none goes out."""

    deadline: float
    attempt: float
    second_copy: float | None
    attempts: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """``answered_by``: ``proxy``, ``kept``, ``joined`` or ``upstreams``; ``words`` say it to
    people. ``params``: as they would be sent, tags replaced. ``needs``, ``seconds`` and ``order``
    are ``None`` where nobody would be asked.
    """

    chain: str
    method: str
    method_class: str
    answered_by: str
    words: str
    served_head: int | None
    params: Any
    needs: Needs | None = None
    seconds: ExplainedTimes | None = None
    order: AskingOrder | None = None


def explain(pipeline: Pipeline, request: Request) -> Explanation:
    """Of one request as it would be handled at this moment. Raises ``Malformed`` where its params
    cannot be shown: they hold a number that no double holds.
    """
    try:
        return _Explainer(pipeline, request).explain()
    except msgspec.DecodeError as error:
        raise Malformed(PARSE_ERROR, f"the params cannot be shown: {error}") from None


class _Explainer:
    def __init__(self, pipeline: Pipeline, request: Request) -> None:
        self._pipeline = pipeline
        self._request = request
        self._profile: Profile = pipeline.profiles.of(request.method)
        self._standings = pipeline.executor.standings
        self._now = pipeline.now()

    def explain(self) -> Explanation:
        method = self._profile.method
        if self._pipeline.local.result(self._request.method) is not None:
            return self._tell("proxy", "answered at once, from what the proxy knows itself")
        if self._pipeline.refuses(method):
            why = self._pipeline.local.why_refused(method)
            return self._tell("proxy", f"refused: {why}")
        if method.kind is MethodKind.SEND:
            return self._send(method)
        if method.subject is Subject.HEAD:
            need = self._pipeline.told.need
            words = "the head was not confirmed lately: asked for the latest block"
            return self._asked(words, need, self._profile.policy, self._request.params)
        return self._read()

    # ---- the three ways

    def _read(self) -> Explanation:
        reads, sharing = self._pipeline.reads, self._pipeline.sharing
        call = self._pipeline.profiles.prepare(self._request, self._profile)
        spelling = self._profile.key + self._request.params
        way = reads.ways.look(call, self._now)
        if way is ReadWay.KEPT or (call.key and spelling in sharing.lately):
            return self._tell("kept", "answered from memory", call.params)
        if way is ReadWay.FOLLOWED:
            words = "another asks the same at this moment: its answer is given to both"
            return self._tell("joined", words, call.params)
        if way is ReadWay.ON_DISK:
            return self._tell("kept", "answered from disk", call.params)
        words = "sent to one upstream; the next is asked where that fails or takes too long"
        if way is ReadWay.AHEAD:
            words = f"block {call.need.block} is above the served head: waited for where it is near"
        policy = reads.terms.policy_for(call, self._profile)
        if policy.single_attempt:
            words += "; the same lately failed everywhere, so one attempt is all it gets"
        return self._asked(words, call.need, policy, call.params)

    def _send(self, method: Method) -> Explanation:
        ledger, params = self._pipeline.ledger, self._request.params
        is_private = any(upstream.private for upstream in self._pipeline.chain.upstreams)
        order = SendOrder(method, params, "", 1, is_private)
        if method.send_form in OURS:
            try:
                tx = ledger.shown.decoded(params)
            except BadTransaction as bad:
                return self._tell("proxy", f"refused, not sent: {bad.told}")
            if tx is not None:
                entry = ledger.pool.get(tx.hash)
                state = ledger.pool.end_of(tx.hash) if entry is None else entry.state
                if state in (TransactionState.SENT, TransactionState.MINED, TransactionState.FINAL):
                    return self._tell("proxy", f"{tx.hash} was sent before: its hash at once")
                order = SendOrder(method, params, tx.hash, COPIES, is_private)
        words = "sent to one upstream after another, until one answers"
        if order.copies > 1:
            words = (
                f"written down, then sent to {order.copies} upstreams at once, on distinct fault "
                "domains, and to others while none says yes"
            )
        return self._asked(words, need_of(order), self._profile.policy, params)

    # ---- the words

    def _tell(self, answered_by: str, words: str, params: bytes | msgspec.Raw = b"") -> Explanation:
        heads = self._standings.heads
        return Explanation(
            chain=self._pipeline.chain.name,
            method=self._request.method,
            method_class=CLASS_NAMES[self._profile.method_class],
            answered_by=answered_by,
            words=words,
            served_head=heads.served if heads.served >= 0 else None,
            params=msgspec.json.decode(params or self._request.params or b"[]"),
        )

    def _asked(
        self, words: str, need: Need, policy: Policy, params: bytes | msgspec.Raw
    ) -> Explanation:
        hedge = self._pipeline.reads.terms.hedge_seconds(need.method_class)
        order = order_of(self._standings, need, self._pipeline.chain.selection, self._now)
        if not order.asked:
            words = "nobody can be asked now: it waits for a recovery, within its deadline"
        return msgspec.structs.replace(
            self._tell("upstreams", words, params),
            needs=Needs(
                need.block if need.block >= 0 else None,
                need.wants_head,
                need.lowest if need.lowest >= 0 else None,
                need.span or None,
                need.private_only,
            ),
            seconds=ExplainedTimes(
                policy.deadline_seconds,
                policy.attempt_seconds,
                round(hedge, 4) if policy.can_hedge and not policy.single_attempt else None,
                1 if policy.single_attempt else MAX_ATTEMPTS,
            ),
            order=order,
        )
