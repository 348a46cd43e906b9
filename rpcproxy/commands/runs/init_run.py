"""``rpcproxy init``: asks for chains, providers, keys by the names of their variables, and an
address; tries each upstream; writes a configuration with comments. Without a terminal: the
defaults. A file that is there is left alone without ``--force``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from rpcproxy.app.checkup.asking import AskSettings
from rpcproxy.app.checkup.own_nodes import (
    EXAMPLE,
    USUAL_BLOCK_SECONDS,
    OwnNode,
    ask_chain,
    own_node,
    unknown_chain_of,
)
from rpcproxy.app.checkup.setup import ADMIN, SetupPlan, Trials, summary, try_all, written
from rpcproxy.chains.known import KNOWN
from rpcproxy.chains.registry import KINDS
from rpcproxy.config.load import by_any_name
from rpcproxy.config.model import Known, KnownChain
from rpcproxy.config.problems import ConfigError, Unfit, listed, nearest, quoted
from rpcproxy.config.providers import PROVIDERS, Keyed, KnownProvider, keyed
from rpcproxy.config.reading.read_chain import chain_name_of
from rpcproxy.config.reading.units import duration_seconds
from rpcproxy.config.urls import is_host

DEFAULT_CHAINS: Final = ("ethereum", "base")
# Upper case, so that a key that is typed in its place is refused and not written.
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
_SETTINGS: Final = AskSettings(question_seconds=5.0, total_seconds=8.0)
_USAGE_ERROR: Final = 2
_PORTS: Final = (8545, 8546, 8547, 8548)
_HIGHEST_PORT: Final = 65535

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Setting:
    """Where it runs. ``ask`` puts a question and returns the line typed, ``None`` where nobody
    is there.
    """

    known: Known
    environ: Mapping[str, str]
    ask: Callable[[str], str] | None
    settings: AskSettings = _SETTINGS


@dataclass(frozen=True, slots=True)
class WantedChain:
    """What the options say of the chain of a node that is not known. ``identity`` is empty where
    the node is to be asked.
    """

    name: str = ""
    identity: str = ""
    block_seconds: float | None = None
    is_offline: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace) -> WantedChain:
        """Raises ``Unfit``."""
        given = vars(options)
        chain_id, time = given.get("chain_id"), given.get("block_time")
        return cls(
            given.get("name") or "",
            "" if chain_id is None else str(chain_id),
            _block_seconds(time) if time else None,
            is_offline=options.offline,
        )


def run(options: argparse.Namespace) -> int:
    """Write a configuration, asking where there is a terminal; returns the exit code."""
    has_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return run_in(options, Setting(KNOWN, os.environ, input if has_terminal else None))


def run_in(options: argparse.Namespace, setting: Setting) -> int:
    """The exit code: 2 where the file is there already, cannot be written, or a name is wrong."""
    file = Path(options.output)
    trouble = _trouble_with(file, is_forced=options.force)
    if trouble:
        print(trouble, file=sys.stderr)
        return _USAGE_ERROR
    try:
        plan = _plan(options.chains, setting, WantedChain.of(options))
    except Unfit as unfit:
        raise ConfigError([unfit.wrong]) from None
    except EOFError:
        print("\nnothing was written", file=sys.stderr)
        return _USAGE_ERROR
    trials: Trials = {}
    if not options.offline:
        print("Trying every upstream …")
        trials = asyncio.run(try_all(plan, setting.settings))
        print("\n".join(summary(plan, trials)))
    text = written(plan, trials)
    try:
        # "x": between the look above and now somebody else may have written it.
        with file.open("w" if options.force else "x", encoding="utf-8") as place:
            place.write(text)
    except OSError as error:
        print(f"{file} cannot be written: {error.strerror}", file=sys.stderr)
        return _USAGE_ERROR
    _tell(file, plan, trials)
    return 0


def _trouble_with(file: Path, *, is_forced: bool) -> str:
    """Why it cannot be written, seen before anything is asked; empty where it seems it can."""
    reason = ""
    try:
        is_there = file.exists()
        if is_there and not is_forced:
            return f"{file} is there already; --force writes over it"
        if file.is_dir():
            reason = "it is a directory"
        elif not file.parent.is_dir():
            reason = f"{file.parent} is no directory"
        elif not os.access(file if is_there else file.parent, os.W_OK):
            reason = "no permission to write there"
    except OSError as error:
        reason = error.strerror or "it cannot be looked at"
    return f"{file} cannot be written: {reason}" if reason else ""


def _tell(file: Path, plan: SetupPlan, trials: Trials) -> None:
    print(f"Wrote {file}. Next: rpcproxy serve -c {file}")
    if plan.unset:
        print(f"Set {listed(sorted(plan.unset), 'and')} before that.")
    if trials and not any(trial.state == "well" for trial in trials.values()):
        print("No upstream answered: is this machine on the network?")


# --------------------------------------------------------------------------
# The plan


def _plan(names: Sequence[str], setting: Setting, wanted: WantedChain) -> SetupPlan:
    """Raises ``Unfit`` with a sentence where nobody can be asked again, ``EOFError``."""
    ask = setting.ask
    if ask is None:
        chosen = _chosen(names or DEFAULT_CHAINS, setting, wanted)
        entries = (*chosen.nodes, *keyed(chosen.described, setting.environ))
        return SetupPlan(
            chosen.chains, entries, chosen.listen, undescribed=frozenset(chosen.undescribed)
        )
    if names:
        chosen = _chosen(names, setting, wanted)
    else:
        print(f"Known chains: {', '.join(setting.known)}.")
        print(f"Of any other one, and of a node of your own, the URL: {EXAMPLE}.")
        chosen = _asked(
            ask,
            f"Chains, the first one is the wallets' default [{' '.join(DEFAULT_CHAINS)}]: ",
            lambda line: _chosen(_words(line) or DEFAULT_CHAINS, setting, wanted),
        )
    of_chains = chosen.described
    providers, unset = _providers(ask, setting.environ) if of_chains else ((), frozenset[str]())
    keys = keyed(of_chains, _filled(setting.environ, providers, unset), providers)
    entries = (*chosen.nodes, *keys)
    has_public = True
    if of_chains and all(any(entry.chain == name for entry in entries) for name in of_chains):
        question = "Public endpoints as backups, where all of those fail [yes]: "
        has_public = _asked(ask, question, _yes)
    usual = chosen.listen
    listen = _asked(
        ask, f"Address for wallets [{usual}]: ", lambda line: _address(line or usual, chosen.nodes)
    )
    undescribed = frozenset(chosen.undescribed)
    return SetupPlan(chosen.chains, entries, listen, has_public, unset, undescribed)


@dataclass(slots=True)
class Chosen:
    """What was named: chains by name, the nodes of one's own, and the chains that nothing is known
    of.
    """

    by_name: dict[str, KnownChain] = field(default_factory=dict)
    own: list[tuple[str, OwnNode]] = field(default_factory=list)
    undescribed: set[str] = field(default_factory=set)

    @property
    def chains(self) -> tuple[KnownChain, ...]:
        return tuple(self.by_name.values())

    @property
    def described(self) -> tuple[str, ...]:
        return tuple(name for name in self.by_name if name not in self.undescribed)

    @property
    def nodes(self) -> tuple[Keyed, ...]:
        return tuple(node.entry(chain) for chain, node in self.own)

    @property
    def listen(self) -> str:
        """Where a node of one's own is not."""
        ports = (port for port in _PORTS if not any(node.has_port(port) for _, node in self.own))
        return f"127.0.0.1:{next(ports, _PORTS[0])}"


def _chosen(names: Sequence[str], setting: Setting, wanted: WantedChain) -> Chosen:
    """Raises ``Unfit``."""
    every = by_any_name(setting.known)
    by_id = {chain.identity: chain for chain in setting.known.values()}
    chosen = Chosen()
    for name in names:
        node = own_node(name, setting.environ)
        chain = every.get(name.casefold()) or by_id.get(name)
        if node is not None:
            chain = _chain_at(node, setting, wanted, chosen)
            chosen.own.append((chain.name, node))
        elif chain is None:
            meant = nearest(name, every)
            hint = f"; did you mean '{meant}'?" if meant else f": give the URL of a node, {EXAMPLE}"
            raise Unfit(f"chain {quoted(name)} is not known{hint}")
        chosen.by_name[chain.name] = chain
    return chosen


def _chain_at(node: OwnNode, setting: Setting, wanted: WantedChain, chosen: Chosen) -> KnownChain:
    """The chain that a node is on, its name and block time asked for where it is not known."""
    kind, identity = next(iter(KINDS)), wanted.identity
    if not identity:
        if wanted.is_offline:
            raise Unfit("a node is not asked anything now: --chain-id N says which chain it is on")
        kind, identity = asyncio.run(ask_chain(node, setting.settings))
        print(f"The node at {node.provider} is on chain {identity}.")
    for chain in (*setting.known.values(), *chosen.by_name.values()):
        if (chain.kind, chain.identity) == (kind, identity):
            return chain
    taken = {*by_any_name(setting.known), *chosen.by_name}
    name, seconds = wanted.name or f"chain-{identity}", wanted.block_seconds
    if setting.ask is not None and not wanted.name:
        question = f"Chain {identity} is not known. A name for it [{name}]: "
        usual = name
        name = _asked(setting.ask, question, lambda line: _name(line or usual, taken))
    if setting.ask is not None and seconds is None:
        question = f"How far apart are its blocks, about [{USUAL_BLOCK_SECONDS:g}s]: "
        seconds = _asked(setting.ask, question, _block_seconds)
    name = _name(name, taken)
    chosen.undescribed.add(name)
    return unknown_chain_of(name, kind, identity, seconds or USUAL_BLOCK_SECONDS)


def _name(text: str, taken: Collection[str]) -> str:
    try:
        name = chain_name_of(text)
    except Unfit as unfit:
        raise Unfit(unfit.about("the name")) from None
    if name.casefold() in taken or name.isdecimal():
        raise Unfit(f"the name {quoted(name)} is another chain's; expected another one")
    return name


def _block_seconds(text: str) -> float:
    try:
        seconds = duration_seconds(text or f"{USUAL_BLOCK_SECONDS:g}s")
    except Unfit as unfit:
        raise Unfit(unfit.about("the time")) from None
    if not seconds:
        raise Unfit("the time is 0; expected a duration such as 2s")
    return seconds


def _providers(
    ask: Callable[[str], str], environ: Mapping[str, str]
) -> tuple[tuple[KnownProvider, ...], frozenset[str]]:
    """Those that are wanted, by the names of their variables; and variables that are not set."""
    are_set = [
        provider.name for provider in PROVIDERS if _is_set(provider.variable, provider, environ)
    ]
    print(f"Providers you can have a key for: {', '.join(p.name for p in PROVIDERS)}.")
    default = " ".join(are_set) or "none"
    wanted = _asked(
        ask, f"You have one for [{default}]: ", lambda line: _named(_words(line), are_set)
    )
    found: list[KnownProvider] = []
    unset: set[str] = set()
    for provider in wanted:
        question = f"Variable with the {provider.name} {'key' if provider.url else 'URL'}"
        variable = _asked(
            ask,
            f"{question} [{provider.variable}]: ",
            lambda line, usual=provider.variable: _variable(line, usual),  # type: ignore[misc]
        )
        found.append(replace(provider, variable=variable))
        if not _is_set(variable, provider, environ):
            unset.add(variable)
            print(f"{variable} is not set here: it is written, and not tried.")
    return tuple(found), frozenset(unset)


def _is_set(variable: str, provider: KnownProvider, environ: Mapping[str, str]) -> bool:
    """A URL may be there for single chains only."""
    names = [variable] if provider.url else [name for name in environ if name.startswith(variable)]
    return any(environ.get(name, "").strip() for name in names)


def _filled(
    environ: Mapping[str, str], providers: Sequence[KnownProvider], unset: frozenset[str]
) -> dict[str, str]:
    """Something in place of what is not set, to build URLs with: another URL for each, since what
    is written is looked up by it, and a host of the provider, which its name is taken from. None
    is asked anything.
    """
    blanks = {
        provider.variable: "not-set" if provider.url else f"https://not-set.{provider.name}.com"
        for provider in providers
        if provider.variable in unset
    }
    return {**environ, **blanks}


# --------------------------------------------------------------------------
# Answers


def _asked(ask: Callable[[str], str], question: str, read: Callable[[str], Answer]) -> Answer:
    """The answer, asked for again until it can be read."""
    while True:
        try:
            return read(ask(question).strip())
        except Unfit as unfit:
            print(f"  {unfit.wrong}")


def _words(line: str) -> list[str]:
    return line.replace(",", " ").split()


def _named(words: Sequence[str], are_set: Sequence[str]) -> list[KnownProvider]:
    by_name = {provider.name: provider for provider in PROVIDERS}
    if words == ["none"]:
        return []
    for word in words:
        if word.lower() not in by_name:
            meant = nearest(word, by_name)
            hint = f"; did you mean '{meant}'?" if meant else ""
            raise Unfit(f"that is none of {listed(by_name, 'and')}{hint}")
    return [by_name[name] for name in dict.fromkeys(map(str.lower, words or are_set))]


def _variable(line: str, usual: str) -> str:
    if line and not _VARIABLE.fullmatch(line):
        raise Unfit("expected the name of a variable, in upper case, and not the key itself")
    return line or usual


def _yes(line: str) -> bool:
    if line.lower() not in ("", "y", "yes", "n", "no"):
        raise Unfit("expected yes or no")
    return line.lower() in ("", "y", "yes")


def _address(line: str, nodes: Sequence[Keyed] = ()) -> str:
    parts = _ADDRESS.fullmatch(line)
    if parts is None or int(parts[2]) > _HIGHEST_PORT or not is_host(parts[1].strip("[]")):
        raise Unfit("expected HOST:PORT such as 127.0.0.1:8545")
    if _is_where_admin_is(parts[1].strip("[]"), int(parts[2])):
        raise Unfit("that is where the admin port will be; expected another one")
    if any(line == node.url.partition("://")[2].partition("/")[0] for node in nodes):
        raise Unfit("that is where your node is; expected another one")
    # An IPv6 address begins with a bracket, which YAML takes for a list.
    return f"'{line}'" if line.startswith("[") else line


def _is_where_admin_is(host: str, port: int) -> bool:
    """Whether both cannot be listened on at once. A name that nobody knows is left to ``serve``."""
    admin_host, _, admin_port = ADMIN.partition(":")
    if port != int(admin_port):
        return False
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(place[0] in (admin_host, "0.0.0.0", "::") for *_, place in found)  # noqa: S104 -- every interface, not bound here
