"""``rpcproxy help`` and ``rpcproxy version``."""

from __future__ import annotations

import argparse
import sys

from rpcproxy import __version__
from rpcproxy.commands import Commands
from rpcproxy.commands.manual import commands_of
from rpcproxy.config.problems import nearest

_USAGE_ERROR = 2


def add(commands: Commands) -> None:
    """Add both; ``help`` needs ``whole``, the parser of all commands."""
    parser = commands.add_parser("help", help="the page of a command, or this one")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="such as serve, or tx list")
    parser.set_defaults(load=lambda: show)
    version = commands.add_parser("version", help="which version this is")
    version.set_defaults(load=lambda: tell_version)


def show(options: argparse.Namespace) -> int:
    """Print the page."""
    words = " ".join(options.command)
    pages = {"": options.whole, **dict(commands_of(options.whole))}
    page = pages.get(words)
    if page is None:
        meant = nearest(words, pages)
        hint = f"; did you mean {meant!r}?" if meant else ": rpcproxy help names them all"
        print(f"there is no command {words[:80]!r}{hint}", file=sys.stderr)
        return _USAGE_ERROR
    sys.stdout.write(page.format_help())
    return 0


def tell_version(_options: argparse.Namespace) -> int:
    """Print it."""
    print(f"rpcproxy {__version__}")
    return 0
