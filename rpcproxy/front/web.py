"""What the wallet port answers to whatever is no POST: the page for people, ``/healthz``,
``/readyz``, CORS preflights, and refusals of other methods and paths.

No state of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from rpcproxy.front.operators.access import name_in
from rpcproxy.front.operators.admin import is_in_rotation
from rpcproxy.front.pages.landing import SHELL as LANDING
from rpcproxy.front.pages.landing import example_call, landing
from rpcproxy.front.pages.status_page import PublicStatus
from rpcproxy.front.protocol import cors, responses
from rpcproxy.front.protocol.page import HTML, JSON, TEXT, Page, PageRequest
from rpcproxy.front.protocol.upgrades import NOT_SERVED, NOT_SERVED_STATUS, wants_websocket
from rpcproxy.front.wire.shared import Doors

_ALLOW: Final = {"Allow": "GET, HEAD, POST, OPTIONS"}

Ready = Callable[[], tuple[bool, dict[str, Any]]]
Describe = Callable[[], list[dict[str, Any]]]


class WalletPages:
    """``ready`` says whether every chain can be served, with details; ``describe`` lists the
    chains as ``{"name": str, "kind": str, "identity": str, "chain_id": int, "asks": str,
    "paths": [str, …]}``, the best path first; ``asks`` is the method of a call to try it with.
    Where ``people`` is given, pages say how the chains stand.
    """

    def __init__(
        self, doors: Doors, ready: Ready, describe: Describe, people: PublicStatus | None = None
    ) -> None:
        self._doors = doors
        self._ready = ready
        self._describe = describe
        self._people = people

    def answer(self, request: PageRequest) -> Page:
        """The page for one request that is no POST."""
        path = request.path
        if request.method == "OPTIONS":
            return Page(b"", 204, headers={**cors.preflight(request.fields), **_ALLOW})
        fields = request.fields
        if wants_websocket([fields.get("upgrade", "")], has_key="sec-websocket-key" in fields):
            # What comes next on this connection was meant for another protocol.
            refusal = responses.refusal(NOT_SERVED_STATUS, NOT_SERVED)
            return responses.as_page(refusal, is_last=True)
        if request.method not in ("GET", "HEAD"):
            refusal = responses.refusal(405, f"the method {request.method} is not served here")
            return responses.as_page(refusal, _ALLOW)
        if path == "/healthz":
            return _json(200, {"status": "ok"})
        if path == "/readyz":
            is_ready, details = self._ready()
            told = {"ready": is_ready, **details}
            return _json(200 if is_in_rotation(request.query, told) else 503, told)
        if self._people is not None:
            page = self._people.answer(request)
            if page is not None:
                return page
        if path == "/" or self._doors.get(path) is not None:
            return self._landing(request)
        return responses.as_page(responses.unknown_path())

    def _landing(self, request: PageRequest) -> Page:
        base = _base(request)
        if base is None:
            return responses.as_page(responses.refusal(400, "the Host header is malformed"))
        path = request.path
        chains = self._describe()
        if path != "/":
            chains = [chain for chain in chains if path in chain["paths"]]
        # The host is the client's word: no cache may give it to others.
        headers = dict(LANDING.headers)
        if not request.takes_html:
            text = _as_text(base, chains)
            return Page(text.encode(), headers={"Content-Type": TEXT, **headers})
        outlooks = {} if self._people is None else self._people.outlooks()
        status_path = None if self._people is None else self._people.path()
        text = landing(base, chains, outlooks, here=path, status_path=status_path)
        return Page(text.encode(), headers={"Content-Type": HTML, **headers})


def _json(status: int, value: Mapping[str, Any]) -> Page:
    return Page(json.dumps(value).encode(), status, headers={"Content-Type": JSON})


def _base(request: PageRequest) -> str | None:
    """Where the client found us; ``None`` where its Host header is none. HTTP/1.0 knows none:
    checks of load balancers.
    """
    host = request.fields.get("host") or request.here
    return None if name_in(host) is None else f"{request.scheme}://{host}"


def _as_text(base: str, chains: list[dict[str, Any]]) -> str:
    lines = ["rpcproxy: JSON-RPC for wallets and dapps. Point a wallet at one of these URLs:", ""]
    for chain in chains:
        lines.append(f"  {chain['name']} (chain id {chain['identity']})")
        lines += [f"    {base}{path}" for path in chain["paths"]]
    if chains:
        first = chains[0]["paths"][0]
        lines += ["", "Try it:", "", f"  curl {base}{first} -d '{example_call(chains[0])}'", ""]
    return "\n".join(lines)
