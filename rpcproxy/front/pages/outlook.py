"""What the status adds to figures: sentences, strips, traffic, incidents. Types alone, and what of
a status anybody may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from rpcproxy.states import IncidentKind


class IncidentEntry(TypedDict):
    """``upstream`` is a fault domain's name for ``suspect``, empty for what concerns the chain.
    ``started`` and ``ended`` are UTC, ISO 8601; ``ended`` is ``None`` while it lasts. ``unserved``
    of the ``requests`` that came meanwhile had an error: what wallets noticed.
    """

    chain: str
    upstream: str
    kind: str
    cause: str
    started: str
    ended: str | None
    seconds: float
    requests: int
    unserved: int
    times: int


class RefusalEntry(TypedDict):
    """What wallets are refused for a reason of our own. ``what``: ``sends``, ``records``,
    ``clients`` or ``attempts``. ``since`` is UTC, ISO 8601. ``detail`` is for operators alone.
    """

    what: str
    why: str
    detail: str
    since: str
    seconds: float


class ChangeTold(TypedDict):
    """One entry of the timeline. ``sentence`` has all of it in words, ``words`` why or what alone.
    ``upstream`` may be a fault domain. Times are UTC, ISO 8601; ``ended`` is ``None`` while it
    lasts. ``unserved`` of ``requests`` had an error: what wallets noticed.
    """

    id: str
    kind: str
    chain: str
    upstream: str
    words: str
    sentence: str
    by: str
    started: str
    ended: str | None
    seconds: float
    requests: int
    unserved: int
    times: int


class TrafficEntry(TypedDict):
    """One upstream's part of the last minute."""

    attempts: int
    failures: int
    probes: int
    failed_probes: int
    share: float | None  # of its chain's attempts


class StripEntry(TypedDict):
    """A letter for each cell, the oldest first: w(ell), t(roubled), d(own) or a dot where nothing
    is known.
    """

    cells: str
    well_share: float | None  # of ``known_seconds``
    known_seconds: float


class StripsEntry(TypedDict):
    """The last cell ends at ``until``, UTC."""

    cell_seconds: int
    until: str
    chain: StripEntry
    upstreams: Mapping[str, StripEntry]


class ChainOutlook(TypedDict):
    """One chain in words and over time. ``level``: ``well``, ``troubled``, ``down``, ``unknown``;
    ``whose``: ``provider``, ``chain``, ``here`` or empty. ``recent``: the last minute's
    ``seconds``, ``requests`` and ``unserved``. ``traffic`` by upstream.
    """

    title: str
    sentence: str
    steady: str
    level: str
    whose: str
    refusals: Sequence[RefusalEntry]
    recent: Mapping[str, float]
    traffic: Mapping[str, TrafficEntry]
    strips: StripsEntry


class Outlook(TypedDict):
    """All chains in words. ``steady`` is ``sentence`` without what changes by itself.
    ``refusals``: of the whole process, whichever chain is asked for.
    """

    sentence: str
    steady: str
    level: str
    whose: str
    refusals: Sequence[RefusalEntry]
    incidents: Sequence[IncidentEntry]


_OF_ALL: Final = ("sentence", "steady", "level", "whose")
_OF_CHAIN: Final = (
    *("name", "chain_id", "title", "state", "sentence", "steady", "level", "whose"),
    *("served_head", "head_age_seconds", "usable", "recent", "traffic", "strips"),
)
# What operators did and what became of the process is nobody else's business, nor is a place.
_PUBLIC_KINDS: Final = frozenset(set(IncidentKind) - {IncidentKind.SUSPECT})
_OF_REFUSAL: Final = ("what", "why", "since", "seconds")
_OF_UPSTREAM: Final = ("name", "state", "since_seconds", "head", "lag")
_OF_HAPPENING: Final = (
    *("id", "chain", "upstream", "kind", "started", "ended", "seconds"),
    *("requests", "unserved", "times"),
)
_OF_INCIDENT: Final = (
    *("chain", "upstream", "kind", "started", "ended", "seconds"),
    *("requests", "unserved", "times"),
)


def public_part(status: Mapping[str, Any]) -> dict[str, Any]:
    """What of a status is for anybody: names and figures. No reasons, which may hold what a
    provider said, no paths, no transactions, no places.
    """
    shown = {key: status[key] for key in _OF_ALL}
    shown["refusals"] = _refusals(status)
    shown["chains"] = [
        {
            **{key: chain[key] for key in _OF_CHAIN},
            "refusals": _refusals(chain),
            "upstreams": [
                {**{key: each.get(key) for key in _OF_UPSTREAM}, "latency_ms": latency_of(each)}
                for each in chain["upstreams"]
            ],
        }
        for chain in status["chains"]
    ]
    shown["incidents"] = [
        {key: each[key] for key in _OF_INCIDENT}
        for each in status["incidents"]
        if each["kind"] != IncidentKind.SUSPECT  # its subject is a place
    ]
    shown["timeline"] = [
        {key: each.get(key) for key in _OF_HAPPENING}
        for each in status.get("timeline", ())
        if each["kind"] in _PUBLIC_KINDS
    ]
    return shown


def _refusals(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{key: each[key] for key in _OF_REFUSAL} for each in told.get("refusals", ())]


def latency_of(upstream: Mapping[str, Any]) -> float | None:
    """What its light reads take, in milliseconds."""
    light: Mapping[str, Any] = upstream.get("classes", {}).get("light", {})
    latency = light.get("latency_ms", upstream.get("latency_ms"))
    return None if latency is None else float(latency)
