"""A webhook: JSON to one URL, tried again while its receiver is away.

Its URL holds a key: neither it nor what aiohttp says of it goes any further than here.

State: the session, opened with the first message.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final

import aiohttp
from yarl import URL

from rpcproxy import __version__
from rpcproxy.edges.http.tunnel import connector, errors_of, read_way

TRIES: Final = 8
TRY_SECONDS: Final = 10.0
# Doubled each time, with jitter, so that replicas do not come all at once.
BACKOFF_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 30.0
LONGEST_ASKED_SECONDS: Final = 120.0  # what a receiver may ask for with Retry-After
_PASSING: Final = (408, 425, 429)


class Webhook:
    """See the module's docstring. ``host`` is what may be shown of its URL."""

    def __init__(
        self, url: str, *, proxy: str = "", backoff_seconds: float = BACKOFF_SECONDS
    ) -> None:
        self._url = URL(url)
        self.host = self._url.host or "?"
        self._way = read_way(proxy)
        # Loads what an outbound proxy needs: in the outage that is to be told it may be too late.
        refused, unreachable = errors_of(self._way)
        self._failures: tuple[type[Exception], ...] = (
            *(aiohttp.ClientError, OSError, ValueError),
            *refused,
            *unreachable,
        )
        self._backoff_seconds = backoff_seconds
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, tries: int = TRIES) -> str:
        """Deliver ``body`` (JSON). Empty once it was taken, else in words why it was not."""
        pause_seconds = self._backoff_seconds
        words = ""
        for left in reversed(range(tries)):
            words, is_final, asked_seconds = await self._try(body)
            if not words or is_final or not left:
                break
            jittered = pause_seconds * random.uniform(0.5, 1.0)
            await asyncio.sleep(max(jittered, asked_seconds))
            pause_seconds = min(LONGEST_BACKOFF_SECONDS, pause_seconds * 2.0)
        return words

    async def _try(self, body: bytes) -> tuple[str, bool, float]:
        """In words what went wrong, whether that will not change, and the pause it asks for."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=connector(self._way),
                timeout=aiohttp.ClientTimeout(total=TRY_SECONDS),
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": f"rpcproxy/{__version__}",
                },
            )
        try:
            # Elsewhere than configured nothing is told.
            async with self._session.post(self._url, data=body, allow_redirects=False) as reply:
                status, retry_after = reply.status, reply.headers.get("Retry-After", "")
        except TimeoutError:
            return f"no answer within {TRY_SECONDS:g} s", False, 0.0
        except self._failures as error:
            return type(error).__name__, False, 0.0
        if status < 300:
            return "", True, 0.0
        return f"HTTP {status}", status < 500 and status not in _PASSING, _seconds(retry_after)

    async def close(self) -> None:
        """Close its connections; idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _seconds(retry_after: str) -> float:
    """A date is not taken: no receiver of webhooks is known to send one."""
    with contextlib.suppress(ValueError):
        return min(LONGEST_ASKED_SECONDS, max(0.0, float(retry_after)))
    return 0.0
