"""Incidents: what was wrong, from when to when, why, and what wallets noticed of it. Pure.

State: those under way, and the last ``KEPT`` that are over, in ``Incidents``, written by
``rules.telling.chronicle``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from rpcproxy.rules.telling.sample import ChainSample, Refusal, Refused, UpstreamSample
from rpcproxy.states import OF_STATES, IncidentKind, UpstreamState

KEPT: Final = 200
# Of one upstream, over so soon, and no wallet noticed: not worth a line.
BRIEF_SECONDS: Final = 5.0
# Again within this time: the same incident, one time more.
AGAIN_SECONDS: Final = 60.0
# A proxy that starts knows nobody yet.
START_SECONDS: Final = 15.0
LONGEST_CAUSE: Final = 300

# Of one upstream, the worst last: an incident is called after the worst it came to.
UPSTREAM_KINDS: Final = tuple(OF_STATES.values())
_OF_REFUSALS: Final[Mapping[Refused, IncidentKind]] = {
    Refused.SENDS: IncidentKind.SENDS_REFUSED,
    Refused.RECORDS: IncidentKind.RECORDS_REFUSED,
    Refused.CLIENTS: IncidentKind.CLIENTS_REFUSED,
    Refused.ATTEMPTS: IncidentKind.ATTEMPTS_REFUSED,
}


class Incident(msgspec.Struct, kw_only=True):
    """``subject`` is an upstream, a fault domain, or empty for the chain itself.
    ``requests`` came while it lasted; ``unserved`` of them had an error of the proxy's own.
    Times are wall-clock seconds.
    """

    chain: str
    subject: str
    kind: IncidentKind
    cause: str
    started_unix: float
    ended_unix: float | None = None
    requests: int = 0
    unserved: int = 0
    times: int = 1

    @property
    def key(self) -> tuple[str, str, str]:
        return self.chain, self.subject, "" if self.kind in UPSTREAM_KINDS else self.kind


class Trouble(msgspec.Struct, frozen=True):
    """Something that is wrong at this moment, for so long."""

    subject: str
    kind: IncidentKind
    cause: str
    since_seconds: float


def troubles_of(chain: ChainSample) -> Iterator[Trouble]:
    """What is wrong with a chain, its fault domains and its upstreams."""
    if chain.outage_seconds is not None and not _is_starting(chain):
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


def _is_starting(chain: ChainSample) -> bool:
    return all(map(is_new, chain.upstreams))


def is_new(upstream: UpstreamSample) -> bool:
    """Whether it is not known yet, as at the start."""
    return upstream.state == UpstreamState.UNKNOWN and upstream.since_seconds < START_SECONDS


class Incidents:
    """Incidents under way, and the last ``KEPT`` that are over."""

    __slots__ = ("_open", "_over")

    def __init__(self, over: Sequence[Incident] = ()) -> None:
        self._open: dict[tuple[str, str, str], Incident] = {}
        self._over: deque[Incident] = deque(over, maxlen=KEPT)

    def latest_first(self) -> list[Incident]:
        """Those under way, then the others by their ends."""
        under_way = sorted(self._open.values(), key=lambda each: -each.started_unix)
        return [*under_way, *sorted(self._over, key=lambda each: -(each.ended_unix or 0.0))]

    def has_open(self, chain: str) -> bool:
        return any(each.chain == chain for each in self._open.values())

    def step(self, chain: ChainSample, unix_seconds: float, requests: int, unserved: int) -> None:
        """A chain as it is now; so many requests came, and so many of them were not served, since
        it was last looked at.
        """
        seen = self._begin(chain.name, troubles_of(chain), unix_seconds)
        for key, incident in list(self._open.items()):
            if incident.chain != chain.name:
                continue
            incident.requests += requests
            incident.unserved += unserved
            if key not in seen:
                self._close(incident, unix_seconds - _well_for(chain, incident))

    def step_process(self, refusals: Iterable[Refusal], unix_seconds: float) -> None:
        """What the whole process refuses now; its incidents have no chain."""
        seen = self._begin("", troubles_of_refusals(refusals), unix_seconds)
        for key, incident in list(self._open.items()):
            if not incident.chain and key not in seen:
                self._close(incident, unix_seconds)

    def _begin(
        self, chain: str, troubles: Iterable[Trouble], unix_seconds: float
    ) -> set[tuple[str, str, str]]:
        return {self._open_for(chain, each, unix_seconds).key for each in troubles}

    def note_errors(self, chain: str, cause: str, unix_seconds: float, unserved: int) -> None:
        """Requests were not served, and whatever it was is over."""
        if self.has_open(chain):
            return
        key = (chain, "", IncidentKind.ERRORS)
        last = next((each for each in reversed(self._over) if each.key == key), None)
        if last is not None and unix_seconds - (last.ended_unix or 0.0) <= AGAIN_SECONDS:
            last.unserved += unserved
            last.ended_unix = unix_seconds
            last.times += 1
            return
        self._over.append(
            Incident(
                chain=chain,
                subject="",
                kind=IncidentKind.ERRORS,
                cause=cause[:LONGEST_CAUSE],
                started_unix=unix_seconds,
                ended_unix=unix_seconds,
                unserved=unserved,
            )
        )

    def end_chain(self, chain: str, unix_seconds: float) -> None:
        """A chain is not served any more."""
        for incident in [each for each in self._open.values() if each.chain == chain]:
            self._close(incident, unix_seconds)

    def _open_for(self, chain: str, trouble: Trouble, unix_seconds: float) -> Incident:
        started = unix_seconds - trouble.since_seconds
        fresh = Incident(
            chain=chain,
            subject=trouble.subject,
            kind=trouble.kind,
            cause=trouble.cause[:LONGEST_CAUSE],
            started_unix=started,
        )
        incident = self._open.get(fresh.key)
        if incident is None:
            incident = self._again(fresh) or fresh
            self._open[fresh.key] = incident
        if _rank(trouble.kind) >= _rank(incident.kind):
            incident.kind = trouble.kind
            incident.cause = fresh.cause or incident.cause
        return incident

    def _again(self, fresh: Incident) -> Incident | None:
        for known in reversed(self._over):
            if known.key == fresh.key and known.ended_unix is not None:
                if fresh.started_unix - known.ended_unix > AGAIN_SECONDS:
                    return None
                self._over.remove(known)
                known.ended_unix = None
                known.times += 1
                return known
        return None

    def _close(self, incident: Incident, ended_unix: float) -> None:
        del self._open[incident.key]
        ended_unix = max(ended_unix, incident.started_unix)
        is_ones = incident.kind in UPSTREAM_KINDS
        is_brief = is_ones and ended_unix - incident.started_unix < BRIEF_SECONDS
        if is_brief and not incident.unserved and incident.times == 1:
            return
        incident.ended_unix = ended_unix
        self._over.append(incident)


def _rank(kind: IncidentKind) -> int:
    return UPSTREAM_KINDS.index(kind) if kind in UPSTREAM_KINDS else 0


def _well_for(chain: ChainSample, incident: Incident) -> float:
    """For how long the subject of an incident has been well again, where that can be told."""
    for upstream in chain.upstreams:
        if upstream.name == incident.subject and upstream.state == UpstreamState.UP:
            return upstream.since_seconds
    return 0.0
