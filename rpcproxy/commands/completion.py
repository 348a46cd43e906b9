"""``rpcproxy completion``: a script for the shell, made from the parser itself."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from rpcproxy.commands import Commands
from rpcproxy.commands.manual import commands_of

SHELLS: Final = ("bash", "zsh", "fish")

# What an argument takes is said by its name in the usage.
_FILES: Final = ("FILE", "PATH")


def add(commands: Commands) -> None:
    """Add the command; its options need ``whole``, the parser of all commands."""
    parser = commands.add_parser("completion", help="a script by which a shell completes these")
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    parser.set_defaults(load=lambda: run)


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    sys.stdout.write(script(options.whole, options.shell))
    sys.stdout.write("\n")
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion of ``parser``, which is of no use for parsing afterwards."""
    # Imported here: no other command has use for them.
    import shtab  # noqa: PLC0415

    from rpcproxy.chains.known import KNOWN  # noqa: PLC0415

    for _, command in (("", parser), *commands_of(parser)):
        _shorten(command)
        for action in command._actions:  # noqa: SLF001 -- argparse has no other way to walk its tree
            if action.choices is not None:
                continue
            if action.metavar in _FILES:
                vars(action)["complete"] = shtab.FILE  # the attribute that shtab looks for
            elif action.dest in ("chain", "chains"):
                action.choices = tuple(KNOWN)
    return str(shtab.complete(parser, shell=shell))


def _shorten(parser: argparse.ArgumentParser) -> None:
    """Shells show one line for each command: the one of the list, not the first of its page."""
    for action in parser._actions:  # noqa: SLF001 -- the same
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 -- the same
            for listed in action._choices_actions:  # noqa: SLF001 -- the same
                action.choices[listed.dest].description = listed.help
