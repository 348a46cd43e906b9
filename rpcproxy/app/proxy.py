"""The whole proxy: chains behind the wallet port, the admin port, reloads and the end.

State: the configuration in force, the chains at work and those that finish their last requests,
the doors by path, the recent changes.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rpcproxy.app.admin_port import AdminPort
from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.control import Control
from rpcproxy.app.leaving import HANDOVER_SECONDS, release_journals
from rpcproxy.app.people.history_writer import HistoryWriter
from rpcproxy.app.people.notifier import Notices
from rpcproxy.app.people.own_refusals import OwnRefusals, figures_of
from rpcproxy.app.people.recorder import Recorder, beside, older_day
from rpcproxy.app.people.request_records import RequestRecords
from rpcproxy.app.people.sampling import Sampler
from rpcproxy.app.process.allocator import Trimmer
from rpcproxy.app.process.ports import worded
from rpcproxy.app.process.process import room_for_clients
from rpcproxy.app.public_view import PublicView
from rpcproxy.app.resuming import timeline_of
from rpcproxy.app.storage.kept_state import KeptState
from rpcproxy.app.storage.state_place import StatePlace
from rpcproxy.app.tracing import Tracing
from rpcproxy.app.view import ProxyView
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.config.differences import differences
from rpcproxy.config.model import Chain, Config, Server
from rpcproxy.edges.logs import Redactor, event, secrets_of, utc
from rpcproxy.edges.metrics.metrics import Counters, LoopLag
from rpcproxy.edges.process.given_sockets import ADMIN, NO_SOCKETS, WALLET, Sockets
from rpcproxy.edges.process.own_limits import room
from rpcproxy.engine import tasks
from rpcproxy.engine.reads.pipeline import Pipeline
from rpcproxy.engine.sends.ledger import OnStep, unheard
from rpcproxy.front.operators.admin import RecentChanges, make_admin_app
from rpcproxy.front.pages.status_page import PublicStatus
from rpcproxy.front.web import WalletPages
from rpcproxy.front.wire.listener import Listener
from rpcproxy.front.wire.shared import FrontSettings
from rpcproxy.rules.answers.holding import Holdings
from rpcproxy.rules.telling.happenings import HandKind
from rpcproxy.states import Change, ChangeKind

_log = logging.getLogger("rpcproxy.app")

# A chain that was replaced goes on for its longest request, and so much more, before it is taken
# down.
RETIRED_GRACE_SECONDS: Final = 5.0
# Of ``server``: another value takes effect at the next start.
FIXED_KEYS: Final = ("admin", "history", "listen", "log", "tls", "traces")


class Proxy:
    """See the module's docstring. ``start``, then ``stop``; ``reload`` in between."""

    def __init__(
        self,
        config: Config,
        *,
        config_path: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        redactor: Redactor | None = None,
        clock: Clock = SYSTEM_CLOCK,
        on_step: OnStep = unheard,
    ) -> None:
        """``clock`` is what all reads the time from but the files of journals and of kept answers,
        which tell the machine's; ``on_step`` is told of the steps of sends.
        """
        self.config = config
        self._started_with = config.server  # of which FIXED_KEYS are in force until the end
        self.counters, self.changes = Counters(), RecentChanges()
        self.chains: dict[str, ChainRuntime] = {}
        self.doors: dict[str, Pipeline] = {}
        self.redactor = redactor or Redactor()
        self._ssl_context = ssl_context
        self.clock, self._on_step = clock, on_step
        self.config_path = config_path
        self.last_reload: dict[str, Any] = {"last_result": "", "last_time": None}
        self._retiring: set[asyncio.Task[None]] = set()
        self._retired: list[ChainRuntime] = []  # at work on their last requests
        self.listener: Listener | None = None
        held = config.server.limits
        self.holdings = Holdings(held.held_bytes, held.held_bytes_per_client)
        self.records = RequestRecords(self.redactor, clock)
        self.control = Control(self)
        self.reload_listeners = [self.control.on_reload]
        self.admin: AdminPort | None = None
        self._loop_lag = LoopLag(self.counters.on_loop_lag)
        self.refusals = OwnRefusals(lambda: figures_of(self.listener, clock.monotonic()))
        running = lambda: self.chains.values()  # noqa: E731, PLW0108 -- a reload replaces it
        self.sampler = Sampler(running, clock, refusals=self.refusals)
        self._tracing = Tracing(config.server)
        self._notices = Notices(self.counters, self.redactor, clock)
        self.state = KeptState(config)
        self._history = HistoryWriter(config.server.history, self.redactor, self.state.place)
        self.timeline = timeline_of(self, self.state.place, self._notices.on_died)
        self.state.resumed_listeners.append(self.timeline.on_resumed)
        self.recorder = self._recorder()
        sinks = (self._notices.on_sample, self._history.on_sample, self.timeline.on_sample)
        self.sampler.sinks += [*sinks, self.recorder.add, Trimmer(self.holdings).on_sample]
        self.view = ProxyView(self)
        self.public = PublicView(self, self.view)
        self._public_status = PublicStatus(
            self.public.status,
            self.public.outlooks,
            lambda: self.config.server.status_page,
            clock=clock,
        )
        self.address: tuple[str, int] = ("", 0)
        self.admin_address: tuple[str, int] | None = None

    def _recorder(self) -> Recorder:
        recorder = Recorder(
            self.sampler.take,
            beside(self._history.path),
            self.redactor,
            refusals=self.refusals,
            clock=self.clock,
        )
        recorder.tell = self.timeline.on_incidents
        self.sampler.files["the history"] = lambda: self._history.trouble
        return recorder

    # ---- life

    async def start(self) -> None:
        """Listen and begin to watch; waits for no upstream, and for journals a moment: they know
        what wallets were told. Raises ``OSError`` with the address in ``filename`` when a port
        cannot be had.
        """
        self.build()
        await self.open_journals()
        await self.listen()
        self.watch()

    async def open_journals(self) -> None:
        """Wait a moment for them, and for the timeline, which has the orders of operators."""
        journals = (chain.transactions.open() for chain in self.chains.values())
        await asyncio.gather(*journals, self.timeline.disk.opened())

    def build(self, predecessor_seconds: float = 0.0) -> None:
        """The first step of ``start``: the chains. What another process has open is waited for, so
        long.
        """
        self.redactor.add(secrets_of(self.config))
        self._build(self.config)
        if predecessor_seconds:
            for runtime in self.chains.values():
                runtime.expect_predecessor(predecessor_seconds)
        self.recorder.open(older_day(self._history.older))
        self._notices.configure(self.config.notify)  # the timeline may tell of a process that died
        self.timeline.start(predecessor_seconds)

    async def listen(self, given: Sockets = NO_SOCKETS) -> None:
        """Open the ports, on the ``given`` sockets where there are any. Raises as ``start``."""
        server = self.config.server
        doors = self._tracing.doors(self.doors)
        pages = WalletPages(doors, self.public.ready, self.view.describe, self._public_status)
        settings = FrontSettings.of_server(server, file_room=_file_room(self.config))
        connection = self._tracing.connection
        self.listener = Listener(doors, settings, pages.answer, connection, self.holdings)
        self.listener.tell_refusals(self.records.on_refusal)
        try:
            start = self.listener.start(given.get(WALLET, ()))
            self.address = await worded(start, server.listen)
            if server.admin is not None:
                access = self.control.access
                app = make_admin_app(self.view, self.redactor, self.control, access, self.clock)
                self.admin = AdminPort(app, server.limits)
                await worded(self.admin.start(server.admin, given.get(ADMIN, ())), server.admin)
                self.admin_address = self.admin.address
        except OSError:
            await self.stop(drain_seconds=0)
            raise

    def watch(self) -> None:
        """Begin to ask upstreams, and to look at what goes on."""
        for runtime in self.chains.values():
            runtime.start()
        self._loop_lag.start()
        self._history.start(self.clock.unix())
        self.timeline.on_started()
        self.state.start()
        self.sampler.start()

    async def stop(
        self, drain_seconds: float | None = None, *, is_followed: bool = False, why: str = ""
    ) -> None:
        """Finish what is in flight, within bounds, and close everything. ``is_followed``: another
        process serves already, and waits for the journals. ``why``: in words, for the timeline.
        """
        self.timeline.on_end(HandKind.TAKEN_OVER if is_followed else HandKind.STOPPED, why)
        seconds = self.config.server.drain_seconds if drain_seconds is None else drain_seconds
        await self._public_status.close()
        if self.listener is not None:
            if is_followed:
                # What is told here is not to be ahead of what the next process tells.
                await asyncio.gather(*(runtime.retire() for runtime in self.chains.values()))
            patience = min(seconds, HANDOVER_SECONDS) if is_followed else seconds
            letting_go = self._let_go(patience, is_followed=is_followed)
            releasing = tasks.start(letting_go, "release journals")
            await self.listener.drain(seconds)
            await tasks.stop(releasing)
            await self.listener.close()
            self.listener = None
        self._loop_lag.stop()
        await self.state.close()
        await self.sampler.stop()
        # Beside the rest: receivers that hang cost one moment, not one each.
        telling = tasks.start(self._notices.close(), "last notices")
        await self._history.close()
        await self.recorder.close()
        await self.timeline.close()
        await tasks.stop(*self._retiring)
        for runtime in self.chains.values():
            await runtime.close()
        if self.admin is not None:
            await self.admin.close()
            self.admin = None
        await asyncio.gather(telling, self._tracing.close())

    async def _let_go(self, seconds: float, *, is_followed: bool) -> None:
        """Of the journals and, where another process waits for it, of the timeline."""
        if self.listener is not None:
            chains, now = self.chains.values(), self.clock.monotonic
            await release_journals(self.listener, chains, seconds, now)
        if is_followed:
            self.sampler.sample_now()
            await self.timeline.close()

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
            # Of two chains with one identity, the first has it as its path.
            self.doors.setdefault(f"/{runtime.chain.identity}", runtime.pipeline)
            self.doors[f"/{runtime.chain.name}"] = runtime.pipeline

    def _build_chains(
        self, config: Config, old: Mapping[str, ChainRuntime], chains: dict[str, ChainRuntime]
    ) -> None:
        server, place = share_of(config), StatePlace.of(config)
        for chain in config.chains:
            before = old.get(chain.name)
            if before is not None and _key(before.chain) != _key(chain):
                before = None
            runtime = self._tracing.chain(
                chain,
                server,
                self.counters.chain(chain.name),
                ssl_context=self._ssl_context,
                old=before,
                retired=[gone.transactions for gone in (*self._retired, *old.values())],
                holdings=self.holdings,
                clock=self.clock,
                on_step=self._on_step,
                place=place,
                on_resumed=self.state.on_resumed,
            )
            runtime.executor.listeners.append(self._listener_for(runtime))
            runtime.graph.log.on_trace = self.records.on_trace
            chains[chain.name] = runtime

    def _listener_for(self, runtime: ChainRuntime) -> Callable[[Sequence[Change]], None]:
        def on_changes(changes: Sequence[Change]) -> None:
            if runtime.executor.is_retired:
                return
            self.recorder.on_changes(runtime.chain.name, changes)
            for change in changes:
                self.changes.add(runtime.chain.name, change, self.clock.unix())
                self._notices.on_change(runtime.chain.name, change)
                self.timeline.on_change(runtime.chain.name, change)

        return on_changes

    def reload(self, config: Config, by: str = "") -> None:
        """Take over ``config``, as ``by`` asked. Requests in flight end where they began."""
        old, news = self.chains, differences(self.config, config)
        self.redactor.add(secrets_of(config))
        changed = [
            f"server.{key}"
            for key in FIXED_KEYS
            if getattr(config.server, key) != getattr(self._started_with, key)
        ]
        changed += ["name"] if config.name != self.state.place.owner.name else []
        self._build(config)
        self.config = config
        self._notices.configure(config.notify)
        if self.listener is not None:
            room = _file_room(config)
            self.listener.reconfigure(FrontSettings.of_server(config.server, file_room=room))
        held = config.server.limits
        self.holdings.total_bytes = held.held_bytes
        self.holdings.client_bytes = held.held_bytes_per_client
        for runtime in self.chains.values():
            runtime.start()
        self._retired += old.values()
        for name in old.keys() - self.chains.keys():
            pending = old[name].transactions.ledger.pool.count
            if pending:
                event(
                    _log,
                    logging.WARNING,
                    ChangeKind.CONFIG_RELOAD,
                    f"chain {name} is not served any more: {pending} pending transactions in its "
                    "journal are not sent again until it is",
                    chain=name,
                )
        retired = tasks.start(self._retire(list(old.values())), "retire old chains")
        self._retiring.add(retired)
        retired.add_done_callback(self._retiring.discard)
        result = "taken over"
        if changed:
            result += f"; {', '.join(changed)} take effect at the next start"
        self.timeline.on_configured()
        words = "; ".join([*(news or ["nothing changed"]), *result.split("; ")[1:]])
        self._note_reload(result, words, by, is_accepted=True)

    def refuse_reload(self, reason: str, by: str = "") -> None:
        """A new configuration cannot be used: the one in force stays."""
        result = f"refused, the configuration in force stays: {reason}"
        self._note_reload(result, reason, by, is_accepted=False)

    def _note_reload(self, result: str, words: str, by: str, *, is_accepted: bool) -> None:
        kind = HandKind.CONFIG_RELOAD if is_accepted else HandKind.CONFIG_REFUSED
        self.timeline.on_happened(kind, words=words, by=self.control.reload_by or by)
        self.counters.on_reload(is_accepted=is_accepted)
        self.last_reload = {"last_result": result, "last_time": utc(self.clock.unix())}
        level = logging.INFO if is_accepted else logging.ERROR
        event(_log, level, ChangeKind.CONFIG_RELOAD, f"configuration {result}")
        for tell in self.reload_listeners:
            tell(is_accepted, result)
        self._notices.on_reload(result, is_accepted=is_accepted)

    async def _retire(self, old: Sequence[ChainRuntime]) -> None:
        try:
            for runtime in old:
                after = self.chains.get(runtime.chain.name)
                is_same = after is not None and _key(after.chain) == _key(runtime.chain)
                await runtime.retire(after if is_same else None)
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


def _key(chain: Chain) -> tuple[str, str]:
    """Which chain it is, whatever it is called here."""
    return chain.kind, chain.identity


def share_of(config: Config) -> Server:
    """The server as one chain sees it: what answers are kept in is for all chains together."""
    cache, count = config.server.cache, max(1, len(config.chains))
    share = {
        "memory_bytes": cache.memory_bytes // count,
        "disk_bytes": cache.disk_bytes // count,
    }
    return config.server.model_copy(update={"cache": cache.model_copy(update=share)})


def _file_room(config: Config) -> int | None:
    """For clients; upstreams are told that they have as much."""
    upstreams = sum(len(chain.upstreams) for chain in config.chains)
    room.most = room_for_clients(len(config.chains), upstreams)
    return room.most
