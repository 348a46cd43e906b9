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
from rpcproxy.rules.telling.sample import ChainSample, Refusal, Refused, UpstreamSample
from rpcproxy.rules.telling.troubles import are_new, suspect_domain
from rpcproxy.states import LEVELS, UPSTREAM_STATES, Level, UpstreamState

Whose = Literal["", "provider", "chain", "here"]

_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAMED: Final = 2  # of several in trouble, so many are named
_SPARED_NAMED: Final = 4  # of those that an operator spared
OTHER_CHAIN: Final = "it is on another chain"  # as ``rules.standing.admit`` says it
_PARTLY: Final = re.compile(r"but for (light|heavy|send)\b")
# What wallets are refused: of a chain, and of the whole process.
_REFUSED: Final = {
    Refused.SENDS: "transactions of {title} are refused",
    Refused.RECORDS: "transactions of {title} are sent without being written down",
    Refused.CLIENTS: "clients are turned away",
    Refused.ATTEMPTS: "providers cannot be asked",
}
_PARTS: Final = {"light": "light reads", "heavy": "heavy reads", "send": "transactions"}


class Plight(msgspec.Struct, frozen=True):
    """``sentence`` may name seconds and blocks; ``steady`` says the same without what changes by
    itself, for those who are told of changes alone. ``whose``: a provider's doing, the chain's, or
    ours here; empty where nothing is wrong, or nobody knows. ``besides``: what both say of those
    that an operator spared, though all is well.
    """

    level: Level
    sentence: str
    steady: str
    whose: Whose = ""
    besides: tuple[str, str] = "", ""


def plight_of(chain: ChainSample, title: str, recent: LastMinute) -> Plight:
    """One chain, called ``title``."""
    return with_refusals(_of_upstreams(chain, title, recent), chain.refusals, title)


def with_refusals(plight: Plight, refusals: Sequence[Refusal], title: str) -> Plight:
    """``plight``, and what is refused for reasons of our own besides: of the chain called
    ``title``, or of the process. Where all else is well, that leads.
    """
    if not refusals:
        return plight
    told = [_refused(refusal, title) for refusal in refusals]
    lead = "; ".join(sentence for sentence, _ in told)
    steady = "; ".join(words for _, words in told)
    if plight.level is Level.DOWN:
        return Plight(
            Level.DOWN, f"{plight.sentence}; {lead}", f"{plight.steady}; {steady}", plight.whose
        )
    rest = "; " + ("all else is well" if plight.level is Level.WELL else plight.sentence)
    steady_rest = "; " + ("all else is well" if plight.level is Level.WELL else plight.steady)
    return Plight(
        Level.TROUBLED,
        _capital(lead) + rest,
        _capital(steady) + steady_rest,
        refusals[0].whose,
    )


def _refused(refusal: Refusal, title: str) -> tuple[str, str]:
    """With since when, and without."""
    what = _REFUSED[refusal.what].format(title=title)
    since = f" for {span(refusal.since_seconds)}"
    return f"{what}{since}: {refusal.why}", f"{what}: {refusal.why}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _of_upstreams(chain: ChainSample, title: str, recent: LastMinute) -> Plight:
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
        sentence, steady = (
            "".join(_on(title, plight.besides[at], len(plights)) for title, plight in plights)
            for at in (0, 1)
        )
        return Plight(Level.WELL, f"All well{sentence}", f"All well{steady}")
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


def _on(title: str, besides: str, chains: int) -> str:
    return besides.replace("; ", f"; on {title}: ", 1) if chains > 1 else besides


def _nobody(chain: ChainSample, title: str, recent: LastMinute) -> Plight:
    """Nobody can be asked."""
    upstreams = [each for each in chain.upstreams if each.role != "sends"] or chain.upstreams
    count = len(upstreams)
    seconds = chain.outage_seconds or 0.0
    if all(each.state == UpstreamState.DRAINED for each in upstreams):
        return _all_drained(count, title, seconds)
    if are_new(upstreams):
        return _plight(Level.UNKNOWN, f"{title}: the providers are being checked")
    since = f" for {span(seconds)}"
    providers = {each.provider for each in upstreams}
    if len(providers) > 1 and all(_is_unreachable(each, recent) for each in upstreams):
        none = f"None of the {_count(count)} providers of {title} can be reached"
        blame = "they are different companies, so it is probably the network here"
        return Plight(Level.DOWN, f"{none}{since}: {blame}", f"{none}: {blame}", "here")
    if all(each.reason.startswith(OTHER_CHAIN) for each in upstreams):
        every = {1: "The provider", 2: "Both providers"}.get(
            count, f"All {_count(count)} providers"
        )
        words = f"{every} of {title} {'is' if count == 1 else 'are'} of another chain than is set"
        return Plight(Level.DOWN, f"{words} here{since}", f"{words} here", "here")
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
    level = Level.UNKNOWN if are_new and well else Level.TROUBLED
    sentence, steady = _spared(chain)
    return Plight(level, f"{words}, {by}{sentence}", f"{words}, {by}{steady}", "provider")


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
    readers = [
        each for each in chain.upstreams if each.role != "sends" and each.state == UpstreamState.UP
    ]
    sentence, steady = _spared(chain)
    if _lacks_spare(chain, readers):
        alone = f"{_listed([each.name for each in readers])} alone"
        words = f"{title} is served by {alone}, without a spare"
        return Plight(Level.TROUBLED, f"{words}{sentence}", f"{words}{steady}", "here")
    words = f"All well, served by {_count(len(readers))} {_providers(len(readers))}"
    return Plight(Level.WELL, f"{words}{sentence}", f"{words}{steady}", besides=(sentence, steady))


def _lacks_spare(chain: ChainSample, readers: Sequence[UpstreamSample]) -> bool:
    """Whether operators took out so many that one trouble would take all: one is left, or those of
    one company or one place. One that is cordoned is a spare.
    """
    out = [each for each in chain.upstreams if each.state == UpstreamState.DRAINED]
    held = [each for each in chain.upstreams if each.state == UpstreamState.CORDONED]
    left = [*readers, *(each for each in held if each.role != "sends")]
    if not any(each.role != "sends" for each in out) or not readers:
        return False
    places = {(each.cloud, each.region) for each in left}
    is_one_place = len(places) == 1 and "unknown" not in next(iter(places))
    return is_one_place or len({each.provider for each in left}) == 1


def _spared(chain: ChainSample) -> tuple[str, str]:
    """Those that an operator spared, with since when, and without."""
    sentence = steady = ""
    for state in (UpstreamState.DRAINED, UpstreamState.CORDONED):
        those = [each for each in chain.upstreams if each.state == state]
        if not those:
            continue
        names = _listed([each.name for each in those], _SPARED_NAMED)
        words = f"; {names} {'is' if len(those) == 1 else 'are'} {state} by an operator"
        longest = span(max(each.since_seconds for each in those))
        sentence += words + (f" for {longest}" if len(those) == 1 else f", the first for {longest}")
        steady += words
    return sentence, steady


def _plight(level: Level, words: str, whose: Whose = "") -> Plight:
    return Plight(level, words, words, whose)


def _listed(names: Sequence[str], most: int = _SPARED_NAMED) -> str:
    """Names as people say them, so many at most."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {_count(len(names) - most + 1)} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


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
