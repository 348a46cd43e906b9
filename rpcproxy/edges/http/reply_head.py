"""The head of an HTTP/1.1 reply: a strict parser, and the memory that saves most of its work.

A proxy that reads a reply more leniently than the sender meant it hands one client's bytes to
another, so whatever leaves the framing open to doubt is refused: both or repeated framing
headers, bare line feeds, folded headers, odd lengths (RFC 9112 sections 5, 6 and 11.2).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rpcproxy.messages import Failure, FailureKind

MAX_HEAD_BYTES: Final = 64 * 1024
REQUEST_TIMEOUT: Final = 408

# ``ReplyHead.length`` where it is not a number of bytes.
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2


class BadReply(Exception):
    """What came is not a reply that can be passed on. Carries the failure to report."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(kind, detail)


def refused(detail: str) -> BadReply:
    return BadReply(FailureKind.PROTOCOL, detail)


class ReplyHead(msgspec.Struct, gc=False, frozen=True):
    """What matters of a status line and its headers.

    ``length`` is the body's in bytes, ``CHUNKED`` or ``UNTIL_CLOSE``. ``is_last`` says that the
    connection must not be used again. ``coding`` is ``""``, ``"gzip"`` or ``"deflate"``.
    ``keep_alive_seconds`` is how long the upstream keeps an idle connection, where it said.
    """

    status: int
    length: int
    is_last: bool = False
    coding: str = ""
    content_type: str = ""
    retry_after: str = ""
    keep_alive_seconds: float | None = None

    @property
    def is_simple(self) -> bool:
        """The body is framed and plain, and the connection stays."""
        return (
            self.length >= CHUNKED
            and not self.is_last
            and not self.coding
            and self.status >= 200
            and self.status != REQUEST_TIMEOUT
        )


# RFC 9110: tokens (5.6.2); field values without control characters other than tab (5.5).
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
_FIELD: Final = _TOKEN + rb":" + _TEXT + rb"\r\n"
# A missing space after the status code is common where the reason is left out.
_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: " + _TEXT + rb")?\r\n(?:" + _FIELD + rb")*+\r\n"
)
FIELD_LINE: Final = re.compile(_FIELD)
_KNOWN_FIELDS: Final = re.compile(
    rb"\n(content-(?:length|type|encoding)|transfer-encoding|connection|keep-alive|retry-after)"
    rb":[ \t]*+([^\r]*+)\r",
    re.IGNORECASE,
)
_TIMEOUT: Final = re.compile(rb"(?:^|[,\s])timeout\s*=\s*\"?([0-9]{1,6})", re.IGNORECASE)
_CODINGS: Final = {b"": "", b"identity": "", b"gzip": "gzip", b"x-gzip": "gzip"} | {
    b"deflate": "deflate"
}
_STATUSES_WITHOUT_BODY: Final = frozenset({204, 304})


def parse_head(head: bytes) -> ReplyHead:
    """Read a header section up to and including its blank line. Raises ``BadReply``."""
    return _understand(*_check(head))


_Fields = tuple[tuple[bytes, bytes], ...]


def _check(head: bytes) -> tuple[bytes, bytes, _Fields]:
    """The minor version, the status and the fields that matter, of a head that is lawful."""
    match = _HEAD.fullmatch(head)
    if match is None or len(head) > MAX_HEAD_BYTES:
        raise refused("malformed header section" if match is None else "header section too large")
    return match[1], match[2], tuple(_KNOWN_FIELDS.findall(head))


def _understand(minor: bytes, code: bytes, lines: _Fields) -> ReplyHead:
    fields: dict[bytes, bytes] = {}
    for name, value in lines:
        key = name.lower()
        if key not in fields:
            fields[key] = value.rstrip(b" \t")
        elif key in (b"content-length", b"transfer-encoding", b"content-encoding"):
            raise refused(f"repeated {key.decode()} header")
        elif key == b"connection":
            fields[key] += b"," + value
    status = int(code)
    is_old = minor == b"0"
    get = fields.get
    options = [option.strip(b" \t") for option in get(b"connection", b"").lower().split(b",")]
    length, is_framing_odd = _body_length(status, fields, is_old=is_old)
    coding = _CODINGS.get(get(b"content-encoding", b"").lower())
    if coding is None:
        raise refused("unknown content encoding")
    return ReplyHead(
        status=status,
        length=length,
        is_last=is_old or is_framing_odd or length == UNTIL_CLOSE or b"close" in options,
        coding=coding,
        content_type=get(b"content-type", b"").decode("latin-1"),
        retry_after=get(b"retry-after", b"").decode("latin-1"),
        keep_alive_seconds=_kept_alive_seconds(get(b"keep-alive")),
    )


def _body_length(status: int, fields: dict[bytes, bytes], *, is_old: bool) -> tuple[int, bool]:
    """The body's length, and whether its framing is lawful but not to be trusted further."""
    length = fields.get(b"content-length")
    transfer = fields.get(b"transfer-encoding")
    if length is not None:
        if transfer is not None:
            raise refused("both content-length and transfer-encoding")
        if not length.isdigit() or len(length) > 18:
            raise refused("content-length is not a number")
        size = int(length)
    elif transfer is not None:
        if is_old or transfer.lower() != b"chunked":
            raise refused("transfer-encoding other than chunked")
        size = CHUNKED
    else:
        size = UNTIL_CLOSE
    if status < 200 or status in _STATUSES_WITHOUT_BODY:
        return 0, size not in (0, UNTIL_CLOSE)
    return size, False


def _kept_alive_seconds(value: bytes | None) -> float | None:
    if value is None or (match := _TIMEOUT.search(value)) is None:
        return None
    return float(match[1])


class ReplyHeadMemory:
    """Heads that one upstream sent, parsed. Whatever is full is emptied: what is in use comes
    back with the next reply.

    ``simple`` maps the exact bytes of a head, from the status line through the blank line. It
    holds only heads that neither end the connection nor encode the body and that frame it by a
    length or by chunks, so that a hit needs no more questions.

    Many upstreams put something unique into every head (a request id), so what was understood
    is remembered by the fields that matter as well; the whole head is still checked each time.
    """

    __slots__ = ("_last", "_understood", "simple")
    MAX_HEADS: Final = 256
    MAX_BYTES_EACH: Final = 2048

    def __init__(self) -> None:
        self.simple: dict[bytes, ReplyHead] = {}
        self._understood: dict[tuple[bytes, bytes, _Fields], ReplyHead] = {}
        self._last: tuple[bytes, ReplyHead | None] = b"", None

    def read(self, raw: bytes) -> ReplyHead:
        """``parse_head``, with memory. Raises ``BadReply``."""
        last_raw, last_head = self._last
        if raw == last_raw and last_head is not None:
            return last_head
        checked = _check(raw)
        head = self._understood.get(checked)
        if head is None:
            head = _understand(*checked)
            if len(raw) <= self.MAX_BYTES_EACH:
                if len(self._understood) >= self.MAX_HEADS:
                    self._understood.clear()
                self._understood[checked] = head
        if head.is_simple and len(raw) <= self.MAX_BYTES_EACH:
            if len(self.simple) >= self.MAX_HEADS:
                self.simple.clear()
            self.simple[raw] = head
        self._last = raw, head
        return head
