"""A first configuration: which upstreams it has, how each answers, and the file with comments.

No secret is in what is written: keys stand there by the names of their variables.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from rpcproxy.app.checkup.asking import Asker, AskSettings
from rpcproxy.chains.known import KNOWN
from rpcproxy.chains.registry import kind_of
from rpcproxy.config.load import load_text
from rpcproxy.config.model import Chain, Config, Known, KnownChain, Upstream
from rpcproxy.config.providers import Keyed
from rpcproxy.config.reading.read_chain import chain_without_file
from rpcproxy.edges.logs import Redactor, secrets_of
from rpcproxy.messages import Verdict
from rpcproxy.rules.answers.outage import in_words

ADMIN: Final = "127.0.0.1:9545"


@dataclass(frozen=True, slots=True)
class SetupPlan:
    """What was asked for. ``listen`` is HOST:PORT; ``has_public`` adds the shipped endpoints;
    ``unset`` are variables that have no value here, ``undescribed`` names of chains that the file
    has to describe, as nothing is known of them.
    """

    chains: tuple[KnownChain, ...]
    keyed: tuple[Keyed, ...] = ()
    listen: str = "127.0.0.1:8545"
    has_public: bool = True
    unset: frozenset[str] = field(default_factory=frozenset)
    undescribed: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Trial:
    """How an upstream answered. ``words`` are one line, without secrets."""

    state: Literal["well", "silent", "wrong_chain", "untried"]
    words: str


Trials = Mapping[tuple[str, str], Trial]  # by chain and upstream


def chains_of(plan: SetupPlan) -> tuple[Chain, ...]:
    """The chains with their upstreams, URLs filled in."""
    return tuple(
        chain_without_file(
            known if plan.has_public else known.model_copy(update={"public_urls": ()}),
            [entry for entry in plan.keyed if entry.chain == known.name],
        )
        for known in plan.chains
    )


# --------------------------------------------------------------------------
# Asking


async def try_all(plan: SetupPlan, settings: AskSettings) -> Trials:
    """Ask every upstream at once for its chain id, and how fast it is; two calls each."""
    chains = chains_of(plan)
    redactor = Redactor(secrets_of(Config(chains=chains)))
    unset = {entry.url for entry in plan.keyed if entry.variable in plan.unset}
    asked = [(chain, upstream) for chain in chains for upstream in chain.upstreams]
    found = await asyncio.gather(
        *(
            _untried(plan, upstream) if upstream.url in unset else _try(chain, upstream, settings)
            for chain, upstream in asked
        )
    )
    return {
        (chain.name, upstream.name): Trial(trial.state, " ".join(redactor(trial.words).split()))
        for (chain, upstream), trial in zip(asked, found, strict=True)
    }


async def _untried(plan: SetupPlan, upstream: Upstream) -> Trial:
    variable = next(entry.variable for entry in plan.keyed if entry.url == upstream.url)
    return Trial("untried", f"not tried: {variable} is not set here")


async def _try(chain: Chain, upstream: Upstream, settings: AskSettings) -> Trial:
    kind = kind_of(chain)
    identity = kind.questions.identity
    asker = Asker(upstream, settings, kind.errors)
    try:
        async with asyncio.timeout(settings.total_seconds):
            found = await asker.inquire(identity())
            if found.judgement.verdict is not Verdict.OK:
                return Trial("silent", in_words(found.judgement))
            told = found.value
            if told is None:
                words = f"answers {found.method} with something that is no number"
                return Trial("silent", words)
            if told != chain.identity:
                return Trial("wrong_chain", f"is on chain {told}, not {chain.identity}")
            first = asker.seconds
            again = await asker.inquire(identity())  # the first one opened the connection
            seconds = asker.seconds if again.judgement.verdict is Verdict.OK else first
            return Trial("well", f"answers in {seconds * 1000:.0f} ms")
    except TimeoutError:
        return Trial("silent", f"no answer in {settings.total_seconds:g} s")
    finally:
        await asker.close()


# --------------------------------------------------------------------------
# Writing


def written(plan: SetupPlan, trials: Trials) -> str:
    """The file. Raises ``ConfigError`` where it could not be read back, which would be a fault
    of ours.
    """
    text = "\n".join(_lines(plan, trials)) + "\n"
    described = (chain for chain in plan.chains if chain.name not in plan.undescribed)
    known = Known({chain.name: chain for chain in described}, KNOWN.kinds)
    values = {entry.variable: _value(entry) for entry in plan.keyed if entry.variable}
    load_text(text, file="the new file", known=known, environ=values)
    return text


def _value(entry: Keyed) -> str:
    front, _, back = entry.template.partition(f"${{{entry.variable}}}")
    return entry.url.removeprefix(front).removesuffix(back)


def _lines(plan: SetupPlan, trials: Trials) -> Iterator[str]:
    yield "# rpcproxy serve -c THIS_FILE runs it; rpcproxy check -c THIS_FILE looks at everything."
    yield "# All keys with their meaning: docs/configuration.md, or rpcproxy schema for editors."
    needed = dict.fromkeys(entry.variable for entry in plan.keyed if entry.variable)
    if needed:
        names = ", ".join(needed)
        yield f"# ${{NAME}} comes from the environment. Needed: {names}."
    yield "# cloud: where an upstream runs, such as aws, if you know. What is on one cloud may fail"
    yield "# together, so that another one is asked next. tier: a backup is asked while nobody else"
    yield "# is well."
    if trials:
        yield "# Beside the upstreams: how each answered when this was written."
    yield ""
    yield "server:"
    yield _beside(f"  listen: {plan.listen}", "wallets; 0.0.0.0:8545 for every interface")
    yield _beside(f"  admin: {ADMIN}", "for you: /status, /metrics; off for none")
    yield ""
    yield "chains:"
    for position, chain in enumerate(chains_of(plan)):
        if position:
            yield ""
        place = f"/{chain.name}" if position else f"/ and /{chain.name}"
        yield _beside(f"  - name: {chain.name}", f"chain id {chain.identity}, at {place}")
        if chain.name in plan.undescribed:
            yield f"    chain_id: {chain.chain_id}"
            words = "about; the proxy learns it"
            yield _beside(f"    block_time: {chain.block_time_seconds:g}s", words)
        yield "    upstreams:"
        yield from _upstreams(plan, chain, trials)


def _upstreams(plan: SetupPlan, chain: Chain, trials: Trials) -> Iterator[str]:
    templates = {entry.url: entry.template for entry in plan.keyed if entry.chain == chain.name}
    tried = [trials.get((chain.name, upstream.name)) for upstream in chain.upstreams]
    is_any_left = any(trial is None or trial.state != "wrong_chain" for trial in tried)
    for upstream, trial in zip(chain.upstreams, tried, strict=True):
        lines = [
            f"      - name: {upstream.name}",
            f"        url: {templates.get(upstream.url, upstream.url)}",
            f"        provider: {upstream.provider}",
            "        cloud: unknown",
        ]
        if upstream.tier == "backup":
            lines.append("        tier: backup")
        if trial is not None:
            lines[0] = _beside(lines[0], trial.words)
        if trial is not None and trial.state == "wrong_chain" and is_any_left:
            yield "      # Left out:"
            lines = [f"      # {line[6:]}" for line in lines]
        yield from lines


def _beside(line: str, comment: str) -> str:
    return f"{line:<33} # {comment}"


def summary(plan: SetupPlan, trials: Trials) -> Sequence[str]:
    """A line for each upstream, for people."""
    rows = [
        (chain.name, upstream.name, trials[chain.name, upstream.name].words)
        for chain in chains_of(plan)
        for upstream in chain.upstreams
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {words}" for a, b, words in rows]
