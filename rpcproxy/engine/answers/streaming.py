"""Answers too large to hold: they leave in pieces, under the client's id.

The upstream answered under an id of ours, before the result (most nodes) or after it (reth). What
stands before the result is written anew, with the client's id; what stands after it (our id,
``"error": null``, which wallets throw at) is taken off the end of the stream, which is held back
until it is known. Memory: the part that was held anyway, and ``TAIL_BYTES`` beside each piece.

However long it takes, an answer that comes steadily is not cut; one that only trickles is.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from rpcproxy.clock import Clock
from rpcproxy.messages import INTERNAL_ERROR, Answer, BodyStream, StreamBroken, encode_error

TAIL_BYTES: Final = 512  # what follows the result stands within these
# So long may be waited for so many bytes. While the client is what is slow, nobody waits.
FLOOR_BYTES: Final = 16 * 1024
FLOOR_SECONDS: Final = 20.0

# As rules.answers.replies knows the beginning of a success; an id there was compared already.
_START: Final = re.compile(
    rb'\s*\{\s*(?:"(?:jsonrpc"\s*:\s*"[^"\\]{0,16}"|error"\s*:\s*null'
    rb'|id"\s*:\s*(?P<id>"[^"\\]{0,64}"|[0-9.]{1,64}))\s*,\s*)*"result"\s*:\s*'
)
# Members directly before the last brace are the reply's own, never the result's.
_END: Final = re.compile(
    rb'(?:\s*,\s*"(?:id"\s*:\s*(?P<id>"[^"\\]*"|[^\s,{}\[\]"]+)|error"\s*:\s*null'
    rb'|(?!id"|error")[^"\\]{1,64}"\s*:\s*(?:"[^"\\]*"|[^\s,{}\[\]"]+)))*\s*\}\s*\Z'
)


def restore_id(body: bytes, rest: BodyStream, sent_id: int, id: bytes, *, clock: Clock) -> Answer:
    """An answer that streams ``body`` and ``rest`` with ``sent_id`` replaced by ``id``.

    ``body`` begins as a success, as ``rules.answers.replies.begins_as_success`` says.
    """
    start = _START.match(body)
    if start is None:
        rest.close()
        return Answer(encode_error(id, INTERNAL_ERROR, "the upstream's answer cannot be read"))
    split = max(start.end(), len(body) - TAIL_BYTES)
    # Copied once: it may be 8 MiB.
    held = memoryview(body)[start.end() : split]
    head = b"".join((b'{"jsonrpc":"2.0","id":%b,"result":' % id, held))
    is_told = start["id"] is not None
    return Answer(head, rest=TailStream(body[split:], rest, sent_id, is_told=is_told, clock=clock))


class TailStream:
    """Passes a stream on, holding back its end, where the upstream's own members are taken off.

    ``is_told``: the id stood before the result.
    """

    def __init__(
        self, held: bytes, rest: BodyStream, sent_id: int, *, is_told: bool, clock: Clock
    ) -> None:
        self._held = held
        self._rest = rest
        self._sent_id = b"%d" % sent_id
        self._is_told = is_told
        self._now = clock.monotonic
        self._is_done = False
        self._came = 0
        self._waited_seconds = 0.0

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end. Raises ``StreamBroken``."""
        while not self._is_done:
            piece = await self._next_piece()
            if not piece:
                last = self._last()
                self._is_done = True
                return last
            whole = self._held + piece
            self._held = whole[-TAIL_BYTES:]
            if len(whole) > TAIL_BYTES:
                return whole[:-TAIL_BYTES]
        return b""

    async def _next_piece(self) -> bytes:
        began = self._now()
        try:
            async with asyncio.timeout(FLOOR_SECONDS - self._waited_seconds):
                piece = await self._rest.read()
        except TimeoutError:
            raise StreamBroken("the upstream stopped in the middle of it") from None
        self._came += len(piece)
        self._waited_seconds += self._now() - began
        if self._came >= FLOOR_BYTES:
            self._came, self._waited_seconds = 0, 0.0
        return piece

    def _last(self) -> bytes:
        end = _END.search(self._held)
        if end is None:
            raise StreamBroken("the reply ended in the middle")
        told = end["id"]
        if told is None and not self._is_told:
            raise StreamBroken("the reply ended without its id")
        if told is not None and told.strip(b'"').removesuffix(b".0") != self._sent_id:
            raise StreamBroken("the reply ended with another id")
        return self._held[: end.start()] + b"}"

    def close(self) -> None:
        """Give up the rest; idempotent."""
        self._rest.close()
