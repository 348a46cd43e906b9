"""What the proxy knows of its chains at one moment, as plain values: for the status page, the
history and webhooks, which compare one sample with another. No URLs, no secrets. Pure.

Counts only grow while the process lives; ``grown`` says by how much.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal

import msgspec

from rpcproxy.states import UpstreamState
from rpcproxy.words import OrderNote


class Refused(enum.StrEnum):
    """What wallets are refused, or not given, for a reason of our own."""

    SENDS = "sends"  # transactions of a chain
    RECORDS = "records"  # transactions are taken, and a restart would forget them
    CLIENTS = "clients"  # connections, or requests of clients for which too much is held
    ATTEMPTS = "attempts"  # upstreams cannot be asked: this machine lacks what that takes


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """``why`` is for anybody: no path, no process, no address. ``detail`` is for operators, empty
    where ``why`` says all. ``whose`` as of a ``plight.Plight``.
    """

    what: Refused
    why: str
    since_seconds: float
    detail: str = ""
    whose: Literal["here", "provider"] = "here"


class Times(msgspec.Struct, frozen=True, gc=False):
    """How long attempts took: a count per bucket of ``edges.metrics.metrics.BUCKET_SECONDS`` and
    one for what took longer; not cumulative. ``calls`` count the members of batches one by one,
    ``units`` are the weights of their methods (``edges.metrics.attempt_times``).
    """

    buckets: tuple[int, ...] = ()
    seconds: float = 0.0
    calls: int = 0
    units: int = 0


class UpstreamSample(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream. ``attempts`` and ``probes`` by verdict, ``times`` by method class. ``state``
    and ``reason`` as in ``snapshot``; ``since_seconds`` how long it has been so.
    """

    name: str
    provider: str
    cloud: str
    region: str
    tier: str
    role: str
    state: UpstreamState
    reason: str
    since_seconds: float
    head: int | None
    lag: int | None
    latency_seconds: float | None  # of light reads, as it is expected of the next
    cooldown_seconds: float
    rate_level: float | None  # what is left of its rate, None where none is known
    is_suspect: bool
    attempts: Mapping[str, int]
    probes: Mapping[str, int]
    times: Mapping[str, Times]
    order: OrderNote | None = None  # what an operator ordered, and nobody took back


class ChainSample(msgspec.Struct, frozen=True, kw_only=True):
    """One chain. ``requests`` of clients, by ``states.RequestOutcome``. ``refusals``: of this
    chain alone.
    """

    name: str
    identity: str
    usable: int
    served_head: int | None
    head_age_seconds: float | None
    halted_seconds: float | None  # None while it moves
    outage_seconds: float | None  # None while somebody can serve
    is_panicking: bool
    is_split: bool
    requests: Mapping[str, int]
    upstreams: tuple[UpstreamSample, ...]
    unserved: int = 0  # requests that nobody could serve: each an error that a wallet saw
    refusals: tuple[Refusal, ...] = ()


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """All chains. ``unix_seconds`` may jump with the clock, ``seconds`` (monotonic) does not.
    ``refusals``: of the whole process, whichever chain is asked for. ``unwritten``: why, by what of
    ours on disk cannot be written.
    """

    unix_seconds: float
    seconds: float
    chains: tuple[ChainSample, ...]
    refusals: tuple[Refusal, ...] = ()
    unwritten: Mapping[str, str] = {}


def grown(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """By how much each count grew, those that did. A count that fell began anew."""
    return {
        name: more
        for name, count in now.items()
        if (more := count - before.get(name, 0) if count >= before.get(name, 0) else count)
    }
