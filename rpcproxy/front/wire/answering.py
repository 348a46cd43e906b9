"""Answers on their way to one client: whole, compressed, in pieces, or refused for want of room.

No state but the connection's own.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.engine.answers.gathered import InOrder
from rpcproxy.engine.answers.shared_text import SharedText
from rpcproxy.front.protocol import encoding, responses
from rpcproxy.front.protocol.page import Page
from rpcproxy.front.protocol.request_heads import RequestHead
from rpcproxy.front.wire.client_connection import ClientConnection
from rpcproxy.front.wire.live import Listening
from rpcproxy.front.wire.shared import log
from rpcproxy.front.wire.streams import STREAM_BYTES, pour
from rpcproxy.messages import Answer, StreamBroken
from rpcproxy.rules.answers.holding import COUNTED_BYTES, crowded_out

# Bound once: attributes of a class or module cost a look-up per request.
_LENGTHS: Final = responses.LENGTHS
_SHORT: Final = len(_LENGTHS)
_OK_START: Final = responses.OK_START

# Larger bodies are written apart from their head instead of copied behind it.
_JOIN_BYTES: Final = 64 * 1024


class AnsweringConnection(ClientConnection):
    """A client's connection that writes answers: at once, compressed, or as a stream."""

    __slots__ = ()

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
        if size > COUNTED_BYTES and not self._may_hold_unsent(size):
            self._crowd_out(head)
            return True
        if not (head.has_gzip and size > encoding.WORTH_BYTES and shared.settings.gzip):
            self._write_whole(head, answer, body, trace_id)
        elif size > encoding.OFF_LOOP_BYTES:
            return False
        else:
            self._write_whole(head, answer, encoding.compress(body), trace_id, has_gzip=True)
        return True

    def _write_page(self, head: RequestHead, page: Page, trace_id: str) -> None:
        length = responses.WITHOUT_BODY if page.status == 204 else len(page.body)
        text, is_last = self._open_response(head, page, trace_id, length, has_gzip=False)
        self.write(text if head.method == "HEAD" else text + page.body)
        if is_last:
            self._say_goodbye()

    def _open_response(
        self, head: RequestHead, answer: Answer, trace_id: str, length: int, *, has_gzip: bool
    ) -> tuple[bytes, bool]:
        """The head of a response, and whether the connection ends after it."""
        is_last = (
            not head.is_keep_alive
            or self._shared.is_draining
            or length == responses.UNTIL_CLOSE
            or (isinstance(answer, Page) and answer.is_last)
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
        self._settle_unsent()
        if is_last:
            self._say_goodbye()

    def _crowd_out(self, head: RequestHead | None = None) -> None:
        """Refuse what would be held beyond what there is room for. ``head``: of a request that
        was read whole, after which the connection goes on.
        """
        self._shared.counters.crowded_out += 1
        answer = crowded_out()
        if head is not None:
            trace_id = self._shared.new_trace_id()
            self._shared.on_refusal(trace_id, answer)
            self._write_whole(head, answer, answer.body, trace_id)
            return
        self.refuse_with(answer)

    async def _deliver(self, head: RequestHead, answer: Answer, trace_id: str) -> None:
        """Send an answer that takes time: a stream, or one to compress off the loop."""
        rest = answer.rest
        of_rest = rest.size if isinstance(rest, SharedText | InOrder | Listening) else STREAM_BYTES
        held = len(answer.body) + of_rest
        if rest is not None and not self._may_hold_unsent(held):
            rest.close()
            self._crowd_out(head)
            return
        if isinstance(rest, SharedText) and head.has_gzip and self._shared.settings.gzip:
            answer.body, answer.rest = answer.body + rest.whole(), None
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
        self._settle_unsent()
        self._shared.counters.sent_bytes += sent
        if is_last:
            self._say_goodbye()
