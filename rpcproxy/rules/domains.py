"""Fault domains: a cloud, a region of it, a provider.

When at least two and at least half of a domain's members fail within ten seconds, the rest is
distrusted before it fails: the domain is *suspect*, and stays so for 30 s after it last looked so.
Where nothing was said about an upstream's cloud, it belongs to its provider's domain alone.

State: ``until`` per domain and ``is_suspect`` of its members; written by ``Standings`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

UNKNOWN: Final = "unknown"
WINDOW_SECONDS: Final = 10.0
SUSPICION_SECONDS: Final = 30.0
FAILING_SHARE: Final = 0.3


class Member(Protocol):
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
    """``until`` is when suspicion ends, 0.0 while there is none."""

    __slots__ = ("members", "name", "until")

    def __init__(self, name: str, members: Sequence[Member]) -> None:
        self.name = name
        self.members = members
        self.until = 0.0

    def settle(self, now: float) -> Suspicion | None:
        """Judge anew; what changed, if anything did."""
        admitted = failing = 0
        for member in self.members:
            if member.is_admitted:
                admitted += 1
                failing += now - member.failing_at <= WINDOW_SECONDS
        was_suspect = self.until > 0.0
        if failing >= 2 and failing * 2 >= admitted:
            self.until = now + SUSPICION_SECONDS
            if was_suspect:
                return None
            reason = f"{failing} of {admitted} upstreams fail: {self._failing_names(now)}"
            return Suspicion(self.name, is_suspect=True, reason=reason, until=self.until)
        if was_suspect and now >= self.until:
            self.until = 0.0
            reason = f"no more than its usual failures for {SUSPICION_SECONDS:.0f} s"
            return Suspicion(self.name, is_suspect=False, reason=reason, until=None)
        return None

    def _failing_names(self, now: float) -> str:
        return ", ".join(
            member.name
            for member in self.members
            if member.is_admitted and now - member.failing_at <= WINDOW_SECONDS
        )


class Domains:
    """The domains of one chain's upstreams that have two members or more."""

    __slots__ = ("_domains", "_members")

    def __init__(self, members: Sequence[Member]) -> None:
        grouped: dict[str, list[Member]] = {}
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
        known = {domain.name: domain.until for domain in old._domains}
        for domain in self._domains:
            domain.until = known.get(domain.name, 0.0)
            if domain.until > now:
                for member in domain.members:
                    member.is_suspect = True
