"""How a chain stands, in one sentence: is it one's own line, a provider, or the chain? Pure.

The words are ours alone: what providers say is not in them, so they can be shown to anybody.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from rpcproxy.rules.telling.chronicle import LastMinute
from rpcproxy.rules.telling.incidents import is_new, suspect_domain
from rpcproxy.rules.telling.sample import ChainSample, UpstreamSample
from rpcproxy.states import LEVELS, UPSTREAM_STATES, Level, UpstreamState

Whose = Literal["", "provider", "chain", "here"]

_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAMED: Final = 2  # of several in trouble, so many are named
_PARTLY: Final = re.compile(r"but for (light|heavy|send)\b")
_PARTS: Final = {"light": "light reads", "heavy": "heavy reads", "send": "transactions"}


class Plight(msgspec.Struct, frozen=True):
    """``sentence`` may name seconds and blocks; ``steady`` says the same without what changes by
    itself, for those who are told of changes alone. ``whose``: a provider's doing, the chain's, or
    of the line here; empty where nothing is wrong, or nobody knows.
    """

    level: Level
    sentence: str
    steady: str
    whose: Whose = ""


def plight_of(chain: ChainSample, title: str, recent: LastMinute) -> Plight:
    """One chain, called ``title``."""
    if not chain.upstreams:
        return _plight(Level.DOWN, f"{title} has no providers")
    if chain.usable == 0:
        return _nobody(chain, title, recent)
    if chain.halted_seconds is not None:
        still = f"{title} has stood still at block {_number(chain.served_head)}"
        blame = "the chain, not the providers"
        return Plight(
            Level.TROUBLED,
            f"{still} for {span(chain.halted_seconds)}: {blame}",
            f"{still}: {blame}",
            "chain",
        )
    if chain.is_split:
        words = f"The providers of {title} do not agree on one chain: it forks, or several err"
        return _plight(Level.TROUBLED, words, "chain")
    return _some(chain, title) or _well(chain, title, recent)


def summary(plights: Sequence[tuple[str, Plight]]) -> Plight:
    """All chains in one: titles with their plights, in the configuration's order."""
    if not plights:
        return _plight(Level.UNKNOWN, "No chain is served")
    if all(plight.level is Level.WELL for _, plight in plights):
        return Plight(Level.WELL, "All well", "All well")
    title, worst = max(plights, key=lambda each: LEVELS[each[1].level].rank)
    others = sum(plight.level is not Level.WELL for _, plight in plights) - 1
    more = f"; {_count(others)} more {_chains(others)} in trouble" if others else ""
    has_name = len(plights) == 1 or title in worst.steady
    lead = "" if has_name else f"{title}: "
    return Plight(
        worst.level,
        f"{lead}{worst.sentence}{more}",
        f"{lead}{worst.steady}{more}",
        worst.whose,
    )


def _nobody(chain: ChainSample, title: str, recent: LastMinute) -> Plight:
    """Nobody can be asked."""
    upstreams = [each for each in chain.upstreams if each.role != "sends"] or chain.upstreams
    count = len(upstreams)
    seconds = chain.outage_seconds or 0.0
    if all(each.state == UpstreamState.DRAINED for each in upstreams):
        return _all_drained(count, title, seconds)
    if all(map(is_new, upstreams)):
        return _plight(Level.UNKNOWN, f"{title}: the providers are being checked")
    since = f" for {span(seconds)}"
    providers = {each.provider for each in upstreams}
    if len(providers) > 1 and all(_is_unreachable(each, recent) for each in upstreams):
        none = f"None of the {_count(count)} providers of {title} can be reached"
        blame = "probably the network here"
        return Plight(Level.DOWN, f"{none}{since}: {blame}", f"{none}: {blame}", "here")
    states = {each.state for each in upstreams}
    if len(states) == 1 and count > 1:
        every = "Both" if count == 2 else f"All {_count(count)}"
        words = f"{every} providers of {title} {UPSTREAM_STATES[states.pop()].several}"
        return Plight(Level.DOWN, f"{words}{since}", words, "provider")
    who = "; ".join(f"{each.name} {UPSTREAM_STATES[each.state].one}" for each in upstreams[:3])
    more = f"; and {_count(count - 3)} more" if count > 3 else ""
    none = f"Nobody can serve {title}"
    return Plight(Level.DOWN, f"{none}{since}: {who}{more}", f"{none}: {who}{more}", "provider")


def _all_drained(count: int, title: str, seconds: float) -> Plight:
    every = "both" if count == 2 else f"all {_count(count)}"
    whom = "the only provider" if count == 1 else f"{every} providers"
    words = f"An operator has drained {whom} of {title}"
    return Plight(Level.DOWN, f"{words}: not served for {span(seconds)}", words, "here")


def _is_unreachable(upstream: UpstreamSample, recent: LastMinute) -> bool:
    traffic = recent.traffic.get(upstream.name)
    if traffic is None:
        return False
    return bool(traffic.heard) and traffic.heard <= {"unreachable", "timeout", "cancelled"}


def _some(chain: ChainSample, title: str) -> Plight | None:
    """Some are in trouble, and others serve; ``None`` where nobody is."""
    troubled = [
        each
        for each in chain.upstreams
        if each.state != UpstreamState.UP and not UPSTREAM_STATES[each.state].by_order
    ]
    well = [
        each for each in chain.upstreams if each.state == UpstreamState.UP and each.role != "sends"
    ]
    if not troubled:
        return _partly(chain)
    by = f"wallets are served by {_others(len(well))}" if well else "the last ones still serve"
    domain = suspect_domain(chain)
    if domain and len(troubled) > 1:
        words = f"{domain} is in trouble with {_count(len(troubled))} providers"
    elif len(troubled) > _NAMED:
        state, count = Counter(each.state for each in troubled).most_common(1)[0]
        if count == len(troubled):
            words = f"{_count(count).capitalize()} providers {UPSTREAM_STATES[state].several}"
        else:
            words = f"{_count(len(troubled)).capitalize()} providers are in trouble"
        words = f"{words} on {title}"
    else:
        words = " and ".join(f"{each.name} {UPSTREAM_STATES[each.state].one}" for each in troubled)
    are_new = all(each.state == UpstreamState.UNKNOWN for each in troubled)
    return _plight(
        Level.UNKNOWN if are_new and well else Level.TROUBLED, f"{words}, {by}", "provider"
    )


def _partly(chain: ChainSample) -> Plight | None:
    for each in chain.upstreams:
        found = _PARTLY.match(each.reason)
        if found is not None:
            words = f"{each.name} is left out for {_PARTS[found[1]]}, others serve them"
            return _plight(Level.TROUBLED, words, "provider")
    return None


def _well(chain: ChainSample, title: str, recent: LastMinute) -> Plight:
    if recent.unserved:
        steady = f"{title}: requests failed in the last minute that no provider could serve"
        requests = "request" if recent.unserved == 1 else "requests"
        sentence = f"{title}: {recent.unserved} {requests} of the last minute could not be served"
        return Plight(Level.TROUBLED, sentence, steady)
    readers = sum(
        each.role != "sends" and each.state == UpstreamState.UP for each in chain.upstreams
    )
    spared = [
        f"{each.name} is {each.state}"
        for each in chain.upstreams
        if UPSTREAM_STATES[each.state].by_order
    ]
    besides = "; ".join(["", *spared]) if len(spared) <= _NAMED else f"; {len(spared)} are spared"
    return _plight(
        Level.WELL, f"All well, served by {_count(readers)} {_providers(readers)}{besides}"
    )


def _plight(level: Level, words: str, whose: Whose = "") -> Plight:
    return Plight(level, words, words, whose)


def _others(count: int) -> str:
    return "one other" if count == 1 else f"{_count(count)} others"


def _count(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def _providers(count: int) -> str:
    return "provider" if count == 1 else "providers"


def _chains(count: int) -> str:
    return "chain is" if count == 1 else "chains are"


def _number(block: int | None) -> str:
    return "?" if block is None else f"{block:,}"


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} d"
