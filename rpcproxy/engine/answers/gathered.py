"""The replies of one batch: gathered while there is room for them, and written in their order.

What there is no room for is let go of and asked for again when its turn has come: then it goes from
its upstream to the client without being held. So the memory of a batch is bounded whatever its
members bring, and the client, by how fast it reads, says how fast the rest is asked for.

State: the replies of one batch, counted by its ``Hold``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from rpcproxy.messages import (
    INTERNAL_ERROR,
    Answer,
    AnswerStream,
    Caller,
    Request,
    StreamBroken,
    encode_batch,
    encode_error,
    encode_result,
)
from rpcproxy.rules.answers.holding import COUNTED_BYTES, Purse, crowded_out

# Up to this size an array is one text, which can be compressed and has a length.
WHOLE_BYTES: Final = 8 * 1024 * 1024
# Larger kept results are not copied before their turn.
COPIED_BYTES: Final = 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024
# What it takes to write the array, as ``front.wire.streams`` does it.
WRITING_BYTES: Final = 1024 * 1024


class Gathered(list[bytes | None]):
    """The replies by place, as they come; and what is the same for all: who asks, and how
    often the chain had reorganised. ``kept``: which of
    them were. ``look_ups``: which ask for a transaction by its hash, where that may be a private
    one. ``later``: those that are asked for when their turn has come. ``end`` gives
    everything back.
    """

    def __init__(self, count: int, caller: Caller, purse: Purse, *, turns: int = 0) -> None:
        super().__init__([None] * count)
        self.turns = turns
        self.caller = caller
        self.kept: list[tuple[int, Request]] = []
        self.look_ups: list[tuple[int, Request]] = []
        self.later: dict[int, Request] = {}
        self.size = 0
        self._hold = purse.hold()
        self._allowed = COUNTED_BYTES  # of ``size``: holds are made in strides

    def claim(self, more: int) -> bool:
        """Count bytes that are about to be held; ``False`` where there is no room for them."""
        size = self.size + more
        if size > self._allowed:
            if not self._hold.set(size + COUNTED_BYTES + WRITING_BYTES):
                return False
            self._allowed = size + COUNTED_BYTES
        self.size = size
        return True

    def unclaim(self, less: int) -> None:
        self.size -= less

    def put(self, index: int, reply: bytes, request: Request) -> None:
        """The reply to a read, which can be asked for again."""
        if self[index] is not None or self.later:
            self._drop(index)
        if self.claim(len(reply)):
            self[index] = reply
        else:
            self.later[index] = request

    def put_result(self, index: int, request: Request, result: bytes) -> None:
        """A result that is kept, or shared with others."""
        if len(result) > COPIED_BYTES:
            self._drop(index)
            self.later[index] = request
        else:
            self.put(index, encode_result(request.id, result), request)

    def put_always(self, index: int, reply: bytes) -> None:
        """A reply that cannot be asked for again: of a send, or our own; these are short."""
        self._drop(index)
        self.size += len(reply)
        self[index] = reply

    def _drop(self, index: int) -> None:
        """Nothing is there yet, or it is of another branch of the chain."""
        old = self[index]
        if old is not None:
            self.size -= len(old)
            self[index] = None
        self.later.pop(index, None)

    async def put_answer(self, index: int, answer: Answer, request: Request) -> None:
        """An answer that may come in pieces; taken as far as there is room."""
        rest = answer.rest
        if rest is None:
            self.put(index, answer.body, request)
            return
        pieces: list[bytes] = []
        counted = 0
        try:
            piece = answer.body
            while piece:
                if not self.claim(len(piece)):
                    self._drop(index)
                    self.later[index] = request
                    return
                counted += len(piece)
                pieces.append(piece)
                piece = await rest.read()
        except StreamBroken as broken:
            reason = f"the answer broke off: {broken}"
            self.put_always(index, encode_error(request.id, INTERNAL_ERROR, reason))
            return
        finally:
            self.unclaim(counted)
            rest.close()
        self.put(index, b"".join(pieces), request)

    def answer(self, ask: Ask) -> Answer:
        """All of it. Notifications have no reply; a batch of them alone is answered by nothing."""
        if self.later or self.size > WHOLE_BYTES:
            # Held from the first on, so that what is held can always be written.
            is_held = self._hold.bytes >= WRITING_BYTES or self._hold.add(WRITING_BYTES)
            if is_held:
                return Answer(b"", rest=InOrder(self, ask))
            self.end()
            return crowded_out()
        given = [reply for reply in self if reply]
        self.end()
        return Answer(encode_batch(given) if given else b"")

    def take(self, index: int) -> bytes | None:
        """The reply at this place, which is held no more."""
        reply, self[index] = self[index], None
        if reply is not None:
            self.size -= len(reply)
            if len(reply) > COUNTED_BYTES:
                self._hold.set(max(self.size, 0) + WRITING_BYTES)
        return reply

    def end(self) -> None:
        """Hold nothing any more; idempotent."""
        self.clear()
        self.later.clear()
        self._hold.end()


Ask = Callable[[Request], Awaitable[Answer]]


class InOrder:
    """The array, member after member (``messages.AnswerStream``). ``size`` is 0 for whoever pours
    it: what it holds is counted already.
    """

    size = 0

    def __init__(self, gathered: Gathered, ask: Ask) -> None:
        self._gathered = gathered
        self._ask = ask
        self._count = len(gathered)
        self._index = 0  # of the next member
        self._next: list[bytes] = []  # pieces that are due, the last first
        self._rest: AnswerStream | None = None  # of the member that is being written
        self._has_begun = False
        self._is_over = False

    async def read(self) -> bytes:
        while True:
            if self._next:
                return self._next.pop()
            if self._rest is not None:
                piece = await self._rest.read()
                if piece:
                    return piece
                self._rest.close()
                self._rest = None
            elif self._is_over:
                return b""
            elif self._index == self._count:
                self._is_over = True
                self._gathered.end()
                return b"]" if self._has_begun else b"[]"
            else:
                await self._go_on()

    async def _go_on(self) -> None:
        """The next members: small ones together, a large one, or one that is asked for now."""
        gathered = self._gathered
        request = gathered.later.pop(self._index, None)
        if request is not None:
            self._index += 1
            answer = await self._ask(request)
            self._rest = answer.rest
            self._next = [answer.body, self._separator()]
            return
        pieces: list[bytes] = []
        size = 0
        while self._index < self._count and self._index not in gathered.later:
            reply = gathered[self._index]
            if reply and size and size + len(reply) > _PIECE_BYTES:
                break
            self._index += 1
            if gathered.take(self._index - 1) is None or not reply:
                continue
            size += len(reply)
            pieces += (self._separator(), reply)
        if size > _PIECE_BYTES:  # a large one, which is not copied
            self._next = pieces[::-1]
        elif pieces:
            self._next = [b"".join(pieces)]

    def _separator(self) -> bytes:
        if self._has_begun:
            return b","
        self._has_begun = True
        return b"["

    def close(self) -> None:
        """Give up the rest; idempotent."""
        self._is_over = True
        self._next.clear()
        self._gathered.end()
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.close()
