"""The demo's picture: what it shows at which size, and that the terminal is put back."""

from __future__ import annotations

import io
import logging
import re
import threading

import pytest
from rich.console import Console

from rpcproxy.drills.demo.demo_view import (
    Board,
    Frame,
    Screen,
    ScreenEvent,
    UpstreamLine,
    Urls,
    WalletLine,
)
from rpcproxy.drills.demo.scenes import SceneKind, Take, round_of
from rpcproxy.drills.demo.wallet import WalletFigures, WalletTally
from tests.kits.waiting import LIMIT_SECONDS

URLS = Urls(
    "http://127.0.0.1:65535",
    """curl 127.0.0.1:65535 -d '{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}'""",
    "http://127.0.0.1:65534/status",
)


def _frame(events: int = 40) -> Frame:
    scenes = round_of(0)
    takes = {scene.kind: Take(scene, 0.0, scene.seconds) for scene in scenes}
    current = takes[SceneKind.BROWNOUT]
    for take in takes.values():
        take.through = WalletTally(requests=800, answered=800, slowest_seconds=0.061)
        take.direct = WalletTally(
            requests=800, answered=400, errors=200, hung=200, slowest_seconds=2.04
        )
    places = ("aws/us-east-1", "aws/us-east-1", "gcp/europe-west1", "hetzner/fsn1")
    names = ("Northwind", "Lakeside", "Summit", "Harbor")
    states = ("ejected", "suspect", "cooling", "up")
    upstreams = [
        UpstreamLine(name, place, state, 1361.2, 20_000_123, 3, 12, 0.25, "hang or 503")
        for name, place, state in zip(names, places, states, strict=True)
    ]
    upstreams[3] = UpstreamLine("Harbor", "hetzner/fsn1", "unknown", None, None, None, 0, 0.0, "")
    through = WalletFigures(80.2, 0, 0.021, 0.048, 0.061)
    direct = WalletFigures(80.2, 346, 0.019, 2.012, 2.042)
    nothing = WalletFigures(0.0, 0, None, None, None)
    wallets = [
        WalletLine(
            "rpcproxy", 20_000_123, through, WalletTally(requests=6_912_000, answered=6_912_000)
        ),
        WalletLine("only Northwind", 0, direct, WalletTally(requests=6_912_000, errors=1_234_567)),
    ]
    if not events:
        wallets = [WalletLine("rpcproxy", 0, nothing, WalletTally())]
    lines = [
        ScreenEvent("12:00:00", f"event {number} " + "x" * 150, "bad") for number in range(events)
    ]
    return Frame(URLS, current, 4.6, upstreams, wallets, list(takes.values()), lines)


def _drawn(frame: Frame, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True)
    with console.capture() as capture:
        console.print(Board(frame))
    return re.sub(r"\x1b\[[0-9;]*m", "", capture.get()).rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (160, 50)])
def test_everything_fits(width: int, height: int) -> None:
    lines = _drawn(_frame(), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert URLS.curl in lines
    assert URLS.wallet in text
    assert URLS.status in text
    assert "aws/us-east-1 browns out: 50% of the requests hang or get 503  5 s" in lines
    # Nothing but the events is cut short.
    assert not [line for line in lines if "…" in line and "event" not in line]
    # The last events, in their order.
    shown = [int(line.split()[2]) for line in lines if " event " in line]
    assert len(shown) >= 3
    assert shown == list(range(40 - len(shown), 40))
    assert ("Without rpcproxy:" in text) == (height >= 30)


def test_what_is_said() -> None:
    text = "\n".join(_drawn(_frame(), 100, 30))
    for line in (
        r"Northwind aws/us-east-1    ejected 1361 ms 20000123   3   12   25% hang or 503",
        r"Harbor    hetzner/fsn1     unknown       –        –   –    0    0% *",
        r"rpcproxy       80/s      0 21 ms   48 ms   61 ms 20000123 0 of 6,912,000",
        r"only Northwind 80/s    346 19 ms 2012 ms 2042 ms        – 1,234,567 of 6,912,000",
        r"▶ aws/us-east-1 browns out 0 of 800 failed    61 ms 400 of 800 failed 200 hung",
        r"  Northwind is down        0 of 800 failed    61 ms 400 of 800 failed 200 hung",
    ):
        assert re.search(line, text), line


def test_before_anything_happened() -> None:
    lines = _drawn(_frame(events=0), 80, 24)
    assert any(
        re.match(r"rpcproxy   0/s      0   –   –       –    – 0 of 0", line) for line in lines
    )


@pytest.mark.parametrize(("width", "height"), [(40, 10), (60, 15), (8, 3)])
def test_a_terminal_that_is_too_small_is_no_trouble(width: int, height: int) -> None:
    assert max(map(len, _drawn(_frame(), width, height))) <= width


def _terminal(file: io.StringIO) -> Console:
    return Console(file=file, force_terminal=True, width=80, height=24, legacy_windows=False)


def test_the_terminal_is_put_back() -> None:
    file = io.StringIO()
    screen = Screen(_terminal(file))
    screen.start()
    screen.show(_frame())
    assert screen.close()
    written = file.getvalue()
    assert written.startswith("\x1b[?1049h")  # the other screen
    assert "Northwind is down" in written
    assert "\x1b[?1049l" in written.partition("Northwind is down")[2]
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor


class Stuck(io.StringIO):
    """A terminal that takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.is_tried = threading.Event()
        self.may_go_on = threading.Event()

    def write(self, text: str) -> int:
        self.is_tried.set()
        self.may_go_on.wait(2 * LIMIT_SECONDS)
        return super().write(text)


def test_a_terminal_that_takes_nothing_holds_nobody_up() -> None:
    file = Stuck()
    screen = Screen(_terminal(file), close_seconds=0.05)
    screen.start()
    assert file.is_tried.wait(LIMIT_SECONDS)
    first, second = _frame(1), _frame(2)
    screen.show(first)
    screen.show(second)  # thrown away: one waits already
    assert not screen.close()
    file.may_go_on.set()
    screen._thread.join(LIMIT_SECONDS)
    assert screen.close()
    assert "event 0" in file.getvalue()
    assert "event 1" not in file.getvalue()


class Gone(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    screen = Screen(_terminal(Gone()))
    with caplog.at_level(logging.WARNING):
        screen.start()
        screen.show(_frame())
        assert screen.close()
    assert "the terminal is gone" in caplog.text
