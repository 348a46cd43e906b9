"""Fault domains: a cloud, a region of it, a provider.

When at least two and at least half of a domain's members fail within ten seconds, the rest is
distrusted before it fails: the domain is *suspect*, until none of its members has been failing for
a second. That doubles, up to 30 s, for a domain that becomes suspect again within a minute. Where
nothing was said about an upstream's cloud, it belongs to its provider's domain alone.

State: suspicion per domain and ``is_suspect`` of its members; written by ``Standings`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

UNKNOWN: Final = "unknown"
WINDOW_SECONDS: Final = 10.0
FIRST_CALM_SECONDS: Final = 1.0
LONGEST_CALM_SECONDS: Final = 30.0
RELAPSE_SECONDS: Final = 60.0
# A member was seen to fail at the last tick or the one before.
FAILING_NOW_SECONDS: Final = 0.25
FAILING_SHARE: Final = 0.3


class DomainMember(Protocol):
    """An upstream as far as domains are concerned. ``failing_at`` is when it was last seen to
    fail; ``is_admitted`` is false for those that say nothing about their domain yet.
    """

    name: str
    provider: str
    cloud: str
    region: str
    failing_at: float
    is_suspect: bool

    @property
    def is_admitted(self) -> bool: ...


class Suspicion(msgspec.Struct, gc=False, frozen=True):
    """A domain became suspect, or is so no more. ``until`` in monotonic seconds."""

    domain: str
    is_suspect: bool
    reason: str
    until: float | None


def domain_of(provider: str, cloud: str, region: str) -> tuple[str, str]:
    """The key of an upstream's own fault domain."""
    return ("provider", provider) if cloud == UNKNOWN else (cloud, region)


def domains_of(provider: str, cloud: str, region: str) -> Iterable[str]:
    """All domains that an upstream belongs to, by the names shown to people."""
    yield f"provider {provider}"
    if cloud != UNKNOWN:
        yield f"cloud {cloud}"
        if region != UNKNOWN:
            yield f"region {cloud}/{region}"


class Domain:
    """``until`` is when suspicion ends if nobody fails meanwhile, 0.0 while there is none."""

    __slots__ = ("_calm_seconds", "_ended_at", "members", "name", "until")

    def __init__(self, name: str, members: Sequence[DomainMember]) -> None:
        self.name = name
        self.members = members
        self.until = 0.0
        self._calm_seconds = 0.0
        self._ended_at = -math.inf

    def settle(self, now: float) -> Suspicion | None:
        """Judge anew; what changed, if anything did."""
        admitted = failing = 0
        # What ended the last suspicion is not held against it again.
        since = max(now - WINDOW_SECONDS, self._ended_at)
        latest = -math.inf
        for member in self.members:
            if member.is_admitted:
                admitted += 1
                failing_at = member.failing_at
                failing += failing_at >= since
                latest = max(latest, failing_at)
        if self.until > 0.0:
            if now - latest <= FAILING_NOW_SECONDS:
                self.until = now + self._calm_seconds
            return self._end(now) if now >= self.until else None
        if failing < 2 or failing * 2 < admitted:
            return None
        is_relapse = now - self._ended_at <= RELAPSE_SECONDS
        calm_seconds = self._calm_seconds * 2.0 if is_relapse else FIRST_CALM_SECONDS
        self._calm_seconds = min(LONGEST_CALM_SECONDS, calm_seconds)
        self.until = now + self._calm_seconds
        names = ", ".join(m.name for m in self.members if m.is_admitted and m.failing_at >= since)
        reason = f"{failing} of {admitted} upstreams fail: {names}"
        return Suspicion(self.name, is_suspect=True, reason=reason, until=self.until)

    def _end(self, now: float) -> Suspicion:
        self.until = 0.0
        self._ended_at = now
        reason = f"all of its upstreams have been well for {self._calm_seconds:.0f} s"
        return Suspicion(self.name, is_suspect=False, reason=reason, until=None)

    def adopt(self, old: Domain) -> None:
        """A reload: suspicion outlives it."""
        self.until = old.until
        self._calm_seconds = old._calm_seconds
        self._ended_at = old._ended_at


class Domains:
    """The domains of one chain's upstreams that have two members or more."""

    __slots__ = ("_domains", "_members")

    def __init__(self, members: Sequence[DomainMember]) -> None:
        grouped: dict[str, list[DomainMember]] = {}
        for member in members:
            for name in domains_of(member.provider, member.cloud, member.region):
                grouped.setdefault(name, []).append(member)
        self._members = members
        self._domains = [Domain(name, group) for name, group in grouped.items() if len(group) >= 2]

    def settle(self, now: float) -> Sequence[Suspicion]:
        """Judge all domains, and mark their members. What changed, in the order of domains."""
        found = [change for domain in self._domains if (change := domain.settle(now))]
        if found:
            for member in self._members:
                member.is_suspect = False
            for domain in self._domains:
                if domain.until > 0.0:
                    for member in domain.members:
                        member.is_suspect = True
        return found

    def suspects(self) -> Sequence[str]:
        """Names of the domains that are suspect now."""
        return [domain.name for domain in self._domains if domain.until > 0.0]

    def adopt(self, old: Domains, now: float) -> None:
        """A reload: suspicion outlives it."""
        known = {domain.name: domain for domain in old._domains}
        for domain in self._domains:
            if domain.name in known:
                domain.adopt(known[domain.name])
            if domain.until > now:
                for member in domain.members:
                    member.is_suspect = True
