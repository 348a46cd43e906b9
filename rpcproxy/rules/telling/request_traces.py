"""What became of one request that failed or was slow: whom it was asked of, and what came back.

No params but where ``server.traces`` asks for them, and never a key. Pure.
"""

from __future__ import annotations

import enum

import msgspec


class TraceOutcome(enum.StrEnum):
    """Why a request is told of."""

    FAILED = "failed"  # the wallet saw an error that is not the chain's own
    SLOW = "slow"


class AttemptTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at an upstream. ``began_seconds``: after the request came. ``seconds``: how long
    it took, ``None`` where it was still under way when the request ended. ``verdict`` is a
    ``Verdict.label``, empty while there is none; ``detail`` says more where anything is known.
    ``why``: this upstream was asked, as metrics name it (``first``, ``hedge``, ``retry``, …).
    """

    upstream: str
    began_seconds: float
    why: str
    seconds: float | None = None
    verdict: str = ""
    detail: str = ""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``started_unix`` in wall-clock seconds, ``seconds`` until the client had its
    answer. ``reason``: what the client was told, or how slow is slow. ``transaction``: the hash,
    where it was one.
    """

    trace_id: str
    chain: str
    method: str
    outcome: TraceOutcome
    started_unix: float
    seconds: float
    reason: str
    transaction: str = ""
    attempts: tuple[AttemptTrace, ...] = ()
