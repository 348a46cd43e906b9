"""Standings as plain values, for ``/status`` and metrics. No URLs, no secrets.

Durations in seconds, latencies in milliseconds (as the keys say), shares between 0 and 1.
"""

from __future__ import annotations

from typing import Any

from rpcproxy.chains.method import Data
from rpcproxy.messages import CLASS_NAMES
from rpcproxy.rules.standing.standings import ClassStanding, Standing, Standings


def snapshot_of(standings: Standings, now: float) -> list[dict[str, Any]]:
    """What is known of each upstream of a chain, in the order of the configuration."""
    return [describe(standing, standings.heads.served, now) for standing in standings]


def describe(standing: Standing, served: int, now: float) -> dict[str, Any]:
    """Everything that is known of one upstream; ``served`` is the chain's head, −1 unknown."""
    rates = standing.rates
    configured, learned = rates.configured, rates.learned
    number = standing.track.number
    return {
        "name": standing.name,
        "provider": standing.provider,
        "cloud": standing.cloud,
        "region": standing.region,
        "tier": standing.tier,
        "role": standing.role,
        "private": standing.private,
        "state": standing.state,
        "state_reason": standing.reason,
        "since_seconds": max(0.0, now - standing.state_since),
        "head": number if number >= 0 else None,
        "low_water": standing.low_water if number >= 0 else None,
        "lag": max(0, served - number) if number >= 0 and served >= 0 else None,
        "in_flight": standing.in_flight,
        "cooldown_seconds": max(0.0, standing.cooldown.until - now),
        "suspect": standing.is_suspect,
        "unsupported": sorted(standing.exclusions.methods),
        "widest_range": standing.exclusions.widest_range(now),
        "missing_from_depth": {
            data.name.lower(): standing.reach.missed_depth(data, now) for data in Data
        },
        "rate_limit_per_second": None if configured is None else configured.rate,
        "learned_rate_per_second": None if learned is None else learned.rate,
        "rate_level": max(0.0, rates.level(now)) if rates.is_limited else None,
        "classes": {
            CLASS_NAMES[record.method_class]: _describe_class(record, now)
            for record in standing.classes
            if standing.has_role(record.method_class)
        },
    }


def _describe_class(record: ClassStanding, now: float) -> dict[str, Any]:
    latency = record.latency
    p95 = latency.quantile(0.95)
    return {
        "cost": record.cost * 1000.0 * (record.standing.in_flight + 1),
        "latency_ms": latency.seconds * 1000.0 if latency.seconds else None,
        "p95_ms": None if p95 is None else p95 * 1000.0,
        "failure_share": record.breaker.share,
        "breaker": record.breaker.state(now),
        "slow_start_share": record.ramp,
        "overdue": record.overdue,
    }
