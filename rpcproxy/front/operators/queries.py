"""What may be asked of a list on the admin port: since when, how many, or why not. No state."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from rpcproxy.front.operators.access import Denied
from rpcproxy.front.operators.admin_transactions import JsonPage

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")
_TIMES: Final = "a time as in 30m, 1h or 7d ago, in ISO 8601, or in Unix seconds"
_LONGEST_SHOWN: Final = 80


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
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def limit_in(text: str, usual: int, most: int) -> int:
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
            shown = repr(name[:_LONGEST_SHOWN])
            raise Denied(400, f"there is no {shown} here; known are {', '.join(known)}")


def denied_in_words(page: JsonPage, tell: Callable[[], object]) -> web.Response:
    """What is told, or why not; ``page`` is how the pages of the port are made."""
    try:
        return page(tell())
    except Denied as denied:
        return page({"error": str(denied)}, status=denied.status)
