"""The admin port: metrics, health, readiness, status and transactions, for machines and operators.

Reads what an ``AdminView`` tells; nothing here changes the proxy. Upstreams are shown by
name, and ``redact`` goes over every page as the last line of defence.

State: ``RecentChanges``, one per process, written by whoever is told of changes.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict

import msgspec
from aiohttp import web

from rpcproxy import __version__
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.edges.logs import utc
from rpcproxy.edges.metrics.metrics import class_name
from rpcproxy.front.operators.access import Access, make_guard
from rpcproxy.front.operators.admin_changes import ChangesView, changes_routes
from rpcproxy.front.operators.admin_control import ControlView, control_routes
from rpcproxy.front.operators.admin_index import index_routes, no_page
from rpcproxy.front.operators.admin_transactions import (
    TransactionsStatus,
    TransactionsView,
    transaction_routes,
)
from rpcproxy.front.operators.recent import RecentEntries
from rpcproxy.front.pages.outlook import ChainOutlook, ChangeTold, Outlook
from rpcproxy.front.pages.status_page import StatusPage, status_routes
from rpcproxy.front.protocol.page import SERVER_HEADER
from rpcproxy.states import ChainState, Change, UpstreamState

Redact = Callable[[str], str]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CHANGES_KEPT: Final = 100
TAKEN: Final = "taken"  # of a chain's transactions
_MOST_BODY_BYTES: Final = 64 * 1024  # orders are short
_log = logging.getLogger("rpcproxy.admin")


class ChangeEntry(TypedDict):
    """One change of a standing, as the status shows it; ``time`` is UTC, ISO 8601."""

    time: str
    chain: str
    upstream: str
    kind: str
    method_class: str | None  # where only a part of an upstream is meant
    reason: str


class BlockStatus(TypedDict):
    """One block; ``hash`` is empty where nobody told it."""

    number: int
    hash: str


class ReorgStatus(TypedDict):
    """The last reorg: blocks above ``ancestor`` were replaced, ``depth`` of them."""

    depth: int
    ancestor: int
    ago_seconds: float


class OrderStatus(TypedDict):
    """``drain`` or ``cordon``, that an operator ordered and nobody took back. ``since`` is UTC, ISO
    8601, ``None`` where an older version took the order; ``by`` is empty where nobody knows.
    """

    order: str
    since: str | None
    by: str


class ChainStatus(TypedDict):
    """One chain, as the status shows it. ``upstreams`` are entries of ``rules.telling.snapshot``,
    each with an ``order``: an ``OrderStatus``, or ``None``.

    ``halted``: in words that all heads stand still, ``None`` while they move. ``last_reorg`` is
    ``None`` where the last turn was none. ``forked``: why, by upstream. ``cache``, ``audits`` and
    ``feeds``: see docs/metrics.md. ``hedge_delay_seconds`` by method class, ``None`` where nothing
    is hedged; ``outage_since`` is UTC, ISO 8601, ``None`` while somebody can serve.
    """

    name: str
    chain_id: int
    state: ChainState
    halted: str | None
    served_head: int | None
    served_hash: str | None
    head_age_seconds: float | None
    safe: BlockStatus | None
    finalized: BlockStatus | None
    reorgs: int
    last_reorg: ReorgStatus | None
    head_jumps: int
    split: bool
    forked: Mapping[str, str]
    cache: Mapping[str, Mapping[str, int | None]]
    audits: Mapping[str, Any]
    feeds: Mapping[str, bool]
    transactions: TransactionsStatus
    usable: int
    panic: bool
    hedge_delay_seconds: Mapping[str, float | None]
    outage_since: str | None
    upstreams: Sequence[Mapping[str, Any]]


class ReloadStatus(TypedDict):
    """Where the configuration came from, and how the last attempt to reload it ended."""

    path: str | None
    accepted: int
    refused: int
    last_result: str  # in words, empty while there was none
    last_time: str | None  # UTC, ISO 8601


class ChainPage(ChainStatus, ChainOutlook):
    """One chain: its figures, and how it stands in words and over time."""


class Status(Outlook):
    """The whole of ``/status``."""

    version: str
    uptime_seconds: float
    chains: Sequence[ChainPage]
    changes: Sequence[ChangeEntry]  # of standings, the latest first
    timeline: Sequence[ChangeTold]  # the newest of ``/changes``
    timeline_kept: str
    config: ReloadStatus


class AdminView(TransactionsView, ChangesView, Protocol):
    """What the admin port may know. Called on the event loop's thread, once per page."""

    def status(self) -> Status: ...

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether some upstream of every chain is usable, and what to tell: ``readiness``."""
        ...

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their content type, for a client with this Accept header."""
        ...


class RecentChanges:
    """The last changes of standings, for the status: of each upstream and each kind."""

    def __init__(self, kept: int = CHANGES_KEPT) -> None:
        self._entries: RecentEntries[ChangeEntry] = RecentEntries(kept)

    def add(self, chain: str, change: Change, unix_seconds: float) -> None:
        """Remember a change that happened at ``unix_seconds`` of wall-clock time."""
        entry: ChangeEntry = {
            "time": utc(unix_seconds),
            "chain": chain,
            "upstream": change.upstream,
            "kind": change.kind,
            "method_class": class_name(change.method_class),
            "reason": change.reason,
        }
        self._entries.add(entry, (chain, change.upstream, change.kind))

    def latest_first(self) -> list[ChangeEntry]:
        return self._entries.latest_first()


def chain_state(usable: int, total: int) -> ChainState:
    """A chain in one word, from how many of its upstreams can be asked."""
    if usable == 0:
        return ChainState.DOWN
    return ChainState.OK if usable >= total else ChainState.DEGRADED


def halt_words(served: int, seconds: float) -> str:
    """That the chain itself stands still, which is nobody's fault that could be left out."""
    return f"chain halted since block {served}, {seconds:.0f} s"


def readiness(
    chains: Sequence[ChainStatus], *, is_public: bool = False
) -> tuple[bool, dict[str, Any]]:
    """Whether every chain has a usable upstream; for one that has not, why, in words; in public
    without what upstreams and this machine said. A chain that stands still is named and can be
    served all the same.
    """
    ready = [chain["name"] for chain in chains if chain["state"] != ChainState.DOWN]
    down = {
        chain["name"]: _why_down(chain, is_public=is_public)
        for chain in chains
        if chain["state"] == ChainState.DOWN
    }
    halted = {chain["name"]: chain["halted"] for chain in chains if chain["halted"] is not None}
    told = {"chains_ready": ready, "chains_down": down, "chains_halted": halted}
    return not down, {"ready": not down, **told}


def is_in_rotation(asked: Mapping[str, str], told: Mapping[str, Any]) -> bool:
    """What a load balancer hears: whether every chain can be served or, where it asks for ``any``,
    at least one. While one chain is down everywhere, the others are to be reached all the same.
    Where it asks for ``sends``, transactions of every chain must be taken as well.
    """
    if "sends" in asked and any(words != TAKEN for words in told.get("sends", {}).values()):
        return False
    return bool(told["ready"] or ("any" in asked and told.get("chains_ready")))


def _why_down(chain: ChainStatus, *, is_public: bool) -> str:
    if not chain["upstreams"]:
        return "no upstreams are configured"
    parts = []
    for upstream in chain["upstreams"]:
        reason = None if is_public else upstream.get("state_reason")
        state = upstream.get("state", UpstreamState.UNKNOWN)
        parts.append(f"{upstream.get('name', '?')} {state}" + (f" ({reason})" if reason else ""))
    return "; ".join(parts)


# --------------------------------------------------------------------------
# Pages


def make_admin_app(
    view: AdminView,
    redact: Redact = str,
    control: ControlView | None = None,
    access: Callable[[], Access] = Access,
    clock: Clock = SYSTEM_CLOCK,
) -> web.Application:
    """The application behind the admin port. Serve it without aiohttp's access log. Without
    ``control`` nothing can be changed; ``access``: who may what.
    """
    page = functools.partial(json_page, redact=redact)
    app = web.Application(
        middlewares=[_answer_in_json, make_guard(access, page)], client_max_size=_MOST_BODY_BYTES
    )
    if control is not None:
        app.add_routes(control_routes(control, page))
    app.add_routes(health_routes(view, redact))
    app.add_routes(
        [
            web.get("/metrics", _metrics_page(view)),
        ]
    )
    _add_status(app, view, redact, clock)
    app.add_routes(changes_routes(view, page))
    app.add_routes(transaction_routes(view, page))
    app.add_routes(index_routes(page))
    return app


def _add_status(app: web.Application, view: AdminView, redact: Redact, clock: Clock) -> None:
    def tell() -> Mapping[str, Any]:
        return told_plainly(view.status(), redact)

    status_page = StatusPage(tell, clock=clock)
    app.add_routes(status_routes(status_page, json_page, tell))

    async def close(_app: web.Application) -> None:
        await status_page.live.close()

    # Before aiohttp waits for what is under way: a stream ends with whoever looks.
    app.on_shutdown.append(close)


def health_routes(view: AdminView, redact: Redact = str) -> list[web.RouteDef]:
    """``/healthz`` and ``/readyz``, which the wallet port shows too."""

    async def healthz(_request: web.Request) -> web.Response:
        """That the process is alive."""
        return json_page({"status": "ok", "version": __version__})

    async def readyz(request: web.Request) -> web.Response:
        """Whether every chain can be served; ?any for at least one."""
        _, told = view.ready()
        status = 200 if is_in_rotation(request.query, told) else 503
        return json_page(told, status=status, redact=redact)

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def _metrics_page(view: AdminView) -> Handler:
    async def metrics(request: web.Request) -> web.Response:
        """Figures for Prometheus."""
        body, content_type = await view.metrics(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=body, headers={"Content-Type": content_type, **_ALWAYS})

    return metrics


_ALWAYS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    **SERVER_HEADER,
}


def json_page(content: object, status: int = 200, redact: Redact = str) -> web.Response:
    """A page of JSON, indented: people read these too."""
    plain = _redacted(msgspec.to_builtins(content, enc_hook=str), redact)
    body = msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"
    return web.Response(
        body=body, status=status, headers=_ALWAYS, content_type="application/json", charset="utf-8"
    )


def told_plainly(content: object, redact: Redact) -> dict[str, Any]:
    """A mapping as plain values, ``redact`` over every text."""
    plain: dict[str, Any] = _redacted(msgspec.to_builtins(content, enc_hook=str), redact)
    return plain


def _redacted(content: object, redact: Redact) -> Any:  # noqa: ANN401 -- of the type it has
    """String by string: over the whole text a secret of digits would break numbers."""
    if isinstance(content, str):
        return redact(content)
    if isinstance(content, dict):
        return {key: _redacted(value, redact) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_redacted(value, redact) for value in content]
    return content


@web.middleware
async def _answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        told = no_page(request, refusal) or {"error": refusal.reason}
        page = json_page(told, status=refusal.status)
        if "Allow" in refusal.headers:
            page.headers["Allow"] = refusal.headers["Allow"]
        return page
    except Exception:  # noqa: BLE001 - logged, and whoever asked is told in JSON
        _log.exception("the page %s failed", request.path)
        return json_page({"error": "this page failed; the log says why"}, status=500)
