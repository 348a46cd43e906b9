"""What the admin port may do with the running proxy.

State: who waits for the end of a reload.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, cast

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.serving import InForce
from rpcproxy.chains.registry import hash_of
from rpcproxy.config.problems import nearest, quoted
from rpcproxy.edges.logs import ROOT, event
from rpcproxy.engine.reads.explain import Explanation, explain
from rpcproxy.front.operators.access import Access, Denied
from rpcproxy.front.operators.admin_control import Ordered
from rpcproxy.front.operators.admin_failures import FailuresPage, failures_page
from rpcproxy.messages import Malformed, Request, decode_body
from rpcproxy.rules.standing.orders import why_needed
from rpcproxy.rules.telling.happenings import HandKind
from rpcproxy.words import OperatorOrder, OrderName

_log = logging.getLogger("rpcproxy.admin")

# A file on a disk that hangs must not keep whoever asked waiting for ever.
RELOAD_SECONDS: Final = 30.0
_NO_FILE: Final = "there is no configuration file to read again: the chains were named at the start"


class Control:
    """See the module's docstring; ``front.operators.admin_control.ControlView``. ``ask_reload`` is
    set by whoever can read the configuration again.
    """

    def __init__(self, proxy: InForce) -> None:
        self._proxy = proxy
        self._waiting: list[asyncio.Future[tuple[bool, str]]] = []
        self.ask_reload: Callable[[], None] | None = None
        self.reload_by = ""  # who asked here for the one that is under way

    def access(self) -> Access:
        """As it is bound and configured now."""
        server, port = self._proxy.config.server, self._proxy.admin
        host = server.admin.host if server.admin is not None else ""
        return Access(host, port is not None and port.is_local, server.admin_token)

    # ---- upstreams

    def obey(
        self, chain: str, upstream: str, order: str, *, is_forced: bool, by: str = ""
    ) -> Ordered:
        """Drain, undrain, cordon or uncordon. Raises ``Denied``."""
        runtime = self._chain(chain)
        standings = runtime.standings
        names = [standing.name for standing in standings]
        if upstream not in names:
            hint = nearest(upstream, names)
            meant = f"; did you mean {quoted(hint)}?" if hint else ""
            raise Denied(404, f"chain {chain} has no upstream {quoted(upstream)}{meant}")
        standing, wanted = standings[upstream], cast("OrderName", order)
        if wanted == "drain" and not is_forced:
            needed = why_needed(standing, standings, standings.usable)
            if needed:
                raise Denied(409, f"{needed}: not drained (with ?force=1 it would be)")
        unix_seconds = self._proxy.clock.unix()
        order_given = OperatorOrder(upstream, wanted, by=by, unix_seconds=unix_seconds)
        changes = runtime.executor.observe(order_given, self._proxy.clock.monotonic())
        words = changes[0].reason if changes else "it was so already"
        if changes:
            self._proxy.timeline.on_order(chain, upstream, wanted, by)
        if wanted == "drain" and standing.in_flight:
            words += f"; {standing.in_flight} in flight finish"
        return {"chain": chain, "upstream": upstream, "state": standing.state, "result": words}

    def _chain(self, name: str) -> ChainRuntime:
        runtime = self._proxy.chains.get(name)
        if runtime is None:
            served = ", ".join(self._proxy.chains)
            raise Denied(404, f"there is no chain {quoted(name)} here; served are {served}")
        return runtime

    # ---- requests

    def explain(self, body: bytes, chain: str | None) -> Explanation:
        """What would become of a JSON-RPC request. Raises ``Denied``."""
        runtime = self._chain(chain or next(iter(self._proxy.chains)))
        try:
            decoded = decode_body(body)
            if not isinstance(decoded, Request):
                raise Denied(400, "that is a batch: its members can be explained one by one")
            return explain(runtime.pipeline, decoded)
        except Malformed as malformed:
            raise Denied(400, malformed.reason) from None

    def failures(self, query: Mapping[str, str]) -> FailuresPage:
        """Those that failed or were slow. Raises ``Denied``."""
        return failures_page(self._proxy.records, query, list(self._proxy.chains), hash_of)

    # ---- the process

    async def settle(self) -> None:
        """Until what was ordered outlives us, for a moment at most."""
        await self._proxy.timeline.settle()

    async def reload(self, by: str = "") -> str:
        """Read the configuration file again. Raises ``Denied`` where that is refused."""
        if self.ask_reload is None:
            raise Denied(409, _NO_FILE)
        told: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        self.reload_by = by
        self.ask_reload()
        try:
            async with asyncio.timeout(RELOAD_SECONDS):
                is_accepted, words = await told
        except TimeoutError:
            raise Denied(503, f"no word of the reload within {RELOAD_SECONDS:g} s") from None
        finally:
            if told in self._waiting:
                self._waiting.remove(told)
        if not is_accepted:
            raise Denied(409, words)
        return words

    def on_reload(self, is_accepted: bool, words: str) -> None:  # noqa: FBT001 -- a listener
        """A reload came to its end."""
        waiting, self._waiting, self.reload_by = self._waiting, [], ""
        for told in waiting:
            if not told.done():
                told.set_result((is_accepted, words))

    @property
    def log_level(self) -> str:
        return logging.getLevelName(logging.getLogger(ROOT).level).lower()

    def set_log_level(self, level: str, by: str = "") -> None:
        """Until the next start."""
        before = self.log_level
        if level != before:
            words = f"{level}, {before} before"
            self._proxy.timeline.on_happened(HandKind.LOG_LEVEL, words=words, by=by)
        logging.getLogger(ROOT).setLevel(level.upper())
        event(_log, logging.WARNING, "log_level", f"the log level is {level} from now on")
