"""``rpcproxy report``: the report card of each provider, from the history on disk."""

from __future__ import annotations

import argparse
import re
from typing import Final

from rpcproxy.commands import Commands, Run

_PERIOD: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*(s|m|min|h|d|w)")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
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
  CU est.      an estimate: weights of the methods, in units of asking for the newest block.
               Providers have price lists of their own
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
  rpcproxy report --html card.html       one file, with plots; needs the extra 'report'
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
        type=period,
        default=30 * 86_400.0,
        metavar="AGO",
        help="so far back: 12h, 7d, 4w (default 30d)",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--csv", action="store_true", help="one line for each upstream")
    how.add_argument("--json", action="store_true", help="one JSON document")
    how.add_argument("--html", metavar="FILE", help="write one HTML file with plots")
    parser.set_defaults(load=_load)


def period(text: str) -> float:
    match = _PERIOD.fullmatch(text.strip())
    seconds = 0.0 if match is None else float(match[1]) * _UNIT_SECONDS[match[2]]
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no time such as 12h, 7d or 4w")
    return seconds


def _load() -> Run:
    # Imported here: no other command has use for it.
    from rpcproxy.commands.runs.report_run import run  # noqa: PLC0415

    return run
