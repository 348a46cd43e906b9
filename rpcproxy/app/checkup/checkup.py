"""A whole configuration, checked: every upstream asked side by side, and what follows for each
chain. Plain values come out, without URLs; upstreams' own words in them are to be redacted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from rpcproxy.app.checkup.asking import AskSettings
from rpcproxy.app.checkup.inspection import MOST_CALLS, Inspection, inspect
from rpcproxy.config.model import Chain, Config, Upstream
from rpcproxy.config.outbound import shown
from rpcproxy.edges.cloud_ranges import CloudRanges, Guess
from rpcproxy.edges.http.names import literal_address
from rpcproxy.edges.http.target import Target, read_origin
from rpcproxy.engine import tasks
from rpcproxy.rules.standing.domains import UNKNOWN
from rpcproxy.rules.telling import survey
from rpcproxy.rules.telling.capacity import (
    Capacity,
    CapacityMember,
    Look,
    Pair,
    alike,
    assess,
    listed,
)

# Older than this, and than ten blocks, the newest block is worth a word.
OLD_HEAD_SECONDS: Final = 60.0

OnStep = Callable[[str, str, str], None]


class UpstreamCheck(msgspec.Struct, kw_only=True):
    """One upstream as it is configured, and what was found (``None``: not asked). ``cloud`` and
    ``region`` are guesses out of address ranges where ``is_cloud_guessed``; ``guess`` is what
    those say, whatever is configured. ``through`` is the outbound proxy that leads to it
    (``host:port``), empty where the way is direct.
    """

    name: str
    provider: str
    cloud: str
    region: str
    tier: str
    role: str
    is_cloud_guessed: bool = False
    guess: str | None = None
    through: str = ""
    found: Inspection | None = None

    @property
    def is_usable(self) -> bool:
        return self.found is None or self.found.is_usable


class ChainCheck(msgspec.Struct, kw_only=True):
    """One chain. ``notes`` are sentences on what is odd and, by itself, no reason to fail.
    ``is_undecided``: two upstreams alone tell their heads, and one of them is wrong.
    """

    name: str
    kind: str
    chain_id: int
    upstreams: list[UpstreamCheck]
    capacity: Capacity
    alike: tuple[Pair, ...]
    is_single_point_accepted: bool
    is_undecided: bool
    notes: tuple[str, ...]

    @property
    def has_trouble(self) -> bool:
        """Whether something was found that must not stay so."""
        is_at_risk = bool(self.capacity.single_points) and not self.is_single_point_accepted
        return (
            is_at_risk
            or self.is_undecided
            or not all(upstream.is_usable for upstream in self.upstreams)
        )


class Checkup(msgspec.Struct, kw_only=True):
    """All chains. ``most_calls``: what asking may take of each upstream, 0 where none is asked."""

    is_offline: bool
    most_calls: int
    seconds: float
    chains: list[ChainCheck]

    @property
    def has_trouble(self) -> bool:
        return any(chain.has_trouble for chain in self.chains)


async def check(
    config: Config,
    ranges: CloudRanges | None = None,
    settings: AskSettings | None = None,
    on_step: OnStep = lambda _chain, _upstream, _step: None,
) -> Checkup:
    """Ask every upstream of every chain, all at once. ``on_step`` is told the chain, the
    upstream, and what it is asked next; an empty step at its end.
    """
    settings = settings or AskSettings()
    clock = settings.clock
    started = clock.monotonic()
    jobs = {
        (chain.name, upstream.name): tasks.start(
            _inspect(chain, upstream, settings, on_step), f"check {chain.name}/{upstream.name}"
        )
        for chain in config.chains
        for upstream in chain.upstreams
    }
    try:
        await asyncio.gather(*jobs.values())
    finally:
        await tasks.stop(*jobs.values())
    chains, unix_seconds = [], clock.unix()
    for chain in config.chains:
        found = {each.name: jobs[chain.name, each.name].result() for each in chain.upstreams}
        chains.append(_chain_check(chain, config, found, ranges, unix_seconds))
    seconds = clock.monotonic() - started
    return Checkup(is_offline=False, most_calls=MOST_CALLS, seconds=seconds, chains=chains)


def check_offline(config: Config, ranges: CloudRanges | None = None) -> Checkup:
    """What the configuration alone tells. Names are not resolved."""
    chains = [_chain_check(chain, config, {}, ranges, 0.0) for chain in config.chains]
    return Checkup(is_offline=True, most_calls=0, seconds=0.0, chains=chains)


async def _inspect(
    chain: Chain, upstream: Upstream, settings: AskSettings, on_step: OnStep
) -> Inspection:
    found = await inspect(
        chain, upstream, settings, lambda step: on_step(chain.name, upstream.name, step)
    )
    on_step(chain.name, upstream.name, "")
    return found


# --------------------------------------------------------------------------
# One chain


def _chain_check(
    chain: Chain,
    config: Config,
    found: Mapping[str, Inspection],
    ranges: CloudRanges | None,
    unix_seconds: float,
) -> ChainCheck:
    _compare_genesis(chain, list(found.values()))
    _compare_heads(chain, list(found.values()), unix_seconds)
    upstreams = [_upstream_check(each, found.get(each.name), ranges) for each in chain.upstreams]
    server = config.server
    fallback = chain.private_fallback_seconds
    if fallback is None:
        fallback = server.private_fallback_seconds
    accepted = chain.accept_single_point
    members = [
        _member(configured, checked)
        for configured, checked in zip(chain.upstreams, upstreams, strict=True)
    ]
    capacity = assess(members, falls_back=fallback > 0)
    looks = [_look(configured, found.get(configured.name)) for configured in chain.upstreams]
    return ChainCheck(
        name=chain.name,
        kind=chain.kind,
        chain_id=chain.chain_id,
        upstreams=upstreams,
        capacity=capacity,
        alike=alike(looks, chain.block_time_seconds),
        is_single_point_accepted=server.accept_single_point if accepted is None else accepted,
        is_undecided=any(_apart(chain, _usable(upstreams))),
        notes=tuple(_notes(chain, upstreams, unix_seconds)),
    )


def _compare_genesis(chain: Chain, found: Sequence[Inspection]) -> None:
    """A genesis hash that nobody configured is from a list, and counts, as when serving, once an
    upstream has that very block.
    """
    told = [each for each in found if each.is_usable and each.genesis is not None]
    if chain.genesis_guessed and any(_has_genesis(each, "yes") for each in told):
        for each in told:
            if _has_genesis(each, "no"):
                each.be_on_another_chain()


def _has_genesis(found: Inspection, state: str) -> bool:
    return found.genesis is not None and found.genesis.state == state


def _compare_heads(chain: Chain, found: Sequence[Inspection], unix_seconds: float) -> None:
    """Lag, and whoever is so far behind, or above, that nobody would be served from there. Who is
    above goes first, so that an invented head condemns nobody else.
    """
    usable = [each for each in found if each.is_usable]
    told = {each.name: each.seen for each in usable}
    for name, lead in survey.leads_of(told, chain.block_time_seconds).items():
        if _is_too_far(chain, lead):
            each = next(each for each in usable if each.name == name)
            each.state = "unusable"
            each.trouble = f"claims a head far above the others': {lead:,} blocks"
            del told[name]
    compared = [each for each in usable if each.is_usable]
    for each in compared:
        others = [head for name, heads in told.items() if name != each.name for head in heads]
        each.lag = survey.lag_of(each.seen, others, chain.block_time_seconds)
    late = [each for each in compared if _is_too_far(chain, each.lag or 0)]
    for each in late:
        # Of two, the higher one may have invented its head, unless the other's is old.
        if len(usable) > 2 or _is_old(chain, unix_seconds - each.head_seconds):
            each.state = "unusable"
            each.trouble = f"is {each.lag:,} blocks behind the others"
        else:
            for one in compared:
                one.lag = None


def _is_too_far(chain: Chain, blocks: int) -> bool:
    return survey.is_too_far(blocks, chain.max_lag_blocks, chain.block_time_seconds)


def _is_old(chain: Chain, age_seconds: float) -> bool:
    return age_seconds > max(OLD_HEAD_SECONDS, 10 * chain.block_time_seconds)


def _upstream_check(
    upstream: Upstream, found: Inspection | None, ranges: CloudRanges | None
) -> UpstreamCheck:
    guess = None if ranges is None else _guess(_addresses(upstream, found), ranges)
    is_guessed = upstream.cloud == UNKNOWN and guess is not None
    return UpstreamCheck(
        name=upstream.name,
        provider=upstream.provider,
        cloud=guess.cloud if guess is not None and is_guessed else upstream.cloud,
        region=guess.region if guess is not None and is_guessed else upstream.region,
        tier=upstream.tier,
        role=upstream.role,
        is_cloud_guessed=is_guessed,
        guess=None if guess is None else _place(guess),
        through=shown(upstream.proxy),
        found=found,
    )


def _addresses(upstream: Upstream, found: Inspection | None) -> tuple[str, ...]:
    if found is not None:
        return found.addresses
    origin = read_origin(Target(upstream.name, upstream.url))
    return () if literal_address(origin.host, origin.port) is None else (origin.host,)


def _guess(addresses: Sequence[str], ranges: CloudRanges) -> Guess | None:
    """Where all of them are; nothing where they are apart."""
    guesses = {ranges.guess(address) for address in addresses}
    clouds = {None if guess is None else guess.cloud for guess in guesses}
    cloud = clouds.pop() if len(clouds) == 1 else None
    if cloud is None:
        return None
    regions = {UNKNOWN if guess is None else guess.region for guess in guesses}
    return Guess(cloud, regions.pop() if len(regions) == 1 else UNKNOWN)


def _place(guess: Guess) -> str:
    return guess.cloud if guess.region == UNKNOWN else f"{guess.cloud}/{guess.region}"


def _place_of(url: str) -> str:
    """Host, port and path. The query, where some have their key, is left out."""
    return f"{read_origin(Target('', url)).label}{urlsplit(url).path.rstrip('/')}"


def _member(upstream: Upstream, checked: UpstreamCheck) -> CapacityMember:
    return CapacityMember(
        name=upstream.name,
        provider=upstream.provider,
        cloud=checked.cloud,
        region=checked.region,
        tier=upstream.tier,
        role=upstream.role,
        is_private=upstream.private,
        weight=upstream.weight,
        rate_per_second=upstream.rate_limit_per_second,
        identity=f"{_place_of(upstream.url)}?{urlsplit(upstream.url).query}",
        is_usable=checked.is_usable,
        is_cloud_guessed=checked.is_cloud_guessed,
    )


def _look(upstream: Upstream, found: Inspection | None) -> Look:
    place = _place_of(upstream.url)
    if found is None:
        return Look(name=upstream.name, place=place)
    return Look(
        name=upstream.name,
        place=place,
        addresses=frozenset(f"{address} {found.port}" for address in found.addresses),
        client_version=found.client_version,
        heads=tuple(found.seen),
    )


def _notes(chain: Chain, upstreams: Sequence[UpstreamCheck], unix_seconds: float) -> Iterator[str]:
    for upstream in upstreams:
        guess = upstream.guess
        if guess is not None and not upstream.is_cloud_guessed:
            cloud, _, region = guess.partition("/")
            is_other = cloud != upstream.cloud or (region and region != upstream.region)
            if is_other:
                yield (
                    f"{upstream.name} is configured on {_configured(upstream)}, and its address "
                    f"looks like {guess}"
                )
    found = _usable(upstreams)
    yield from _forks(found)
    yield from _apart(chain, found)
    newest = max((each.head_seconds for each in found), default=0)
    age = unix_seconds - newest
    if newest and _is_old(chain, age):
        yield (f"the newest block is {age:,.0f} s old: the chain stands still, or all upstreams do")


def _usable(upstreams: Sequence[UpstreamCheck]) -> list[Inspection]:
    return [each.found for each in upstreams if each.found is not None and each.found.is_usable]


def _configured(upstream: UpstreamCheck) -> str:
    return _place(Guess(upstream.cloud, upstream.region))


def _forks(found: Sequence[Inspection]) -> Iterator[str]:
    """Where upstreams told another block at one height."""
    heights: dict[int, dict[str, list[str]]] = {}
    for each in found:
        if each.head is not None and each.head_hash:
            heights.setdefault(each.head, {}).setdefault(each.head_hash, []).append(each.name)
    for height, hashes in heights.items():
        if len(hashes) > 1:
            sides = "; ".join(listed(names) for names in hashes.values())
            yield f"they tell different blocks {height:,} ({sides}): one side is on a fork"


def _apart(chain: Chain, found: Sequence[Inspection]) -> Iterator[str]:
    """Where only two told their heads, and these are far apart."""
    heads = sorted((each.head, each.name) for each in found if each.head is not None)
    if len(heads) == 2 and _is_too_far(chain, heads[1][0] - heads[0][0]):
        (low, behind), (high, ahead) = heads
        yield (
            f"{ahead} is at block {high:,} and {behind} at {low:,}: of two, nobody can tell which "
            "is right"
        )
