"""Pages that stay up to date: server-sent events to a bounded number of listeners.

One picture is drawn for all of them, and only while somebody looks; who is slow misses pictures,
and is let go when it takes nothing for a while.

State: the listeners and the picture, in ``Live``, one for each page.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from rpcproxy.engine import tasks

MOST_LISTENERS: Final = 32
PICTURE_SECONDS: Final = 2.0
# Drawing may take so much of the time, and the pauses grow where it would be more.
DRAWING_SHARE: Final = 0.02
SLOW_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 0.5
_RETRY_MILLISECONDS: Final = 3000

_log = logging.getLogger("rpcproxy.live")

Draw = Callable[[], str]


class Live:
    """``draw`` gives one line of text. ``close`` ends every stream: no drain waits for them."""

    def __init__(self, draw: Draw, most: int = MOST_LISTENERS) -> None:
        self._draw = draw
        self._most = most
        self._picture = b""
        self._number = 0  # of the picture
        self._news = asyncio.Condition()
        self._drawing: asyncio.Task[None] | None = None
        self._listeners: dict[asyncio.Task[object], asyncio.Future[None]] = {}  # done at its end
        self._is_closed = False

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    async def listen(
        self, request: web.Request, headers: Mapping[str, str] = {}
    ) -> web.StreamResponse:
        """Serve one listener until it goes. 503 where there are too many."""
        if self._is_closed or len(self._listeners) >= self._most:
            words = f"no more than {self._most} pages can be live at once\n"
            return web.Response(status=503, text=words, headers=headers)
        response = web.StreamResponse(headers={**headers, "Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        # A proxy in front must not collect them (nginx).
        response.headers["X-Accel-Buffering"] = "no"
        if not self._listeners:
            self._redraw()  # the last one is of another time
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- aiohttp's handlers run in one
        self._listeners[task] = ended = asyncio.get_running_loop().create_future()
        if self._drawing is None or self._drawing.done():
            self._drawing = tasks.start(self._keep_drawing(), "live page")
        try:
            await response.prepare(request)
            await self._write(response, b"retry: %d\n\n" % _RETRY_MILLISECONDS)
            await self._follow(response)
        except (TimeoutError, ConnectionResetError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            del self._listeners[task]
            ended.cancel()
        return response

    async def _follow(self, response: web.StreamResponse) -> None:
        while not self._is_closed:
            number = self._number
            await self._write(response, self._picture)
            async with self._news:
                while self._number == number and not self._is_closed:
                    await self._news.wait()

    @staticmethod
    async def _write(response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(SLOW_SECONDS):
            await response.write(data)

    def _redraw(self) -> float:
        started = time.monotonic()
        self._picture = b"data: " + self._draw().encode() + b"\n\n"
        self._number += 1
        return time.monotonic() - started

    async def _keep_drawing(self) -> None:
        seconds = 0.0
        while self._listeners:
            await asyncio.sleep(max(PICTURE_SECONDS, seconds / DRAWING_SHARE))
            if not self._listeners:
                return
            try:
                seconds = self._redraw()
            except Exception:  # noqa: BLE001 - logged; the next picture may be drawn
                _log.exception("a live page could not be drawn")
            async with self._news:
                self._news.notify_all()

    async def close(self) -> None:
        """End every stream."""
        self._is_closed = True
        async with self._news:
            self._news.notify_all()
        await tasks.stop(self._drawing)
        if self._listeners:
            await asyncio.wait({*self._listeners.values()}, timeout=CLOSE_SECONDS)
        for task in [*self._listeners]:
            task.cancel()  # it takes nothing, and does not look up
