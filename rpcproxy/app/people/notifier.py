"""Tells webhooks of changes, outages and reloads, beside the serving and never in its way.

State: the webhooks of the configuration in force, each with its task and what it was not told of
yet; which conditions have begun, and which chains are in an outage.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.config.model import Notice
from rpcproxy.edges.logs import event
from rpcproxy.edges.metrics.metrics import Counters, class_name
from rpcproxy.edges.webhook import BACKOFF_SECONDS, Webhook
from rpcproxy.engine import tasks
from rpcproxy.rules.telling.bulletin import body_of, shape_of
from rpcproxy.rules.telling.notices import (
    GROUP_SECONDS,
    Bulletin,
    Conditions,
    Gathering,
    NoticeEvent,
    Outages,
    SendRefusals,
)
from rpcproxy.rules.telling.sample import Sample
from rpcproxy.states import Change, ChangeKind

_log = logging.getLogger("rpcproxy.app")


@dataclass(frozen=True, slots=True)
class NoticeTimes:
    """Events of ``group_seconds`` are told together. A receiver that is away is asked again after
    ``backoff_seconds``, which double. At the end ``last_words_seconds`` are for all that is not
    told yet.
    """

    group_seconds: float = GROUP_SECONDS
    backoff_seconds: float = BACKOFF_SECONDS
    last_words_seconds: float = 2.0


USUAL_NOTICE_TIMES: Final = NoticeTimes()


class Notices:
    """See the module's docstring. ``redact`` goes over every text that leaves."""

    def __init__(
        self,
        counters: Counters,
        redact: Callable[[str], str],
        clock: Clock = SYSTEM_CLOCK,
        times: NoticeTimes = USUAL_NOTICE_TIMES,
    ) -> None:
        self._counters = counters
        self._redact = redact
        self._clock = clock
        self._times = times
        self._tellers: dict[Notice, _Teller] = {}
        self._conditions = Conditions()
        self._outages = Outages()
        self._refusals = SendRefusals()
        self._closing: set[asyncio.Task[None]] = set()

    def configure(self, notices: Sequence[Notice]) -> None:
        """Take over the webhooks of a configuration; those that stay go on."""
        old = self._tellers
        self._tellers = {notice: old.get(notice) or self._new_teller(notice) for notice in notices}
        for notice in old.keys() - self._tellers.keys():
            closing = tasks.start(old[notice].close(), "close a webhook")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _new_teller(self, notice: Notice) -> _Teller:
        now = self._clock.monotonic
        return _Teller(notice, self._counters, self._redact, now, self._times)

    def on_change(self, chain: str, change: Change) -> None:
        """A standing changed, just now."""
        if self._tellers:
            self._tell(
                NoticeEvent(
                    kind=change.kind,
                    chain=chain,
                    upstream=change.upstream,
                    reason=change.reason,
                    method_class=class_name(change.method_class),
                    unix_seconds=self._clock.unix(),
                )
            )

    def on_reload(self, words: str, *, is_accepted: bool) -> None:
        """The configuration was taken over, or refused and why. Who is told of reloads alone is
        told of both.
        """
        told = NoticeEvent(
            kind=ChangeKind.CONFIG_RELOAD,
            reason=words,
            unix_seconds=self._clock.unix(),
            is_over=is_accepted,
        )
        refused = msgspec.structs.replace(told, kind=ChangeKind.CONFIG_REFUSED)
        for teller in self._tellers.values():
            teller.add(told if is_accepted or not teller.wants(refused) else refused)

    def on_died(self, words: str) -> None:
        """The process before this one ended without a word."""
        self._tell(
            NoticeEvent(
                kind=ChangeKind.DIED, reason=words, unix_seconds=self._clock.unix(), is_over=True
            )
        )

    def on_sample(self, sample: Sample) -> None:
        """A sink of samples: outages begin and end, and times in which transactions are refused."""
        self._conditions.forget_chains_but([chain.name for chain in sample.chains])
        for turn in (*self._outages.compare(sample), *self._refusals.compare(sample)):
            self._tell(turn)

    def _tell(self, event: NoticeEvent) -> None:
        told = self._conditions.told(event)
        if told is not None:
            for teller in self._tellers.values():
                teller.add(told)

    async def close(self) -> None:
        """Tell what is not told yet, within a moment, and end."""
        tellers, self._tellers = self._tellers, {}
        await asyncio.gather(
            asyncio.gather(*(teller.close() for teller in tellers.values())),
            asyncio.gather(*self._closing, return_exceptions=True),
        )


class _Teller:
    """One webhook: gathers events, and sends them when their time has come."""

    def __init__(
        self,
        notice: Notice,
        counters: Counters,
        redact: Callable[[str], str],
        now: Callable[[], float],
        times: NoticeTimes,
    ) -> None:
        self._events = frozenset(notice.events)
        self._shape = shape_of(notice.url)
        self._webhook = Webhook(
            notice.url, proxy=notice.proxy or "", backoff_seconds=times.backoff_seconds
        )
        self._counters = counters
        self._redact = redact
        self._now = now
        self._last_words_seconds = times.last_words_seconds
        self._gathering = Gathering(now(), times.group_seconds)
        self._has_news = asyncio.Event()
        self._under_way: Bulletin | None = None
        self._sent: asyncio.Future[None]  # of what is under way
        self._task = tasks.start(self._run(), "webhook")

    def wants(self, event: NoticeEvent) -> bool:
        return event.kind in self._events

    def add(self, event: NoticeEvent) -> None:
        if not self.wants(event):
            return
        left_out = self._gathering.add(event, self._now())
        self._counters.on_notices("left_out", left_out)
        self._has_news.set()

    async def _run(self) -> None:
        while True:
            now = self._now()
            due = self._gathering.due(now)
            if due is None:
                self._has_news.clear()
                await self._has_news.wait()
            elif due > now:
                await asyncio.sleep(due - now)
            else:
                await self._send(self._gathering.take(now))

    async def _send(self, bulletin: Bulletin | None) -> None:
        if bulletin is None:
            return
        self._under_way = bulletin
        self._sent = asyncio.get_running_loop().create_future()
        body = msgspec.json.encode(body_of(bulletin, self._shape, self._redact))
        words = await self._webhook.post(body)
        self._under_way = None
        self._sent.set_result(None)
        if not words:
            self._counters.on_notices("sent", bulletin.count)
            return
        self._gathering.on_undelivered(bulletin)
        self._on_undelivered(bulletin, words)

    def _on_undelivered(self, bulletin: Bulletin, words: str) -> None:
        self._counters.on_notices("undelivered", bulletin.count)
        event(
            _log,
            logging.WARNING,
            "notice_undelivered",
            f"the webhook at {self._webhook.host} was not told of {bulletin.count} changes",
            reason=words,
        )

    async def close(self) -> None:
        """What is under way has half a moment to arrive, what is left one try in the rest of it:
        one after the other, so that no end overtakes its beginning.
        """
        seconds = self._last_words_seconds
        deadline = asyncio.get_running_loop().time() + seconds
        words = f"no answer within {seconds:g} s, at the end"
        if self._under_way is not None:
            await asyncio.wait(
                {self._task, self._sent},
                timeout=seconds / 2,
                return_when=asyncio.FIRST_COMPLETED,
            )
        await tasks.stop(self._task)
        if self._under_way is not None:
            self._on_undelivered(self._under_way, words)
        bulletin = self._gathering.take(self._now())
        if bulletin is not None:
            body = msgspec.json.encode(body_of(bulletin, self._shape, self._redact))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    words = await self._webhook.post(body, tries=1)
            if words:
                self._on_undelivered(bulletin, words)
            else:
                self._counters.on_notices("sent", bulletin.count)
        await self._webhook.close()
