"""The status in a terminal: what ``/status`` tells in JSON, laid out with rich. Pure.

A proxy of another version may leave keys out: what is missing is shown as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rpcproxy.front.pages.outlook import latency_of
from rpcproxy.front.pages.wording import (
    LEVEL_WORDS,
    MARKS,
    WHOSE,
    ago,
    failures_of,
    has_cost,
    has_lasted,
    how_long,
    milliseconds,
    number,
    percent,
    probes_of,
    rate,
    state_notes,
    state_word,
    well_words,
    what_changed,
    what_happened,
    what_wallets_noticed,
)
from rpcproxy.rules.telling.plight import span
from rpcproxy.rules.telling.strips import WORDS, level_of
from rpcproxy.states import Level, UpstreamState

_COLORS: Final[Mapping[str, str]] = {
    Level.WELL: "green",
    Level.TROUBLED: "yellow",
    Level.DOWN: "red",
    Level.UNKNOWN: "dim",
}
# What was so before nothing was heard any more.
_OF_OLD: Final[Mapping[str, str]] = dict.fromkeys(_COLORS, "dim")
_BARS: Final = {Level.WELL: "▂", Level.TROUBLED: "▅", Level.DOWN: "█", Level.UNKNOWN: "·"}
# An hour is drawn as the worst that is known of it.
_WORST_FIRST: Final = (Level.DOWN, Level.TROUBLED, Level.WELL, Level.UNKNOWN)
_STRIP_CHARACTERS: Final = 24  # an hour each
# Columns of a terminal: where there is room for more.
_WIDE: Final = 110
_WITH_LAG: Final = 90
_GAP: Final = 2  # between two columns of a table
_SHORTEST_NAME: Final = 12
_FEWEST_INCIDENTS: Final = 3
_MOST_HAPPENINGS: Final = 20


class Picture:
    """A status, laid out for the width it is drawn on. ``lost_since`` (seconds since 1970): nothing
    was heard from then on, which is the headline; ``why`` says more of that.
    """

    def __init__(
        self, status: Mapping[str, Any], why: str = "", *, lost_since: float | None = None
    ) -> None:
        self._status = status
        self._why = why
        self._lost_since = lost_since
        self._colors = _COLORS if lost_since is None else _OF_OLD

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        status = self._status
        yield from self._headline(status) if self._lost_since is None else self._lost(status)
        is_only = len(status.get("chains", ())) == 1
        for chain in status.get("chains", ()):
            yield Text()
            yield _chain(chain, options.max_width, self._colors, is_only=is_only)
        if status.get("timeline"):
            yield from _timeline(status, console, self._colors)
        else:
            yield from _incidents(status, console, self._colors)

    @staticmethod
    def _headline(status: Mapping[str, Any]) -> Iterator[RenderableType]:
        level = _level(status)
        headline = Text.assemble(
            (f"{MARKS[level]} {LEVEL_WORDS[level]}: ", f"bold {_COLORS[level]}")
        )
        headline.append(_plain(status.get("sentence", "?")), "bold")
        yield headline
        whose = WHOSE.get(str(status.get("whose")), "")
        if whose:
            yield Text(whose, "dim")

    def _lost(self, status: Mapping[str, Any]) -> Iterator[RenderableType]:
        assert self._lost_since is not None  # noqa: S101 -- held by the caller
        since = datetime.fromtimestamp(self._lost_since, UTC)
        yield Text.assemble(
            (f"{MARKS[Level.DOWN]} Not heard: ", "bold red"),
            (f"No word from the proxy since {since:%H:%M:%S} UTC", "bold"),
        )
        yield Text(f"Trying again. {self._why}".rstrip(), "yellow")
        was = _plain(status.get("sentence", "?"))
        yield Text(f"What is below is of that time. Then it was: {was}", "dim")


def _plain(text: object) -> str:
    """No control character of a name or a reason reaches the terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in str(text))


def _level(told: Mapping[str, Any]) -> str:
    level = str(told.get("level"))
    return level if level in LEVEL_WORDS else Level.UNKNOWN


def _grid(*columns: tuple[str, bool]) -> Table:
    """Of each column its title, and whether it holds numbers."""
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    for title, is_number in columns:
        table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
    return table


def _chain(
    chain: Mapping[str, Any], width: int, colors: Mapping[str, str], *, is_only: bool
) -> RenderableType:
    recent = chain.get("recent", {})
    line = Text.assemble(
        (_plain(chain.get("title", chain.get("name", "?"))), "bold"),
        (f"  head {number(chain.get('served_head'))}", ""),
        (f", moved {ago(chain.get('head_age_seconds'))}", "dim"),
        (f"  {rate(recent.get('requests', 0), recent.get('seconds', 0))}", ""),
        (f"  last minute not served: {number(recent.get('unserved'))}", "dim"),
    )
    parts: list[RenderableType] = [line]
    if not is_only:
        level = _level(chain)
        words = _plain(chain.get("sentence", ""))
        parts.append(Text.assemble((f"{MARKS[level]} ", colors[level]), words))
    parts.append(_upstreams(chain, width, colors))
    for upstream in chain.get("upstreams", ()):
        name = str(upstream.get("name", "?"))
        probes = probes_of(chain.get("traffic", {}).get(name, {}))
        notes = "; ".join(filter(None, (state_notes(upstream), probes)))
        if notes:
            name = _plain(name)
            parts.append(Text(f"{name}: {_plain(notes)}", "dim"))
    return Group(*parts)


def _upstreams(chain: Mapping[str, Any], width: int, colors: Mapping[str, str]) -> Table:
    is_wide, has_lag = width >= _WIDE, width >= _WITH_LAG
    columns = [("provider", False), ("state", False), ("head", True)]
    columns += [("lag", True)] if has_lag else []
    columns += [("latency", True), ("failed/min", True), ("share/min", True)]
    columns += [("last 24 h", False)] if is_wide else []
    strips = chain.get("strips", {}).get("upstreams", {})
    rows: list[list[Text]] = []
    for upstream in chain.get("upstreams", ()):
        cells = _cells(upstream, chain.get("traffic", {}), colors, has_lag=has_lag)
        if is_wide:
            cells.append(_strip(strips.get(str(upstream.get("name", "?"))), colors))
        rows.append(cells)
    taken = sum(
        max(cell_len(title), *(cell_len(row[at].plain) for row in rows)) if rows else 0
        for at, (title, _) in enumerate(columns)
        if at
    )
    room = width - taken - _GAP * (len(columns) - 1)
    table = _grid(*columns)
    for row in rows:
        # A name may be longer than all else together. It stands whole where something is wrong.
        name = _shortened(row[0].plain, max(_SHORTEST_NAME, room))
        table.add_row(Text(name, "bold"), *row[1:])
    return table


def _cells(
    upstream: Mapping[str, Any],
    traffic: Mapping[str, Any],
    colors: Mapping[str, str],
    *,
    has_lag: bool,
) -> list[Text]:
    name, state = (
        str(upstream.get("name", "?")),
        str(upstream.get("state", UpstreamState.UNKNOWN)),
    )
    level, since = level_of(state), upstream.get("since_seconds")
    told = [number(upstream.get("head"))]
    told += [number(upstream.get("lag"))] if has_lag else []
    told.append(milliseconds(latency_of(upstream)))
    told.append(failures_of(traffic.get(name, {})))
    told.append(percent(traffic.get(name, {}).get("share"), digits=0))
    return [
        Text(_plain(name), "bold"),
        Text.assemble(
            (f"{MARKS[level]} {_plain(state_word(state))}", colors[level]),
            ("" if since is None else f" {span(since)}", "dim"),
        ),
        *map(Text, told),
    ]


def _shortened(name: str, most: int) -> str:
    """Cut in its middle: names of several of one company differ at their ends."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[-end:]}"


def _strip(strip: Mapping[str, Any] | None, colors: Mapping[str, str]) -> Text:
    """An hour a character: the worst of its cells."""
    if strip is None:
        return Text("–")
    cells = str(strip["cells"])
    length = max(1, len(cells) // _STRIP_CHARACTERS)
    drawn = Text()
    for start in range(0, len(cells), length):
        levels = {WORDS.get(letter, Level.UNKNOWN) for letter in cells[start : start + length]}
        level = next(each for each in _WORST_FIRST if each in levels)
        drawn.append(_BARS[level], colors[level])
    return drawn.append(f" {well_words(strip)}", "dim")


def _incidents(
    status: Mapping[str, Any], console: Console, colors: Mapping[str, str]
) -> Iterator[RenderableType]:
    every: Sequence[Mapping[str, Any]] = status.get("incidents", ())
    yield Text()
    if not every:
        yield Text("No incidents in the last 24 hours", "dim")
        return
    yield Text("incidents, UTC", "dim")
    for incident in every[: _room(status, console, len(every))]:
        yield _incident(incident, colors)


def _room(status: Mapping[str, Any], console: Console, most: int) -> int:
    """For how many lines there is room below the chains."""
    if not console.is_terminal:
        return most
    taken = 6 + sum(4 + len(chain.get("upstreams", ())) for chain in status.get("chains", ()))
    return max(_FEWEST_INCIDENTS, console.size.height - taken)


def _timeline(
    status: Mapping[str, Any], console: Console, colors: Mapping[str, str]
) -> Iterator[RenderableType]:
    every: Sequence[Mapping[str, Any]] = status["timeline"]
    yield Text()
    yield Text("what happened, UTC", "dim")
    for entry in every[: min(_MOST_HAPPENINGS, _room(status, console, len(every)))]:
        yield _happening(entry, colors)
    if status.get("timeline_kept"):
        yield Text(f"Not kept through a restart: {_plain(status['timeline_kept'])}", "dim")


def _happening(entry: Mapping[str, Any], colors: Mapping[str, str]) -> Text:
    """One line, cut where the terminal ends."""
    started = datetime.fromisoformat(entry["started"])
    is_over = entry.get("ended") is not None
    lasted = f" for {how_long(entry)}" if has_lasted(entry) else ""
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{started:%d %b %H:%M:%S}{lasted}{'' if is_over else ' so far'}  ")
    line.append(_plain(what_changed(entry)), "" if is_over else "bold")
    if entry.get("by"):
        line.append(f" by {_plain(entry['by'])}")
    if has_cost(entry):
        noticed = f"; wallets noticed {what_wallets_noticed(entry)}"
        line.append(noticed, colors[Level.DOWN] if entry["unserved"] else "")
    about = " · ".join(filter(None, map(str, (entry.get("chain"), entry.get("words")))))
    return line.append(f"  {_plain(about)}", "dim")


def _incident(incident: Mapping[str, Any], colors: Mapping[str, str]) -> Text:
    """One line, cut where the terminal ends."""
    started = datetime.fromisoformat(incident["started"])
    is_over = incident["ended"] is not None
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(
        f"{started:%d %b %H:%M:%S} for {how_long(incident)}{'' if is_over else ' so far'}  "
    )
    line.append(_plain(what_happened(incident)), "bold" if not is_over else "")
    noticed = f"; wallets noticed {what_wallets_noticed(incident)}"
    line.append(noticed, colors[Level.DOWN] if incident["unserved"] else "")
    return line.append(f"  {_plain(incident.get('cause') or '')}", "dim")
