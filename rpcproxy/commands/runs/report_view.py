"""A report card as text: tables for the terminal, CSV, JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rpcproxy.app.people.report_card import Figures, OutageFigures, ReportCard
from rpcproxy.app.people.tx_view import plain
from rpcproxy.front.pages.outlook import ChangeTold
from rpcproxy.messages import CLASS_NAMES

# Where nobody says how wide it may be.
PRINTED_COLUMNS: Final = 120
# From here on all figures of an upstream stand on one line; below, in two tables.
_WIDE_COLUMNS: Final = 150
OUTAGES_SHOWN: Final = 20
TIMELINE_SHOWN: Final = 50
TIMELINE_HEAD: Final = ("from (UTC)", "for", "what")
MINUTE, HOUR, DAY = 60, 3600, 86_400

FIGURES_HEAD: Final = (
    *("available", *(f"{name} p50/p99" for name in CLASS_NAMES), "answered", "failed"),
    *("limited", "lag", "calls", "CU est.", "outages"),
)
_AVAILABLE: Final = FIGURES_HEAD[0]
_OUTAGE_HEAD: Final = ("from (UTC)", "for", "chain", "upstream", "why")
_STANDING_HEAD: Final = (_AVAILABLE, "answered", "failed", "limited", "lag", "outages")
_WORK_HEAD: Final = tuple(name for name in FIGURES_HEAD if name not in _STANDING_HEAD)
_HEADS: Final = (FIGURES_HEAD,)
_NARROW_HEADS: Final = (_STANDING_HEAD, _WORK_HEAD)
_OF: Final = {FIGURES_HEAD: "", _STANDING_HEAD: "", _WORK_HEAD: ", times and calls"}
_PADDING: Final = (0, 1, 0, 0)
_ASCII_HEAD: Final = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def as_json(card: ReportCard) -> str:
    """One document."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2).decode() + "\n"


# --------------------------------------------------------------------------
# CSV

_COLUMNS: Final = (
    *("scope", "provider", "chain", "upstream", "cloud", "region", "watched_seconds"),
    *("availability", "down_seconds", "dark_seconds", "limited_time_share", "behind_time_share"),
    *("attempts", "failures", "probes", "failed_probes", "success_share", "rate_limited_share"),
)
_LAST_COLUMNS: Final = (
    *("lag_blocks_mean", "lag_blocks_most", "calls", "compute_units_estimate"),
    *("outages", "longest_outage_seconds"),
)


def as_csv(card: ReportCard) -> str:
    """A line for each provider, then one for each upstream. Errors are ``kind=count``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    times = [f"{name}_{what}" for name in CLASS_NAMES for what in _OF_CLASS]
    writer.writerow([*_COLUMNS, *times, "errors", *_LAST_COLUMNS])
    for scope, rows in (("provider", card.providers), ("upstream", card.upstreams)):
        for figures in rows:
            known = msgspec.structs.asdict(figures)
            writer.writerow(
                [scope]
                + [_cell(known[name]) for name in _COLUMNS[1:]]
                + [
                    _cell(_of_class(figures, name, what))
                    for name in CLASS_NAMES
                    for what in _OF_CLASS
                ]
                + [" ".join(f"{kind}={count}" for kind, count in figures.errors.items())]
                + [_cell(known[name]) for name in _LAST_COLUMNS]
            )
    return out.getvalue()


_OF_CLASS: Final = ("calls", "p50_seconds", "p99_seconds")


def _of_class(figures: Figures, name: str, what: str) -> object:
    known = figures.classes.get(name)
    return None if known is None else getattr(known, what)


def _cell(value: object) -> object:
    if isinstance(value, str):
        # A spreadsheet takes what begins like that for a formula.
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return "" if value is None else value


# --------------------------------------------------------------------------
# The terminal


def as_tables(card: ReportCard, columns: int = PRINTED_COLUMNS, *, is_terminal: bool) -> str:
    """For people, so wide; with colours where it is a terminal."""
    out = io.StringIO()
    console = Console(file=out, width=columns, force_terminal=is_terminal, highlight=False)
    heads = _HEADS if columns >= _WIDE_COLUMNS else _NARROW_HEADS
    # Bytes are columns in a pipe: whoever counts them there is not to be misled.
    line = box.SIMPLE_HEAD if is_terminal else _ASCII_HEAD
    for words in summary(card):
        console.print(Text(plain(words)))
    for title, rows in (("Providers", card.providers), ("Upstreams", card.upstreams)):
        for names in heads if rows else ():
            console.print()
            console.print(_table(f"{title}{_OF[names]}", rows, names, line))
    wrong = [f for f in card.upstreams if f.errors]
    if wrong:
        console.print()
        console.print(
            _grid("Errors, by kind", ("chain", "upstream", "errors"), map(_errors, wrong), line)
        )
    if card.outages:
        console.print()
        shown = card.outages[:OUTAGES_SHOWN]
        more = len(card.outages) - len(shown)
        title = "Outages" if not more else f"Outages, the last {len(shown)} (and {more} before)"
        console.print(_grid(title, _OUTAGE_HEAD, map(_outage, shown), line))
    if card.timeline:
        console.print()
        happened = map(timeline_cells, card.timeline[:TIMELINE_SHOWN])
        console.print(_grid(_timeline_title(card), TIMELINE_HEAD, happened, line))
    text = out.getvalue()
    return text if is_terminal else "".join(f"{each.rstrip()}\n" for each in text.splitlines())


def _timeline_title(card: ReportCard) -> str:
    more = len(card.timeline) - TIMELINE_SHOWN
    title = "What happened"
    return title if more <= 0 else f"{title}, the last {TIMELINE_SHOWN} (and {more} before)"


def timeline_cells(entry: ChangeTold) -> tuple[str, ...]:
    """The cells under ``TIMELINE_HEAD``."""
    is_moment = entry["ended"] == entry["started"]
    lasted = "" if is_moment else span(entry["seconds"]) + ("" if entry["ended"] else " so far")
    return entry["started"][:19].replace("T", " "), lasted, entry["sentence"]


def summary(card: ReportCard) -> list[str]:
    """What time it is about, and what wallets saw of it."""
    if card.watched_from is None or card.watched_to is None:
        return [f"No figures since {minute(card.since)}."]
    processes = f"{card.processes} process{'es' if card.processes > 1 else ''}"
    lines = [
        f"{minute(card.watched_from)} to {minute(card.watched_to)} UTC, as seen by {processes}."
    ]
    for chain in card.chains:
        total = sum(chain.requests.values())
        failed = chain.requests.get("own_error", 0)
        words = (
            f"{chain.chain}: {total:,} requests of wallets, {failed:,} ended in an error of ours"
        )
        if chain.unserved_seconds:
            words += f"; for {span(chain.unserved_seconds)} nobody could serve it"
        lines.append(f"{words}.")
    return lines


def figures_cells(figures: Figures) -> list[str]:
    """The cells under ``FIGURES_HEAD``."""
    lag = "-"
    if figures.lag_blocks_mean is not None:
        lag = f"{figures.lag_blocks_mean:.1f} ≤{figures.lag_blocks_most}"
    return [
        percent(figures.availability),
        *(_times(figures, name) for name in CLASS_NAMES),
        percent(figures.success_share),
        percent(figures.failures / figures.attempts if figures.attempts else None),
        percent(figures.rate_limited_share),
        lag,
        f"{figures.calls:,}",
        f"{figures.compute_units_estimate:,}",
        "-"
        if not figures.outages
        else f"{figures.outages}, ≤{span(figures.longest_outage_seconds)}",
    ]


def percent(share: float | None) -> str:
    """Never rounded up: what is not all of it must not look so."""
    if share is None:
        return "-"
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    if share < 0.0001:
        return "<0.01%"
    digits = 3 if share > 0.999 else 2
    return f"{math.floor(share * 10 ** (digits + 2)) / 10**digits:.{digits}f}%"


def span(seconds: float) -> str:
    """A duration in the two largest units at most."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def minute(moment: str) -> str:
    """A moment, to the minute."""
    return moment[:16].replace("T", " ")


def printable(text: str) -> str:
    """For a page: letters of every script, and nothing else that a name may hold."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def why(outage: OutageFigures) -> str:
    """In what state it was, and for what reason."""
    words = ": ".join(filter(None, (outage.state, outage.reason)))
    if not outage.upstream:
        words = "nobody could serve the chain"
    if not outage.is_over:
        words += " (not over when it was last looked at)"
    if outage.dark_seconds:
        words += f" (for {span(outage.dark_seconds)} of it all were down)"
    return words


def _times(figures: Figures, name: str) -> str:
    known = figures.classes.get(name)
    if known is None or known.p50_seconds is None or known.p99_seconds is None:
        return "-"
    return f"{_milliseconds(known.p50_seconds)}/{_milliseconds(known.p99_seconds)} ms"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f}"


def _table(title: str, rows: Sequence[Figures], heads: Sequence[str], line: box.Box) -> Table:
    """``heads``: of these figures alone."""
    first: tuple[str, ...] = ("provider",)
    if rows[0].upstream:
        # Where it is told in two tables, the first one has to fit 80 columns.
        first = ("chain", "upstream") if heads == _STANDING_HEAD else ("chain", "upstream", *first)
    table = Table(title=title, title_justify="left", box=line, pad_edge=False, padding=_PADDING)
    for name in first:
        table.add_column(name, overflow="fold")
    for name in heads:
        table.add_column(name, justify="right", overflow="fold")
    for figures in rows:
        cells = dict(zip(FIGURES_HEAD, map(Text, figures_cells(figures)), strict=True))
        cells[_AVAILABLE].stylize(_style(figures.availability))
        names = (Text(plain(getattr(figures, name))) for name in first)
        table.add_row(*names, *(cells[name] for name in heads))
    return table


def _style(availability: float | None) -> str:
    if availability is None:
        return "dim"
    return "green" if availability >= 0.999 else "yellow" if availability >= 0.99 else "red"


def _grid(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], line: box.Box) -> Table:
    table = Table(title=title, title_justify="left", box=line, pad_edge=False)
    for name in heads:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


def _errors(figures: Figures) -> tuple[str, ...]:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in figures.errors.items())
    return figures.chain, figures.upstream, kinds


def _outage(outage: OutageFigures) -> tuple[str, ...]:
    start = outage.start[:19].replace("T", " ")
    name = outage.upstream or "all"
    return start, span(outage.seconds), outage.chain, name, why(outage)
