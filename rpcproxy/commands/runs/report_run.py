"""``rpcproxy report``: the report card of each provider, from the history on disk."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from rpcproxy.app.people.history_writer import (
    FILE_NAME,
    HistoryRefused,
    Kept,
    history_path,
    read_history,
    shared_history,
)
from rpcproxy.app.people.report_card import ReportCard, report_card
from rpcproxy.app.people.timeline_view import read_changes
from rpcproxy.app.people.tx_view import plain
from rpcproxy.app.process.extras import how_to_add
from rpcproxy.app.process.standard_streams import columns_of, drop_output
from rpcproxy.app.storage.state_place import (
    HISTORY,
    NO_HOME,
    StatePlace,
    expanded,
    places_in,
    shared_place,
    state_directory,
)
from rpcproxy.chains.known import KNOWN
from rpcproxy.commands.runs import report_view
from rpcproxy.commands.runs.report_page import page
from rpcproxy.config.load import load_file
from rpcproxy.config.model import Config

FINE: Final = 0
USAGE_ERROR: Final = 2


def run(options: argparse.Namespace) -> int:
    """Read, add up, and tell."""
    now = options.clock.unix()
    since = now - options.since
    try:
        paths = _paths(options)
        card = report_card(_read_all(paths, since), since, now)
        told = [each for path in paths for each in read_changes(path, since, now)]
        told.sort(key=lambda each: each["started"], reverse=True)
        card = msgspec.structs.replace(card, timeline=told)
    except HistoryRefused as refusal:
        hint = "" if options.config or options.history else _ELSEWHERE
        return _refuse(f"{refusal}{hint}")
    if len(paths) > 1:
        places = ", ".join(map(str, paths))
        print(plain(f"from {len(paths)} configurations: {places}"), file=sys.stderr)
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
        print(plain(f"{paths[0]} has no figures of this time"), file=sys.stderr)
    return FINE


_ELSEWHERE: Final = (
    "; a proxy that runs as a service or as another user may keep it elsewhere: give the place with"
    " --history, or its configuration with -c"
)


def _paths(options: argparse.Namespace) -> list[Path]:
    """At least one. Raises ``HistoryRefused``."""
    if options.config:
        return [_configured(load_file(options.config, KNOWN, os.environ))]
    if options.history:
        given, why = expanded(options.history)
        if given is None:
            raise HistoryRefused(f"the history: {why}")
        try:
            return [given / FILE_NAME if given.is_dir() else given]
        except OSError:
            return [given]  # reading it says why not
    state = state_directory()
    if state is None:
        raise HistoryRefused(f"the history: {NO_HOME}")
    places = [shared_place(state), *places_in(state)]
    paths = [place.directory / HISTORY / FILE_NAME for place in places if place.directory]
    return [path for path in paths if path.exists()] or paths[:1]


def _configured(config: Config) -> Path:
    history = config.server.history
    place = StatePlace.of(config)
    path = history_path(history, place)
    if path is None:
        off = "the history is off in this configuration (server.history): nothing is kept"
        raise HistoryRefused(f"the history: {place.why or NO_HOME}" if history.is_on else off)
    older = shared_history(place)
    if history.path is None and not path.exists() and older is not None and older.exists():
        return older  # until the next start of the proxy
    return path


def _read_all(paths: Sequence[Path], since: float) -> Kept:
    found = [read_history(path, since) for path in paths]
    runs = {name: facts for each in found for name, facts in each.runs.items()}
    rows = [row for each in found for row in each.rows]
    return Kept(runs, rows, [outage for each in found for outage in each.outages])


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
