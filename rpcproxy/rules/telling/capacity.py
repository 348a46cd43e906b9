"""Capacity: what share of it each cloud, region and company holds, what the loss of each would
leave, single points of failure, and upstreams that look like one and the same. Pure.

Capacity is counted by ``rate_limit`` where every upstream that serves reads has one, else by
``weight``. An upstream whose cloud is unknown belongs to its provider's domain alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Final, Literal

import msgspec

from rpcproxy.rules.standing.domains import UNKNOWN
from rpcproxy.rules.telling.survey import SeenHead, is_same_head

DomainKind = Literal["provider", "cloud", "region", "upstream"]
NAMES: Final[dict[DomainKind, str]] = {
    "provider": "company",
    "cloud": "cloud",
    "region": "region",
    "upstream": "upstream",
}


class CapacityMember(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream as far as capacity is concerned. ``identity``: equal for two URLs that lead to
    the same place; never shown.
    """

    name: str
    provider: str
    cloud: str = UNKNOWN
    region: str = UNKNOWN
    tier: str = "primary"
    role: str = "full"
    is_private: bool = False
    weight: float = 1.0
    rate_per_second: float | None = None
    identity: str = ""
    is_usable: bool = True
    is_cloud_guessed: bool = False


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a fault domain holds of the reads' capacity (``share`` from 0 to 1), and what is left
    without it: ``left`` names upstreams that serve reads, ``has_senders`` whether a transaction
    could still be sent. ``is_guess``: that a member is there at all is a guess. ``words`` go on
    after "its loss".
    """

    kind: DomainKind
    name: str
    members: tuple[str, ...]
    share: float
    left: tuple[str, ...]
    left_share: float
    has_senders: bool
    is_guess: bool
    words: str


class SinglePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One thing whose loss ends reads, or sends."""

    kind: DomainKind
    name: str
    ends: Literal["reads", "sends"]
    is_guess: bool
    words: str


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """``basis``: what capacity is counted by, in words. ``unknown_clouds``: upstreams whose cloud
    is not known, so that nothing can be said of its loss.
    """

    basis: str
    shares: tuple[Share, ...]
    single_points: tuple[SinglePoint, ...]
    unknown_clouds: tuple[str, ...]


def assess(members: Sequence[CapacityMember], *, falls_back: bool = False) -> Capacity:
    """One chain's upstreams. Those that are not usable hold nothing. ``falls_back``: private
    transactions go to public upstreams as well, in the end.
    """
    usable = [member for member in members if member.is_usable]
    readers = [member for member in usable if member.role != "sends"]
    senders = _senders(members, falls_back=falls_back)
    basis, size = _measure(readers)
    shares = tuple(_shares(usable, readers, senders, size))
    points = (*_single_points(readers, "reads"), *_sends_alone(readers, senders))
    if len(usable) < len(members):
        points = tuple(_among_the_usable(point) for point in points)
    return Capacity(
        basis=basis,
        shares=shares,
        single_points=points,
        unknown_clouds=tuple(member.name for member in readers if member.cloud == UNKNOWN),
    )


def _senders(members: Sequence[CapacityMember], *, falls_back: bool) -> list[CapacityMember]:
    """Who takes a wallet's transactions: the private ones alone, where there are any."""
    takers = [member for member in members if member.role != "reads"]
    if not falls_back and any(member.is_private for member in takers):
        takers = [member for member in takers if member.is_private]
    return [member for member in takers if member.is_usable]


def _measure(readers: Sequence[CapacityMember]) -> tuple[str, Callable[[CapacityMember], float]]:
    if readers and all(member.rate_per_second for member in readers):
        return "counted by rate_limit", lambda member: member.rate_per_second or 0.0
    if len({member.weight for member in readers}) > 1:
        return "counted by weight", lambda member: member.weight
    return "every upstream counted alike", lambda _: 1.0


def _domain(member: CapacityMember, kind: DomainKind) -> str | None:
    if kind == "upstream":
        return member.identity or member.name
    if kind == "provider":
        return member.provider
    if member.cloud == UNKNOWN:
        return None
    if kind == "cloud":
        return member.cloud
    return None if member.region == UNKNOWN else f"{member.cloud}/{member.region}"


# --------------------------------------------------------------------------
# Shares


def _shares(
    usable: Sequence[CapacityMember],
    readers: Sequence[CapacityMember],
    senders: Sequence[CapacityMember],
    size: Callable[[CapacityMember], float],
) -> Iterator[Share]:
    whole = sum(map(size, readers))
    kinds: tuple[DomainKind, ...] = ("cloud", "region", "provider")
    for kind in kinds:
        grouped: dict[str, list[CapacityMember]] = {}
        for member in usable:
            name = _domain(member, kind)
            if name is not None:
                grouped.setdefault(name, []).append(member)
        found = [
            _share((kind, name), group, readers, senders, sum(map(size, _among(readers, group))))
            for name, group in grouped.items()
        ]
        found = [
            msgspec.structs.replace(
                share,
                share=share.share / whole if whole else 0.0,
                left_share=1 - share.share / whole if whole else 0.0,
            )
            for share in found
        ]
        for share in sorted(found, key=lambda share: (-share.share, share.name)):
            yield msgspec.structs.replace(share, words=_loss_words(share, readers, senders))


def _share(
    domain: tuple[DomainKind, str],
    group: Sequence[CapacityMember],
    readers: Sequence[CapacityMember],
    senders: Sequence[CapacityMember],
    held: float,
) -> Share:
    kind, name = domain
    return Share(
        kind=kind,
        name=name,
        members=tuple(member.name for member in group),
        share=held,
        left=tuple(member.name for member in _without(readers, group)),
        left_share=0.0,
        has_senders=bool(_without(senders, group)),
        is_guess=kind != "provider" and any(member.is_cloud_guessed for member in group),
        words="",
    )


def _among(
    members: Sequence[CapacityMember], group: Sequence[CapacityMember]
) -> list[CapacityMember]:
    names = {member.name for member in group}
    return [member for member in members if member.name in names]


def _without(
    members: Sequence[CapacityMember], group: Sequence[CapacityMember]
) -> list[CapacityMember]:
    names = {member.name for member in group}
    return [member for member in members if member.name not in names]


def _loss_words(
    share: Share, readers: Sequence[CapacityMember], senders: Sequence[CapacityMember]
) -> str:
    if not share.left:
        return "leaves nobody: every wallet gets errors"
    left = [member for member in readers if member.name in share.left]
    only = " (backup)" if all(member.tier == "backup" for member in left) else ""
    words = f"leaves {listed(share.left)}{only}: {share.left_share:.0%} of the capacity"
    if senders and not share.has_senders:
        words += "; no transaction could be sent"
    return words


# --------------------------------------------------------------------------
# Single points of failure


def _single_points(
    members: Sequence[CapacityMember], ends: Literal["reads", "sends"]
) -> Iterator[SinglePoint]:
    """Where it is one upstream, everything else about it follows; so does a region's cloud."""
    if not members:
        return
    kinds: tuple[DomainKind, ...] = ("upstream", "provider", "region", "cloud")
    told: set[DomainKind] = set()
    for kind in kinds:
        names = {_domain(member, kind) for member in members}
        name = next(iter(names))
        if len(names) > 1 or name is None or (kind == "cloud" and "region" in told):
            continue
        told.add(kind)
        yield _single_point(kind, name, members, ends)
        if kind == "upstream":
            return


def _single_point(
    kind: DomainKind, name: str, members: Sequence[CapacityMember], ends: Literal["reads", "sends"]
) -> SinglePoint:
    end = "nobody can serve" if ends == "reads" else "no transaction can be sent"
    what = "serves reads" if ends == "reads" else "takes transactions"
    every = [member.name for member in members]
    if kind != "upstream":
        place = "of" if kind == "provider" else "on" if kind == "cloud" else "in"
        words = f"every upstream that {what} is {place} {NAMES[kind]} {name}: when it fails, {end}"
    elif len(every) == 1:
        name = every[0]
        words = f"{name} is the only upstream that {what}: when it fails, {end}"
    else:
        name = every[0]
        words = f"{listed(every)} have the same URL, and nobody else {what}: when it fails, {end}"
    is_guess = kind in ("cloud", "region") and any(member.is_cloud_guessed for member in members)
    if is_guess:
        words += " (a guess from address ranges)"
    return SinglePoint(kind=kind, name=name, ends=ends, is_guess=is_guess, words=words)


def _among_the_usable(point: SinglePoint) -> SinglePoint:
    """More are configured, and would be there if they worked."""
    words = point.words.replace("every upstream", "every usable upstream")
    words = words.replace("the only upstream", "the only usable upstream")
    return msgspec.structs.replace(point, words=words)


def _sends_alone(
    readers: Sequence[CapacityMember], senders: Sequence[CapacityMember]
) -> Iterator[SinglePoint]:
    """Those of sends that are not those of reads as well."""
    of_reads = {(point.kind, point.name) for point in _single_points(readers, "reads")}
    for point in _single_points(senders, "sends"):
        if (point.kind, point.name) not in of_reads:
            yield point


# --------------------------------------------------------------------------
# One and the same


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What shows of an upstream: its URL's host, port and path (``place``, never shown), its
    addresses with their port, its client's version, and the heads that it told.
    """

    name: str
    place: str
    addresses: frozenset[str] = frozenset()
    client_version: str = ""
    heads: tuple[SeenHead, ...] = ()


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two upstreams that look like one and the same, and why."""

    first: str
    second: str
    words: str


def alike(looks: Sequence[Look], block_time_seconds: float) -> tuple[Pair, ...]:
    """Pairs of one chain's upstreams, in their order. Looks may deceive: of two keys at one
    company neither is lost with the other's quota.
    """
    found = []
    for first, second in combinations(looks, 2):
        why = _why_alike(first, second, block_time_seconds)
        if why:
            words = f"{first.name} and {second.name} look like one and the same: {why}"
            found.append(Pair(first=first.name, second=second.name, words=words))
    return tuple(found)


def _why_alike(first: Look, second: Look, block_time_seconds: float) -> str:
    if first.place == second.place:
        return "the same host and path"
    is_one_machine = (
        bool(first.addresses & second.addresses)
        and first.client_version == second.client_version != ""
        and is_same_head(first.heads, second.heads, block_time_seconds)
    )
    if is_one_machine:
        return "the same address, the same client version and always the same head"
    return ""


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    *front, end = names
    return f"{', '.join(front)} and {end}" if front else end
