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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from rpcproxy.app.checkup.asking import AskSettings
from rpcproxy.app.checkup.setup import ADMIN, SetupPlan, Trials, summary, try_all, written
from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import by_any_name
from rpcproxy.config.model import Known, KnownChain
from rpcproxy.config.problems import ConfigError, Unfit, listed, nearest, quoted
from rpcproxy.config.providers import PROVIDERS, KnownProvider, keyed
from rpcproxy.config.urls import is_host

DEFAULT_CHAINS: Final = ("ethereum", "base")
# Upper case, so that a key that is typed in its place is refused and not written.
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
_SETTINGS: Final = AskSettings(question_seconds=5.0, total_seconds=8.0)
_USAGE_ERROR: Final = 2
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
        plan = _plan(options.chains, setting)
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


def _plan(names: Sequence[str], setting: Setting) -> SetupPlan:
    """Raises ``Unfit`` with a sentence where nobody can be asked again, ``EOFError``."""
    ask = setting.ask
    if ask is None:
        chains = _chains(names or DEFAULT_CHAINS, setting.known)
        of_chains = tuple(chain.name for chain in chains)
        return SetupPlan(chains, tuple(keyed(of_chains, setting.environ)))
    if names:
        chains = _chains(names, setting.known)
    else:
        print(f"Known chains: {', '.join(setting.known)}.")
        chains = _asked(
            ask,
            f"Chains, the first one is the wallets' default [{' '.join(DEFAULT_CHAINS)}]: ",
            lambda line: _chains(_words(line) or DEFAULT_CHAINS, setting.known),
        )
    providers, unset = _providers(ask, setting.environ)
    of_chains = tuple(chain.name for chain in chains)
    entries = tuple(keyed(of_chains, _filled(setting.environ, providers, unset), providers))
    has_public = True
    if all(any(entry.chain == name for entry in entries) for name in of_chains):
        question = "Public endpoints as backups, where all of those fail [yes]: "
        has_public = _asked(ask, question, _yes)
    listen = _asked(ask, "Address for wallets [127.0.0.1:8545]: ", _address)
    return SetupPlan(chains, entries, listen, has_public, unset)


def _chains(names: Sequence[str], known: Mapping[str, KnownChain]) -> tuple[KnownChain, ...]:
    every = by_any_name(known)
    found: dict[str, KnownChain] = {}
    for name in names:
        chain = every.get(name.casefold())
        if chain is None:
            meant = nearest(name, every)
            hint = f"; did you mean '{meant}'?" if meant else ""
            raise Unfit(f"chain {quoted(name)} is not known{hint}")
        found[chain.name] = chain
    return tuple(found.values())


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


def _address(line: str) -> str:
    line = line or "127.0.0.1:8545"
    parts = _ADDRESS.fullmatch(line)
    if parts is None or int(parts[2]) > _HIGHEST_PORT or not is_host(parts[1].strip("[]")):
        raise Unfit("expected HOST:PORT such as 127.0.0.1:8545")
    if _is_where_admin_is(parts[1].strip("[]"), int(parts[2])):
        raise Unfit("that is where the admin port will be; expected another one")
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
