"""``rpcproxy demo``: simulated providers, outages in a loop, the proxy in front, a view of it.

Everything runs in one process and on one event loop; only drawing has a thread of its own.
State: ``Demo`` holds the objects that have it; the last events are in ``Events``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import uvloop
from rich.console import Console

from rpcproxy.app.process.hang_ups import HangUps
from rpcproxy.app.process.ports import explain_refusal
from rpcproxy.app.proxy import Proxy
from rpcproxy.config.model import Address, Chain, Config, History, Journal, Server, Upstream
from rpcproxy.drills.demo.demo_view import (
    Frame,
    Screen,
    ScreenEvent,
    UpstreamLine,
    Urls,
    WalletLine,
)
from rpcproxy.drills.demo.scenes import SITES, DemoStage, Take
from rpcproxy.drills.demo.wallet import Wallet, WalletTally
from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Provider, Ticker
from rpcproxy.edges.logs import ROOT, configure, event
from rpcproxy.engine import tasks
from rpcproxy.states import BETTER, CHANGES, ChangeKind, UpstreamState

_log = logging.getLogger("rpcproxy.demo")

HOST: Final = "127.0.0.1"
CHAIN_NAME: Final = "demo"
REQUESTS_PER_SECOND: Final = 80.0
FRAME_SECONDS: Final = 0.25
SHARE_FRAMES: Final = 16  # shares of the attempts are those of this many frames
EVENTS_KEPT: Final = 40
FAILURES_TOLD: Final = 3  # of each scene; the rest is counted
ADMIN_OFFSET: Final = 1000
HIGHEST_PORT: Final = 65535
DRAIN_SECONDS: Final = 0.3
STOP_SECONDS: Final = 1.5
USAGE_ERROR: Final = 2

_QUESTION: Final = '{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}'
# Events of the log that are changes, in few words.
_VERBS: Final[Mapping[str, str]] = {kind: meaning.brief for kind, meaning in CHANGES.items()}

_SHOWN_ELSEWHERE: Final = frozenset({"scene", "result"})  # in the picture


@dataclass(frozen=True, slots=True)
class Options:
    """``port`` 0 takes any free one, and so does ``admin_port``; ``None`` is a thousand above
    the wallet's. ``seconds`` ends the demo by itself. Scenes last ``pace`` times as long.
    """

    port: int = 8545
    admin_port: int | None = None
    has_outages: bool = True
    seconds: float | None = None
    pace: float = 1.0

    @property
    def admin(self) -> int:
        if self.admin_port is not None:
            return self.admin_port
        above = self.port + ADMIN_OFFSET
        return above if self.port and above <= HIGHEST_PORT else 0


class Events(logging.Handler):
    """What is logged, as sentences: the last ones."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.last: deque[ScreenEvent] = deque(maxlen=EVENTS_KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            kind = str(getattr(record, "event", ""))
            if kind in _SHOWN_ELSEWHERE:
                return
            tone = "bad" if record.levelno >= logging.WARNING else ""
            tone = "good" if kind in BETTER else tone
            stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
            self.last.append(ScreenEvent(stamp, _sentence(record, kind), tone))
        except Exception:  # noqa: BLE001 - a line in a picture is worth no failure
            self.handleError(record)


def _sentence(record: logging.LogRecord, kind: str) -> str:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    whom = fields.get("upstream") or fields.get("domain") or ""
    verb = _VERBS.get(kind) or (kind.replace("_", " ") if whom else "")
    words = f"{whom} {verb}".strip()
    if words and fields.get("method_class"):
        words += f" for {fields['method_class']} requests"
    details = [record.getMessage(), str(fields.get("reason") or "")]
    if record.exc_info and record.exc_info[0] is not None:
        details.append(f"{record.exc_info[0].__name__}: {record.exc_info[1]}")
    return ": ".join(filter(None, [words, *details]))


class Demo:
    """The whole of it: ``start``, then ``stop``; ``frame`` is the picture of the moment."""

    def __init__(self, options: Options) -> None:
        chain = SimChain()
        self._ticker = Ticker(chain)
        self._providers = [
            Provider(chain, site.name, latency_seconds=site.latency_seconds) for site in SITES
        ]
        for provider in self._providers:
            provider.start()
        self.proxy = Proxy(_config(options, self._providers))
        self.through = Wallet(REQUESTS_PER_SECOND, self._on_failed)
        self.direct = Wallet(REQUESTS_PER_SECOND)
        self.stage = DemoStage(
            self._providers,
            self.through,
            self.direct,
            has_outages=options.has_outages,
            pace=options.pace,
        )
        self._playing: asyncio.Task[None] | None = None
        self._untold: deque[Take] = deque()
        self._attempts: deque[dict[str, int]] = deque(maxlen=SHARE_FRAMES)

    async def start(self) -> Urls:
        """Raises ``OSError`` with the address in ``filename`` when a port cannot be had."""
        await self.proxy.start()
        self._ticker.start()
        host, port = self.proxy.address
        admin = self.proxy.admin_address or ("", 0)
        return Urls(
            wallet=f"http://{host}:{port}",
            curl=f"curl {host}:{port} -d '{_QUESTION}'",
            status=f"http://{admin[0]}:{admin[1]}/status",
        )

    def begin(self) -> None:
        """The scenes and the wallets' traffic."""
        self.through.point_at(*self.proxy.address)
        self._playing = tasks.start(self.stage.play(self._on_scene), "demo scenes")
        self.through.start()
        self.direct.start()

    async def stop(self) -> None:
        await tasks.stop(self._playing)
        await self.through.stop()
        await self.direct.stop()
        await self.proxy.stop(DRAIN_SECONDS)
        self._ticker.stop()
        for provider in self._providers:
            provider.stop()

    # ---- telling

    def _on_scene(self, take: Take) -> None:
        self._untold.append(take)
        event(_log, logging.INFO, "scene", take.scene.title, seconds=round(take.seconds, 1))

    def _on_failed(self, why: str) -> None:
        if self.through.scene.failed <= FAILURES_TOLD:
            event(_log, logging.WARNING, "wallet_failed", f"the wallet saw a failure: {why}")

    def tell_results(self) -> None:
        """Log what came of the scenes that are over and settled."""
        while self._untold and self._untold[0].is_settled:
            take = self._untold.popleft()
            event(
                _log,
                logging.INFO,
                "result",
                f"{take.scene.title}; through rpcproxy {_in_words(take.through)}; "
                f"with one URL {_in_words(take.direct)}",
            )

    def totals(self) -> str:
        """What the wallets saw since the start, in words."""
        return (
            f"through rpcproxy {_in_words(self.through.total)}; "
            f"with one URL {_in_words(self.direct.total)}"
        )

    def frame(self, urls: Urls, events: Events) -> Frame:
        """The picture of this moment; call it once per ``FRAME_SECONDS``."""
        take = self.stage.current
        left = take.began_at + take.seconds - asyncio.get_running_loop().time()
        return Frame(
            urls=urls,
            take=take,
            left_seconds=left,
            upstreams=self._upstream_lines(take),
            wallets=[
                WalletLine(
                    "rpcproxy", self.through.head, self.through.recent(), self.through.total
                ),
                WalletLine(
                    f"only {take.scene.pinned}",
                    self.direct.head,
                    self.direct.recent(),
                    self.direct.total,
                ),
            ],
            latest=list(self.stage.latest.values()),
            events=list(events.last),
        )

    def _upstream_lines(self, take: Take) -> list[UpstreamLine]:
        runtime = self.proxy.chains[CHAIN_NAME]
        counts = {
            name: sum(tally.labels.values()) for name, tally in runtime.counters.attempts.items()
        }
        self._attempts.append(counts)
        before = self._attempts[0]
        lately = {name: counts[name] - before.get(name, 0) for name in counts}
        total = sum(lately.values()) or 1
        lines = []
        chain = self.proxy.view.status()["chains"][0]
        for known in chain["upstreams"]:
            name = known["name"]
            is_struck = name in take.scene.struck
            lines.append(
                UpstreamLine(
                    name=name,
                    place=f"{known['cloud']}/{known['region']}",
                    state=ChangeKind.SUSPECT
                    if known["suspect"] and known["state"] == UpstreamState.UP
                    else known["state"],
                    latency_ms=known["classes"]["light"]["latency_ms"],
                    head=known["head"],
                    lag=known["lag"],
                    in_flight=known["in_flight"],
                    share=lately.get(name, 0) / total,
                    trouble=take.scene.trouble if is_struck else "",
                )
            )
        return lines


def _config(options: Options, providers: list[Provider]) -> Config:
    upstreams = tuple(
        Upstream(
            name=site.name,
            url=provider.url,
            provider=site.name,
            cloud=site.cloud,
            region=site.region,
        )
        for site, provider in zip(SITES, providers, strict=True)
    )
    chain = providers[0].chain
    return Config(
        server=Server(
            listen=Address(host=HOST, port=options.port),
            admin=Address(host=HOST, port=options.admin),
            journal=Journal(is_on=False),  # nothing of a simulated chain is worth keeping
            history=History(is_on=False),
        ),
        chains=(
            Chain(
                name=CHAIN_NAME,
                chain_id=chain.chain_id,
                block_time_seconds=chain.block_time_seconds,
                upstreams=upstreams,
            ),
        ),
    )


def _in_words(tally: WalletTally) -> str:
    words = f"{tally.failed:,} of {tally.requests:,} failed"
    if tally.hung:
        words += f" ({tally.errors:,} errors, {tally.hung:,} hung)"
    if tally.slowest_seconds:
        words += f", slowest {tally.slowest_seconds * 1000:.0f} ms"
    return words


def run_demo(
    *,
    port: int = 8545,
    has_outages: bool = True,
    admin_port: int | None = None,
    seconds: float | None = None,
    pace: float = 1.0,
    hang_ups: HangUps | None = None,
) -> int:
    """Run until Ctrl-C, SIGTERM, the end of its terminal or ``seconds``; returns the exit code.
    See ``Options``.
    """
    options = Options(port, admin_port, has_outages, seconds, pace)
    return uvloop.run(_run(options, hang_ups or HangUps()))


async def _run(options: Options, hang_ups: HangUps) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    hang_ups.hand_over(loop, loop.time, end=stopping.set)
    console = Console()
    demo = Demo(options)
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            await _run_on_terminal(demo, options, console, stopping)
        else:
            await _run_logging(demo, options, stopping)
    except OSError as error:
        server = demo.proxy.config.server
        words = await asyncio.to_thread(explain_refusal, error, server, _choose)
        sys.stderr.write(f"rpcproxy demo: {words}\n")
        return USAGE_ERROR
    finally:
        # Whoever pressed Ctrl-C wants the prompt back, whatever still hangs.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await demo.stop()
    return 0


def _choose(key: str, free: str) -> str:
    option = "--admin-port" if key == "admin" else "--port"
    return f"choose another port: {option} {free.rpartition(':')[2]}"


async def _run_on_terminal(
    demo: Demo, options: Options, console: Console, stopping: asyncio.Event
) -> None:
    with _kept_in_memory() as events:
        urls = await demo.start()
        demo.begin()
        screen = Screen(console)
        screen.start()
        try:
            async for _ in _beats(options, stopping):
                demo.tell_results()
                screen.show(demo.frame(urls, events))
        finally:
            if not await asyncio.to_thread(screen.close):
                # The drawing thread hangs in a write, with a lock that the interpreter's end
                # would wait for.
                os._exit(0)
    console.print(f"Since the start: {demo.totals()}.", highlight=False)


async def _run_logging(demo: Demo, options: Options, stopping: asyncio.Event) -> None:
    handler = configure("text", stream=sys.stdout)
    try:
        urls = await demo.start()
        event(_log, logging.INFO, "wallet", urls.wallet)
        event(_log, logging.INFO, "try", urls.curl)
        event(_log, logging.INFO, "status", urls.status)
        demo.begin()
        async for _ in _beats(options, stopping):
            demo.tell_results()
        event(_log, logging.INFO, "end", f"since the start: {demo.totals()}")
    finally:
        handler.close()


async def _beats(options: Options, stopping: asyncio.Event) -> AsyncIterator[None]:
    """One for each frame, until it is time to stop."""
    loop = asyncio.get_running_loop()
    ends_at = None if options.seconds is None else loop.time() + options.seconds
    while not stopping.is_set() and (ends_at is None or loop.time() < ends_at):
        yield
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), FRAME_SECONDS)


@contextlib.contextmanager
def _kept_in_memory() -> Iterator[Events]:
    """Log to memory for a while: lines on the terminal would tear the picture."""
    root, ours, events = logging.getLogger(), logging.getLogger(ROOT), Events()
    before = ours.level
    root.addHandler(events)
    ours.setLevel(logging.INFO)
    try:
        yield events
    finally:
        root.removeHandler(events)
        ours.setLevel(before)
