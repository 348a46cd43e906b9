"""``GET /changes``: the timeline, and what may be asked of a time. No state."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol, TypedDict

from aiohttp import web

from rpcproxy.front.operators.access import Denied
from rpcproxy.front.operators.admin_transactions import JsonPage

USUAL_LIMIT: Final = 200
MOST: Final = 2000
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")
_TIMES: Final = "a time as in 30m, 1h or 7d ago, in ISO 8601, or in Unix seconds"


class ChangeTold(TypedDict):
    """One entry of the timeline. ``sentence`` has all of it in words, ``words`` why or what alone.
    ``upstream`` may be a fault domain. Times are UTC, ISO 8601; ``ended`` is ``None`` while it
    lasts. ``unserved`` of ``requests`` had an error: what wallets noticed.
    """

    id: str
    kind: str
    chain: str
    upstream: str
    words: str
    sentence: str
    by: str
    started: str
    ended: str | None
    seconds: float
    requests: int
    unserved: int
    times: int


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


def since_in(text: str, now_unix: float) -> float:
    """The Unix seconds that a ``since`` means; empty is 0. Raises ``Denied``."""
    text = text.strip()
    if not text:
        return 0.0
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_unix - float(ago[1]) * _UNITS[ago[2]]
    try:
        seconds = float(text)
    except ValueError:
        seconds = _iso(text)
    if not math.isfinite(seconds):
        raise Denied(400, f"since: expected {_TIMES}")
    return seconds


def _iso(text: str) -> float:
    """NaN where it is none. A ``+`` of an address is a space when it arrives."""
    try:
        moment = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def limit_in(text: str, usual: int = USUAL_LIMIT, most: int = MOST) -> int:
    """How many are wanted. Raises ``Denied``."""
    if not text:
        return usual
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise Denied(400, f"limit: expected a whole number from 1 to {most}")
    return int(text)


def asked_only(query: Mapping[str, str], known: Sequence[str]) -> None:
    """Raises ``Denied`` where something else is asked for: it would be left out without a word."""
    for name in query:
        if name not in known:
            raise Denied(400, f"there is no {name!r} here; known are {', '.join(known)}")


def changes_routes(view: ChangesView, page: JsonPage) -> list[web.RouteDef]:
    """``page`` is how the other pages of the port are made."""

    def told(query: Mapping[str, str]) -> ChangesPage:
        asked_only(query, ("since", "chain", "upstream", "limit"))
        return view.changes(
            limit_in(query.get("limit", "")),
            since_in(query.get("since", ""), view.unix_now()),
            query.get("chain", ""),
            query.get("upstream", ""),
        )

    async def changes(request: web.Request) -> web.Response:
        """What happened, the newest first; ?since=, ?chain=, ?upstream=, ?limit=."""
        return denied_in_words(page, lambda: told(request.query))

    return [web.get("/changes", changes)]


def denied_in_words(page: JsonPage, tell: Callable[[], object]) -> web.Response:
    """What is told, or why not."""
    try:
        return page(tell())
    except Denied as denied:
        return page({"error": str(denied)}, status=denied.status)
