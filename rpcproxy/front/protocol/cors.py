"""What lets a page in a browser talk to the proxy from any origin (Fetch standard, CORS).

Any origin is allowed: a wallet's RPC URL is asked by every dapp the user visits, and no
cookie or password of the browser is ever involved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# On every response, errors included: a browser hides the others from the page.
ALWAYS: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After, X-Trace-Id",
}
ALWAYS_BYTES: Final = "".join(f"{name}: {value}\r\n" for name, value in ALWAYS.items()).encode()

_METHODS: Final = "POST, GET, HEAD, OPTIONS"
_USUAL_HEADERS: Final = (
    "content-type, authorization, cache-control, pragma, solana-client, x-requested-with"
)
_HEADER_LIST: Final = re.compile(
    r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*,[ \t]*[!#-'*+\-.^_`|~\w]+)*"
)
_LONGEST_LIST: Final = 1024
_MAX_AGE_SECONDS: Final = 86_400  # browsers cut it down to 2 h (Chromium) or keep a day


def preflight(requested: Mapping[str, str]) -> dict[str, str]:
    """The headers that answer an OPTIONS request with headers ``requested``, by lower-case name.

    The names asked for are echoed, since ``*`` does not cover Authorization.
    """
    names = requested.get("access-control-request-headers", "")
    if len(names) > _LONGEST_LIST or not _HEADER_LIST.fullmatch(names, 0):
        names = _USUAL_HEADERS
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": names,
        "Access-Control-Max-Age": str(_MAX_AGE_SECONDS),
        "Vary": "Access-Control-Request-Headers",
    }
    # A page from the internet asks a proxy on 127.0.0.1 (Private Network Access draft).
    if requested.get("access-control-request-private-network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers
