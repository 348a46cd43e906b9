"""``rpcproxy tx``: the transactions in journals, read beside a running proxy or after its end."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from rpcproxy.app.people import tx_view
from rpcproxy.app.process.standard_streams import columns_of, drop_output
from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import load_file

USAGE_ERROR: Final = 2


def list_all(options: argparse.Namespace) -> int:
    """Print the newest transactions, the newest first."""
    return _tell(
        options,
        lambda places: tx_view.list_transactions(
            places,
            options.clock.unix(),
            limit=options.limit,
            is_pending=options.pending,
            is_json=options.json,
            columns=_columns(),
        ),
    )


def _columns() -> int | None:
    """Into a pipe each has one line, whatever its length: programs read it."""
    return columns_of(sys.stdout, os.environ) if sys.stdout.isatty() else None


def show_one(options: argparse.Namespace) -> int:
    """Print what is known of one transaction."""
    return _tell(
        options,
        lambda places: tx_view.show_transaction(
            places, options.hash, options.clock.unix(), is_json=options.json
        ),
    )


def _tell(
    options: argparse.Namespace, read: Callable[[Sequence[tx_view.ChainJournal]], tx_view.ToldLines]
) -> int:
    config = load_file(options.config, KNOWN, os.environ) if options.config else None
    try:
        told = read(tx_view.places_of(config=config, path=options.journal, chain=options.chain))
    except tx_view.NoJournal as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    try:
        for line in told.lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
    for note in told.notes:
        print(note, file=sys.stderr)
    return told.code
