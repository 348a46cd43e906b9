"""Statuses as the proxy tells them, for the tests of what shows them."""

from __future__ import annotations

from typing import Any

from rpcproxy.front.pages.outlook import public_part

CELLS = "." * 280 + "wwwttddw"
REASON = "2 timeouts, it says <script>alert(1)</script>"
EVIL = "<img src=x onerror=alert(1)>"


def an_upstream(name: str, state: str = "up", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "provider": "infura",
        "cloud": "aws",
        "region": "us-east-1",
        "tier": "primary",
        "role": "full",
        "state": state,
        "state_reason": "" if state == "up" else REASON,
        "since_seconds": 75.0,
        "head": 21_000_000,
        "lag": 0,
        "cooldown_seconds": 0.0,
        "suspect": False,
        "rate_level": None,
        "classes": {"light": {"latency_ms": 21.4}},
        **fields,
    }


def a_chain(*upstreams: dict[str, Any], **fields: Any) -> dict[str, Any]:
    strip = {"cells": CELLS, "well_share": 0.98765, "known_seconds": 86_000.0}
    names = [each["name"] for each in upstreams]
    traffic = {"attempts": 40, "failures": 2, "probes": 12, "failed_probes": 1, "share": 0.25}
    return {
        "name": "ethereum",
        "chain_id": 1,
        "title": "Ethereum",
        "state": "degraded",
        "sentence": "a is rate-limited, wallets are served by one other",
        "steady": "a is rate-limited, wallets are served by one other",
        "level": "troubled",
        "whose": "provider",
        "served_head": 21_000_000,
        "head_age_seconds": 3.2,
        "usable": 1,
        "recent": {"seconds": 60.0, "requests": 1200, "unserved": 0},
        "traffic": dict.fromkeys(names, traffic),
        "strips": {
            "cell_seconds": 300,
            "until": "2026-09-01T12:05:00.000Z",
            "chain": strip,
            "upstreams": dict.fromkeys(names, strip),
        },
        "transactions": {"pending": 3, "oldest_seconds": 1.0, "journal": "open"},
        "upstreams": list(upstreams),
        **fields,
    }


def an_incident(**fields: Any) -> dict[str, Any]:
    return {
        "chain": "ethereum",
        "upstream": "a",
        "kind": "ejected",
        "cause": REASON,
        "started": "2026-09-01T11:00:00.000Z",
        "ended": "2026-09-01T11:00:30.000Z",
        "seconds": 30.0,
        "requests": 300,
        "unserved": 0,
        "times": 1,
        **fields,
    }


def a_happening(**fields: Any) -> dict[str, Any]:
    """One entry of the timeline."""
    return {
        "id": "x",
        "kind": "drained",
        "chain": "ethereum",
        "upstream": "a",
        "words": "no new requests go there",
        "sentence": "ethereum: a was drained by alice, from 127.0.0.1",
        "by": "alice, from 127.0.0.1",
        "started": "2026-09-01T11:48:46.000Z",
        "ended": "2026-09-01T11:48:46.000Z",
        "seconds": 0.0,
        "requests": 0,
        "unserved": 0,
        "times": 1,
        **fields,
    }


def a_status(*chains: dict[str, Any], **fields: Any) -> dict[str, Any]:
    chains = chains or (
        a_chain(an_upstream("a", "cooling", cooldown_seconds=4.0), an_upstream("b")),
    )
    return {
        "version": "0.1.0",
        "uptime_seconds": 3700.0,
        "sentence": chains[0]["sentence"],
        "steady": chains[0]["steady"],
        "level": chains[0]["level"],
        "whose": chains[0]["whose"],
        "incidents": [an_incident()],
        "chains": list(chains),
        "changes": [],
        "config": {"path": "/etc/private.yaml", "last_result": "", "accepted": 0, "refused": 0},
        **fields,
    }


def a_public_status(**fields: Any) -> dict[str, Any]:
    return public_part(a_status(**fields))
