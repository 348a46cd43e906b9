"""``rpcproxy tx``: the transactions that wallets sent."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Final

from rpcproxy.commands import Commands, Run

MOST_DIGITS: Final = 18


def add(commands: Commands) -> None:
    """Add the command and those below it."""
    parser = commands.add_parser("tx", help="the transactions that wallets sent")
    whose = argparse.ArgumentParser(add_help=False)
    where = whose.add_mutually_exclusive_group()
    where.add_argument("-c", "--config", metavar="FILE", help="the journals of its chains")
    where.add_argument("--journal", metavar="PATH", help="a journal, or a directory of journals")
    whose.add_argument("--chain", metavar="NAME", help="this chain alone")
    whose.add_argument("--json", action="store_true", help="one JSON object per transaction")
    below = parser.add_subparsers(required=True, metavar="COMMAND")
    every = below.add_parser("list", parents=[whose], help="the newest first")
    every.add_argument(
        "--pending", action="store_true", help="only those that wait for their block"
    )
    every.add_argument(
        "--limit", type=count, default=50, metavar="N", help="at most so many (default 50)"
    )
    every.set_defaults(load=_load_list)
    one = below.add_parser("show", parents=[whose], help="everything known of one")
    one.add_argument("hash", action=_WhichOne, type=_hash, metavar="HASH")
    one.set_defaults(load=_load_show)


def count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no whole number above 0")
    return int(text)


class _WhichOne(argparse.Action):
    """Stores the hash. What is expected of one is looked up when help shows it: the tables of the
    kinds of chains would be loaded before any command runs.
    """

    @property
    def help(self) -> str:
        from rpcproxy.chains.registry import HASH_WORDS  # noqa: PLC0415 -- see above

        return f"{HASH_WORDS}: which one"

    @help.setter  # noqa: A003 -- the property above, not the builtin
    def help(self, text: str | None) -> None:
        """Nothing: argparse sets it to what it was given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 -- argparse's signature
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002 -- the same
    ) -> None:
        setattr(namespace, self.dest, values)


def _hash(text: str) -> str:
    # Imported here: the only one that needs them.
    from rpcproxy.chains.registry import HASH_WORDS, hash_of  # noqa: PLC0415
    from rpcproxy.front.operators.admin_transactions import no_hash  # noqa: PLC0415

    hash = hash_of(text)
    if hash is None:
        raise argparse.ArgumentTypeError(no_hash(text, HASH_WORDS))
    return hash


def _load_list() -> Run:
    # Imported here: no other command has use for it.
    from rpcproxy.commands.runs.tx_run import list_all  # noqa: PLC0415

    return list_all


def _load_show() -> Run:
    # Imported here: no other command has use for it.
    from rpcproxy.commands.runs.tx_run import show_one  # noqa: PLC0415

    return show_one
