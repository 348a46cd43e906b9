"""The hot path: requests and answers on one client connection.

A request whose head is remembered and whose body came with it is served inside
``data_received``: one comparison with the head before it, or one look-up, one call of the
door, one write. Everything else goes through a ``RequestReader`` and ``_advance``, a loop over
what has arrived. One request of a connection is served at a time, so that pipelined ones are
answered in order.

Whatever is not POST is read by the same reader, and answered by the listener's pages (``web``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, cast

from rpcproxy.front.protocol import responses
from rpcproxy.front.protocol.page import PageRequest
from rpcproxy.front.protocol.reader import ReadingStage, RequestReader
from rpcproxy.front.protocol.request_heads import RequestHead, RequestRefused
from rpcproxy.front.wire.answering import AnsweringConnection
from rpcproxy.front.wire.client_connection import Phase
from rpcproxy.front.wire.shared import Shared, log
from rpcproxy.messages import Answer, AnswerStream, Handled, Pending
from rpcproxy.rules.answers.holding import COUNTED_BYTES

# Bound once: attributes of a class or module cost a look-up per request.
_IDLE: Final = Phase.IDLE

# What may wait behind a request in flight before reading stops.
_WAITING_BYTES: Final = 64 * 1024
# Pipelined requests answered in one go before other connections get their turn.
_BURST: Final = 32


class HttpConnection(AnsweringConnection):
    __slots__ = (
        "_door_of",
        "_head",
        "_is_scheduled",
        "_known",
        "_last",
        "_pending",
        "_reader",
        "_task",
        "_timed_stage",
        "_trace_id",
        "_unbegun",
    )

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(shared, loop)
        self._known = shared.heads.get
        self._door_of = shared.doors.get
        self._last: RequestHead | None = None  # remembered, of the last request
        self._reader: RequestReader | None = None  # most connections never need one
        self._timed_stage = ReadingStage.EMPTY  # what ``since`` is the beginning of, while READING
        self._task: asyncio.Task[None] | None = None
        self._pending: Pending | None = None
        self._head: RequestHead | None = None  # of the request that is pending
        self._trace_id = ""
        # What the task works on, until it has begun: then it closes that itself.
        self._unbegun: Coroutine[Any, Any, Answer] | AnswerStream | None = None
        self._is_scheduled = False  # _advance will be called by the loop

    # ------------------------------------------------------------------ reading

    def data_received(self, data: bytes) -> None:
        if self._phase is _IDLE:
            head = self._last
            if head is not None and data.startswith(head.text):
                end = len(head.text)
            else:
                end = data.find(b"\r\n\r\n") + 4
                head = self._last = self._known(data[:end])
            # The length of a chunked body is -1, so never this one.
            if head is not None and len(data) - end == head.content_length:
                self._serve(head, data[end:])
                return
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        phase = self._phase
        if phase is Phase.CLOSING:
            self._discard(data)
            return
        if phase is Phase.TURNED_AWAY:
            self.refuse(503, "the proxy has as many connections as it may; try again soon")
            return
        if phase is Phase.IDLE:
            self._phase = Phase.READING
        reader = self._reader
        if reader is None:
            reader = self._reader = RequestReader(self._shared.settings.limits, self._shared.heads)
        reader.limits = self._shared.settings.limits  # a reload may have changed them
        try:
            reader.receive(data)
        except RequestRefused as refused:
            self.refuse(refused.status, refused.reason)
            return
        if phase is Phase.BUSY or self._is_writing_paused or self._is_scheduled:
            if reader.waiting_bytes > _WAITING_BYTES:
                self._pause_reading()
                held = 0 if self._unread is None else self._unread.bytes
                if not self._may_hold_unread(max(held, reader.waiting_bytes)):
                    self._shared.counters.crowded_out += 1
                    self._transport.abort()
            return
        self._advance()

    def _advance(self) -> None:
        """Serve what has arrived, until something is missing or in flight."""
        reader = self._reader
        left = _BURST
        while reader is not None and self._phase is Phase.READING and not self._is_writing_paused:
            if not left:
                self._is_scheduled = True
                self._loop.call_soon(self._on_turn)
                return
            left -= 1
            try:
                request = reader.next()
            except RequestRefused as refused:
                self.refuse(refused.status, refused.reason)
                return
            if request is None:
                break
            if request[0].method == "POST":
                self._serve(*request)
            else:
                self._serve_page(request[0])
        if self._phase is Phase.READING and not self._is_writing_paused:
            self._settle(reader)

    def _on_turn(self) -> None:
        self._is_scheduled = False
        self._advance()

    def _settle(self, reader: RequestReader | None) -> None:
        """All that has come was served, but for the beginning of a request."""
        stage = reader.stage if reader is not None else ReadingStage.EMPTY
        if self._is_eof:
            self._leave()
        elif stage is ReadingStage.EMPTY:
            self._phase = Phase.IDLE
            if self._unread is not None:
                self._unread.end()
            self._shared.watched.discard(self)
            self._resume_reading()
        else:
            arrived = 0 if reader is None else reader.body_bytes
            if arrived > COUNTED_BYTES and not self._may_hold_unread(arrived):
                self._crowd_out()
                return
            if reader is not None and reader.wants_continue:
                reader.wants_continue = False
                self.write(responses.CONTINUE)
            if stage is not self._timed_stage:
                self._timed_stage = stage
                self._watch()
            self._resume_reading()

    def _leave(self) -> None:
        self._phase = Phase.CLOSING
        self._watch()
        self._shared.outbox.flush()
        self._transport.close()

    # ------------------------------------------------------------------ answering

    def _serve(self, head: RequestHead, body: bytes) -> None:
        shared = self._shared
        size = len(body)
        shared.counters.received_bytes += size
        self.since = shared.now
        self._timed_stage = ReadingStage.EMPTY
        trace_id = shared.new_trace_id()
        door = self._door_of(head.path)
        if size > COUNTED_BYTES and not self._may_hold_unread(size):
            self._crowd_out()
            return
        answer: Handled
        try:
            if door is None:
                answer = responses.unknown_path()
            elif body[:1] == b"{" and not head.is_fresh:
                answer = door.handle(body, trace_id)
            else:  # it may be a batch
                purse = self.purse
                answer = door.handle(body, trace_id, is_fresh=head.is_fresh, purse=purse)
        except Exception:  # noqa: BLE001  whatever it is, the client gets its answer
            log.exception("request failed", extra={"trace_id": trace_id})
            answer = responses.failure()
        if answer.__class__ is Answer:
            if self._respond(head, answer, trace_id):
                if size > COUNTED_BYTES and self._unread is not None:
                    self._unread.end()
                return
            self._unbegun = answer.rest
            work = self._deliver_alone(head, answer, trace_id)
        elif isinstance(answer, Pending):
            self._phase = Phase.BUSY
            self._pending = answer
            self._head = head
            self._trace_id = trace_id
            answer.deliver = self._on_delivered
            return
        else:
            self._unbegun = cast("Coroutine[Any, Any, Answer]", answer)
            work = self._run(head, trace_id)
        self._phase = Phase.BUSY
        # Not engine.tasks.start: the connection keeps the reference and logs the exceptions,
        # and a callback per task would be a tenth of what the front may cost.
        self._task = self._loop.create_task(work)

    def _serve_page(self, head: RequestHead) -> None:
        shared = self._shared
        self.since = shared.now
        self._timed_stage = ReadingStage.EMPTY
        trace_id = shared.new_trace_id()
        try:
            page = shared.pages(self._page_request(head))
        except Exception:  # noqa: BLE001  whatever it is, the client gets its answer
            log.exception("request failed", extra={"trace_id": trace_id})
            page = responses.as_page(responses.failure())
        if page.rest is not None:
            self._phase = Phase.BUSY
            self._unbegun = page.rest
            self._task = self._loop.create_task(self._deliver_alone(head, page, trace_id))
            return
        self._write_page(head, page, trace_id)

    def _page_request(self, head: RequestHead) -> PageRequest:
        ask = self._transport.get_extra_info
        peer, here = ask("peername") or ("",), (ask("sockname") or ("localhost", 80))[:2]
        address = f"[{here[0]}]" if ":" in str(here[0]) else here[0]
        return PageRequest.of_head(
            head,
            peer=str(peer[0]),
            here=f"{address}:{here[1]}",
            scheme="http" if self._shared.settings.tls is None else "https",
            hang_up=self._transport.abort,
        )

    def _on_delivered(self, answer: Answer) -> None:
        """A pending answer is there."""
        self._pending = None
        head, trace_id = cast("RequestHead", self._head), self._trace_id
        if self._respond(head, answer, trace_id):
            self._on_answered()
        else:
            self._unbegun = answer.rest
            self._task = self._loop.create_task(self._deliver_alone(head, answer, trace_id))

    async def _run(self, head: RequestHead, trace_id: str) -> None:
        """The request's task: wait for the answer and write it."""
        coroutine, self._unbegun = self._unbegun, None
        try:
            answer = await coroutine  # type: ignore[misc]  # set right before the task was made
        except Exception:  # noqa: BLE001  whatever it is, the client gets its answer
            log.exception("request failed", extra={"trace_id": trace_id})
            answer = responses.failure()
        if not self._respond(head, answer, trace_id):
            await self._deliver(head, answer, trace_id)
        self._on_answered()

    async def _deliver_alone(self, head: RequestHead, answer: Answer, trace_id: str) -> None:
        self._unbegun = None
        await self._deliver(head, answer, trace_id)
        self._on_answered()

    def _on_answered(self) -> None:
        self._task = None
        if self._phase is not Phase.BUSY:
            return
        if self._unread is not None:
            self._unread.end()
        self.since = self._shared.now
        reader = self._reader
        is_clear = reader is None or reader.stage is ReadingStage.EMPTY
        if is_clear and not self._is_writing_paused and not self._is_eof:
            self._phase = Phase.IDLE
            if self._is_reading_paused:
                self._resume_reading()  # too much waited behind this request
        else:
            self._phase = Phase.READING
            self._advance()

    # ------------------------------------------------------------------ going, time

    def eof_received(self) -> bool:
        """A client may end its sending side and still wait for its answer (``nc -N``).

        It may as well have hung up: the two look the same until something is written. So
        the request gets ``half_close_seconds`` to be answered in.
        """
        is_waited_for = self._phase is Phase.BUSY or (
            self._phase is Phase.READING and (self._is_writing_paused or self._is_scheduled)
        )
        if not is_waited_for or not self._transport.can_write_eof():
            if self._phase is not Phase.CLOSING:
                self._leave()
            return False
        self._is_eof = True
        self._watch()
        return True

    def _check_reading(self, waited_seconds: float) -> None:
        settings = self._shared.settings
        limits = settings.limits
        if self._timed_stage is ReadingStage.HEAD and waited_seconds > limits.header_seconds:
            self._refuse_slow(f"the request head took over {limits.header_seconds:g} s")
        elif self._timed_stage is ReadingStage.BODY and self._reader is not None:
            extra_seconds = self._reader.body_bytes / settings.least_bytes_per_second
            if waited_seconds > limits.body_seconds + extra_seconds:
                self._refuse_slow(f"the request body took over {limits.body_seconds:g} s")

    def _check_busy(self, waited_seconds: float) -> None:
        limit_seconds = self._shared.settings.half_close_seconds
        if self._is_eof and not self._is_delivering and waited_seconds > limit_seconds:
            self._transport.abort()

    def forget(self) -> None:
        self._last = None

    def _on_gone(self) -> None:
        self._reader = None
        if self._task is not None:
            self._shared.counters.hung_up += 1
            self._task.cancel()
            self._task = None
        if self._pending is not None:
            self._shared.counters.hung_up += 1
            self._pending.cancel()
            self._pending = None
        if self._unbegun is not None:  # the task is cancelled before it began
            self._unbegun.close()
            self._unbegun = None
