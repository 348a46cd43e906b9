"""What operators change on the admin port, and what they ask of it beyond the status.

``/upstreams/CHAIN/NAME/drain`` and its kin, ``/reload``, ``/log-level``, ``/explain`` and
``/failures``. Who may is ``access``'s business.

No state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol, TypedDict

import msgspec
from aiohttp import web

from rpcproxy.front.operators.access import Denied
from rpcproxy.front.operators.admin_failures import FailuresPage, failures_routes
from rpcproxy.front.operators.admin_transactions import JsonPage
from rpcproxy.front.operators.queries import denied_in_words

# Who gives an order, as they call themselves.
OPERATOR_HEADER: Final = "X-Operator"
LONGEST_NAME: Final = 60
LEVELS: Final = ("debug", "info", "warning", "error")
ORDERS: Final = ("drain", "undrain", "cordon", "uncordon")


class Ordered(TypedDict):
    """What an order did: the upstream's state after it, and in words."""

    chain: str
    upstream: str
    state: str
    result: str


class ControlView(Protocol):
    """What the admin port may do. ``Denied`` says why not, with a status."""

    def obey(
        self, chain: str, upstream: str, order: str, *, is_forced: bool, by: str = ""
    ) -> Ordered: ...

    async def settle(self) -> None:
        """Until what was ordered outlives the process, for a moment at most."""
        ...

    async def reload(self, by: str = "") -> str:
        """Read the configuration file again; what came of it, in words."""
        ...

    def explain(self, body: bytes, chain: str | None) -> object: ...

    def failures(self, query: Mapping[str, str]) -> FailuresPage:
        """Requests that failed or were slow; see ``admin_failures``."""
        ...

    @property
    def log_level(self) -> str: ...

    def set_log_level(self, level: str, by: str = "") -> None:
        """One of ``LEVELS``."""
        ...


def control_routes(view: ControlView, page: JsonPage) -> list[web.RouteDef]:
    """``page`` is how the other pages of the port are made."""

    async def obey(request: web.Request) -> web.Response:
        """Drain, undrain, cordon or uncordon an upstream; ?force=1 for the last one, too."""
        asked = request.match_info
        is_forced = request.query.get("force", "") not in ("", "0")
        chain, name, order = asked["chain"], asked["name"], asked["order"]
        told = denied_in_words(
            page, lambda: view.obey(chain, name, order, is_forced=is_forced, by=_who(request))
        )
        await view.settle()
        return told

    async def reload(request: web.Request) -> web.Response:
        """Read the configuration file again."""
        try:
            return page({"result": await view.reload(_who(request))})
        except Denied as denied:
            return page({"error": str(denied)}, status=denied.status)

    async def level(_request: web.Request) -> web.Response:
        """The log level."""
        return page({"level": view.log_level})

    async def set_level(request: web.Request) -> web.Response:
        """Set the log level until the next start: {"level": "debug"}."""
        wanted = _level_in(await request.read())
        if wanted is None:
            words = f'expected {{"level": "…"}} with one of {", ".join(LEVELS)}'
            return page({"error": words}, status=400)
        view.set_log_level(wanted, _who(request))
        return page({"level": view.log_level})

    async def explain(request: web.Request) -> web.Response:
        """Who would be asked for the JSON-RPC request in the body, and why; ?chain=NAME."""
        body = await request.read()
        return denied_in_words(page, lambda: view.explain(body, request.query.get("chain")))

    return [
        web.post(f"/upstreams/{{chain}}/{{name}}/{{order:{'|'.join(ORDERS)}}}", obey),
        web.post("/reload", reload),
        web.get("/log-level", level),
        web.put("/log-level", set_level),
        web.post("/explain", explain),
        *failures_routes(lambda query: view.failures(query), page),  # noqa: PLW0108 -- when asked
    ]


def who(name: str, peer: str | None) -> str:
    """Whoever gives an order, as it may be told: the name that was given, and from where."""
    plain = "".join(each for each in name if each.isprintable()).strip()[:LONGEST_NAME]
    return ", ".join(filter(None, (plain, f"from {peer}" if peer else "")))


def _who(request: web.Request) -> str:
    return who(request.headers.get(OPERATOR_HEADER, ""), request.remote)


def _level_in(body: bytes) -> str | None:
    try:
        level = msgspec.json.decode(body, type=dict[str, str]).get("level", "").lower()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return level if level in LEVELS else None
