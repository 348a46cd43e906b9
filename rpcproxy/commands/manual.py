"""What ``--help`` says beside the options: what a command does, examples, exit codes, files.

One table, so that all commands speak alike. A command that brings an epilog of its own keeps it.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from rpcproxy.config.problems import nearest

WIDTH: Final = 80

# The commands in the order in which help lists them.
GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "run": ("serve", "demo"),
    "look": ("top", "changes", "failures", "explain", "tx", "report"),
    "operate a running proxy": ("drain", "undrain", "cordon", "uncordon", "reload"),
    "set up": ("init", "check", "schema", "completion"),
    "help": ("help", "version"),
}

GENERAL: Final = """\
Every command has its own page: rpcproxy help COMMAND, or rpcproxy COMMAND --help

exit codes:
  0    done, and nothing was found wrong
  1    something was found wrong (check), not found (tx show, failures), or refused by the
       running proxy (drain, reload)
  2    what you can mend: a mistake in the file, the options, or the environment
  130  interrupted

environment:
  ${NAME} in a configuration is filled in from here; serve, without a file, takes
  INFURA_KEY, ALCHEMY_KEY, QUICKNODE_URL, DRPC_KEY, ANKR_KEY and CHAINSTACK_URL
  RPCPROXY_ADMIN_TOKEN      what is said to a running proxy whose admin port has a token
  STATE_DIRECTORY           where journals and history are kept (systemd sets it)
  XDG_STATE_HOME            else, in rpcproxy/ below it (by default ~/.local/state)
  LISTEN_FDS, NOTIFY_SOCKET, WATCHDOG_USEC
                            sockets, readiness and watchdog, as systemd has them

files:
  STATE/*/owner                  whose directory it is: each configuration has one
  STATE/*/journal/CHAIN.sqlite   transactions, until they are in a final block
  STATE/*/history/               figures of the last weeks, for report
  STATE is $STATE_DIRECTORY, else $XDG_STATE_HOME/rpcproxy, else ~/.local/state/rpcproxy

signals of a running proxy:
  HUP         read the configuration again; without one, or where its terminal was closed, end
  TERM, INT   finish the requests in flight, then end; a second one ends it at once
"""


class ManualPage(NamedTuple):
    """``says``: what the command does. ``examples``: command lines with what they are for.
    ``exits``: its exit codes in words. ``more``: further sections, as they are printed.
    """

    says: str
    examples: Sequence[tuple[str, str]]
    exits: Mapping[int, str] = {}
    more: str = ""


_UNASKED: Final = "the proxy cannot be reached, or wants a token"
_ASKED: Final = {0: "told", 2: _UNASKED}
_OBEYED: Final = {
    0: "done, or it was so already",
    1: "the proxy refused: the words say why",
    2: f"there is no such upstream; {_UNASKED}",
}

PAGES: Final[Mapping[str, ManualPage]] = {
    "serve": ManualPage(
        "Run the proxy, until it is told to stop. It takes a configuration, or names of known "
        "chains, which are then served on their public endpoints and on the providers whose keys "
        "are in the environment; --port, --listen and --admin say where, as server.listen and "
        "server.admin do in a configuration. The log goes to the standard error.",
        (
            ("rpcproxy serve ethereum base", "try it out; the URL is http://127.0.0.1:8545"),
            ("rpcproxy serve base --port 8546", "where another program has port 8545"),
            ("rpcproxy serve -c rpcproxy.yaml", "your own providers"),
            ("rpcproxy serve -c rpcproxy.yaml --takeover", "in place of one that runs: no gap"),
        ),
        {
            0: "it was told to stop, and finished what was in flight",
            2: "the configuration cannot be used, or a port is taken",
            130: "it was told to stop twice",
        },
        "A saved file is taken over at once, without losing a request; one with a mistake is\n"
        "refused in words, and the configuration in force goes on. What takes effect at the next\n"
        "start only is named in docs/configuration.md.",
    ),
    "demo": ManualPage(
        "Simulated providers on three clouds, outages, the proxy in front, and two wallets: one "
        "asks the proxy, the other a single provider. Nothing from outside is asked.",
        (
            ("rpcproxy demo", "until Ctrl-C"),
            ("rpcproxy demo --port 18545 --seconds 60", "another port, one minute"),
            ("rpcproxy demo --no-outages", "a quiet one, to point a wallet at"),
        ),
        {0: "it ended by itself or by Ctrl-C", 2: "a port is taken"},
    ),
    "tx": ManualPage(
        "The transactions that wallets sent, as the journal has them. Both ways read beside a "
        "running proxy or without one, and change nothing.",
        (
            ("rpcproxy tx list --pending", "those that wait for their block"),
            ("rpcproxy tx list --journal /var/lib/rpcproxy/journal", "those of a service"),
        ),
    ),
    "tx list": ManualPage(
        "The newest transactions first, one line each.",
        (
            ("rpcproxy tx list --pending", "those that wait for their block"),
            ("rpcproxy tx list -c rpcproxy.yaml --chain base --limit 10", "of one chain"),
            ("rpcproxy tx list --json", "for programs"),
        ),
        {0: "told", 2: "there is no journal there, or it cannot be read"},
    ),
    "tx show": ManualPage(
        "Everything known of one transaction: its state, and what each provider said last.",
        ((f"rpcproxy tx show 0x{'4d' * 32}", "by its hash"),),
        {0: "told", 1: "it is not in the journal", 2: "there is no journal, or that is no hash"},
    ),
    "init": ManualPage(
        "Ask for chains, providers, keys (by the names of their variables) and addresses, try "
        "each upstream, and write a commented configuration. A node of your own is asked which "
        "chain it is on; one that is not known is described in the file. Without a terminal the "
        "defaults are written.",
        (
            ("rpcproxy init", "asks, and writes rpcproxy.yaml"),
            ("rpcproxy init -o proxy.yaml --force", "another file, in place of the one there"),
            ("rpcproxy init ethereum base --offline", "these chains; nobody is asked anything"),
            ("rpcproxy init http://127.0.0.1:8545 base", "a node of your own, and base"),
            ("rpcproxy init http://10.0.0.5:8545 --name our", "any other chain"),
        ),
        {0: "written", 2: "the file is there already, or cannot be written"},
    ),
    "schema": ManualPage(
        "The JSON Schema of the configuration, by which editors complete and check it.",
        (("rpcproxy schema", "on the standard output"),),
    ),
    "top": ManualPage(
        "The status of a running proxy in the terminal, live. Without a terminal: once.",
        (
            ("rpcproxy top", "of the one on this machine"),
            ("rpcproxy top --url http://127.0.0.1:9545", "of another admin port"),
        ),
        {0: "ended", 2: _UNASKED},
    ),
    "changes": ManualPage(
        "What happened to a running proxy, the newest first: outages and what wallets noticed of "
        "them, orders of operators, reloads, restarts. Times are UTC.",
        (
            ("rpcproxy changes", "of the last hour"),
            ("rpcproxy changes --since 7d --chain base", "of a week, of one chain"),
            ("rpcproxy changes --json", "for programs"),
        ),
        _ASKED,
    ),
    "failures": ManualPage(
        "The requests that a running proxy could not serve or served slowly, the newest first: "
        "what the wallet was told, whom it was asked of, what came back and when.",
        (
            ("rpcproxy failures", "the last ones"),
            ("rpcproxy failures --trace 4bf92f3577b34da6", "the one whose id a wallet was told"),
            ("rpcproxy failures --tx HASH", "those that sent this transaction"),
            ("rpcproxy failures --since 1h --chain base", "of an hour, of one chain"),
        ),
        {0: "told", 1: "there is none of that id or hash", 2: _UNASKED},
    ),
    "explain": ManualPage(
        "What a running proxy would do with a request at this moment, without sending it: who "
        "would be asked, in which order, and what speaks against each. Params are JSON or plain "
        "words; a single list is taken as all of them.",
        (
            ("rpcproxy explain METHOD latest", "on the first chain"),
            ("rpcproxy explain base METHOD 16 true", "on another one"),
            ("rpcproxy explain base -", "a JSON-RPC request, from the standard input"),
        ),
        {0: "told", 2: f"that is no request; {_UNASKED}"},
    ),
    "drain": ManualPage(
        "Take an upstream of a running proxy out: it gets no new requests, what is under way "
        "finishes, and it is still watched. It stays so through reloads and takeovers until it is "
        "put back. The last one that can serve is left alone without --force.",
        (
            ("rpcproxy drain ethereum infura", "one upstream of one chain"),
            ("rpcproxy drain infura", "the same, where no other chain has one of that name"),
            ("rpcproxy drain -c /etc/rpcproxy.yaml infura", "of the proxy of this configuration"),
        ),
        _OBEYED,
    ),
    "undrain": ManualPage(
        "Put an upstream back that was drained.",
        (("rpcproxy undrain ethereum infura", "one upstream of one chain"),),
        _OBEYED,
    ),
    "cordon": ManualPage(
        "Have an upstream of a running proxy asked only where nobody else can serve.",
        (("rpcproxy cordon ethereum infura", "one upstream of one chain"),),
        _OBEYED,
    ),
    "uncordon": ManualPage(
        "Put an upstream back that was cordoned.",
        (("rpcproxy uncordon ethereum infura", "one upstream of one chain"),),
        _OBEYED,
    ),
    "reload": ManualPage(
        "Have a running proxy read its configuration again, and say what came of it. A file with a "
        "mistake is refused in words, and the configuration in force goes on.",
        (("rpcproxy reload", "of the proxy on this machine"),),
        {0: "taken over", 1: "refused: the words say why", 2: _UNASKED},
    ),
    "help": ManualPage(
        "Print the page of a command.",
        (("rpcproxy help tx list", "the same as rpcproxy tx list --help"),),
        {0: "printed", 2: "there is no such command"},
    ),
    "version": ManualPage(
        "Print which version this is.", (("rpcproxy version", "on the standard output"),)
    ),
    "completion": ManualPage(
        "Print a script that makes a shell complete commands, options, chains and files.",
        (
            ("rpcproxy completion bash", "for bash; add it to ~/.bashrc, as below"),
            ("rpcproxy completion zsh", "for zsh"),
            ("rpcproxy completion fish", "for fish"),
        ),
        {0: "printed"},
        "to have it in every shell:\n"
        "  bash  echo 'source <(rpcproxy completion bash)' >> ~/.bashrc\n"
        "  zsh   rpcproxy completion zsh > DIRECTORY/_rpcproxy, where DIRECTORY is in $fpath\n"
        "  fish  rpcproxy completion fish > ~/.config/fish/completions/rpcproxy.fish",
    ),
}


class GroupedHelp(argparse.RawDescriptionHelpFormatter):
    """The list of all commands, by ``GROUPS``."""

    def _format_action(self, action: argparse.Action) -> str:
        told = super()._format_action(action)
        if not isinstance(action, argparse._SubParsersAction._ChoicesPseudoAction):  # noqa: SLF001 -- argparse has no other way to group commands
            return told
        for title, (first, *_) in GROUPS.items():
            if action.dest == first:
                return f"\n  {title}:\n{told}"
        return told


def furnish(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` and all its commands their pages."""
    parser.formatter_class = GroupedHelp
    parser.epilog = parser.epilog or GENERAL
    order = {name: place for place, name in enumerate(sum(map(tuple, GROUPS.values()), ()))}
    for action in parser._actions:  # noqa: SLF001 -- argparse has no other way to walk its tree
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 -- the same
            action._choices_actions.sort(key=lambda each: order.get(each.dest, len(order)))  # noqa: SLF001 -- the same
    for name, command in commands_of(parser):
        command.set_defaults(chosen=command)
        page = PAGES.get(name)
        if page is None or command.epilog:
            continue
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.description = textwrap.fill(command.description or page.says, WIDTH)
        command.epilog = epilog_of(page)


def commands_of(
    parser: argparse.ArgumentParser, above: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """All commands below ``parser`` and their names, such as ``tx list``."""
    for action in parser._actions:  # noqa: SLF001 -- argparse has no other way to walk its tree
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 -- the same
            for name, command in action.choices.items():
                yield f"{above}{name}", command
                yield from commands_of(command, f"{above}{name} ")


def not_known(command: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """What to say of options that a command does not have."""
    given = [option for action in command._actions for option in action.option_strings]  # noqa: SLF001 -- argparse has no other way to walk its tree
    first = words[0].partition("=")[0]
    meant = nearest(first, given) if first.startswith("-") else ""
    hint = f"; did you mean {meant}?" if meant else f"; see {command.prog} --help"
    return f"there is no {' '.join(words)[:120]}{hint}"


def epilog_of(page: ManualPage) -> str:
    """The sections below the options."""
    width = max(len(line) for line, _ in page.examples)
    parts = ["examples:"]
    parts += [f"  {line:{width}}  {what}".rstrip() for line, what in page.examples]
    if page.exits:
        parts += ["", "exit codes:"]
    for code, words in page.exits.items():
        lines = textwrap.wrap(words, WIDTH - 7)
        parts.append(f"  {code:<3}  {lines[0]}")
        parts += [f"{'':7}{line}" for line in lines[1:]]
    if page.more:
        parts += ["", page.more]
    return "\n".join(parts)
