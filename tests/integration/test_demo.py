"""``rpcproxy demo`` as people start it: a process, with and without a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rpcproxy import cli
from tests.kits.waiting import LIMIT_SECONDS

COMMAND = [sys.executable, "-W", "error", "-m", "rpcproxy", "demo"]
RESULT = re.compile(
    r" result (?P<title>.*); through rpcproxy (?P<through>[\d,]+) of (?P<asked>[\d,]+) failed"
    r".*; with one URL (?P<direct>[\d,]+) of [\d,]+ failed(?: \((?P<errors>\d+) errors, "
    r"(?P<hung>\d+) hung\))?"
)


class Running:
    """A demo whose output is read line by line."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []

    def read_until(self, is_enough: Callable[[str], bool]) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if is_enough(line):
                return line
        pytest.fail(f"ended early: {self.lines} {self.process.communicate()[1]}")

    def end(self, signum: int) -> None:
        """Send a signal, and read everything until it has ended, which it does not by itself."""
        self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=LIMIT_SECONDS)
        self.lines += out.splitlines(keepends=True)
        assert (self.process.returncode, err) == (0, "")

    def url(self, name: str) -> str:
        line = self.read_until(lambda line: f" INFO {name} " in line)
        return line.partition(f" INFO {name} ")[2].strip()


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Running]:
    demo = Running(*arguments)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.kill()
        demo.process.communicate()


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )


def _fetch(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=LIMIT_SECONDS) as reply:
        return json.load(reply)


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def test_outages_that_only_the_wallet_with_one_url_sees() -> None:
    results: list[re.Match[str]] = []

    def is_round_over(line: str) -> bool:
        if found := RESULT.search(line):
            results.append(found)
        return len(results) == 7

    with running("--port", "0", "--pace", "0.1") as demo:
        demo.read_until(is_round_over)
        demo.end(signal.SIGINT)
    assert [_number(found["through"]) for found in results] == [0] * 7, demo.lines
    assert all(_number(found["asked"]) > 0 for found in results)
    titles = [found["title"] for found in results]
    assert titles[1] == "Northwind is down: connections are refused, open ones were closed"
    assert titles[3] == "Summit refuses everything: 429, rate limit exceeded"
    assert titles[5] == "aws/us-east-1 browns out: 50% of the requests hang or get 503"
    for struck in (1, 3, 5):
        assert _number(results[struck]["direct"]) > 0
    assert int(results[5]["hung"]) > 0
    text = "".join(demo.lines)
    assert " cooling chain=demo upstream=Summit " in text
    assert " wallet_failed " not in text
    assert re.search(r" end since the start: through rpcproxy 0 of [\d,]+ failed", demo.lines[-1])


def test_the_urls_work_and_sigterm_ends_it() -> None:
    with running("--port", "0", "--no-outages") as demo:
        wallet, curl, status = demo.url("wallet"), demo.url("try"), demo.url("status")
        assert [line.split(" ")[2] for line in demo.lines] == ["wallet", "try", "status"]
        found = re.fullmatch(r"curl (127\.0\.0\.1:\d+) -d '(.*)'", curl)
        assert found is not None
        assert wallet == f"http://{found[1]}"
        reply = _fetch(wallet, found[2].encode())
        assert int(reply["result"], 16) >= 20_000_000
        upstreams = _fetch(status)["chains"][0]["upstreams"]
        assert [(one["name"], one["cloud"]) for one in upstreams] == [
            ("Northwind", "aws"),
            ("Lakeside", "aws"),
            ("Summit", "gcp"),
            ("Harbor", "hetzner"),
        ]
        demo.end(signal.SIGTERM)


def test_without_outages_nobody_sees_any() -> None:
    with running("--port", "0", "--no-outages", "--pace", "0.02", "--seconds", "1") as demo:
        out, err = demo.process.communicate(timeout=LIMIT_SECONDS)
        assert (demo.process.returncode, err) == (0, "")
    results = [found for line in out.splitlines() if (found := RESULT.search(line))]
    assert results
    assert {found["title"] for found in results} == {"All providers are well"}
    assert {(found["through"], found["direct"]) for found in results} == {("0", "0")}
    assert "ejected" not in out


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
def test_a_port_in_use(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["--port", "0", option, port]
        done = _run(arguments)
    assert done.returncode == 2
    words = re.fullmatch(
        rf"rpcproxy demo: 127\.0\.0\.1:{port} is in use by .+ \(process {os.getpid()}\): "
        rf"stop that one, or choose another port: {option} (\d+|PORT)\n",
        done.stderr,
    )
    assert words is not None, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "65536"], "argument --port: '65536' is no port: 0 (any) to 65535"),
        (["--port", "-1"], "argument --port: '-1' is no port"),
        (["--pace", "0"], "argument --pace: '0' is no number above 0"),
        (["--seconds", "soon"], "argument --seconds: 'soon' is no number above 0"),
    ],
)
def test_what_is_no_port_and_no_time(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


class Terminal:
    """A demo on a terminal of 80 × 24."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)
        self.shown = ""

    def read_until(self, words: str | None) -> None:
        """Read until ``words`` are shown; ``None`` until the end."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while words is None or words not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not select.select([self._master], [], [], 1)[0]:
                continue
            try:
                read = os.read(self._master, 65536)
            except OSError:  # the other side is closed: Linux says EIO
                read = b""
            if not read:
                assert words is None, self.shown
                return
            self.shown += read.decode(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_on_a_terminal() -> None:
    terminal = Terminal("--port", "0", "--pace", "0.1")
    try:
        terminal.read_until("Harbor is in: admitted")
        terminal.read_until("Northwind is down: connections are refused")
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until(None)
        assert terminal.process.wait(LIMIT_SECONDS) == 0
    finally:
        terminal.close()
    picture, left, after = terminal.shown.rpartition("\x1b[?1049l")
    assert left
    assert picture.startswith("\x1b[?1049h")
    assert "Traceback" not in terminal.shown
    assert "Since the start: through rpcproxy 0 of" in after
    # No log line has torn the picture: each one begins with a time such as 2026-11-21T08:46.
    assert not re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d", terminal.shown)
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rindex("\x1b[?25l")
