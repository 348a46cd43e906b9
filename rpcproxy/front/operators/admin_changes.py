"""``GET /changes``: the timeline, and what may be asked of a time. No state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypedDict

from aiohttp import web

from rpcproxy.front.operators.admin_transactions import JsonPage
from rpcproxy.front.operators.queries import asked_only, denied_in_words, limit_in, since_in
from rpcproxy.front.pages.outlook import ChangeTold

USUAL_LIMIT: Final = 200
MOST: Final = 2000


class ChangesPage(TypedDict):
    """``changes``, the newest first; ``kept`` says why nothing is kept on disk, empty if it is."""

    changes: Sequence[ChangeTold]
    kept: str


class ChangesView(Protocol):
    """The timeline of a proxy."""

    def changes(
        self, limit: int, since_unix: float = 0.0, chain: str = "", upstream: str = ""
    ) -> ChangesPage: ...

    def unix_now(self) -> float: ...


def changes_routes(view: ChangesView, page: JsonPage) -> list[web.RouteDef]:
    """``page`` is how the other pages of the port are made."""

    def told(query: Mapping[str, str]) -> ChangesPage:
        asked_only(query, ("since", "chain", "upstream", "limit"))
        return view.changes(
            limit_in(query.get("limit", ""), USUAL_LIMIT, MOST),
            since_in(query.get("since", ""), view.unix_now()) or 0.0,
            query.get("chain", ""),
            query.get("upstream", ""),
        )

    async def changes(request: web.Request) -> web.Response:
        """What happened, the newest first; ?since=, ?chain=, ?upstream=, ?limit=."""
        return denied_in_words(page, lambda: told(request.query))

    return [web.get("/changes", changes)]
