"""The demo's picture in the terminal.

``Frame`` holds the values of one picture, ``Board`` lays them out for whatever size the
terminal has, from 80 × 24 up, and ``Screen`` draws in a thread of its own: a terminal that
takes nothing for a while (Ctrl-S, a slow line) must not hold up the proxy.

State: the thread and its queue, in ``Screen``.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rpcproxy.drills.demo.scenes import Take
from rpcproxy.drills.demo.wallet import RECENT_SECONDS, WalletFigures, WalletTally
from rpcproxy.states import ChangeKind, UpstreamState

_log = logging.getLogger("rpcproxy.demo")

HEADING_LINES: Final = 4  # with what is happening now
# With fewer lines than these for events, nothing is spent on air.
FEW_LINES: Final = 5
_COLORS: Final[Mapping[str, str]] = {
    UpstreamState.UP: "green",
    UpstreamState.COOLING: "yellow",
    UpstreamState.LAGGING: "yellow",
    ChangeKind.SUSPECT: "yellow",
}
_TONES: Final = {"good": "green", "bad": "red", "": ""}
_CLOSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class ScreenEvent:
    """Something that happened: ``time`` as HH:MM:SS, ``tone`` is "good", "bad" or empty."""

    time: str
    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class UpstreamLine:
    """One upstream. ``share`` of the attempts of the last seconds, between 0 and 1."""

    name: str
    place: str
    state: str
    latency_ms: float | None
    head: int | None
    lag: int | None
    in_flight: int
    share: float
    trouble: str


@dataclass(frozen=True, slots=True)
class WalletLine:
    """What one wallet saw."""

    name: str
    head: int
    recent: WalletFigures
    total: WalletTally


@dataclass(frozen=True, slots=True)
class Urls:
    """What people copy."""

    wallet: str
    curl: str
    status: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture."""

    urls: Urls
    take: Take
    left_seconds: float
    upstreams: Sequence[UpstreamLine]
    wallets: Sequence[WalletLine]
    latest: Sequence[Take]
    events: Sequence[ScreenEvent]  # the latest last


class Board:
    """A frame, laid out for the terminal it is drawn on."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        frame = self._frame
        tables = [_upstreams(frame.upstreams), _wallets(frame.wallets), _scenes(frame)]
        room = console.size.height - HEADING_LINES - sum(t.row_count + 2 for t in tables)
        yield from _heading(frame.urls)
        if room > FEW_LINES:
            yield Text()
            room -= 1
        yield _now(frame)
        for table in tables:
            yield table
            yield Text()
        fault = frame.take.scene.fault
        if room > FEW_LINES and fault is not None:
            yield _line(Text.assemble(("Without rpcproxy: ", "dim"), fault.cost))
            yield Text()
            room -= 2
        for event in list(frame.events)[-room:] if room > 0 else ():
            yield _line(Text.assemble((event.time, "dim"), " ", (event.text, _TONES[event.tone])))


def _line(text: Text) -> Text:
    """One line, cut where the terminal ends."""
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text


def _heading(urls: Urls) -> Iterator[Text]:
    yield _line(
        Text.assemble(
            ("rpcproxy demo", "bold"),
            (": four simulated providers behind one URL. Ctrl-C ends it.", "dim"),
        )
    )
    yield _line(
        Text.assemble(
            ("wallet ", "dim"),
            (urls.wallet, "bold cyan"),
            ("  status ", "dim"),
            (urls.status, "cyan"),
        )
    )
    # On a line of its own and whole, so that it can be copied.
    yield _line(Text(urls.curl, "cyan"))


def _now(frame: Frame) -> Text:
    title = frame.take.scene.title
    color = "bold red" if frame.take.scene.struck else "bold green"
    left = f"  {max(0.0, frame.left_seconds):.0f} s"
    return _line(Text.assemble((title, color), (left, "dim")))


def _grid(*columns: tuple[str, bool]) -> Table:
    """A table without lines; of each column its title and whether it holds numbers."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", expand=False)
    for title, is_number in columns:
        table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
    return table


def _upstreams(upstreams: Sequence[UpstreamLine]) -> Table:
    table = _grid(
        ("provider", False),
        ("runs on", False),
        ("state", False),
        ("latency", True),
        ("head", True),
        ("lag", True),
        ("busy", True),
        ("share", True),
        ("trouble", False),
    )
    for line in upstreams:
        table.add_row(
            line.name,
            line.place,
            Text(line.state, _COLORS.get(line.state, "red")),
            _milliseconds(line.latency_ms),
            "–" if line.head is None else str(line.head),
            "–" if line.lag is None else str(line.lag),
            str(line.in_flight),
            f"{line.share:.0%}",
            Text(line.trouble, "red"),
        )
    return table


def _wallets(wallets: Sequence[WalletLine]) -> Table:
    table = _grid(
        (f"last {RECENT_SECONDS:.0f} s", False),
        ("rate", True),
        ("failed", True),
        ("p50", True),
        ("p99", True),
        ("slowest", True),
        ("head", True),
        ("failed in all", False),
    )
    for line in wallets:
        recent, total = line.recent, line.total
        table.add_row(
            line.name,
            f"{recent.per_second:.0f}/s",
            _colored(f"{recent.failed:,}", recent.failed),
            _of_seconds(recent.p50_seconds),
            _of_seconds(recent.p99_seconds),
            _of_seconds(recent.slowest_seconds),
            str(line.head) if line.head else "–",
            _colored(f"{total.failed:,} of {total.requests:,}", total.failed),
        )
    return table


def _scenes(frame: Frame) -> Table:
    table = _grid(
        ("what happened last", False),
        ("through rpcproxy", False),
        ("slowest", True),
        ("with one URL", False),
        ("", False),
    )
    for take in frame.latest:
        is_on = take is frame.take
        table.add_row(
            Text(("▶ " if is_on else "  ") + take.scene.label, "bold" if is_on else ""),
            _outcome(take.through),
            _of_seconds(take.through.slowest_seconds or None),
            _outcome(take.direct),
            Text(f"{take.direct.hung} hung" if take.direct.hung else "", "red"),
        )
    return table


def _outcome(tally: WalletTally) -> Text:
    return _colored(f"{tally.failed:,} of {tally.requests:,} failed", tally.failed)


def _colored(text: str, failed: int) -> Text:
    return Text(text, "red" if failed else "green")


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _of_seconds(value: float | None) -> str:
    return "–" if value is None else f"{value * 1000:.0f} ms"


class Screen:
    """Draws frames on the terminal until it is closed, and puts the terminal back. It has
    ``close_seconds`` for that.
    """

    def __init__(self, console: Console, close_seconds: float = _CLOSE_SECONDS) -> None:
        self._console = console
        self._close_seconds = close_seconds
        self._frames: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="demo-view", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def show(self, frame: Frame) -> None:
        """Draw ``frame``, unless an earlier one still waits."""
        if self._frames.empty():
            self._frames.put(frame)

    def close(self) -> bool:
        """Put the terminal back. False where it takes nothing any more."""
        self._frames.put(None)
        self._thread.join(self._close_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with Live(console=self._console, screen=True, auto_refresh=False) as live:
                while (frame := self._frames.get()) is not None:
                    live.update(Board(frame), refresh=True)
        except OSError:
            _log.warning("the terminal is gone")
