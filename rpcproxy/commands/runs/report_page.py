"""A report card as one HTML file that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, Protocol

from rpcproxy import __version__
from rpcproxy.app.people.report_card import Figures, ReportCard
from rpcproxy.chains.registry import KINDS
from rpcproxy.commands.runs.report_view import (
    FIGURES_HEAD,
    TIMELINE_HEAD,
    figures_cells,
    minute,
    printable,
    span,
    summary,
    timeline_cells,
    why,
)

# All of it is in the file; a page from disk has no header to say so.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
html { background: Canvas; color: CanvasText; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 86rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
th { background: var(--soft); vertical-align: bottom; }
td.number, th.number { text-align: right; white-space: nowrap; }
td:not(:last-child) { white-space: nowrap; }
td:last-child { min-width: 9rem; }
.words td:last-child { min-width: 18rem; }
figure { margin: 2rem 0; }
figcaption { font-weight: 600; }
figcaption span { font-weight: 400; display: block; }
svg { width: 100%; height: auto; min-width: 36rem; max-width: 60rem; }
svg text { fill: currentColor !important; }
footer { margin-top: 3rem; font-size: .9rem; }
@media print { body { max-width: none; margin: 0; } }
"""

# Weights of methods are in units of the cheapest call.
_UNIT: Final = " or ".join(kind.own_words.head for kind in KINDS.values())
_NOTES: Final = """\
Available: share of the time in which it was not down, which is: ejected because its attempts
failed, on another chain, with a refused key, or off the others' chain.

Times are those of answers, and of what was waited for in vain; from a histogram, about right.

Answered: share of the attempts; a revert is an answer. Limited: share that it refused because of a
rate or a quota.

CU est.: an estimate from weights of the methods, in units of {unit}. Providers have price
lists of their own.

Where all upstreams of all chains were down at once, that may have been the connection of the proxy
itself."""


class Drawn(Protocol):
    """A plot."""

    @property
    def title(self) -> str: ...

    @property
    def words(self) -> str: ...

    @property
    def svg(self) -> str: ...


def page(card: ReportCard, plots: Sequence[Drawn]) -> str:
    """The whole document."""
    body = [
        "<h1>Report card</h1>",
        *(f"<p>{_text(line)}</p>" for line in summary(card)),
        *_figures("Providers", ("provider",), card.providers),
        *_figures("Upstreams", ("chain", "upstream", "provider"), card.upstreams),
        *(_plot(number, plot) for number, plot in enumerate(plots)),
        *_errors(card),
        *_outages(card),
        *_timeline(card),
        "<h2>What the figures mean</h2><ul>",
        *(f"<li>{escape(note)}</li>" for note in _NOTES.format(unit=_UNIT).split("\n\n")),
        "</ul>",
    ]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Report card, {escape(_period(card))}</title>",
            f"<style>{_STYLE}</style></head><body><main>",
            *body,
            f"</main><footer>rpcproxy {escape(__version__)}, {minute(card.until)} UTC</footer>",
            "</body></html>\n",
        ]
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _period(card: ReportCard) -> str:
    return f"{minute(card.watched_from or card.since)} to {minute(card.watched_to or card.until)}"


def _figures(title: str, names: Sequence[str], rows: Sequence[Figures]) -> Iterable[str]:
    if not rows:
        return []
    cells = [[*(getattr(row, name) for name in names), *figures_cells(row)] for row in rows]
    return _table(title, [*names, *FIGURES_HEAD], cells, numbers_from=len(names))


def _errors(card: ReportCard) -> Iterable[str]:
    wrong = [row for row in card.upstreams if row.errors]
    if not wrong:
        return []
    cells = [
        [row.chain, row.upstream, ", ".join(f"{k} {n:,}" for k, n in row.errors.items())]
        for row in wrong
    ]
    return _table("Errors in numbers", ["chain", "upstream", "errors"], cells)


def _timeline(card: ReportCard) -> Iterable[str]:
    if not card.timeline:
        return []
    cells = [list(timeline_cells(each)) for each in card.timeline]
    return _table("What happened", list(TIMELINE_HEAD), cells)


def _outages(card: ReportCard) -> Iterable[str]:
    if not card.outages:
        return ["<h2>Outages</h2><p>None.</p>"]
    cells = [
        [
            each.start[:19].replace("T", " "),
            each.end[:19].replace("T", " "),
            span(each.seconds),
            each.chain,
            each.upstream or "all",
            why(each),
        ]
        for each in card.outages
    ]
    heads = ["from (UTC)", "to (UTC)", "for", "chain", "upstream", "why"]
    return _table("Outages", heads, cells)


def _plot(number: int, plot: Drawn) -> str:
    return (
        f'<figure role="group" aria-labelledby="plot-{number}"><figcaption id="plot-{number}">'
        f"{_text(plot.title)}<span>{_text(plot.words)}</span></figcaption>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(plot.title)}">'
        f"{plot.svg}</div></figure>"
    )


def _table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers_from: int | None = None,
) -> list[str]:
    def row(cells: Sequence[str], tag: str, scope: str) -> str:
        parts = []
        for position, cell in enumerate(cells):
            is_number = numbers_from is not None and position >= numbers_from
            kind = ' class="number"' if is_number else ""
            parts.append(f"<{tag}{scope}{kind}>{_text(cell)}</{tag}>")
        return f"<tr>{''.join(parts)}</tr>"

    kind = "" if numbers_from else " class=words"
    return [
        # What can be scrolled must be reached by the keyboard, and have a name.
        f"<h2>{escape(title)}</h2>",
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">',
        f"<table{kind}><thead>{row(heads, 'th', ' scope=col')}</thead>",
        f"<tbody>{''.join(row(cells, 'td', '') for cells in rows)}</tbody></table></div>",
    ]
