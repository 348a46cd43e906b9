"""What a running proxy said, for people: answers of its admin port, laid out with rich. Pure.

A proxy of another version may leave fields out: what is missing is not shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rpcproxy.app.process.standard_streams import columns_of
from rpcproxy.rules.telling.happenings import HAPPENINGS
from rpcproxy.rules.telling.plight import span

PRINTED_COLUMNS: Final = 120  # into a file or a pipe, where COLUMNS says nothing
_LONGEST_PARAMS: Final = 400
_FAILED: Final = "failed", "red"
# By outcome, as ``rules.telling.request_traces`` calls it.
_ENDS: Final = {"slow": ("was slow", "yellow"), "refused": ("was refused", "yellow")}


def drawn(picture: RenderableType, out: TextIO) -> str:
    """The text of a picture, as wide as whoever reads has room."""
    console = Console(file=out)
    if not console.is_terminal:
        columns = columns_of(out, os.environ) or PRINTED_COLUMNS
        console = Console(file=out, width=columns, color_system=None)
    # Not printed by the console: it would end the process where nobody reads.
    with console.capture() as captured:
        console.print(picture)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def plain(text: object) -> str:
    """Nothing that a terminal would take for an order."""
    return "".join(each if each.isprintable() else "\ufffd" for each in str(text))


def span_words(seconds: float) -> str:
    return "hour" if seconds == 3600 else span(seconds)


def ordered(told: Mapping[str, Any]) -> RenderableType:
    """What an order did."""
    words = Text(plain(f"{told.get('chain', '?')}/{told.get('upstream', '?')}"), "bold")
    words.append(f" is {plain(told.get('state', '?'))}", "")
    return words.append(f": {plain(told.get('result', ''))}", "not bold")


def reloaded(told: Mapping[str, Any]) -> RenderableType:
    """What came of a reload."""
    return Text(f"The configuration was {plain(told.get('result', 'read'))}.")


# --------------------------------------------------------------------------
# What would become of a request


class Explained:
    """An answer of ``/explain``."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        told = self._told
        head = Text(plain(f"{told.get('method', '?')} on {told.get('chain', '?')}"), "bold")
        yield head.append(f": {plain(told.get('words', '?'))}", "not bold")
        yield from _facts(told)
        order = told.get("order") or {}
        for name, title in (
            ("asked", "asked, in this order"),
            ("last_resort", "asked only where nobody recovers"),
            ("left_out", "not asked"),
        ):
            if order.get(name):
                yield Text()
                yield Text(title, "dim")
                yield _upstreams(order[name], is_asked=name == "asked")


def _facts(told: Mapping[str, Any]) -> Iterator[RenderableType]:
    facts = []
    if told.get("params"):
        params = json.dumps(told["params"])
        shown = params if len(params) <= _LONGEST_PARAMS else f"{params[:_LONGEST_PARAMS]}…"
        facts.append(("params as sent", shown))
    if told.get("served_head") is not None:
        facts.append(("served head", f"{told['served_head']:,}"))
    needs = told.get("needs") or {}
    parts = [f"block {needs['block']:,}"] if needs.get("block") is not None else []
    parts += ["the newest state"] if needs.get("latest_state") else []
    parts += [f"blocks from {needs['lowest']:,} on"] if needs.get("lowest") is not None else []
    parts += ["an upstream for private transactions"] if needs.get("private") else []
    if parts:
        facts.append(("it needs", ", ".join(parts)))
    seconds = told.get("seconds") or {}
    if seconds:
        words = f"{_figure(seconds.get('deadline'))} s in all, {_figure(seconds.get('attempt'))} s "
        words += f"for an attempt, at most {seconds.get('attempts', '?')} of them"
        second = seconds.get("second_copy")
        words += "; no second copy" if second is None else f"; a second copy after {second:.3g} s"
        facts.append(("time", words))
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, words in facts:
        grid.add_row(Text(name, "dim"), Text(plain(words), overflow="fold"))
    if facts:
        yield grid


def _figure(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "?"


def _upstreams(some: Sequence[Mapping[str, Any]], *, is_asked: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("upstream", overflow="fold")
    table.add_column("state", no_wrap=True)
    if is_asked:
        table.add_column("asked first", justify="right", no_wrap=True)
    table.add_column("what speaks against it", ratio=1, overflow="fold")
    for each in some:
        cells = [Text(plain(each.get("name", "?")), "bold"), Text(plain(each.get("state", "?")))]
        if is_asked:
            cells.append(Text(f"{each.get('first_share', 0.0):.0%}"))
        table.add_row(*cells, Text(plain("; ".join(map(str, each.get("why") or ())) or "nothing")))
    return table


# --------------------------------------------------------------------------
# Requests that failed


class Failures:
    """Entries of ``/failures``, a block of lines each. ``unix_seconds`` is now."""

    def __init__(self, entries: Sequence[Mapping[str, Any]], unix_seconds: float) -> None:
        self._entries = entries
        self._now = unix_seconds

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        for position, entry in enumerate(self._entries):
            if position:
                yield Text()
            yield self._headline(entry)
            yield Padding(Text(plain(entry.get("reason") or "?"), overflow="fold"), (0, 0, 0, 2))
            for name, key in (("trace", "trace_id"), ("transaction", "transaction")):
                if entry.get(key):
                    known = Text.assemble((f"{name} ", "dim"), plain(entry[key]))
                    known.overflow = "fold"
                    yield Padding(known, (0, 0, 0, 2))
            if entry.get("attempts"):
                yield Padding(_attempts(entry["attempts"]), (0, 0, 0, 2))

    def _headline(self, entry: Mapping[str, Any]) -> Text:
        line = Text.assemble(
            (plain(_clock(entry.get("time"), self._now)), "dim"),
            "  ",
            (plain(entry.get("method") or "?"), "bold"),
            f" on {plain(entry.get('chain') or '?')} ",
        )
        words, color = _ENDS.get(str(entry.get("outcome")), _FAILED)
        line.append(words, color)
        if isinstance(entry.get("seconds"), int | float):
            line.append(f" after {entry['seconds']:.3g} s")
        return line


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("asked", overflow="fold")
    table.add_column("why", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("what came of it", ratio=1, overflow="fold")
    for each in attempts:
        took = each.get("seconds")
        said = ": ".join(filter(None, (each.get("verdict"), each.get("detail"))))
        table.add_row(
            f"{each.get('began_seconds', 0.0):.3f} s",
            Text(plain(each.get("upstream", "?")), "bold"),
            Text(plain(each.get("why") or "")),
            "–" if took is None else f"{took:.3f} s",
            Text(plain(said or ("under way when the request ended" if took is None else ""))),
        )
    return table


# --------------------------------------------------------------------------
# What happened


class Changes:
    """Entries of ``/changes``, one row each. ``unix_seconds`` is now."""

    def __init__(self, entries: Sequence[Mapping[str, Any]], unix_seconds: float) -> None:
        self._entries = entries
        self._now = unix_seconds

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        if not self._entries:
            return
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("UTC", no_wrap=True)
        table.add_column("chain", overflow="fold")
        table.add_column("what", ratio=1, overflow="fold")
        for entry in self._entries:
            table.add_row(
                Text(plain(_clock(entry.get("started"), self._now))),
                Text(plain(entry.get("chain") or "–")),
                _what(entry),
            )
        yield table


def _what(entry: Mapping[str, Any]) -> Text:
    kind = str(entry.get("kind", "?"))
    meaning = HAPPENINGS.get(kind)
    lasts = meaning is not None and meaning.lasts
    is_open = lasts and entry.get("ended") is None
    told = str(entry.get("sentence") or "").removeprefix(f"{entry.get('chain')}: ").rstrip(".")
    words = Text(plain(told or _sentence(entry, kind, is_open=is_open)), "bold" if is_open else "")
    if lasts and isinstance(entry.get("seconds"), int | float):
        words.append(f", for {span(entry['seconds'])}{' so far' if is_open else ''}", "not bold")
    if isinstance(entry.get("times"), int) and entry["times"] > 1:
        words.append(f", {entry['times']} times", "not bold")
    if entry.get("by") and str(entry["by"]) not in words.plain:
        words.append(f" (by {plain(entry['by'])})", "not bold")
    return words


def _sentence(entry: Mapping[str, Any], kind: str, *, is_open: bool) -> str:
    """Of a proxy that tells none."""
    meaning = HAPPENINGS.get(kind)
    verb = kind if meaning is None else meaning.present if is_open else meaning.past
    words = f"{entry.get('upstream') or ''} {verb}".strip()
    if entry.get("words"):
        words += f": {entry['words']}"
    unserved = entry.get("unserved")
    if meaning is not None and meaning.lasts and isinstance(unserved, int):
        noticed = f"{unserved:,} error{'' if unserved == 1 else 's'}" if unserved else "nothing"
        words += f"; wallets noticed {noticed}"
    return words


def _clock(moment: object, now: float) -> str:
    """A time of UTC, with its day where that is not today."""
    try:
        at = datetime.fromisoformat(str(moment)).astimezone(UTC)
    except ValueError:
        return "?"
    is_today = at.date() == datetime.fromtimestamp(now, UTC).date()
    return f"{at:%H:%M:%S}" if is_today else f"{at:%d %b %H:%M:%S}"
