"""Answers that leave in pieces, with back-pressure."""

from __future__ import annotations

from typing import Final, Protocol

from rpcproxy.front.protocol.responses import LAST_CHUNK
from rpcproxy.messages import Answer, AnswerStream

SLICE_BYTES: Final = 256 * 1024
# What one stream holds: a slice that is being taken, the one before it, and what its upstream has
# sent ahead (``edges.http.reply_body.QUEUE_FULL_BYTES``).
STREAM_BYTES: Final = 3 * SLICE_BYTES


class Sink(Protocol):
    """Where the pieces go."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None:
        """Wait until enough was taken."""


async def pour(answer: Answer, sink: Sink, *, is_chunked: bool) -> int:
    """Write ``answer.body`` and then ``answer.rest``; returns the bytes of body written.

    The body is taken out of the answer, so that it is freed once it is written, while the
    rest is still on its way. The rest is closed however this ends. Raises ``StreamBroken``.
    """
    rest = answer.rest
    assert rest is not None  # noqa: S101  whole answers do not come here
    try:
        body, answer.body = answer.body, b""
        total = len(body)
        await _pour_piece(body, sink, is_chunked=is_chunked)
        del body
        return total + await _pour_rest(rest, sink, is_chunked=is_chunked)
    finally:
        rest.close()


async def _pour_rest(rest: AnswerStream, sink: Sink, *, is_chunked: bool) -> int:
    total = 0
    while piece := await rest.read():
        total += len(piece)
        await _pour_piece(piece, sink, is_chunked=is_chunked)
    if is_chunked:
        sink.write(LAST_CHUNK)
    return total


async def _pour_piece(piece: bytes, sink: Sink, *, is_chunked: bool) -> None:
    for start in range(0, len(piece), SLICE_BYTES):
        part = piece[start : start + SLICE_BYTES]
        if is_chunked:
            part = b"%x\r\n%b\r\n" % (len(part), part)
        sink.write(part)
        await sink.drain()
