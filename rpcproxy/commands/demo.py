"""``rpcproxy demo``: simulated providers, outages, and the proxy in front."""

from __future__ import annotations

import argparse
import math
from typing import Final

from rpcproxy.commands import Commands, Run

HIGHEST_PORT: Final = 65535


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo", help="simulated providers, outages, and the proxy in front"
    )
    parser.add_argument("--port", type=port_of, default=8545, help="the wallet port (default 8545)")
    parser.add_argument(
        "--admin-port", type=port_of, help="the status port (default: the wallet port + 1000)"
    )
    parser.add_argument("--no-outages", action="store_true", help="keep all providers well")
    parser.add_argument("--seconds", type=_positive, help="end by itself after this time")
    parser.add_argument(
        "--pace", type=_positive, default=1.0, help="scenes last this many times as long"
    )
    parser.set_defaults(load=load)


def port_of(text: str) -> int:
    """Raises ``ArgumentTypeError``."""
    if not text.isascii() or not text.isdigit() or int(text) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 (any) to {HIGHEST_PORT}")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def load() -> Run:
    """Import what it needs."""
    # Imported here: no other command has use for it.
    from rpcproxy.drills.demo.demo_run import run_demo  # noqa: PLC0415

    def run(options: argparse.Namespace) -> int:
        return run_demo(
            port=options.port,
            has_outages=not options.no_outages,
            admin_port=options.admin_port,
            seconds=options.seconds,
            pace=options.pace,
            hang_ups=options.hang_ups,
        )

    return run
