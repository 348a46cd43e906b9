"""``rpcproxy top``: the status of a running proxy in the terminal."""

from __future__ import annotations

import argparse
from typing import Final

from rpcproxy.commands import Commands, Run
from rpcproxy.commands.admin_address import add_address

_FASTEST_SECONDS: Final = 0.2


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("top", help="the status of a running proxy, live")
    add_address(parser)
    parser.add_argument(
        "--every", type=_seconds, default=2.0, metavar="SECONDS", help="how often (default 2)"
    )
    parser.add_argument("--once", action="store_true", help="print it once, as without a terminal")
    parser.set_defaults(load=_load)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _FASTEST_SECONDS <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds, {_FASTEST_SECONDS:g} to 3600")
    return seconds


def _load() -> Run:
    # Imported here: no other command has use for it.
    from rpcproxy.commands.runs.top_run import run  # noqa: PLC0415

    return run
