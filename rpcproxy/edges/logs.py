"""Log lines for people (text) and for machines (JSON): one line per event.

A line is written by a thread of its own, so that a full disk or a terminal that nobody reads
never holds up a request. Whatever goes wrong there is lost, counted, and said once lines get
through again. ``Redactor`` takes the secrets of the configuration out of every line, as the
last line of defence: the code that logs is not to hand them over in the first place.

State: the handler that ``configure`` put on the root logger; the secrets a ``Redactor`` knows.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal, TextIO

from rpcproxy.config.secrets import REDACTED, Redactor, secrets_of
from rpcproxy.edges.metrics.metrics import class_name
from rpcproxy.states import BETTER, CHANGES, Change

__all__ = [
    "LINES_HELD",
    "REDACTED",
    "ROOT",
    "LineFormatter",
    "LineHandler",
    "Redactor",
    "catch_crashes",
    "configure",
    "event",
    "log_change",
    "secrets_of",
    "utc",
]

ROOT: Final = "rpcproxy"
LINES_HELD: Final = 10_000

_BASE_KEYS: Final = frozenset({"time", "level", "event", "message", "exception"})
# C0, DEL and C1 controls move the terminal's cursor; U+2028 and U+2029 end lines for some
# readers; lone surrogates cannot be written.
_UNSAFE: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_PLAIN_VALUE: Final = re.compile(r"[^\s\"=\\]+")


# --------------------------------------------------------------------------
# Logging events


def event(
    logger: logging.Logger,
    level: int,
    name: str,
    message: str = "",
    /,
    *,
    exc_info: BaseException | None = None,
    **fields: object,
) -> None:
    """Log that ``name`` happened. ``fields`` become columns; ``None`` leaves one out."""
    if logger.isEnabledFor(level):
        extra = {"event": name, "fields": fields}
        logger.log(level, message, extra=extra, exc_info=exc_info, stacklevel=2)


class Throttle:
    """Lets so many of each kind pass at once, and then so many a second; counts the others.

    State: one bucket for each kind; kinds are our own words, so they are few.
    """

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._buckets: dict[str, tuple[float, float, int]] = {}  # tokens, when, held back since

    def pass_(self, kind: str, now: float) -> int | None:
        """How many of the kind were held back since the last that passed, ``None`` where this one
        is to be as well. ``now``: monotonic seconds.
        """
        tokens, at, held = self._buckets.get(kind, (self._burst, now, 0))
        tokens = min(self._burst, tokens + max(0.0, now - at) * self._per_second)
        if tokens < 1.0:
            self._buckets[kind] = tokens, now, held + 1
            return None
        self._buckets[kind] = tokens - 1.0, now, 0
        return held


# A fault that many upstreams have at once is some tens of lines; what flaps for hours is one line
# in a while, and the metrics have all of it.
_changes: Final = Throttle(burst=100.0, per_second=0.5)


def log_change(logger: logging.Logger, chain: str, change: Change, now: float) -> None:
    """Log a standing's change: WARNING, or INFO where it is for the better. Of very many of one
    kind some are left out, and the next says how many. ``now`` is monotonic seconds.
    """
    kind = change.kind
    held_back = _changes.pass_(f"{chain} {kind}", now)
    if held_back is None:
        return
    level = logging.INFO if kind in BETTER else logging.WARNING
    whose = "domain" if CHANGES[kind].of_domain else "upstream"
    fields: dict[str, Any] = {
        whose: change.upstream or None,
        "method_class": class_name(change.method_class),
        "reason": change.reason or None,
        "held_back": held_back or None,
    }
    event(logger, level, kind, chain=chain, **fields)


# --------------------------------------------------------------------------
# Formatting


class LineFormatter(logging.Formatter):
    """One line per record, redacted, with nothing in it that could fake or hide another."""

    def __init__(self, style: Literal["text", "json"], redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact
        self._write = _json_line if style == "json" else _text_line

    def format(self, record: logging.LogRecord) -> str:
        fields = dict(getattr(record, "fields", {}))
        if "trace_id" in record.__dict__:
            fields["trace_id"] = record.__dict__["trace_id"]
        exception = self._exception(record)
        line = {
            "time": utc(record.created),
            "level": record.levelname,
            # Records that were not logged as events are told apart by their logger.
            "event": str(getattr(record, "event", record.name)),
            "message": self._redact(_message_of(record)),
            **{_key(key): self._value(value) for key, value in fields.items() if value is not None},
        }
        if exception:
            line["exception"] = self._redact(exception)
        return self._write(line)

    def _value(self, value: object) -> object:
        if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        return self._redact(value if isinstance(value, str) else str(value))

    def _exception(self, record: logging.LogRecord) -> str:
        parts = []
        if record.exc_info and record.exc_info[0] is not None:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        return "\n".join(parts)


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit: the line matters more
        return f"{record.msg} {record.args}"


def _key(name: str) -> str:
    return f"{name}_" if name in _BASE_KEYS else name


def utc(unix_seconds: float) -> str:
    """A moment for people: UTC, ISO 8601, milliseconds."""
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json_line(line: Mapping[str, Any]) -> str:
    # ASCII only: escapes whatever a reader could take for the end of a line.
    return json.dumps({**line, "message": line["message"] or line["event"]})


def _text_line(line: Mapping[str, Any]) -> str:
    words = [line["time"], line["level"], _escape(line["event"])]
    if line["message"]:
        words.append(_escape(line["message"]))
    for key, value in line.items():
        if key not in _BASE_KEYS or key == "exception":
            words.append(f"{_escape(key)}={_quote(str(value))}")
    return " ".join(words)


def _quote(text: str) -> str:
    if _PLAIN_VALUE.fullmatch(text) and not _UNSAFE.search(text):
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escape(quoted)}"'


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


# --------------------------------------------------------------------------
# Writing


class LineHandler(logging.Handler):
    """Hands lines to a thread that writes them. Never blocks, never raises.

    ``lost`` is the number of lines that could not be written or held.
    """

    def __init__(self, write: Callable[[bytes], None], lines_held: int = LINES_HELD) -> None:
        super().__init__()
        self._write = write
        self._lines_held = lines_held
        # Its put() may be re-entered, from a signal handler or a finalizer that logs.
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._counting = threading.RLock()
        self._untold = 0  # lost, and not yet said so
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._lines.qsize() >= self._lines_held:
                self._lose()
                return
            self._lines.put(self._line(record))
            if self._thread is None:
                self._start()
        except Exception:  # noqa: BLE001 - a log line is never worth a request
            self._lose()

    def close(self) -> None:
        """Wait up to a second for the lines that are held, then end; idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._lines.put(None)
            thread.join(1.0)
        super().close()

    def _start(self) -> None:
        # A daemon: a reader that never reads must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="rpcproxy-log", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._tell_lost()
                self._write(line)
            except Exception:  # noqa: BLE001 - stderr closed, disk full: nowhere to say it
                self._lose()

    def _tell_lost(self) -> None:
        with self._counting:
            count, self._untold = self._untold, 0
        if not count:
            return
        told = {"event": "log_lines_lost", "fields": {"count": count}}
        fields = {"name": ROOT, "levelno": logging.WARNING, "levelname": "WARNING", **told}
        try:
            self._write(self._line(logging.makeLogRecord(fields)))
        except BaseException:
            with self._counting:
                self._untold += count
            raise

    def _line(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode("utf-8", "backslashreplace")

    def _lose(self) -> None:
        with self._counting:
            self.lost += 1
            self._untold += 1


def configure(
    style: Literal["text", "json"],
    level: int = logging.INFO,
    *,
    redactor: Redactor | None = None,
    stream: TextIO | None = None,
) -> LineHandler:
    """Send all logs to ``stream`` (stderr) in this style, in place of an earlier ``configure``.

    ``level`` is for our own loggers; libraries are heard from WARNING up. ``redactor`` may
    learn more later, on a reload.
    """
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, LineHandler):
            root.removeHandler(old)
            old.close()
    handler = LineHandler(_writer_to(stream or sys.stderr))
    handler.setFormatter(LineFormatter(style, redactor or Redactor()))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level)
    return handler


def catch_crashes(handler: LineHandler) -> None:
    """What ends the process or a thread, what a finalizer raised and what Python warns of go
    through the log: written by Python itself, an exception's words would be shown as they are,
    with whatever URL is in them.
    """
    log = logging.getLogger(f"{ROOT}.crash")

    def on_end(_kind: type[BaseException], error: BaseException, _trace: object) -> None:
        log.critical("the process ended by a fault of its own", exc_info=error)
        handler.close()  # waits for the line

    def on_thread(fault: threading.ExceptHookArgs) -> None:
        if fault.exc_value is not None and not isinstance(fault.exc_value, SystemExit):
            name = "a thread" if fault.thread is None else f"the thread {fault.thread.name}"
            log.error("%s ended by a fault", name, exc_info=fault.exc_value)

    def on_unraisable(fault: sys.UnraisableHookArgs) -> None:
        log.error("%s", fault.err_msg or "a fault in a finalizer", exc_info=fault.exc_value)

    sys.excepthook = on_end
    threading.excepthook = on_thread
    sys.unraisablehook = on_unraisable
    logging.captureWarnings(capture=True)


def _writer_to(stream: TextIO | None) -> Callable[[bytes], None]:
    if stream is None:  # the process was started with stderr closed
        return _discard
    try:
        # Past the stream's buffer and its lock: a thread that hangs in there would make the
        # interpreter abort when it flushes stderr at its end.
        return partial(_write_all, stream.fileno())
    except (OSError, ValueError):  # held in memory, or closed
        return partial(_write_text, stream)


def _discard(_line: bytes) -> None:
    pass


def _write_text(stream: TextIO, line: bytes) -> None:
    stream.write(line.decode())


def _write_all(descriptor: int, line: bytes, sleep: Callable[[float], object] = time.sleep) -> None:
    while line:
        try:
            line = line[os.write(descriptor, line) :]
        except BlockingIOError:  # whoever shares the terminal made it non-blocking
            sleep(0.02)
