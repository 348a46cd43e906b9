"""HTTP responses as bytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from rpcproxy import messages
from rpcproxy.front.protocol import cors
from rpcproxy.front.protocol.page import JSON, Page

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
# Of a ``response`` whose length is not known: chunks, or (HTTP/1.0) whatever comes until the end.
IN_CHUNKS: Final = -1
UNTIL_CLOSE: Final = -2
WITHOUT_BODY: Final = -3

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_FIELDS: Final = b"Content-Type: application/json\r\n" + cors.ALWAYS_BYTES

# The hot path's response: OK_START, the trace id, LENGTHS[len(body)] or ok_length, the body.
OK_START: Final = b"HTTP/1.1 200 OK\r\n" + _FIELDS + b"X-Trace-Id: "
LENGTHS: Final = tuple(b"\r\nContent-Length: %d\r\n\r\n" % length for length in range(1024))


def head(
    answer: messages.Answer,
    trace_id: str,
    length: int,
    *,
    has_gzip: bool = False,
    connection: bytes = b"",
) -> bytes:
    """Everything of a response before its body. ``connection`` is ``close``, ``keep-alive``
    (which HTTP/1.0 has to be told), or nothing. ``length`` in bytes, or one of the above.
    """
    parts = [
        b"HTTP/1.1 %d %b\r\n" % (answer.status, _REASONS.get(answer.status, "Unknown").encode()),
        _fields_of(answer) if isinstance(answer, Page) else _FIELDS,
        b"X-Trace-Id: %b\r\n" % trace_id.encode(),
    ]
    if has_gzip:
        parts.append(b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n")
    if answer.retry_after_seconds > 0:
        parts.append(b"Retry-After: %d\r\n" % answer.retry_after_seconds)
    if connection:
        parts.append(b"Connection: %b\r\n" % connection)
    if length >= 0:
        parts.append(b"Content-Length: %d\r\n" % length)
    elif length == IN_CHUNKS:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def _fields_of(page: Page) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in page.headers.items())
    return fields.encode("latin-1") + cors.ALWAYS_BYTES


def as_page(
    answer: messages.Answer, headers: Mapping[str, str] = {}, *, is_last: bool = False
) -> Page:
    """A whole answer of the front's own, given in place of a page."""
    every = {"Content-Type": JSON, **headers}
    return Page(answer.body, answer.status, headers=every, is_last=is_last)


def refusal(status: int, reason: str) -> messages.Answer:
    """An answer of the front's own: what is wrong with the HTTP, in JSON-RPC's words."""
    code = messages.INTERNAL_ERROR if status >= 500 else messages.INVALID_REQUEST
    return messages.Answer(messages.encode_error(b"null", code, reason), status)


def failure() -> messages.Answer:
    """The answer when the proxy itself has a bug; HTTP 200, as MetaMask counts 5xx."""
    reason = "the proxy failed on this request; its log has the details under the trace id"
    return messages.Answer(messages.encode_error(b"null", messages.INTERNAL_ERROR, reason))


def unknown_path() -> messages.Answer:
    return refusal(404, "no chain is served at this path; GET / lists those that are")
