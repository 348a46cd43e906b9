"""Answers too large to hold: they leave in pieces, under the client's id.

The upstream answered under an id of ours. Where the id comes first (most nodes), it is replaced in
the part that is held; where it comes last (reth), the end of the stream is held back until it is
known. Memory: the held part, and ``TAIL_BYTES`` beside each piece.
"""

from __future__ import annotations

import re
from typing import Final

from rpcproxy.messages import Answer, BodyStream, StreamBroken

HEAD_BYTES: Final = 512  # an id before the result stands within these
TAIL_BYTES: Final = 512  # an id after the result stands within these


def restore_id(body: bytes, rest: BodyStream, sent_id: int, id: bytes) -> Answer:
    """An answer that streams ``body`` and ``rest`` with ``sent_id`` replaced by ``id``."""
    text = b"%d" % sent_id
    head = re.match(
        rb'(\s*\{(?:\s*"jsonrpc"\s*:\s*"2\.0"\s*,)?\s*"id"\s*:\s*)"?' + text + rb'"?(?=\s*,)', body
    )
    if head is not None:
        return Answer(head[1] + id + body[head.end() :], rest=rest)
    return Answer(body[:-TAIL_BYTES], rest=TailStream(body[-TAIL_BYTES:], rest, text, id))


class TailStream:
    """Passes a stream on, holding back its end, where the id is replaced."""

    def __init__(self, held: bytes, rest: BodyStream, sent_id: bytes, id: bytes) -> None:
        self._held = held
        self._rest = rest
        self._pattern = re.compile(rb'("id"\s*:\s*)"?' + sent_id + rb'"?(?=\s*[,}])')
        self._id = id
        self._is_done = False

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end. Raises ``StreamBroken``."""
        while not self._is_done:
            piece = await self._rest.read()
            if not piece:
                self._is_done = True
                return self._last()
            whole = self._held + piece
            self._held = whole[-TAIL_BYTES:]
            if len(whole) > TAIL_BYTES:
                return whole[:-TAIL_BYTES]
        return b""

    def _last(self) -> bytes:
        found = list(self._pattern.finditer(self._held))
        if not found or not self._held.rstrip().endswith(b"}"):
            raise StreamBroken("the reply ended without its id")
        last = found[-1]
        return self._held[: last.start()] + last[1] + self._id + self._held[last.end() :]

    def close(self) -> None:
        """Give up the rest; idempotent."""
        self._rest.close()
