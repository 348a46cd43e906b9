"""Request heads: a strict parser, and the memory of what it made of them.

A *request head* is everything from the request line up to and including the blank line.
Clients on keep-alive repeat theirs byte for byte, so that what the parser said about one
is remembered under its bytes (measured: worth about a fifth of a forwarded request).

The parser refuses whatever two readers of HTTP/1.1 could understand differently
(RFC 9112, sections 2.2, 3, 5, 6; the smuggling tables of PortSwigger and llhttp): being
followed by nobody is cheaper than being misunderstood by somebody.

Pure, but for the dictionary inside ``RequestHeadMemory``, which that class alone writes.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

CHUNKED: Final = -1  # ``RequestHead.content_length`` of a body that tells its own length

_MAX_FIELDS: Final = 100
# A length of more digits is beyond every limit, and int() of thousands of digits is slow.
_MAX_LENGTH_DIGITS: Final = 18

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/[0-9.]+)")
_FIELD_TEXT: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*"
_FIELDS: Final = re.compile(rb"(?:\r\n" + _FIELD_TEXT + rb")*")
_ONE_FIELD: Final = re.compile(_FIELD_TEXT)
_HOST: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*")
# A CR at the very end may still be followed by its LF.
_BARE_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_AUTHORITY: Final = re.compile(rb"[a-zA-Z][a-zA-Z0-9+.\-]*://[^/?#]*")
_Q_VALUE: Final = re.compile(rb"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)

# Fields whose meaning frames the message or names its target: once, or not at all.
_ONCE: Final = frozenset((b"content-length", b"transfer-encoding", b"host"))
_READ: Final = _ONCE | {
    b"connection",
    b"accept-encoding",
    b"content-encoding",
    b"expect",
    b"cache-control",
    b"pragma",
}
# What of Cache-Control wants an answer that nobody kept (RFC 9111, section 5.2.1), and older
# clients' word for it (section 5.4).
_FRESH: Final = frozenset((b"no-cache", b"no-store", b"max-age=0", b'max-age="0"'))


class RequestRefused(Exception):
    """A request that is not served as HTTP: the status and the reason in words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestHead(msgspec.Struct, gc=False, frozen=True):
    """What the proxy needs of a request head.

    ``content_length`` in bytes, ``CHUNKED`` where the body is chunked. ``path`` has no query
    and no trailing slash. ``is_http10`` clients get no chunks, and are told of keep-alive.
    ``is_fresh`` ones want no answer that was kept.
    """

    method: str
    path: str
    content_length: int
    is_keep_alive: bool = True
    is_http10: bool = False
    has_gzip: bool = False
    has_expect: bool = False
    is_fresh: bool = False
    is_plain: bool = False  # HTTP/1.1 on keep-alive: its response needs no Connection header
    text: bytes = b""  # the head itself; the same object in the memory and on connections


class RequestHeadMemory:
    """Remembers the heads that clients repeat.

    A head is kept from its second appearance on, so that clients with a header that is new
    in every request (``traceparent``) push nobody out; the oldest goes when it is full.
    """

    def __init__(self, *, entries: int = 4096, head_bytes: int = 2048) -> None:
        self._entries = entries
        self._head_bytes = head_bytes
        self._known: dict[bytes, RequestHead] = {}
        self._seen_once: set[int] = set()
        self.get = self._known.get  # bound once: it is called for every request

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, text: bytes, head: RequestHead) -> None:
        """``text`` ends with its first blank line, so that no body can look like it."""
        if len(text) > self._head_bytes:
            return
        fingerprint = hash(text)
        if fingerprint not in self._seen_once:
            if len(self._seen_once) >= self._entries:
                self._seen_once.clear()
            self._seen_once.add(fingerprint)
            return
        if len(self._known) >= self._entries:
            del self._known[next(iter(self._known))]
        self._known[text] = head

    def forget(self) -> None:
        """Drop everything: limits have changed, or answers have to say something new."""
        self._known.clear()
        self._seen_once.clear()


def parse_head(text: bytes) -> RequestHead:
    """Read one request head, blank line included. Raises ``RequestRefused``.

    Size limits are the caller's, except for the number of fields.
    """
    line_end = text.find(b"\r\n")
    line = _REQUEST_LINE.fullmatch(text, 0, line_end)
    if line is None:
        raise RequestRefused(400, _what_is_wrong(text))
    method, target, version = line.groups()
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise RequestRefused(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    is_http10 = version == b"HTTP/1.0"
    if _FIELDS.fullmatch(text, line_end, len(text) - 4) is None:
        raise RequestRefused(400, _what_is_wrong(text))
    fields = _read_fields(text[line_end + 2 : -4])
    host = fields.get(b"host")
    if host is None and not is_http10:
        raise RequestRefused(400, "the Host header is missing")
    if host is not None and _HOST.fullmatch(host) is None:
        raise RequestRefused(400, "the Host header is malformed")
    _refuse_unserved(fields)
    is_keep_alive = _keeps_alive(fields.get(b"connection", b""), is_http10=is_http10)
    return RequestHead(
        method=method.decode("ascii"),
        path=_path_of(target),
        content_length=_length_of(fields, is_http10=is_http10),
        is_keep_alive=is_keep_alive,
        is_plain=is_keep_alive and not is_http10,
        text=text,
        is_http10=is_http10,
        has_gzip=takes_gzip(fields.get(b"accept-encoding", b"")),
        has_expect=b"expect" in fields and not is_http10,
        is_fresh=wants_fresh(fields.get(b"cache-control"), fields.get(b"pragma", b"")),
    )


def refuse_early(partial: bytes | bytearray, scanned: int) -> None:
    """Refuse a head that can no longer become one, without waiting for its end.

    ``scanned`` bytes of ``partial`` were looked at before. Raises ``RequestRefused``.
    """
    if not 0x41 <= partial[0] <= 0x5A:  # every method we know begins with a capital letter
        raise RequestRefused(400, "this is not an HTTP request")
    if _BARE_LINE_END.search(partial, max(0, scanned - 1)):
        raise RequestRefused(400, "lines must end in CRLF")


def _read_fields(text: bytes) -> dict[bytes, bytes]:
    lines = text.split(b"\r\n") if text else []
    if len(lines) > _MAX_FIELDS:
        raise RequestRefused(431, f"more than {_MAX_FIELDS} headers")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name not in _READ:
            continue
        value = value.strip(b" \t")
        if name not in fields:
            fields[name] = value
        elif name in _ONCE:
            raise RequestRefused(400, f"the header {name.decode('ascii')} is repeated")
        else:
            fields[name] += b"," + value
    return fields


def _refuse_unserved(fields: dict[bytes, bytes]) -> None:
    encoding = fields.get(b"content-encoding", b"").lower()
    if encoding not in (b"", b"identity"):
        raise RequestRefused(415, "request bodies are taken uncompressed only")
    if b"expect" in fields and fields[b"expect"].lower() != b"100-continue":
        raise RequestRefused(417, "the only expectation met here is 100-continue")


def _length_of(fields: dict[bytes, bytes], *, is_http10: bool) -> int:
    length = fields.get(b"content-length")
    encoding = fields.get(b"transfer-encoding")
    if encoding is not None:
        if length is not None:
            raise RequestRefused(400, "both Content-Length and Transfer-Encoding")
        if encoding.lower() != b"chunked" or is_http10:
            raise RequestRefused(400, "the only Transfer-Encoding is chunked, from HTTP/1.1 on")
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        raise RequestRefused(400, "Content-Length is not a plain number")
    return int(length)


def _keeps_alive(connection: bytes, *, is_http10: bool) -> bool:
    options = {option.strip(b" \t").lower() for option in connection.split(b",")}
    return b"close" not in options and (not is_http10 or b"keep-alive" in options)


def takes_gzip(accepted: bytes) -> bool:
    """Whether Accept-Encoding allows gzip; ``q=0`` refuses, ``*`` speaks for the unnamed."""
    said: dict[bytes, bool] = {}
    for part in accepted.lower().split(b","):
        coding, _, parameter = part.partition(b";")
        weight = _Q_VALUE.fullmatch(parameter.strip(b" \t"))
        is_wanted = weight is None or float(weight.group(1)) > 0
        said[coding.strip(b" \t")] = is_wanted
    return said.get(b"gzip", said.get(b"x-gzip", said.get(b"*", False)))


def wants_fresh(cache_control: bytes | None, pragma: bytes = b"") -> bool:
    """Whether a client asks for an answer that was not kept. Pragma counts where there is no
    Cache-Control.
    """
    said = pragma if cache_control is None else cache_control
    parts = {part.strip(b" \t").lower() for part in said.split(b",")}
    return not parts.isdisjoint(_FRESH if cache_control is not None else (b"no-cache",))


def _path_of(target: bytes) -> str:
    """The path without query and trailing slash; a full URL, as to a proxy, is allowed."""
    if not target.startswith(b"/"):
        authority = _AUTHORITY.match(target)
        if authority is None:
            if target == b"*":  # OPTIONS asks so about the whole server
                return "*"
            raise RequestRefused(400, "the request target is no path")
        target = target[authority.end() :]
    path = target.partition(b"?")[0].partition(b"#")[0].decode("ascii")
    return path.rstrip("/") or "/"


def _what_is_wrong(text: bytes) -> str:
    """Words for a head that did not match; speed does not matter here."""
    if _BARE_LINE_END.search(text):
        return "lines must end in CRLF"
    first, *lines = text[:-4].split(b"\r\n")
    if _REQUEST_LINE.fullmatch(first) is None:
        return "the request line is malformed"
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            return "a header is continued on the next line, which is obsolete"
        name, colon, _ = line.partition(b":")
        if colon and name != name.rstrip(b" \t"):
            return "whitespace before the colon of a header"
        if _ONE_FIELD.fullmatch(line) is None:
            return "a header line is malformed"
    return "the request head is malformed"
