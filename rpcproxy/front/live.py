"""Pages that stay up to date: server-sent events to a bounded number of listeners.

One picture is drawn for all of them, and only while somebody looks; who is slow misses pictures,
and is let go when it takes nothing for a while. No visitor takes the page from others: where all
places are taken, a newcomer gets the oldest of the address that has most, which may be a proxy's
with many people behind it; and a stream ends at a certain age, after which a browser asks again.

State: the listeners and the picture, in ``Live``, one for each page.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from aiohttp import web

from rpcproxy.engine import tasks

MOST_LISTENERS: Final = 128
PICTURE_SECONDS: Final = 2.0
# Drawing may take so much of the time, and the pauses grow where it would be more.
DRAWING_SHARE: Final = 0.02
SLOW_SECONDS: Final = 10.0
# One that reads nothing is not slow while the system's buffers take it all.
AGE_SECONDS: Final = 600.0
CLOSE_SECONDS: Final = 0.5
_RETRY_MILLISECONDS: Final = 3000
_AGED_RETRY_MILLISECONDS: Final = 200  # nothing is wrong: nobody need see it
RETRY_AFTER_SECONDS: Final = 10  # status.js waits so long by itself
_SITE_BITS: Final = 64  # of an IPv6 address: one visitor has all below

_log = logging.getLogger("rpcproxy.live")

Draw = Callable[[], str]


class _Listener(msgspec.Struct, frozen=True, eq=False):
    site: str
    request: web.Request
    ended: asyncio.Future[None]  # done at its end


class Live:
    """``draw`` gives one line of text. ``close`` ends every stream: no drain waits for them."""

    def __init__(self, draw: Draw, most: int = MOST_LISTENERS) -> None:
        self._draw = draw
        self._most = most
        self._picture = b""
        self._number = 0  # of the picture
        self._news = asyncio.Condition()
        self._drawing: asyncio.Task[None] | None = None
        self._listeners: dict[asyncio.Task[object], _Listener] = {}  # the oldest first
        self._is_closed = False

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    async def listen(
        self, request: web.Request, headers: Mapping[str, str] = {}
    ) -> web.StreamResponse:
        """Serve one listener until it goes or is too old. 503 where there are too many."""
        site = _site_of(request.remote)
        if self._is_closed or not self._has_place(site):
            words = f"no more than {self._most} pages can be live at once\n"
            later = {"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"}
            return web.Response(status=503, text=words, headers={**headers, **later})
        response = web.StreamResponse(headers={**headers, "Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        # A proxy in front must not collect them (nginx).
        response.headers["X-Accel-Buffering"] = "no"
        if not self._listeners:
            self._redraw()  # the last one is of another time
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- aiohttp's handlers run in one
        ended = asyncio.get_running_loop().create_future()
        self._listeners[task] = _Listener(site, request, ended)
        if self._drawing is None or self._drawing.done():
            self._drawing = tasks.start(self._keep_drawing(), "live page")
        try:
            await response.prepare(request)
            await self._write(response, b"retry: %d\n\n" % _RETRY_MILLISECONDS)
            await self._follow(response)
        except (TimeoutError, ConnectionResetError):
            _hang_up(request)
        finally:
            self._listeners.pop(task, None)
            ended.cancel()
        return response

    def _has_place(self, site: str) -> bool:
        """Whether there is one for ``site``; that of another, who has more, is taken for it."""
        if len(self._listeners) < self._most:
            return True
        counts = Counter(each.site for each in self._listeners.values())
        fullest, most = counts.most_common(1)[0]
        if most <= counts[site] + 1:
            return False
        for task, listener in self._listeners.items():
            if listener.site == fullest:
                del self._listeners[task]
                _hang_up(listener.request)
                break
        return True

    async def _follow(self, response: web.StreamResponse) -> None:
        until = time.monotonic() + AGE_SECONDS
        while not self._is_closed:
            number = self._number
            await self._write(response, self._picture)
            if time.monotonic() >= until:
                await self._write(response, b"retry: %d\n\n" % _AGED_RETRY_MILLISECONDS)
                break
            async with self._news:
                while self._number == number and not self._is_closed:
                    await self._news.wait()
        async with asyncio.timeout(SLOW_SECONDS):
            await response.write_eof()

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
            ended = {listener.ended for listener in self._listeners.values()}
            await asyncio.wait(ended, timeout=CLOSE_SECONDS)
        for task in [*self._listeners]:
            task.cancel()  # it takes nothing, and does not look up


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _site_of(address: str | None) -> str:
    """What one visitor has of addresses."""
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(known, ipaddress.IPv6Address):
        known = known.ipv4_mapped or known
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(ipaddress.ip_network((known, _SITE_BITS), strict=False))
