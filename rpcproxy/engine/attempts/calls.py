"""What the executor carries out: one request, or a batch sent as one.

A *call* knows how to write itself for an upstream under ids of our own, and how to judge what
comes back. It holds no state of an attempt: the same call may be in flight twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.chains.parts.heights import Heights
from rpcproxy.edges.metrics.attempt_times import Charge
from rpcproxy.messages import (
    Judgement,
    MethodClass,
    Outcome,
    Reply,
    Retry,
    Verdict,
    encode_batch,
    encode_call,
)
from rpcproxy.rules.answers.batched import SentCall
from rpcproxy.rules.answers.classify import Classifier
from rpcproxy.rules.requests.ends import is_own_word
from rpcproxy.rules.standing.need import Need
from rpcproxy.rules.standing.standings import Standing

HTTP_OK: Final = 200


class Call(Protocol):
    """One unit of work for the executor."""

    need: Need
    method: Method
    is_large: bool  # the reply is likely to be large: ask for gzip

    @property
    def size(self) -> int:
        """How many ids it takes."""

    def member_method(self, index: int) -> str:
        """The name of the method that member ``index`` calls."""

    def payload(self, first_id: int, standing: Standing) -> bytes:
        """The bytes for this upstream; ids are ``first_id`` and upward."""

    def judge(
        self, classifier: Classifier, outcome: Outcome, first_id: int, unix_seconds: float
    ) -> Judgement:
        """What the outcome means for the attempt as a whole."""

    def held(self, judgement: Judgement, standing: Standing, started: float) -> Judgement:
        """The judgement, held against what is known of the chain."""

    @property
    def charge(self) -> Charge:
        """What an attempt of it costs."""

    @property
    def poison_key(self) -> bytes:
        """What tells this request from others, for the memory of those that fail everywhere."""


class Touchstone(Protocol):
    """What answers are held against; ``engine.truth.truth.Truth``."""

    def check(
        self, call: SingleCall, judgement: Judgement, standing: Standing, started: float
    ) -> Judgement: ...

    def passed(
        self, call: SingleCall, result: msgspec.Raw, standing: Standing, started: float
    ) -> msgspec.Raw | None: ...


class SingleCall(msgspec.Struct, gc=False):
    """One request. ``key`` is what its answer is kept and shared under, empty where it is not;
    ``truth`` is what it is held against; ``heights`` are there where it asks at the served head
    for what may be asked by its hash, ``misread_by`` names who may not have understood that.
    ``tag`` is the tag that its params keep (``PENDING`` and its kin), 0 where they name a block
    or none: only the upstream knows which block that is.
    """

    method: Method
    need: Need
    params: msgspec.Raw | bytes
    is_large: bool = False
    size: int = 1
    key: bytes = b""
    truth: Touchstone | None = None
    heights: Heights | None = None
    tag: int = 0
    misread_by: str = ""

    def member_method(self, index: int) -> str:  # noqa: ARG002 the port's signature
        return self.method.name

    def params_for(self, standing: Standing) -> msgspec.Raw | bytes:
        """By hash for an upstream that has proved to look at it: nothing else proves state."""
        if self.heights is None or not standing.takes_hashes:
            return self.params
        return self.heights.by_hash(self.params)

    def payload(self, first_id: int, standing: Standing) -> bytes:
        return encode_call(first_id, self.method.name, self.params_for(standing))

    def judge(
        self, classifier: Classifier, outcome: Outcome, first_id: int, unix_seconds: float
    ) -> Judgement:
        return classifier.judge(outcome, first_id, self.method, unix_seconds, self.params)

    def held(self, judgement: Judgement, standing: Standing, started: float) -> Judgement:
        if self.truth is None:
            return judgement
        return self.truth.check(self, judgement, standing, started)

    @property
    def charge(self) -> Charge:
        return Charge(self.need.method_class, 1, self.method.weight)

    @property
    def poison_key(self) -> bytes:
        return self.method.name.encode() + b" " + bytes(self.params)


class BatchVerdict(Judgement, gc=False):
    """The judgement of a batch; ``members`` in the order in which they were sent, none where the
    answer ``is_too_large`` to take apart: in smaller batches it is none.
    """

    members: Sequence[Judgement] = ()
    is_too_large: bool = False


# A batch is judged member by member; this stands for the whole in counters and selection.
BATCH_METHOD = Method("batch", kind=MethodKind.HEAD_READ, method_class=MethodClass.LIGHT)


class BatchCall(msgspec.Struct, gc=False):
    """Several requests sent as one array. Succeeds as a whole when any member was answered:
    what is left over is for the caller to ask again.
    """

    method: Method
    need: Need
    members: Sequence[SingleCall]
    is_large: bool = False

    @property
    def size(self) -> int:
        return len(self.members)

    def member_method(self, index: int) -> str:
        return self.members[index].method.name

    def payload(self, first_id: int, standing: Standing) -> bytes:
        return encode_batch(
            member.payload(first_id + index, standing) for index, member in enumerate(self.members)
        )

    def judge(
        self, classifier: Classifier, outcome: Outcome, first_id: int, unix_seconds: float
    ) -> Judgement:
        calls = [
            SentCall(first_id + index, member.method, member.params)
            for index, member in enumerate(self.members)
        ]
        judged = classifier.judge_batch(outcome, calls, unix_seconds)
        if isinstance(outcome, Reply) and outcome.rest is not None:
            outcome.rest.close()
            if judged.verdict is Verdict.BATCH_REFUSED and outcome.status == HTTP_OK:
                # Nobody else has less to say, and nobody is worse for it.
                return BatchVerdict(Verdict.OK, is_too_large=True)
        verdict, error = judged.verdict, None
        if any(is_answered(member) for member in judged.members):
            verdict = Verdict.OK
        else:
            # Where members failed by themselves, others are not asked until the deadline.
            error = next((m.error for m in judged.members if is_own_word(m)), None)
        return BatchVerdict(
            verdict,
            error=error,
            cooldown_seconds=judged.cooldown_seconds,
            detail=judged.detail,
            members=judged.members,
        )

    def held(self, judgement: Judgement, standing: Standing, started: float) -> Judgement:
        """Its members are, one by one, by who sent it."""
        del standing, started
        return judgement

    @property
    def charge(self) -> Charge:
        units = sum(member.method.weight for member in self.members)
        return Charge(self.need.method_class, len(self.members), units)

    @property
    def poison_key(self) -> bytes:
        return b""  # a batch is never poison: its members are


def is_answered(judgement: Judgement) -> bool:
    """Whether a member of a batch needs nobody else to be asked."""
    return judgement.verdict.retry is Retry.NO and judgement.verdict is not Verdict.CANCELLED
