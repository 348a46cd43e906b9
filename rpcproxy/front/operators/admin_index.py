"""Which pages the admin port has: its index, and what is said of a path that is none of them.

Made from the routes themselves; the line of each is the first one of its handler's docstring.
No state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from rpcproxy import __version__
from rpcproxy.config.problems import nearest
from rpcproxy.front.operators.admin_transactions import JsonPage

_NO_PAGE: Final = frozenset({404, 405})
_LONGEST_SHOWN: Final = 80


def routes_of(app: web.Application) -> dict[str, str]:
    """Each route, as ``GET /status``, with its line."""
    found: dict[str, str] = {}
    for route in app.router.routes():
        if route.method == "HEAD" or route.resource is None:
            continue
        what = (route.handler.__doc__ or "").strip().partition("\n")[0]
        found[f"{route.method} {route.resource.canonical}"] = what.removesuffix(".")
    return dict(sorted(found.items(), key=lambda each: each[0].partition(" ")[::-1]))


def index_routes(page: JsonPage) -> list[web.RouteDef]:
    """``page`` is how the other pages of the port are made."""

    async def index(request: web.Request) -> web.Response:
        """List of all pages."""
        return page({"rpcproxy": __version__, "routes": routes_of(request.app)})

    return [web.get("/", index)]


def no_page(request: web.Request, refusal: web.HTTPException) -> Mapping[str, Any] | None:
    """What is said where the router has no such page; ``None`` for another refusal."""
    if refusal.status not in _NO_PAGE or request.match_info.http_exception is None:
        return None
    routes = routes_of(request.app)
    path = request.path[:_LONGEST_SHOWN]
    if refusal.status == 405:
        words = f"{path} takes {refusal.headers.get('Allow', 'another method')}"
        words += f", not {request.method[:_LONGEST_SHOWN]}"
    else:
        meant = nearest(path, (route.partition(" ")[2] for route in routes))
        words = f"there is no page {path}" + (f"; did you mean {meant}?" if meant else "")
    return {"error": words, "paths": list(routes)}
