"""The hot path: requests and answers on one client connection.

A request whose head is remembered and whose body came with it is served inside
``data_received``: one comparison with the head before it, or one look-up, one call of the
door, one write. Everything else goes through a ``RequestReader`` and ``_advance``, a loop over
what has arrived. One request of a connection is served at a time, so that pipelined ones are
answered in order.

Whatever is not POST is handed, on the same transport, to aiohttp (``web``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, cast

from rpcproxy.front import encoding, responses
from rpcproxy.front.connection import ClientConnection, Phase
from rpcproxy.front.heads import Refused, RequestHead
from rpcproxy.front.reader import RequestReader, Stage
from rpcproxy.front.shared import Shared, log
from rpcproxy.front.streams import pour
from rpcproxy.messages import Answer, AnswerStream, Pending, StreamBroken

# Bound once: attributes of a class or module cost a look-up per request.
_IDLE: Final = Phase.IDLE
_LENGTHS: Final = responses.LENGTHS
_SHORT: Final = len(_LENGTHS)
_OK_START: Final = responses.OK_START

# What may wait behind a request in flight before reading stops.
_WAITING_BYTES: Final = 64 * 1024
# Pipelined requests answered in one go before other connections get their turn.
_BURST: Final = 32
# Larger bodies are written apart from their head instead of copied behind it.
_JOIN_BYTES: Final = 64 * 1024
# Uploads get longer than ``body_seconds`` as long as they keep up this rate.
_LEAST_BYTES_PER_SECOND: Final = 16 * 1024


class Connection(ClientConnection):
    __slots__ = (
        "_door_of",
        "_head",
        "_is_delivering",
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
        self._timed_stage = Stage.EMPTY  # what ``since`` is the beginning of, while READING
        self._task: asyncio.Task[None] | None = None
        self._pending: Pending | None = None
        self._head: RequestHead | None = None  # of the request that is pending
        self._trace_id = ""
        # What the task works on, until it has begun: then it closes that itself.
        self._unbegun: Coroutine[Any, Any, Answer] | AnswerStream | None = None
        self._is_delivering = False  # part of an answer has left, more is to come
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
        except Refused as refused:
            self.refuse(refused.status, refused.reason)
            return
        if phase is Phase.BUSY or self._is_writing_paused or self._is_scheduled:
            if reader.waiting_bytes > _WAITING_BYTES:
                self._pause_reading()
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
            except Refused as refused:
                self.refuse(refused.status, refused.reason)
                return
            if request is None:
                break
            self._serve(*request)
        if self._phase is Phase.READING and not self._is_writing_paused:
            self._settle(reader)

    def _on_turn(self) -> None:
        self._is_scheduled = False
        self._advance()

    def _settle(self, reader: RequestReader | None) -> None:
        """All that has come was served, but for the beginning of a request."""
        stage = reader.stage if reader is not None else Stage.EMPTY
        if reader is not None and stage is Stage.FOREIGN:
            self._hand_over(reader.take_rest())
        elif self._is_eof:
            self._leave()
        elif stage is Stage.EMPTY:
            self._phase = Phase.IDLE
            self._shared.watched.discard(self)
            self._resume_reading()
        else:
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

    def _hand_over(self, data: bytes) -> None:
        new_web_protocol = self._shared.new_web_protocol
        if self._is_eof or new_web_protocol is None:
            self._leave()
            return
        self._phase = Phase.GONE
        self._resume_reading()
        self._shared.outbox.flush()
        protocol = new_web_protocol()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        self._shared.leave(self)
        protocol.data_received(data)

    # ------------------------------------------------------------------ answering

    def _serve(self, head: RequestHead, body: bytes) -> None:
        shared = self._shared
        shared.counters.received_bytes += len(body)
        self.since = shared.now
        self._timed_stage = Stage.EMPTY
        trace_id = shared.new_trace_id()
        door = self._door_of(head.path)
        try:
            if head.is_fresh and door is not None:
                answer = door.handle(body, trace_id, is_fresh=True)
            else:
                answer = responses.unknown_path() if door is None else door.handle(body, trace_id)
        except Exception:  # noqa: BLE001  whatever it is, the client gets its answer
            log.exception("request failed", extra={"trace_id": trace_id})
            answer = responses.failure()
        if answer.__class__ is Answer:
            if self._respond(head, answer, trace_id):
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

    def _on_delivered(self, answer: Answer) -> None:
        """A pending answer is there."""
        self._pending = None
        head, trace_id = cast("RequestHead", self._head), self._trace_id
        if self._respond(head, answer, trace_id):
            self._on_answered()
        else:
            self._unbegun = answer.rest
            self._task = self._loop.create_task(self._deliver_alone(head, answer, trace_id))

    def _respond(self, head: RequestHead, answer: Answer, trace_id: str) -> bool:
        """Write the whole response at once; False where that takes a task."""
        body = answer.body
        size = len(body)
        shared = self._shared
        if (
            size < _SHORT
            and head.is_plain
            and answer.status == 200
            and answer.rest is None
            and not answer.retry_after_seconds
            and not shared.is_draining
        ):
            counters = shared.counters
            counters.answers_by_status[200] += 1
            counters.sent_bytes += size
            text = b"".join((_OK_START, trace_id.encode(), _LENGTHS[size], body))
            shared.outbox.put(self._transport, text)
            return True
        if answer.rest is not None:
            return False
        if not (head.has_gzip and size > encoding.WORTH_BYTES and shared.settings.gzip):
            self._write_whole(head, answer, body, trace_id)
        elif size > encoding.OFF_LOOP_BYTES:
            return False
        else:
            self._write_whole(head, answer, encoding.compress(body), trace_id, has_gzip=True)
        return True

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
        self.since = self._shared.now
        reader = self._reader
        is_clear = reader is None or reader.stage is Stage.EMPTY
        if is_clear and not self._is_writing_paused and not self._is_eof:
            self._phase = Phase.IDLE
            if self._is_reading_paused:
                self._resume_reading()  # too much waited behind this request
        else:
            self._phase = Phase.READING
            self._advance()

    def _open_response(
        self, head: RequestHead, answer: Answer, trace_id: str, length: int, *, has_gzip: bool
    ) -> tuple[bytes, bool]:
        """The head of a response, and whether the connection ends after it."""
        is_last = (
            not head.is_keep_alive or self._shared.is_draining or length == responses.UNTIL_CLOSE
        )
        statuses = self._shared.counters.answers_by_status
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        text = responses.head(
            answer,
            trace_id,
            length,
            has_gzip=has_gzip,
            connection=b"close" if is_last else b"keep-alive" if head.is_http10 else b"",
        )
        return text, is_last

    def _write_whole(
        self,
        head: RequestHead,
        answer: Answer,
        body: bytes,
        trace_id: str,
        *,
        has_gzip: bool = False,
    ) -> None:
        text, is_last = self._open_response(head, answer, trace_id, len(body), has_gzip=has_gzip)
        self._shared.counters.sent_bytes += len(body)
        if len(body) <= _JOIN_BYTES:
            self.write(text + body)
        else:
            self.write(text)
            self.write(body)
        if is_last:
            self._say_goodbye()

    async def _deliver(self, head: RequestHead, answer: Answer, trace_id: str) -> None:
        """Send an answer that takes time: a stream, or one to compress off the loop."""
        if answer.rest is None:
            body = await self._loop.run_in_executor(None, encoding.compress, answer.body)
            self._write_whole(head, answer, body, trace_id, has_gzip=True)
            return
        is_chunked = not head.is_http10
        length = responses.IN_CHUNKS if is_chunked else responses.UNTIL_CLOSE
        text, is_last = self._open_response(head, answer, trace_id, length, has_gzip=False)
        self._is_delivering = True
        self.write(text)
        try:
            sent = await pour(answer, self, is_chunked=is_chunked)
        except StreamBroken:
            self._transport.abort()  # the client must see that the answer is not whole
            return
        except Exception:  # noqa: BLE001  whatever it is, the client must see the break
            log.exception("an answer broke off", extra={"trace_id": trace_id})
            self._transport.abort()
            return
        self._is_delivering = False
        self._shared.counters.sent_bytes += sent
        if is_last:
            self._say_goodbye()

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
        limits = self._shared.settings.limits
        if self._timed_stage is Stage.HEAD and waited_seconds > limits.header_seconds:
            self._refuse_slow(f"the request head took over {limits.header_seconds:g} s")
        elif self._timed_stage is Stage.BODY and self._reader is not None:
            extra_seconds = self._reader.body_bytes / _LEAST_BYTES_PER_SECOND
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
