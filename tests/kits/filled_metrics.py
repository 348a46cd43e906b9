"""Counters and sources with something in each metric, for the tests of what Prometheus reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rpcproxy.edges.metrics.exposition import Sources
from rpcproxy.edges.metrics.figures import (
    DISK,
    MEMORY,
    AuditFigures,
    ChainFigures,
    SendFigures,
    StoreFigures,
)
from rpcproxy.edges.metrics.metrics import Counters
from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.states import ChangeKind


@dataclass
class Changed:
    upstream: str
    kind: object
    reason: str = ""
    method_class: MethodClass | None = None


INFURA: dict[str, Any] = {
    "name": "infura-us",
    "provider": "infura",
    "cloud": "aws",
    "region": "us-east-1",
    "tier": "primary",
    "role": "full",
    "state": "up",
    "state_reason": "",
    "since_seconds": 12.0,
    "head": 21_000_000,
    "lag": 1,
    "classes": {
        "light": {"cost": 21.5, "latency_ms": 20.0, "failure_share": 0.25, "breaker": "closed"},
        "heavy": {"cost": float("inf"), "latency_ms": None, "breaker": "half_open"},
        "send": {"breaker": "open"},
    },
    "in_flight": 3,
    "cooldown_seconds": 0.0,
    "suspect": True,
    "unsupported": ["trace_block"],
}
QUIET: dict[str, Any] = {"name": "quiet", "state": "ejected", "head": None, "lag": None}


BUSY = ChainFigures(
    served=21_000_001,
    safe=20_999_970,
    finalized=20_999_930,
    head_age_seconds=1.5,
    reorgs=3,
    last_reorg_depth=2,
    head_jumps=1,
    is_split=True,
    halted_seconds=40.0,
    stores={
        MEMORY: StoreFigures(
            entries=10, size_bytes=5000, hits=70, misses=30, evicted=4, rejected=1
        ),
        DISK: StoreFigures(entries=99, hits=7, misses=2),
    },
    audits=AuditFigures(
        asked=12, agreed=5, differed=2, unanswered=1, voided=1, odd={"infura-us": 2}
    ),
    feeds={"infura-us": True, "quiet": False},
    sends_refused_seconds=12.5,
    sends=SendFigures(
        pending=3, oldest_pending_seconds=42.5, journal_bytes=65_536, is_journal_troubled=True
    ),
)


def busy_counters() -> Counters:
    counters = Counters()
    chain = counters.chain("ethereum")
    chain.on_request(MethodClass.LIGHT, 0.02, "ok")
    chain.on_request(MethodClass.LIGHT, 0.02, "ok")
    chain.on_request(MethodClass.HEAVY, 31.0, "own_error")
    chain.on_request(MethodClass.LIGHT, 0.0001, "local")
    chain.on_local()
    chain.on_local()
    chain.on_kept("head", MethodClass.LIGHT)
    chain.on_kept("block", MethodClass.HEAVY)
    chain.on_kept("block", MethodClass.HEAVY)
    chain.on_joined(MethodClass.HEAVY)
    chain.on_attempt("infura-us", Verdict.OK, 0.019)
    chain.on_attempt("infura-us", Verdict.TIMEOUT, 1.5)
    chain.on_attempt("infura-us", Verdict.CANCELLED, 9.0)
    chain.on_probe("infura-us", Verdict.OK)
    chain.on_probe("infura-us", Verdict.OK)
    chain.on_failover("timeout")
    chain.on_failover("timeout")
    chain.on_hedge("infura-us")
    chain.on_hedge("quiet")
    chain.on_hedge_won("quiet")
    chain.on_change(Changed("quiet", ChangeKind.EJECTED))
    chain.on_change(Changed("quiet", "ejected"))
    chain.sends.on_accepted()
    chain.sends.on_rejected("nonce_too_low")
    chain.sends.on_rejected("unserved")
    chain.sends.on_rebroadcast(3)
    chain.sends.on_rebroadcast(2)
    chain.sends.on_contradiction()
    chain.sends.on_unwritten()
    chain.sends.on_unwritten()
    chain.sends.on_expired()
    for seconds in (0.4, 12.0, 12.5, 30_000.0):
        chain.sends.on_mined(seconds)
    chain.on_budget_exhausted()
    chain.on_waited_for_recovery()
    chain.on_batch(7)
    chain.on_batch(3)
    counters.on_reload(is_accepted=True)
    counters.on_reload(is_accepted=False)
    return counters


def busy_sources() -> Sources:
    return Sources(
        standings=lambda: {"ethereum": [INFURA, QUIET, {"state": "up"}], "base": []},
        front=lambda: {
            "client_connections": 5,
            "client_connections_refused": 2,
            "held_bytes": 7000,
            "client_requests_crowded_out": 3,
            "refusing_clients": 1,
            "timeline_trouble": 1,
        },
        chains=lambda: {"ethereum": BUSY, "base": ChainFigures()},
        connections=lambda: {"ethereum": {"infura-us": (4, 1)}},
    )


def filled_counters() -> Counters:
    """``busy_counters``, and something in each that they leave at nothing."""
    counters = busy_counters()
    chain = counters.chain("ethereum")
    chain.on_plain("quiet", MethodClass.HEAVY, 0.004, 20)
    chain.on_unserved()
    counters.chain('a "new" one').on_local()
    counters.on_notices("sent", 4)
    counters.on_loop_lag(0.125)
    return counters
