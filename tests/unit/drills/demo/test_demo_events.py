"""The demo's own parts: ports, events in words, the port that is taken."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator

import pytest

from rpcproxy.app.process.ports import explain_port
from rpcproxy.drills.demo.demo_run import EVENTS_KEPT, Events, Options
from rpcproxy.edges.logs import event, log_change
from rpcproxy.messages import MethodClass
from rpcproxy.states import Change


@pytest.mark.parametrize(
    ("options", "admin"),
    [
        (Options(), 9545),
        (Options(port=64535), 65535),
        (Options(port=64536), 0),
        (Options(port=0), 0),
        (Options(port=0, admin_port=7), 7),
        (Options(admin_port=0), 0),
    ],
)
def test_the_status_port(options: Options, admin: int) -> None:
    assert options.admin == admin


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (
            errno.EADDRINUSE,
            "127.0.0.1:80 is in use by another program: stop that one, or choose another port",
        ),
        (
            errno.EACCES,
            "127.0.0.1:80 may not be opened by this user: choose another port, from 1024 on",
        ),
        (errno.EADDRNOTAVAIL, "cannot listen on 127.0.0.1:80: no such address"),
    ],
)
def test_why_a_port_cannot_be_had(number: int, words: str) -> None:
    assert explain_port(OSError(number, "no such address", "127.0.0.1:80")) == words


def test_a_remedy() -> None:
    error = OSError(errno.EADDRINUSE, "", "127.0.0.1:80")
    assert explain_port(error, "sing").endswith("stop that one, or sing")


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def log(events: Events) -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.demo")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(events)
    yield logger
    logger.removeHandler(events)


@pytest.mark.parametrize(
    ("change", "text", "tone"),
    [
        (
            Change("Summit", "ejected", "3 in a row"),
            "Summit is left out: 3 in a row",
            "bad",
        ),
        (
            Change("Summit", "recovered", "2 clean answers", MethodClass.HEAVY),
            "Summit is back for heavy requests: 2 clean answers",
            "good",
        ),
        (Change("aws", "suspect", "2 of 2 fail"), "aws is distrusted: 2 of 2 fail", "bad"),
        (Change("", "panic", "1 of 4 usable"), "few providers are left: 1 of 4 usable", "bad"),
        (Change("Summit", "forked", "why"), "Summit forked: why", "bad"),
    ],
)
def test_changes_in_words(
    events: Events, log: logging.Logger, change: Change, text: str, tone: str
) -> None:
    log_change(log, "demo", change, 0.0)
    assert [(e.text, e.tone) for e in events.last] == [(text, tone)]


def test_what_else_is_logged(events: Events, log: logging.Logger) -> None:
    event(log, logging.INFO, "scene", "shown elsewhere")
    event(log, logging.INFO, "result", "shown elsewhere")
    event(log, logging.DEBUG, "anything", "not worth it")
    event(log, logging.INFO, "drain", "in plain words")
    log.warning("%d files", 3)
    log.error("task failed", exc_info=ValueError("odd"))
    assert [(e.text, e.tone) for e in events.last] == [
        ("in plain words", ""),
        ("3 files", "bad"),
        ("task failed: ValueError: odd", "bad"),
    ]


def test_what_cannot_be_said_harms_nobody(
    events: Events, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.warning("%d files", "no number")
    assert not events.last


def test_only_the_last_events_are_kept(events: Events, log: logging.Logger) -> None:
    for number in range(EVENTS_KEPT + 5):
        log.warning("event %d", number)
    assert events.last[0].text == "event 5"
    assert len(events.last) == EVENTS_KEPT
