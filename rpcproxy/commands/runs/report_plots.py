"""The plots of a report card: SVG, for a page that may be light or dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from rpcproxy.app.people.report_card import Figures, ReportCard
from rpcproxy.commands.runs.report_view import percent, printable
from rpcproxy.messages import CLASS_NAMES

# Told apart by people who see few colours (Okabe and Ito's palette), on white and on black.
_GREEN, _RED, _BLUE, _ORANGE = "#009e73", "#d55e00", "#0072b2", "#e69f00"
_KINDS: Final = (_BLUE, _ORANGE, _GREEN, "#cc79a7", "#56b4e9", _RED, "#999999")
_MOST_ROWS: Final = 40
_WIDTH_INCHES: Final = 9.0
_DAY_SECONDS: Final = 86_400
_STYLE: Final = {
    # Letters stay letters: smaller, and a reader can copy them. The page gives them its colour.
    "svg.fonttype": "none",
    "svg.hashsalt": "rpcproxy",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#808080",
    "xtick.color": "#808080",
    "ytick.color": "#808080",
    "grid.color": "#808080",
    "grid.alpha": 0.3,
    "axes.grid.axis": "x",
    "axes.grid": True,
    "axes.axisbelow": True,
    "font.size": 9,
}


class Plot(NamedTuple):
    """``svg`` can stand in a page as it is; ``words`` say what it shows."""

    title: str
    words: str
    svg: str


def plots(card: ReportCard) -> list[Plot]:
    """Of at most 40 upstreams; none where there are no figures."""
    rows = list(card.upstreams)[:_MOST_ROWS]
    if not rows or card.watched_from is None or card.watched_to is None:
        return []
    lowest = min((row for row in rows), key=lambda row: (row.availability or 0.0, row.upstream))
    drawn = [
        _plot(
            "When they were down",
            f"{len(card.outages)} outages. Least available: {lowest.upstream}, "
            f"{percent(lowest.availability)}.",
            rows,
            lambda axes: _timeline(axes, card, rows),
        )
    ]
    for name in CLASS_NAMES:
        asked = [row for row in rows if name in row.classes]
        if asked:
            drawn.append(_latency_plot(name, asked))
    wrong = [row for row in rows if row.errors]
    if wrong:
        worst = max(wrong, key=lambda row: sum(row.errors.values()))
        words = f"Most errors: {worst.upstream}, {sum(worst.errors.values()):,}."
        drawn.append(_plot("Errors, by kind", words, wrong, lambda axes: _errors(axes, wrong)))
    most = max(rows, key=lambda row: row.calls)
    words = f"Most calls: {most.upstream}, {most.calls:,}."
    drawn.append(_plot("Calls, probes included", words, rows, lambda axes: _calls(axes, rows)))
    return drawn


def _latency_plot(name: str, rows: Sequence[Figures]) -> Plot:
    slowest = max(rows, key=lambda row: row.classes[name].p99_seconds or 0.0)
    worst = slowest.classes[name].p99_seconds or 0.0
    words = f"Slowest: {slowest.upstream}, 99th percentile {worst * 1000:.0f} ms."
    title = f"How long answers took: {name} requests, median to 99th percentile"
    return _plot(title, words, rows, lambda axes: _latency(axes, rows, name))


def _plot(title: str, words: str, rows: Sequence[Figures], draw: Callable[[Axes], None]) -> Plot:
    with mpl.rc_context(_STYLE), warnings.catch_warnings():  # type: ignore[arg-type]
        # It measures with a font of its own; the reader's draws the letters.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(_WIDTH_INCHES, 1.0 + 0.3 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return Plot(title, words, _inline(out.getvalue(), re.sub(r"\W+", "-", title.lower())))


def _inline(svg: str, prefix: str) -> str:
    """Without what belongs to a file of its own; names are unique on the page that holds it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    # The size is the page's business; the shape is in viewBox.
    return re.sub(r'^<svg [^>]*?(viewBox="[^"]+")[^>]*>', r'<svg \1 aria-hidden="true">', svg)


# --------------------------------------------------------------------------
# Drawing, one line for each upstream


def _timeline(axes: Axes, card: ReportCard, rows: Sequence[Figures]) -> None:
    places = {(row.chain, row.upstream): line for line, row in enumerate(rows)}
    for day in card.days:
        line = places.get((day.chain, day.upstream))
        if line is not None and day.availability is not None:
            begin, end = _number(day.watched_from), _number(day.watched_to)
            axes.barh(line, end - begin, 0.5, begin, color=_GREEN, alpha=0.35, linewidth=0)
    least = (_number(card.watched_to or "") - _number(card.watched_from or "")) / 500
    for outage in card.outages:
        line = places.get((outage.chain, outage.upstream))
        if line is not None:
            begin = _number(outage.start)
            length = max(least, _number(outage.end) - begin)
            axes.barh(line, length, 0.8, begin, color=_RED, linewidth=0)
    locator = AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.set_xlim(_number(card.watched_from or ""), _number(card.watched_to or ""))
    axes.set_xlabel("UTC; green band: watched that day, tall red marks: down")


def _latency(axes: Axes, rows: Sequence[Figures], name: str) -> None:
    for line, row in enumerate(rows):
        p50, p99 = row.classes[name].p50_seconds, row.classes[name].p99_seconds
        if p50 is None or p99 is None:
            continue
        axes.plot([p50 * 1000, p99 * 1000], [line, line], color=_BLUE, linewidth=3, alpha=0.5)
        axes.plot([p50 * 1000], [line], "o", color=_BLUE)
        axes.plot([p99 * 1000], [line], "|", color=_RED, markersize=14, markeredgewidth=2)
    axes.set_xlim(left=0)
    axes.set_xlabel("milliseconds; dot: median, bar: 99th percentile")


def _errors(axes: Axes, rows: Sequence[Figures]) -> None:
    kinds: dict[str, int] = {}
    for row in rows:
        for kind, count in row.errors.items():
            kinds[kind] = kinds.get(kind, 0) + count
    ranked = sorted(kinds, key=lambda kind: -kinds[kind])
    shown, rest = ranked[: len(_KINDS) - 1], ranked[len(_KINDS) - 1 :]
    groups = [(kind, (kind,)) for kind in shown] + ([("others", tuple(rest))] if rest else [])
    lines = range(len(rows))
    left = [0] * len(rows)
    for (label, members), colour in zip(groups, _KINDS, strict=False):
        counts = [sum(row.errors.get(kind, 0) for kind in members) for row in rows]
        axes.barh(lines, counts, 0.6, left, color=colour, label=label)
        left = [sum(pair) for pair in zip(left, counts, strict=True)]
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.set_xlabel("attempts")


def _calls(axes: Axes, rows: Sequence[Figures]) -> None:
    lines = range(len(rows))
    axes.barh(lines, [row.calls for row in rows], 0.6, color=_BLUE)
    axes.set_xlabel("calls")


def _name(row: Figures) -> str:
    return printable(f"{row.chain} · {row.upstream}")


def _number(moment: str) -> float:
    """A moment as matplotlib counts: in days."""
    return float(date2num(datetime.fromisoformat(moment).astimezone(UTC)))  # type: ignore[no-untyped-call]
