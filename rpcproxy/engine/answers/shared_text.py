"""An answer whose result others have too: it leaves in pieces, and nobody copies the whole.

What is kept, and what many wait for, is one text in memory. A copy under the id of each who asks
would hold it as often as it is asked for, and a loop that copies megabytes stands still.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.messages import Answer, encode_result

# Smaller ones are copied: that is quicker than a task that pours them.
SHARED_FROM_BYTES: Final = 256 * 1024
PIECE_BYTES: Final = 256 * 1024


class SharedText:
    """The rest of such an answer (``messages.AnswerStream``). ``size`` in bytes, of all of it."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self.size = len(text) + 1

    async def read(self) -> bytes:
        text, at = self._text, self._at
        if not text:
            return b""
        self._at = at + PIECE_BYTES
        if self._at < len(text):
            return text[at : self._at]
        self._text = b""
        return text[at:] + b"}"

    def whole(self) -> bytes:
        """All of it, where nothing was read."""
        text, self._text = self._text, b""
        return text + b"}"

    def close(self) -> None:
        self._text = b""


def result_answer(id: bytes, result: bytes) -> Answer:
    """An answer with a result that is kept or shared; both arguments are JSON texts."""
    if len(result) < SHARED_FROM_BYTES:
        return Answer(encode_result(id, result))
    return Answer(b'{"jsonrpc":"2.0","id":%b,"result":' % id, rest=SharedText(result))
