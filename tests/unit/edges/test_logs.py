"""Log lines: one per event, readable, safe, without secrets, never in the way."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rpcproxy.config.model import Chain, Config, Upstream
from rpcproxy.edges import logs
from rpcproxy.edges.logs import (
    REDACTED,
    LineFormatter,
    LineHandler,
    Redactor,
    Throttle,
    configure,
    event,
    log_change,
    secrets_of,
    utc,
)
from rpcproxy.messages import MethodClass
from rpcproxy.states import Change, ChangeKind
from tests.kits.waiting import LIMIT_SECONDS

EIGHT_O_CLOCK = 1_795_248_000.123  # 2026-11-21T08:00:00.123Z


class Kept(logging.Handler):
    """Keeps the records of one logger."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.created = EIGHT_O_CLOCK
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    logger = logging.getLogger("rpcproxy.test")
    handler = Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def log(kept: Kept) -> logging.Logger:
    return logging.getLogger("rpcproxy.test")


@pytest.fixture
def configured() -> Iterator[Callable[..., LineHandler]]:
    """``configure``, undone at the end."""
    root, ours = logging.getLogger(), logging.getLogger("rpcproxy")
    before = root.level, ours.level
    yield configure
    for handler in root.handlers[:]:
        if isinstance(handler, LineHandler):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(before[0])
    ours.setLevel(before[1])


def text_of(record: logging.LogRecord, redactor: Redactor | None = None) -> str:
    return LineFormatter("text", redactor or Redactor()).format(record)


def json_of(record: logging.LogRecord, redactor: Redactor | None = None) -> dict[str, Any]:
    line = LineFormatter("json", redactor or Redactor()).format(record)
    assert line.isascii()
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def failing(message: str) -> Exception:
    def fail() -> None:
        raise ValueError(message)

    try:
        fail()
    except ValueError as error:
        return error
    raise AssertionError


# --------------------------------------------------------------------------
# Formats


def test_a_line_of_text(log: logging.Logger, kept: Kept) -> None:
    event(
        log,
        logging.WARNING,
        "ejected",
        chain="ethereum",
        upstream="infura-us",
        reason="5 failures in a row: reset",
    )
    assert text_of(kept.records[0]) == (
        "2026-11-21T08:00:00.123Z WARNING ejected chain=ethereum upstream=infura-us "
        'reason="5 failures in a row: reset"'
    )


def test_a_line_of_json(log: logging.Logger, kept: Kept) -> None:
    event(log, logging.INFO, "started", "listening at 8545", port=8545, tls=False, lag=0.5, no=None)
    assert json_of(kept.records[0]) == {
        "time": "2026-11-21T08:00:00.123Z",
        "level": "INFO",
        "event": "started",
        "message": "listening at 8545",
        "port": 8545,
        "tls": False,
        "lag": 0.5,
    }
    assert text_of(kept.records[0]) == (
        "2026-11-21T08:00:00.123Z INFO started listening at 8545 port=8545 tls=False lag=0.5"
    )


def test_an_event_without_words_is_its_own_message(log: logging.Logger, kept: Kept) -> None:
    event(log, logging.INFO, "drained")
    assert json_of(kept.records[0])["message"] == "drained"
    assert text_of(kept.records[0]) == "2026-11-21T08:00:00.123Z INFO drained"


def test_plain_records_are_named_by_their_logger(log: logging.Logger, kept: Kept) -> None:
    log.error("task %s failed", "watch ethereum")
    line = json_of(kept.records[0])
    assert (line["event"], line["message"]) == ("rpcproxy.test", "task watch ethereum failed")


def test_arguments_that_do_not_fit_lose_no_line() -> None:
    record = record_of("task %s failed %d")
    record.args = ("watch",)
    assert json_of(record)["message"] == "task %s failed %d ('watch',)"


def test_percent_signs_of_a_message_are_left_alone(log: logging.Logger, kept: Kept) -> None:
    event(log, logging.INFO, "share", "100 %s of it")
    assert json_of(kept.records[0])["message"] == "100 %s of it"


def test_fields_cannot_replace_the_line_s_own(log: logging.Logger, kept: Kept) -> None:
    event(log, logging.INFO, "x", "true", time="never", level="low", message="false")
    line = json_of(kept.records[0])
    assert (line["level"], line["message"]) == ("INFO", "true")
    assert (line["time_"], line["level_"], line["message_"]) == ("never", "low", "false")


def test_numbers_that_json_lacks_are_words(log: logging.Logger, kept: Kept) -> None:
    event(log, logging.INFO, "x", cost=float("inf"), share=float("nan"), kind=object)
    line = json_of(kept.records[0])
    assert (line["cost"], line["share"]) == ("inf", "nan")
    assert line["kind"] == "<class 'object'>"


def test_events_below_the_level_cost_nothing(log: logging.Logger, kept: Kept) -> None:
    log.setLevel(logging.WARNING)
    event(log, logging.INFO, "x")
    assert kept.records == []


def test_an_event_is_located_where_it_was_logged(log: logging.Logger, kept: Kept) -> None:
    event(log, logging.INFO, "x")
    assert kept.records[0].filename == "test_logs.py"


def test_exceptions_are_told_in_the_same_line(log: logging.Logger, kept: Kept) -> None:
    event(log, logging.ERROR, "bug", "reading failed", exc_info=failing("no\nway"))
    line = json_of(kept.records[0])
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: no\nway")
    text = text_of(kept.records[0])
    assert "\n" not in text
    assert r"ValueError: no\nway" in text


def test_stacks_are_told_in_the_same_line(log: logging.Logger, kept: Kept) -> None:
    log.warning("slow", stack_info=True)
    assert "test_stacks_are_told" in json_of(kept.records[0])["exception"]


def test_exc_info_without_an_exception_says_nothing() -> None:
    record = record_of("odd")
    record.exc_info = (None, None, None)
    assert "exception" not in json_of(record)


@pytest.mark.parametrize(
    "nasty",
    ["\n", "\r", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029", "\x00", "\ud800"],
    ids=ascii,
)
def test_nothing_in_a_line_fakes_another(nasty: str, log: logging.Logger, kept: Kept) -> None:
    fake = f"a{nasty}2026-11-21T08:00:00.123Z INFO recovered"
    event(log, logging.INFO, f"e{nasty}", fake, **{"reason": fake, f"k{nasty}": "v"})
    text = text_of(kept.records[0])
    assert nasty not in text
    assert len(text.splitlines()) == 1
    text.encode()
    assert json_of(kept.records[0])["reason"] == fake  # JSON gives it back as it was


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain-value/1:2", "plain-value/1:2"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "so"', r'"say \"so\""'),
        ("a=b", '"a=b"'),
        ("back\\slash", r'"back\\slash"'),
        ("größer", "größer"),
    ],
)
def test_values_in_text_are_quoted_where_needed(
    value: str, shown: str, log: logging.Logger, kept: Kept
) -> None:
    event(log, logging.INFO, "x", reason=value)
    assert text_of(kept.records[0]).endswith(f" INFO x reason={shown}")


def test_moments_are_utc() -> None:
    assert utc(EIGHT_O_CLOCK) == "2026-11-21T08:00:00.123Z"


# --------------------------------------------------------------------------
# Changes of standings


def test_changes_for_the_worse_are_warnings(log: logging.Logger, kept: Kept) -> None:
    light = MethodClass.LIGHT
    log_change(
        log, "ethereum", Change("infura-us", ChangeKind.EJECTED, "5 timeouts in a row", light), 0.0
    )
    log_change(log, "ethereum", Change("infura-us", ChangeKind.RECOVERED, "2 clean probes"), 0.0)
    log_change(log, "ethereum", Change("", ChangeKind.SPLIT, ""), 0.0)
    worse, better, of_chain = map(json_of, kept.records)
    assert worse["level"] == "WARNING"
    assert worse["event"] == "ejected"
    assert (worse["chain"], worse["upstream"]) == ("ethereum", "infura-us")
    assert (worse["method_class"], worse["reason"]) == ("light", "5 timeouts in a row")
    assert (better["level"], better["event"]) == ("INFO", "recovered")
    assert "method_class" not in better
    # What concerns the chain names no upstream.
    assert of_chain["level"] == "WARNING"
    assert not {"upstream", "reason"} & of_chain.keys()


def test_suspicion_is_of_a_domain(log: logging.Logger, kept: Kept) -> None:
    log_change(log, "ethereum", Change("aws/us-east-1", "suspect", "2 of 3 are failing"), 0.0)
    assert text_of(kept.records[0]).endswith(
        ' WARNING suspect chain=ethereum domain=aws/us-east-1 reason="2 of 3 are failing"'
    )


# --------------------------------------------------------------------------
# Secrets

KEY = "9aa3d95b3bc440fa88ea12eaa4456161"


def config_with(**upstream: Any) -> Config:
    upstream = {"name": "infura-us", "provider": "infura", "url": "https://a.example", **upstream}
    chain = Chain(name="ethereum", chain_id=1, upstreams=(Upstream(**upstream),))
    return Config(chains=(chain,))


def redact_with(text: str, **upstream: Any) -> str:
    return Redactor(secrets_of(config_with(**upstream)))(text)


@pytest.mark.parametrize(
    ("upstream", "told", "shown"),
    [
        ({"url": f"https://a.example/v3/{KEY}"}, f"GET https://a.example/v3/{KEY}", "GET [secret]"),
        ({"url": f"https://a.example/v3/{KEY}"}, f"bad path /v3/{KEY}", "bad path /v3/[secret]"),
        ({"url": "https://a.example/"}, "at https://a.example now", "at [secret] now"),
        ({"ws_url": f"wss://a.example/ws/{KEY}"}, f"key {KEY}", "key [secret]"),
        ({"url": "https://a.example/?apikey=hush"}, "hush now", "[secret] now"),
        ({"url": f"https://a.example/?x={KEY}"}, KEY, "[secret]"),
        ({"url": "https://a.example/?token=a%2Fb%2Fc"}, "a/b/c a%2Fb%2Fc", "[secret] [secret]"),
        ({"url": "https://me:pass%40word@a.example"}, "pass@word", "[secret]"),
        ({"url": "https://me:pass%40word@a.example"}, "pass%40word", "[secret]"),
        ({"url": "https://me:pass@a.example"}, "Basic bWU6cGFzcw==", "Basic [secret]"),
        ({"url": f"https://{KEY}@a.example"}, f"user {KEY}", "user [secret]"),
        ({"headers": {"Authorization": "Bearer hush-hush"}}, "hush-hush", "[secret]"),
        ({"headers": {"X-Key": "hush-hush"}}, "key=hush-hush", "key=[secret]"),
        # Names are no keys, and what is too short to be one would tear up every line.
        ({"url": "https://a.example/eth-mainnet/?network=eth"}, "eth-mainnet eth", None),
        ({"headers": {"X-Version": "1"}}, "1 of 1", None),
        ({"url": "https://me:pass@a.example"}, "me too", None),
    ],
)
def test_secrets_of_the_configuration_are_taken_out(
    upstream: dict[str, Any], told: str, shown: str | None
) -> None:
    assert redact_with(told, **upstream) == (told if shown is None else shown)


def test_a_secret_never_leaves_by_any_part_of_a_line(log: logging.Logger, kept: Kept) -> None:
    redactor = Redactor([KEY])
    event(
        log,
        logging.ERROR,
        "bug",
        f"asked {KEY}",
        exc_info=failing(f"cannot reach /v3/{KEY}"),
        reason=KEY,
        nested={"url": [KEY]},
        data=KEY.encode(),
    )
    for line in (text_of(kept.records[0], redactor), str(json_of(kept.records[0], redactor))):
        assert KEY not in line
        # message, field, nested field, bytes, exception
        assert line.count(REDACTED) >= 5


def test_the_longer_of_two_secrets_wins() -> None:
    assert Redactor(["abcd", "abcdef"])("abcdef abcd") == "[secret] [secret]"


def test_secrets_are_learned_and_never_forgotten() -> None:
    redactor = Redactor()
    assert redactor("old and newer") == "old and newer"
    redactor.add(["older"])
    redactor.add(["newer"])
    assert redactor("older and newer") == "[secret] and [secret]"


def test_no_secrets_no_change() -> None:
    assert Redactor(["", "abc"])("abc") == "abc"


# --------------------------------------------------------------------------
# Writing


def test_configured_logs_go_to_the_stream(configured: Callable[..., LineHandler]) -> None:
    stream = io.StringIO()
    handler = configured("json", logging.INFO, stream=stream, redactor=Redactor(["hush"]))
    event(logging.getLogger("rpcproxy.app"), logging.INFO, "started", "hush", port=1)
    logging.getLogger("rpcproxy.app").debug("not asked for")
    logging.getLogger("aiohttp.access").info("a line per request")
    logging.getLogger("aiohttp.server").error("from a library")
    handler.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["message"]) for line in lines] == [
        ("started", "[secret]"),
        ("aiohttp.server", "from a library"),
    ]
    assert handler.lost == 0


def test_configuring_again_replaces_the_style(configured: Callable[..., LineHandler]) -> None:
    first, second = io.StringIO(), io.StringIO()
    configured("text", stream=first)
    handler = configured("json", stream=second)
    logging.getLogger("rpcproxy").warning("once")
    handler.close()
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["message"] == "once"
    ours = [one for one in logging.getLogger().handlers if isinstance(one, LineHandler)]
    assert ours == [handler]


def test_stderr_is_where_logs_go(
    configured: Callable[..., LineHandler], capfd: pytest.CaptureFixture[str]
) -> None:
    handler = configured("text")
    logging.getLogger("rpcproxy").warning("größer %s", "\ud800")
    handler.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.endswith(" WARNING rpcproxy größer \\ud800\n")


def test_without_stderr_logs_are_dropped(
    configured: Callable[..., LineHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    handler = configured("text")
    logging.getLogger("rpcproxy").warning("to nobody")
    handler.close()
    assert handler.lost == 0


def test_a_closed_stream_loses_lines_and_raises_nothing(
    configured: Callable[..., LineHandler],
) -> None:
    stream = io.StringIO()
    handler = configured("text", stream=stream)
    stream.close()
    logging.getLogger("rpcproxy").warning("one")
    logging.getLogger("rpcproxy").warning("two")
    handler.close()
    assert handler.lost == 2


class Disk:
    """Something to write to that is full for a while."""

    def __init__(self) -> None:
        self.is_full = False
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        self.lines.append(line)


def record_of(message: object) -> logging.LogRecord:
    return logging.LogRecord("rpcproxy", logging.INFO, "", 0, message, None, None)


def test_lost_lines_are_told_once_lines_get_through() -> None:
    disk = Disk()
    handler = LineHandler(disk.write)
    handler.setFormatter(LineFormatter("json", Redactor()))
    disk.is_full = True
    handler.emit(record_of("one"))
    handler.emit(record_of("two"))
    handler.close()
    assert (handler.lost, disk.lines) == (2, [])
    disk.is_full = False
    handler.emit(record_of("three"))
    handler.emit(record_of("four"))
    handler.close()
    told, three, four = map(json.loads, disk.lines)
    assert (told["event"], told["level"], told["count"]) == ("log_lines_lost", "WARNING", 2)
    assert (three["message"], four["message"]) == ("three", "four")


def test_a_line_that_cannot_be_made_is_lost_alone() -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    disk = Disk()
    handler = LineHandler(disk.write)
    handler.setFormatter(LineFormatter("json", Redactor()))
    handler.emit(record_of(Unspeakable()))
    handler.emit(record_of("fine"))
    handler.close()
    assert handler.lost == 1
    assert json.loads(disk.lines[-1])["message"] == "fine"


def test_a_writer_that_hangs_holds_nobody_up() -> None:
    go_on = threading.Event()
    is_writing = threading.Event()
    lines: list[bytes] = []

    def write(line: bytes) -> None:
        is_writing.set()
        go_on.wait()
        lines.append(line)

    handler = LineHandler(write, lines_held=10)
    handler.setFormatter(LineFormatter("text", Redactor()))
    handler.emit(record_of("first"))
    assert is_writing.wait(LIMIT_SECONDS)
    for number in range(100):
        handler.emit(record_of(number))
    assert handler.lost == 90
    go_on.set()
    handler.close()
    assert len(lines) == 1 + 10 + 1  # the first, those held, and how many were lost
    assert lines[1].endswith(b"WARNING log_lines_lost count=90\n")


def test_closing_does_not_wait_for_a_writer_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    handler = LineHandler(lambda _line: never.wait() and None)
    handler.setFormatter(LineFormatter("text", Redactor()))
    handler.emit(record_of("stuck"))
    waited: list[float | None] = []
    thread = handler._thread
    assert thread is not None
    join = thread.join
    monkeypatch.setattr(thread, "join", waited.append)
    handler.close()
    handler.close()
    assert waited == [1.0]
    never.set()
    join(LIMIT_SECONDS)
    assert not thread.is_alive()


def test_a_terminal_made_non_blocking_still_gets_whole_lines() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    line = b"x" * 200_000 + b"\n"  # more than a pipe holds
    got = bytearray()

    def read() -> None:
        while len(got) < len(line):
            got.extend(os.read(reading, 65536))

    reader = threading.Thread(target=read)
    started = threading.Event()

    def sleep(seconds: float) -> None:
        if not started.is_set():  # the pipe is full: only now somebody reads
            started.set()
            reader.start()
        time.sleep(seconds)

    logs._write_all(writing, line, sleep)
    reader.join(LIMIT_SECONDS)
    os.close(reading)
    os.close(writing)
    assert bytes(got) == line
    assert started.is_set()


def test_a_process_ends_whose_stderr_nobody_reads() -> None:
    """The pipe is full and stays so; the lines before that are whole, and nothing aborts."""
    program = (
        "import logging\n"
        "from rpcproxy.edges.logs import configure\n"
        "configure('text')\n"
        "for number in range(3000):\n"
        "    logging.getLogger('rpcproxy').warning('line %d %s', number, 'x' * 100)\n"
        "print('done', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == b"done\n"
        assert process.wait(LIMIT_SECONDS) == 0
        assert b"line 0 " in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_lines_logged_last_are_written_at_exit() -> None:
    program = (
        "import logging\n"
        "from rpcproxy.edges.logs import configure\n"
        "configure('text')\n"
        "for number in range(100):\n"
        "    logging.getLogger('rpcproxy').warning('line %d', number)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=LIMIT_SECONDS
    )
    lines = done.stderr.splitlines()
    assert len(lines) == 100
    assert lines[-1].endswith(b"line 99")


def test_of_very_many_lines_of_one_kind_some_are_held_back_and_counted():
    """pg_doorman 262, kubernetes 5461: a fault that is logged by the thousand fills the disk."""
    throttle = Throttle(burst=3, per_second=0.5)
    assert [throttle.pass_("ejected", 10.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert throttle.pass_("recovered", 10.0) == 0
    assert throttle.pass_("ejected", 12.0) == 2
    assert throttle.pass_("ejected", 12.0) is None
    assert throttle.pass_("ejected", 14.0) == 1
