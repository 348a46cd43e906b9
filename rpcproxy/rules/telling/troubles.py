"""What is wrong at this moment, as a sample shows it: incidents are made of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from rpcproxy.rules.telling.sample import ChainSample, Refusal, Refused, Sample, UpstreamSample
from rpcproxy.states import OF_STATES, IncidentKind, UpstreamState

# A proxy that starts knows nobody yet.
START_SECONDS: Final = 15.0

_OF_REFUSALS: Final[Mapping[Refused, IncidentKind]] = {
    Refused.SENDS: IncidentKind.SENDS_REFUSED,
    Refused.RECORDS: IncidentKind.RECORDS_REFUSED,
    Refused.CLIENTS: IncidentKind.CLIENTS_REFUSED,
    Refused.ATTEMPTS: IncidentKind.ATTEMPTS_REFUSED,
}


class Trouble(msgspec.Struct, frozen=True):
    """Something that is wrong at this moment, for so long."""

    subject: str
    kind: IncidentKind
    cause: str
    since_seconds: float


def troubles_of(chain: ChainSample) -> Iterator[Trouble]:
    """What is wrong with a chain, its fault domains and its upstreams."""
    if chain.outage_seconds is not None and not is_starting(chain):
        states = "; ".join(f"{each.name} {each.state}" for each in chain.upstreams)
        yield Trouble("", IncidentKind.OUTAGE, states, chain.outage_seconds)
    if chain.halted_seconds is not None:
        cause = f"all heads stood still at block {chain.served_head}"
        yield Trouble("", IncidentKind.HALTED, cause, chain.halted_seconds)
    if chain.is_split:
        yield Trouble("", IncidentKind.SPLIT, "upstreams did not agree on one chain", 0.0)
    domain = suspect_domain(chain)
    if domain:
        yield Trouble(domain, IncidentKind.SUSPECT, "several of its upstreams failed together", 0.0)
    if chain.is_panicking and not is_starting(chain):
        usable, readers = chain.usable, sum(each.role != "sends" for each in chain.upstreams)
        yield Trouble("", IncidentKind.PANIC, f"{usable} of {readers} could be asked", 0.0)
    for upstream in chain.upstreams:
        kind = OF_STATES.get(upstream.state)
        if kind is not None and not is_new(upstream):
            yield Trouble(upstream.name, kind, upstream.reason, upstream.since_seconds)
    yield from troubles_of_refusals(chain.refusals)


def troubles_of_refusals(refusals: Iterable[Refusal]) -> Iterator[Trouble]:
    """What wallets are refused for reasons of our own, of a chain or of the process."""
    for refusal in refusals:
        kind = _OF_REFUSALS[refusal.what]
        yield Trouble("", kind, refusal.detail or refusal.why, refusal.since_seconds)


def troubles_of_process(sample: Sample) -> Iterator[Trouble]:
    """What is wrong whichever chain is asked for: what is refused, and what cannot be written."""
    yield from troubles_of_refusals(sample.refusals)
    for name, why in sample.unwritten.items():
        yield Trouble(name, IncidentKind.DISK_TROUBLE, why, 0.0)


def suspect_domain(chain: ChainSample) -> str:
    """What those that are suspect have in common, as narrow as it can be said."""
    suspects = [each for each in chain.upstreams if each.is_suspect]
    if not suspects:
        return ""
    for name in (_region, lambda each: str(each.provider), lambda each: str(each.cloud)):
        names = {name(each) for each in suspects}
        if len(names) == 1 and (only := names.pop()) and not only.startswith("unknown"):
            return only
    return "a fault domain"


def _region(upstream: UpstreamSample) -> str:
    known = "unknown" not in (upstream.cloud, upstream.region)
    return f"{upstream.cloud}/{upstream.region}" if known else ""


def is_starting(chain: ChainSample) -> bool:
    """Whether nobody is known yet. What an operator drained is not waited for, and whatever is
    known of it tells nothing of the others.
    """
    return are_new(chain.upstreams)


def are_new(upstreams: Iterable[UpstreamSample]) -> bool:
    """The same of upstreams; not where all are drained."""
    asked = [each for each in upstreams if each.state != UpstreamState.DRAINED]
    return bool(asked) and all(map(is_new, asked))


def is_new(upstream: UpstreamSample) -> bool:
    """Whether it is not known yet, as at the start."""
    return upstream.state == UpstreamState.UNKNOWN and upstream.since_seconds < START_SECONDS
