"""``rpcproxy report``: the report card of each provider, from the history on disk."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from rpcproxy.app.people.history_writer import (
    FILE_NAME,
    HistoryRefused,
    history_path,
    read_history,
)
from rpcproxy.app.people.report_card import ReportCard, report_card
from rpcproxy.app.people.timeline_view import read_changes
from rpcproxy.app.people.tx_view import plain
from rpcproxy.app.process.extras import how_to_add
from rpcproxy.app.process.standard_streams import columns_of, drop_output
from rpcproxy.chains.known import KNOWN
from rpcproxy.commands.runs import report_view
from rpcproxy.commands.runs.report_page import page
from rpcproxy.config.load import load_file
from rpcproxy.config.model import History

FINE: Final = 0
USAGE_ERROR: Final = 2


def run(options: argparse.Namespace) -> int:
    """Read, add up, and tell."""
    try:
        path = _path(options)
    except RuntimeError:  # of expanduser
        return _refuse("the history: there is no home directory for the ~ in its path")
    if path is None:
        return _refuse("the history is off in this configuration (server.history): nothing is kept")
    now = options.clock.unix()
    since = now - options.since
    try:
        card = report_card(read_history(path, since), since, now)
        card = msgspec.structs.replace(card, timeline=read_changes(path, since, now))
    except HistoryRefused as refusal:
        hint = "" if options.config or options.history else _ELSEWHERE
        return _refuse(f"{refusal}{hint}")
    if options.html:
        return _write_page(card, options.html)
    if options.json:
        text = report_view.as_json(card)
    elif options.csv:
        text = report_view.as_csv(card)
    else:
        columns = columns_of(sys.stdout, os.environ) or report_view.PRINTED_COLUMNS
        text = report_view.as_tables(card, columns, is_terminal=sys.stdout.isatty())
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
    if not card.upstreams:
        print(plain(f"{path} has no figures of this time"), file=sys.stderr)
    return FINE


_ELSEWHERE: Final = (
    "; a proxy that runs as a service or as another user may keep it elsewhere: give the place with"
    " --history, or its configuration with -c"
)


def _path(options: argparse.Namespace) -> Path | None:
    if options.config:
        history = load_file(options.config, KNOWN, os.environ).server.history
        return history_path(history) if history.is_on else None
    if options.history:
        given = Path(options.history).expanduser()
        try:
            return given / FILE_NAME if given.is_dir() else given
        except OSError:
            return given  # reading it says why not
    return history_path(History())


def _write_page(card: ReportCard, name: str) -> int:
    try:
        # Drawing needs an extra that serving does not.
        from rpcproxy.commands.runs import report_plots  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _refuse(
            f"--html draws with matplotlib, which is not here ({error.name} is missing); add the "
            f"extra 'report': {how_to_add('report')}"
        )
    try:
        Path(name).write_text(page(card, report_plots.plots(card)), encoding="utf-8")
    except OSError as error:
        return _refuse(f"{name} cannot be written: {error.strerror or error}")
    return FINE


def _refuse(words: str) -> int:
    print(f"rpcproxy report: {plain(words)}", file=sys.stderr)
    return USAGE_ERROR
