"""What became of one request that failed or was slow: whom it was asked of, and what came back.

No params but where ``server.traces`` asks for them, and never a key. Pure.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from rpcproxy.messages import MethodClass

# A send is slow past this: a wallet shows a spinner meanwhile, and people begin to click again.
# A read is slow where no single attempt would have been given as much time: so long it takes where
# the first upstream hangs, and no hedge helped.
SLOW_SEND_SECONDS: Final = 5.0

# Bounds of one trace: all texts together stay under 16 KiB or so.
MOST_ATTEMPTS: Final = 40
LONGEST_DETAIL: Final = 200
LONGEST_REASON: Final = 500
LONGEST_METHOD: Final = 80
LONGEST_PARAMS: Final = 1000


class TraceOutcome(enum.StrEnum):
    """Why a request is told of."""

    FAILED = "failed"  # the wallet saw an error that is not the chain's own
    REFUSED = "refused"  # by a rule of the proxy: no upstream would have been asked whatever it is
    SLOW = "slow"


class AttemptTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at an upstream. ``began_seconds``: after the request came, negative where another
    that asked the same began it before. ``seconds``: how long it took, ``None`` where it was still
    under way when the request ended. ``verdict`` is a ``Verdict.label``, empty while there is none;
    ``detail`` says more where anything is known. ``why`` this upstream was asked: ``first``,
    ``hedge``, the verdict that made us ask another, ``copy`` (a send goes to several at once),
    ``again``, ``part`` (of a range that is too wide), ``tag``.
    """

    upstream: str
    began_seconds: float
    why: str
    seconds: float | None = None
    verdict: str = ""
    detail: str = ""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``started_unix`` in wall-clock seconds, ``seconds`` until the client had its
    answer. ``reason``: why, for operators, or how slow is slow; ``told``: what the client was told,
    where that is not the same. ``transaction``: the hash, where it was one or asked for one.
    ``params``: a JSON text, empty where none are wanted.
    """

    trace_id: str
    chain: str
    method: str
    outcome: TraceOutcome
    started_unix: float
    seconds: float
    reason: str
    told: str = ""
    transaction: str = ""
    attempts: tuple[AttemptTrace, ...] = ()
    params: str = ""


def slow_seconds(method_class: MethodClass, attempt_seconds: float) -> float:
    """Past what a request of the class is slow. ``attempt_seconds``: what one attempt may take."""
    return SLOW_SEND_SECONDS if method_class is MethodClass.SEND else attempt_seconds


def bounded(trace: Trace) -> Trace:
    """The same within its bounds: of very many attempts the first and the last."""
    attempts = trace.attempts
    if len(attempts) > MOST_ATTEMPTS:
        attempts = attempts[: MOST_ATTEMPTS // 2] + attempts[-MOST_ATTEMPTS // 2 :]
    return msgspec.structs.replace(
        trace,
        trace_id=trace.trace_id[:LONGEST_METHOD],
        method=trace.method[:LONGEST_METHOD],
        reason=trace.reason[:LONGEST_REASON],
        told=trace.told[:LONGEST_REASON],
        transaction=trace.transaction[:LONGEST_DETAIL],
        params=trace.params[:LONGEST_PARAMS],
        attempts=tuple(
            msgspec.structs.replace(each, detail=each.detail[:LONGEST_DETAIL]) for each in attempts
        ),
    )
