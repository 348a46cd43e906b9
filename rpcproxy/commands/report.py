"""``rpcproxy report``: the report card of each provider, from the history on disk."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rpcproxy.app.people.tx import plain
from rpcproxy.app.process.process import drop_output
from rpcproxy.chains.known import KNOWN
from rpcproxy.commands import Commands
from rpcproxy.config.load import load_file

if TYPE_CHECKING:
    from rpcproxy.app.people.report_card import ReportCard

FINE: Final = 0
USAGE_ERROR: Final = 2

_PERIOD: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*(m|min|h|d|w)")
_UNIT_SECONDS: Final = {"m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_LONGEST_SECONDS: Final = 3650 * 86_400

EPILOG: Final = """\
The proxy keeps a small history by itself (server.history): of each upstream and hour what it did,
for 90 days. This reads it, beside a running proxy or after its end, and asks nobody. What a running
proxy saw in the last minute may not be in it yet.

what the figures mean:
  available    share of the time in which it was not down: ejected because its attempts failed, on
               another chain, with a refused key, or off the others' chain
  p50, p99     how long its answers took, by method class; whoever was waited for in vain counts
               with that time. From a histogram: about right
  answered     share of the attempts that were answered, reverts and the like included
  limited      share of the attempts that it refused because of a rate or a quota
  lag          blocks behind the served head, mean and most
  calls        what it was asked, with our own probes; batches count by their members
  CU est.      an estimate: weights of the methods, in units of eth_blockNumber. Providers have
               price lists of their own
  dark         part of a down time in which no upstream of any chain was well: that may have been
               the connection of the proxy itself
  Outages that were shorter than the 5 s between two looks may be missing.

exit codes:
  0    it was read
  2    there is no history, or it cannot be read

examples:
  rpcproxy report                        the last 30 days, from the default place
  rpcproxy report -c rpcproxy.yaml --since 7d
  rpcproxy report --json > card.json
  rpcproxy report --html card.html       one file, with plots; needs the extra rpcproxy[report]
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "report",
        help="the report card of each provider: availability, latency, errors, outages",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="What each provider and upstream was worth: availability, latency, errors, "
        "lag, rate\nlimits, calls, and outages with their times.",
        epilog=EPILOG,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-c", "--config", metavar="FILE", help="the history of its server section")
    where.add_argument("--history", metavar="PATH", help="a history, or the directory of one")
    parser.add_argument(
        "--since",
        type=_period,
        default=30 * 86_400.0,
        metavar="AGO",
        help="so far back: 12h, 7d, 4w (default 30d)",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--csv", action="store_true", help="one line for each upstream")
    how.add_argument("--json", action="store_true", help="one JSON document")
    how.add_argument("--html", metavar="FILE", help="write one HTML file with plots")
    parser.set_defaults(run=run)


def _period(text: str) -> float:
    match = _PERIOD.fullmatch(text.strip())
    seconds = 0.0 if match is None else float(match[1]) * _UNIT_SECONDS[match[2]]
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no time such as 12h, 7d or 4w")
    return seconds


def run(options: argparse.Namespace) -> int:
    """Read, add up, and tell."""
    # Imported here: other commands start without them.
    from rpcproxy.app.people.history_writer import HistoryRefused, read_history  # noqa: PLC0415
    from rpcproxy.app.people.report_card import report_card  # noqa: PLC0415
    from rpcproxy.commands import report_view  # noqa: PLC0415

    try:
        path = _path(options)
    except RuntimeError:  # of expanduser
        return _refuse("the history: there is no home directory for the ~ in its path")
    if path is None:
        return _refuse("the history is off in this configuration (server.history): nothing is kept")
    now = time.time()
    since = now - options.since
    try:
        card = report_card(read_history(path, since), since, now)
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
        text = report_view.as_tables(card, is_terminal=sys.stdout.isatty())
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
    from rpcproxy.app.people.history_writer import FILE_NAME, history_path  # noqa: PLC0415
    from rpcproxy.config.model import History  # noqa: PLC0415

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
        from rpcproxy.commands import report_plots  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _refuse(
            f"--html draws with matplotlib, which is not here ({error.name} is missing): "
            "pip install 'rpcproxy[report]'"
        )
    from rpcproxy.commands.report_page import page  # noqa: PLC0415

    try:
        Path(name).write_text(page(card, report_plots.plots(card)), encoding="utf-8")
    except OSError as error:
        return _refuse(f"{name} cannot be written: {error.strerror or error}")
    return FINE


def _refuse(words: str) -> int:
    print(f"rpcproxy report: {plain(words)}", file=sys.stderr)
    return USAGE_ERROR
