"""commands.top and commands.top_view: the status in a terminal."""

from __future__ import annotations

import argparse
import http.server
import io
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from rpcproxy import cli
from rpcproxy.commands import admin_address, top
from rpcproxy.commands.runs import admin_client, top_run
from rpcproxy.commands.runs.top_view import Picture
from tests.kits.statuses import a_chain, a_happening, a_status, an_incident, an_upstream
from tests.kits.waiting import LIMIT_SECONDS

TOKEN = "a-token-of-an-operator"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what the server holds."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, self.headers.get("Authorization"), self.headers["Accept"]))
        body = server.body
        self.send_response(server.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def admin() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.code, server.body, server.asked = 200, json.dumps(a_status()).encode(), []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def drawn(status: dict[str, Any], width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, height=40)
    console.print(Picture(status))
    return console.file.getvalue()


def test_it_shows_what_the_page_shows() -> None:
    text = drawn(a_status())
    for words in (
        "▲ Troubled: a is rate-limited, wallets are served by one other",
        "It is on the providers’ side.",
        "Ethereum  head 21,000,000, moved 3 s ago  20.0/s",
        "▲ rate-limited 75 s",
        "● up 75 s",
        "2 of 40",
        "1 of 12 probes failed",
        "25 %",
        "98.76 %",
        "01 Sep 11:00:00 for 30 s  a failed; wallets noticed nothing",
    ):
        assert words in text, words


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_the_terminal(width) -> None:
    chains = (a_chain(an_upstream("a")), a_chain(an_upstream("b"), title="Base", name="base"))
    text = drawn(a_status(*chains, incidents=[an_incident(ended=None, unserved=3)]), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert text.count("a is rate-limited") == 3
    assert ("98.76 %" in text) == (width == 200)


def test_what_another_version_leaves_out_is_unknown() -> None:
    text = drawn({"chains": [{"name": "x", "upstreams": [{}]}], "level": "new"})
    assert "○ Unknown: ?" in text
    assert "No incidents" in text


def test_no_order_to_the_terminal_comes_through() -> None:
    evil = "\x1b[31mred\x07\u202e"
    upstream = an_upstream(evil, evil, state_reason=evil)
    status = a_status(
        a_chain(upstream, title=evil, sentence=evil),
        incidents=[an_incident(upstream=evil, cause=evil)],
    )
    text = drawn(status)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[31mred" in text


def test_it_is_printed_once_without_a_terminal(admin, capsys, monkeypatch) -> None:
    monkeypatch.setenv(admin_client.TOKEN_VARIABLE, TOKEN)
    assert cli.main(["top", "--url", admin.url]) == 0
    assert "Troubled: a is rate-limited" in capsys.readouterr().out
    assert admin.asked == [("/status", f"Bearer {TOKEN}", "application/json")]


def test_the_url_may_end_anyhow(admin, capsys, monkeypatch) -> None:
    monkeypatch.delenv(admin_client.TOKEN_VARIABLE, raising=False)
    for url in (admin.url.removeprefix("http://"), f"{admin.url}/", f"{admin.url}/status"):
        assert cli.main(["top", "--url", url, "--token", TOKEN]) == 0
    assert cli.main(["top", "--url", f"{admin.url}/below"]) == 0
    paths = [(path, token) for path, token, _ in admin.asked]
    given = ("/status", f"Bearer {TOKEN}")
    assert paths == [given, given, given, ("/below/status", None)]


@pytest.mark.parametrize(
    ("code", "body", "words"),
    [
        (401, b"{}", "wants a token, and yours is missing: set RPCPROXY_ADMIN_TOKEN"),
        (404, b"{}", "answered HTTP 404: that is not the admin port of rpcproxy"),
        (200, b"<html>", "answered something else"),
        (200, b"[]", "answered something else"),
        (200, b"{}", "answered something else"),
    ],
)
def test_what_is_wrong_is_said(admin, capsys, monkeypatch, code, body, words) -> None:
    monkeypatch.delenv(admin_client.TOKEN_VARIABLE, raising=False)
    admin.code, admin.body = code, body
    assert cli.main(["top", "--url", admin.url]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.out == ""


def test_a_wrong_token_is_said_and_not_shown(admin, capsys) -> None:
    admin.code = 401
    assert cli.main(["top", "--url", admin.url, "--token", TOKEN]) == 2
    error = capsys.readouterr().err
    assert "yours is another one" in error
    assert TOKEN not in error


def test_nobody_there(capsys) -> None:
    assert cli.main(["top", "--url", "http://127.0.0.1:1"]) == 2
    assert "refused the connection: is the proxy running" in capsys.readouterr().err
    assert cli.main(["top", "--url", "http://nowhere.invalid:9545"]) == 2
    assert "nowhere.invalid:9545: no such host" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://user:pass@x", "http://x:99999"])
def test_an_address_that_is_none(url) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a URL"):
        admin_address.url_of(url)


@pytest.mark.parametrize("text", ["0", "x", "nan", "99999"])
def test_a_pause_that_is_none(text) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected seconds"):
        top._seconds(text)


def test_while_nothing_comes_the_headline_says_so() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    answers: list[Any] = [
        admin_client.NoAnswer("it went away"),
        a_status(level="well"),
        KeyboardInterrupt(),
    ]

    def ask() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    with pytest.raises(KeyboardInterrupt):
        top_run._follow(console, ask, a_status(), 0.0)
    text = console.file.getvalue()
    assert "Trying again. it went away" in text
    assert re.search(r"No word from the proxy since \d\d:\d\d:\d\d UTC", text)
    assert "Then it was: a is rate-limited" in text
    assert text.index("Troubled") < text.index("Not heard") < text.index("it went away")
    assert text.index("it went away") < text.rindex("Well")


def test_a_proxy_that_hangs_is_missed_while_it_is_asked() -> None:
    """A line that is dead and stays open: no answer, and no refusal."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    is_drawn = threading.Event()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            if "No word from the proxy" in text:
                is_drawn.set()
            return super().write(text)

    console.file = Watched()

    def ask() -> Any:
        assert is_drawn.wait(LIMIT_SECONDS)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        top_run._follow(console, ask, a_status(), 0.0, awaiting=top_run.Awaiting(0.001, 0.0))
    assert "Not heard" in console.file.getvalue()


def test_what_happened_is_told_with_who_did_it() -> None:
    lasting = a_happening(kind="ejected", ended=None, seconds=90.0, unserved=3, by="")
    text = drawn(a_status(timeline=[lasting, a_happening()], timeline_kept="the disk is full"), 200)
    assert "01 Sep 11:48:46 for 90 s so far  a fails; wallets noticed 3 errors" in text
    assert "01 Sep 11:48:46  a was drained by alice, from 127.0.0.1" in text
    assert "Not kept through a restart: the disk is full" in text
    assert "incidents, UTC" not in text, "they are among it"


def test_a_picture_of_old_has_no_colour_of_what_is_well() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
    console.print(
        Picture(
            a_status(level="well"),
            lost_since=datetime(2026, 9, 1, 3, 12, 5, tzinfo=UTC).timestamp(),
        )
    )
    text = console.file.getvalue()
    assert "No word from the proxy since 03:12:05 UTC" in text
    assert "\x1b[32m" not in text, "green"


def test_a_url_is_taken_apart() -> None:
    assert admin_address.url_of("127.0.0.1:9545") == urlsplit("http://127.0.0.1:9545")
