"""The whole proxy: chains behind the wallet port, the admin port, reloads and the end.

State: the configuration in force, the chains at work and those that finish their last requests,
the doors by path, the recent changes.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from aiohttp import web

from rpcproxy import __version__
from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.report import (
    chain_figures,
    chain_status,
    chain_transactions,
    find_transaction,
)
from rpcproxy.config.model import Address, Config, Server
from rpcproxy.edges.exposition import Exposition, ProxyCollector, Sources
from rpcproxy.edges.figures import ChainFigures
from rpcproxy.edges.logs import Redactor, event, secrets_of, utc
from rpcproxy.edges.metrics import Counters, LoopLag
from rpcproxy.engine import tasks
from rpcproxy.engine.pipeline import Pipeline
from rpcproxy.front.admin import (
    ChainStatus,
    RecentChanges,
    ReloadStatus,
    Status,
    make_admin_app,
    readiness,
)
from rpcproxy.front.listener import Listener
from rpcproxy.front.shared import FrontSettings
from rpcproxy.front.transactions import ChainTransactions, TransactionEntry
from rpcproxy.front.web import make_web_app
from rpcproxy.rules.standing import Change

T = TypeVar("T")

_log = logging.getLogger("rpcproxy.app")

# A chain that was replaced goes on for its longest request, and so much more, before it is taken
# down.
RETIRED_GRACE_SECONDS: Final = 5.0


class Proxy:
    """See the module's docstring. ``start``, then ``stop``; ``reload`` in between."""

    def __init__(
        self,
        config: Config,
        *,
        config_path: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.config = config
        self.counters = Counters()
        self.chains: dict[str, ChainRuntime] = {}
        self.doors: dict[str, Pipeline] = {}
        self.changes = RecentChanges()
        self.redactor = redactor or Redactor()
        self._ssl_context = ssl_context
        self._config_path = config_path
        self._started = time.monotonic()
        self._reloads: dict[str, Any] = {"last_result": "", "last_time": None}
        self._retiring: set[asyncio.Task[None]] = set()
        self._retired: list[ChainRuntime] = []  # at work on their last requests
        self._listener: Listener | None = None
        self._admin: web.AppRunner | None = None
        self._loop_lag = LoopLag(self.counters.on_loop_lag)
        self.address: tuple[str, int] = ("", 0)
        self.admin_address: tuple[str, int] | None = None
        self._exposition = Exposition(
            ProxyCollector(
                self.counters,
                Sources(
                    standings=self._snapshots,
                    front=self._front_figures,
                    chains=self._figures,
                    connections=self._connections,
                ),
            )
        )

    # ---- life

    async def start(self) -> None:
        """Listen and begin to watch; waits for no upstream, and for journals a moment: they know
        what wallets were told. Raises ``OSError`` with the address in ``filename`` when a port
        cannot be had.
        """
        self.redactor.add(secrets_of(self.config))
        self._build(self.config)
        await asyncio.gather(*(chain.transactions.open() for chain in self.chains.values()))
        app = make_web_app(self.doors, self.ready, self.describe, self.config.server)
        settings = FrontSettings.of_server(self.config.server)
        self._listener = Listener(self.doors, settings, app)
        try:
            self.address = await _worded(self._listener.start(), self.config.server.listen)
            if self.config.server.admin is not None:
                await self._start_admin(self.config.server.admin)
        except OSError:
            await self.stop(drain_seconds=0)
            raise
        for runtime in self.chains.values():
            runtime.start()
        self._loop_lag.start()

    async def _start_admin(self, address: Address) -> None:
        runner = web.AppRunner(make_admin_app(self, self.redactor), access_log=None)
        await runner.setup()
        self._admin = runner
        site = web.TCPSite(runner, address.host, address.port)
        await _worded(site.start(), address)
        bound = runner.addresses[0]
        self.admin_address = (bound[0], bound[1])

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Finish what is in flight, within bounds, and close everything."""
        seconds = self.config.server.drain_seconds if drain_seconds is None else drain_seconds
        if self._listener is not None:
            await self._listener.drain(seconds)
            await self._listener.close()
            self._listener = None
        self._loop_lag.stop()
        await tasks.stop(*self._retiring)
        for runtime in self.chains.values():
            await runtime.close()
        if self._admin is not None:
            await self._admin.cleanup()
            self._admin = None

    # ---- configuration

    def _build(self, config: Config) -> None:
        """Chains and doors for ``config``; what was learned of upstreams that stay is kept.
        What cannot be built changes nothing.
        """
        old = self.chains
        chains: dict[str, ChainRuntime] = {}
        try:
            self._build_chains(config, old, chains)
        except BaseException:
            for runtime in chains.values():
                runtime.executor.close()
            raise
        for name, runtime in chains.items():
            if name in old:
                runtime.counters.drop_upstreams(set(old[name].wires) - set(runtime.wires))
        self.chains = chains
        self.counters.keep(list(self.chains))
        self.doors.clear()
        for position, runtime in enumerate(self.chains.values()):
            if position == 0:
                self.doors["/"] = runtime.pipeline
            # Of two chains with one id, the first has the number.
            self.doors.setdefault(f"/{runtime.chain.chain_id}", runtime.pipeline)
            self.doors[f"/{runtime.chain.name}"] = runtime.pipeline

    def _build_chains(
        self, config: Config, old: Mapping[str, ChainRuntime], chains: dict[str, ChainRuntime]
    ) -> None:
        server = share_of(config)
        for chain in config.chains:
            before = old.get(chain.name)
            if before is not None and before.chain.chain_id != chain.chain_id:
                before = None
            runtime = ChainRuntime(
                chain,
                server,
                self.counters.chain(chain.name),
                ssl_context=self._ssl_context,
                old=before,
                retired=[gone.transactions for gone in (*self._retired, *old.values())],
            )
            runtime.executor.listeners.append(self._listener_for(runtime))
            chains[chain.name] = runtime

    def _listener_for(self, runtime: ChainRuntime) -> Callable[[Sequence[Change]], None]:
        def on_changes(changes: Sequence[Change]) -> None:
            if runtime.executor.is_retired:
                return
            for change in changes:
                self.changes.add(runtime.chain.name, change, time.time())

        return on_changes

    def reload(self, config: Config) -> None:
        """Take over ``config``. Requests in flight end on the chains they began on."""
        old = self.chains
        self.redactor.add(secrets_of(config))
        fixed = {"listen", "admin", "tls", "log"}
        changed = [
            key
            for key in sorted(fixed)
            if getattr(config.server, key) != getattr(self.config.server, key)
        ]
        self._build(config)
        self.config = config
        if self._listener is not None:
            self._listener.reconfigure(FrontSettings.of_server(config.server))
        for runtime in self.chains.values():
            runtime.start()
        self._retired += old.values()
        for name in old.keys() - self.chains.keys():
            pending = old[name].transactions.ledger.pool.count
            if pending:
                event(
                    _log,
                    logging.WARNING,
                    "config_reload",
                    f"chain {name} is not served any more: {pending} pending transactions in its "
                    "journal are not sent again until it is",
                    chain=name,
                )
        retired = tasks.start(self._retire(list(old.values())), "retire old chains")
        self._retiring.add(retired)
        retired.add_done_callback(self._retiring.discard)
        result = "taken over"
        if changed:
            result += f"; server.{', server.'.join(changed)} take effect at the next start"
        self._note_reload(result, is_accepted=True)

    def refuse_reload(self, reason: str) -> None:
        """A new configuration cannot be used: the one in force stays."""
        self._note_reload(f"refused, the configuration in force stays: {reason}", is_accepted=False)

    def _note_reload(self, result: str, *, is_accepted: bool) -> None:
        self.counters.on_reload(is_accepted=is_accepted)
        self._reloads = {"last_result": result, "last_time": utc(time.time())}
        level = logging.INFO if is_accepted else logging.ERROR
        event(_log, level, "config_reload", f"configuration {result}")

    async def _retire(self, old: Sequence[ChainRuntime]) -> None:
        try:
            for runtime in old:
                await runtime.retire()
            await asyncio.sleep(
                max((runtime.longest_seconds for runtime in old), default=0.0)
                + RETIRED_GRACE_SECONDS
            )
        finally:
            self._retired = [runtime for runtime in self._retired if runtime not in old]
            living = (*self.chains.values(), *self._retired)
            kept = [held for runtime in living for held in runtime.held]
            for runtime in old:
                await runtime.close(kept)

    # ---- what the admin port may know

    def status(self) -> Status:
        reloads: ReloadStatus = {
            "path": self._config_path,
            "accepted": self.counters.reloads["accepted"],
            "refused": self.counters.reloads["refused"],
            "last_result": self._reloads["last_result"],
            "last_time": self._reloads["last_time"],
        }
        return {
            "version": __version__,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "chains": self._chain_statuses(),
            "changes": self.changes.latest_first(),
            "config": reloads,
        }

    def _chain_statuses(self) -> list[ChainStatus]:
        now, unix_seconds = time.monotonic(), time.time()
        return [chain_status(runtime, now, unix_seconds) for runtime in self.chains.values()]

    def ready(self) -> tuple[bool, dict[str, Any]]:
        return readiness(self._chain_statuses())

    def describe(self) -> list[dict[str, Any]]:
        """The chains, for the page in the browser: best path first."""
        return [
            {
                "name": chain.name,
                "chain_id": chain.chain_id,
                "paths": [
                    path
                    for path, door in self.doors.items()
                    if door is self.chains[chain.name].pipeline
                ],
            }
            for chain in self.config.chains
        ]

    def transactions(self) -> list[ChainTransactions]:
        unix_seconds = time.time()
        return [chain_transactions(runtime, unix_seconds) for runtime in self.chains.values()]

    async def transaction(self, hash: str) -> tuple[TransactionEntry | None, dict[str, str]]:
        return await find_transaction(list(self.chains.values()), hash, time.time())

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        return await self._exposition.scrape(accept)

    def _snapshots(self) -> Mapping[str, Sequence[Any]]:
        now = time.monotonic()
        return {name: runtime.standings.snapshot(now) for name, runtime in self.chains.items()}

    def _front_figures(self) -> Mapping[str, float]:
        listener = self._listener
        if listener is None:
            return {}
        return {
            "client_connections": listener.open_connections,
            "client_connections_refused": listener.counters.refused_connections,
        }

    def _figures(self) -> Mapping[str, ChainFigures]:
        now = time.monotonic()
        return {name: chain_figures(runtime, now) for name, runtime in self.chains.items()}

    def _connections(self) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        return {
            name: {
                upstream: (wire.open_connections, wire.idle_connections)
                for upstream, wire in runtime.wires.items()
            }
            for name, runtime in self.chains.items()
        }


def share_of(config: Config) -> Server:
    """The server as one chain sees it: what answers are kept in is for all chains together."""
    cache, count = config.server.cache, max(1, len(config.chains))
    share = {
        "memory_bytes": cache.memory_bytes // count,
        "disk_bytes": cache.disk_bytes // count,
    }
    return config.server.model_copy(update={"cache": cache.model_copy(update=share)})


async def _worded(start: Awaitable[T], address: Address) -> T:
    """Await ``start``; an ``OSError`` learns which address it was about."""
    try:
        return await start
    except OSError as error:
        error.filename = f"{address.host}:{address.port}"
        raise
