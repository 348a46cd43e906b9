"""Samples as a proxy would take them, for the tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpcproxy.rules.telling.sample import ChainSample, Sample, UpstreamSample

START = 1_800_000_000.0  # wall clock at monotonic 0; a multiple of a cell


def an_upstream(name: str, state: str = "up", **fields: Any) -> UpstreamSample:
    told: dict[str, Any] = {
        "provider": name,
        "cloud": "unknown",
        "region": "unknown",
        "tier": "primary",
        "role": "full",
        "reason": "",
        "since_seconds": 100.0,
        "head": 100,
        "lag": 0,
        "latency_seconds": 0.02,
        "cooldown_seconds": 0.0,
        "rate_level": None,
        "is_suspect": False,
        "attempts": {},
        "probes": {},
        "times": {},
    }
    return UpstreamSample(name=name, state=state, **{**told, **fields})


def a_chain(*upstreams: UpstreamSample, **fields: Any) -> ChainSample:
    upstreams = upstreams or tuple(an_upstream(name) for name in "abcd")
    told: dict[str, Any] = {
        "name": "ethereum",
        "identity": "1",
        "usable": sum(each.state == "up" and each.role != "sends" for each in upstreams),
        "served_head": 21_000_000,
        "head_age_seconds": 1.0,
        "halted_seconds": None,
        "outage_seconds": None,
        "is_panicking": False,
        "is_split": False,
        "requests": {"ok": 0},
        "unserved": 0,
    }
    return ChainSample(upstreams=upstreams, **{**told, **fields})


def a_sample(seconds: float, *chains: ChainSample) -> Sample:
    return Sample(unix_seconds=START + seconds, seconds=seconds, chains=chains or (a_chain(),))


def with_state(states: Mapping[str, str], **fields: Any) -> ChainSample:
    """Upstreams by name and state, each for 3 s."""
    told = (an_upstream(name, state, since_seconds=3.0) for name, state in states.items())
    return a_chain(*told, **fields)
