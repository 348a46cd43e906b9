"""``rpcproxy drain`` and its kin, ``reload``, ``explain``, ``failures`` and ``changes``: what the
admin port of a running proxy does, and what it tells.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Final

from rpcproxy.commands import Commands, Run
from rpcproxy.commands.admin_address import add_address
from rpcproxy.commands.report import period

ORDERS: Final[Mapping[str, str]] = {
    "drain": "ask an upstream nothing new; what is under way finishes",
    "undrain": "put a drained upstream back",
    "cordon": "ask an upstream only where nobody else can",
    "uncordon": "put a cordoned upstream back",
}
_HOUR: Final = 3600.0


def add_looks(commands: Commands) -> None:
    """Add what only looks."""
    explain = _command(commands, "explain", "who would be asked for a request now, and why")
    explain.add_argument(
        "words",
        nargs="+",
        metavar="WORD",
        help="[CHAIN] METHOD [PARAM ...], one JSON-RPC request, or - for one on the standard input",
    )
    failures = _command(commands, "failures", "requests that failed or were slow, and why")
    failures.add_argument("--trace", metavar="ID", help="the one of this trace id")
    failures.add_argument("--tx", metavar="HASH", help="those of this transaction")
    _add_since(failures, None)
    _add_bounds(failures, 20)
    changes = _command(commands, "changes", "what happened: outages, orders, reloads, restarts")
    _add_since(changes, _HOUR)
    _add_bounds(changes, 100)
    changes.add_argument("--upstream", metavar="NAME", help="this upstream alone")
    for parser, load in ((explain, _load("explain")), (failures, _load("failures"))):
        parser.set_defaults(load=load)
    changes.set_defaults(load=_load("changes"))


def add_orders(commands: Commands) -> None:
    """Add what changes something."""
    for order, words in ORDERS.items():
        parser = _command(commands, order, words)
        parser.add_argument(
            "upstream", nargs="+", metavar="UPSTREAM", help="CHAIN UPSTREAM, or UPSTREAM alone"
        )
        if order == "drain":
            parser.add_argument(
                "--force", action="store_true", help="also the last one that can serve"
            )
        parser.set_defaults(load=_load("obey"), order=order)
    reload = _command(commands, "reload", "read the configuration file again")
    reload.set_defaults(load=_load("reload"))


def _command(commands: Commands, name: str, words: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=words)
    add_address(parser)
    parser.add_argument("--json", action="store_true", help="what the proxy said, as it is")
    return parser


def _add_since(parser: argparse.ArgumentParser, default: float | None) -> None:
    usual = "as far as it goes" if default is None else "1h"
    parser.add_argument(
        "--since",
        type=period,
        default=default,
        metavar="AGO",
        help=f"so far back: 30m, 12h, 7d (default {usual})",
    )


def _add_bounds(parser: argparse.ArgumentParser, most: int) -> None:
    parser.add_argument("--chain", metavar="NAME", help="this chain alone")
    parser.add_argument(
        "--limit", type=_count, default=most, metavar="N", help=f"at most so many (default {most})"
    )


def _count(text: str) -> int:
    # Imported here: the others of this module have no use for it.
    from rpcproxy.commands.tx import count  # noqa: PLC0415

    return count(text)


def _load(name: str) -> Callable[[], Run]:
    def load() -> Run:
        # Imported here: no other command has use for it.
        from rpcproxy.commands.runs import operate_run  # noqa: PLC0415

        run: Run = getattr(operate_run, name)
        return run

    return load
