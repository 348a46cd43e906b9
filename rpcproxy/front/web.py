"""Everything on the wallet port that does not begin with POST, served by aiohttp: the page
for people, ``/healthz``, ``/readyz``, CORS preflights, and whatever a client sends after one
of these on the same connection, POST included.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import hdrs, web

from rpcproxy.config.model import Server
from rpcproxy.front import cors, encoding, responses
from rpcproxy.front.access import name_in
from rpcproxy.front.admin import is_in_rotation
from rpcproxy.front.handover import SERVER_HEADER
from rpcproxy.front.heads import takes_gzip, wants_fresh
from rpcproxy.front.landing import SHELL as LANDING
from rpcproxy.front.landing import landing
from rpcproxy.front.shared import Doors, log, trace_ids
from rpcproxy.front.status_page import PublicStatus, takes_html
from rpcproxy.front.upgrades import NOT_SERVED, NOT_SERVED_STATUS, wants_websocket
from rpcproxy.messages import Answer, AnswerStream, Pending, StreamBroken

_ALLOW: Final = {"Allow": "GET, HEAD, POST, OPTIONS"}
# How long a client may take nothing of a stream, as FrontSettings.stall_seconds has it.
_STALL_SECONDS: Final = 60.0

Ready = Callable[[], tuple[bool, dict[str, Any]]]
Describe = Callable[[], list[dict[str, Any]]]


def make_web_app(
    doors: Doors,
    ready: Ready,
    describe: Describe,
    server: Server | None = None,
    people: PublicStatus | None = None,
) -> web.Application:
    """``ready`` says whether every chain can be served, with details; ``describe`` lists the
    chains as ``{"name": str, "chain_id": int, "paths": [str, …]}``, the best path first. Where
    ``people`` is given, pages say how the chains stand.
    """
    pages = _Pages(doors, ready, describe, server or Server(), people)
    # A middleware and no routes: ``OPTIONS *`` and the like match no route, and want their
    # headers too.
    return web.Application(
        client_max_size=pages.limits.body_bytes, middlewares=[pages.answer_everything]
    )


class _Pages:
    def __init__(
        self,
        doors: Doors,
        ready: Ready,
        describe: Describe,
        server: Server,
        people: PublicStatus | None,
    ) -> None:
        self._people = people
        self._doors = doors
        self._ready = ready
        self._describe = describe
        self.limits = server.limits
        self._can_gzip = server.gzip
        self._new_trace_id = trace_ids()

    @web.middleware
    async def answer_everything(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],  # noqa: ARG002  no routes
    ) -> web.StreamResponse:
        """One request; whatever goes wrong is said in JSON-RPC's words."""
        trace_id = self._new_trace_id()
        try:
            return await self._answer(request, trace_id)
        except web.HTTPRequestEntityTooLarge:
            reason = f"the request body is over the limit of {self.limits.body_bytes} bytes"
            return _refusal(413, reason, trace_id, has_to_close=True)
        except Exception:  # noqa: BLE001  whatever it is, the client gets its answer
            log.exception("request failed", extra={"trace_id": trace_id})
            return _whole(responses.failure(), trace_id)

    async def _answer(self, request: web.Request, trace_id: str) -> web.StreamResponse:
        path = request.path.rstrip("/") or "/"
        if request.method == hdrs.METH_OPTIONS:
            headers = {**_headers(trace_id), **cors.preflight(request.headers), **_ALLOW}
            return web.Response(status=204, headers=headers)
        if request.method == hdrs.METH_POST:
            return await self._post(request, path, trace_id)
        if wants_websocket(
            request.headers.getall(hdrs.UPGRADE, ()),
            has_key=hdrs.SEC_WEBSOCKET_KEY in request.headers,
        ):
            # What comes next on this connection was meant for another protocol.
            return _refusal(NOT_SERVED_STATUS, NOT_SERVED, trace_id, has_to_close=True)
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            response = _refusal(405, f"the method {request.method} is not served here", trace_id)
            response.headers.update(_ALLOW)
            return response
        if path == "/healthz":
            return _json(200, {"status": "ok"}, trace_id)
        if path == "/readyz":
            is_ready, details = self._ready()
            told = {"ready": is_ready, **details}
            return _json(200 if is_in_rotation(request.query, told) else 503, told, trace_id)
        if self._people is not None:
            answered = await self._people.answer(request, path, _headers(trace_id))
            if answered is not None:
                return answered
        if path == "/" or self._doors.get(path) is not None:
            return self._page(request, path, trace_id)
        return _whole(responses.unknown_path(), trace_id)

    def _page(self, request: web.Request, path: str, trace_id: str) -> web.Response:
        base = _base(request)
        if base is None:
            return _refusal(400, "the Host header is malformed", trace_id)
        chains = self._describe()
        if path != "/":
            chains = [chain for chain in chains if path in chain["paths"]]
        # The host is the client's word: no cache may give it to others.
        headers = {**_headers(trace_id), **LANDING.headers}
        if takes_html(request):
            outlooks = {} if self._people is None else self._people.outlooks()
            status_path = None if self._people is None else self._people.path()
            text = landing(base, chains, outlooks, here=path, status_path=status_path)
            return web.Response(text=text, content_type="text/html", headers=headers)
        return web.Response(text=_as_text(base, chains), headers=headers)

    # ------------------------------------------------------------------ POST

    async def _post(self, request: web.Request, path: str, trace_id: str) -> web.StreamResponse:
        door = self._doors.get(path)
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            reason = "request bodies are taken uncompressed only"
            return _refusal(415, reason, trace_id, has_to_close=True)
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                body = await request.read()
        except TimeoutError:
            reason = f"the request body took over {self.limits.body_seconds:g} s"
            return _refusal(408, reason, trace_id, has_to_close=True)
        if door is None:
            return _whole(responses.unknown_path(), trace_id)
        cache_control, pragma = (
            request.headers.get(name, "").encode() for name in ("Cache-Control", "Pragma")
        )
        if wants_fresh(cache_control or None, pragma):
            handled = door.handle(body, trace_id, is_fresh=True)
        else:
            handled = door.handle(body, trace_id)
        if isinstance(handled, Pending):
            answer = await _delivered(handled)
        else:
            answer = handled if isinstance(handled, Answer) else await handled
        if answer.rest is not None:
            return await _stream(request, answer, answer.rest, trace_id)
        is_worth = self._can_gzip and len(answer.body) > encoding.WORTH_BYTES
        if is_worth and takes_gzip(request.headers.get("Accept-Encoding", "").encode()):
            loop = asyncio.get_running_loop()
            answer.body = await loop.run_in_executor(None, encoding.compress, answer.body)
            response = _whole(answer, trace_id)
            response.headers.update({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
            return response
        return _whole(answer, trace_id)


async def _stream(
    request: web.Request, answer: Answer, rest: AnswerStream, trace_id: str
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=_headers(trace_id))
    response.content_type = "application/json"
    try:
        await response.prepare(request)
        piece, answer.body = answer.body, b""
        while piece:
            async with asyncio.timeout(_STALL_SECONDS):
                await response.write(piece)
            piece = await rest.read()
        await response.write_eof()
    except (StreamBroken, TimeoutError, ConnectionResetError):
        # The client must see that the answer is not whole, where it is still there.
        if request.transport is not None:
            request.transport.abort()
    finally:
        rest.close()
    return response


def _headers(trace_id: str) -> dict[str, str]:
    return {**cors.ALWAYS, "X-Trace-Id": trace_id, **SERVER_HEADER}


def _whole(answer: Answer, trace_id: str) -> web.Response:
    headers = _headers(trace_id)
    if answer.retry_after_seconds > 0:
        headers["Retry-After"] = str(answer.retry_after_seconds)
    return web.Response(
        body=answer.body, status=answer.status, headers=headers, content_type="application/json"
    )


def _refusal(
    status: int, reason: str, trace_id: str, *, has_to_close: bool = False
) -> web.Response:
    response = _whole(responses.refusal(status, reason), trace_id)
    if has_to_close:
        response.force_close()
    return response


def _json(status: int, value: Mapping[str, Any], trace_id: str) -> web.Response:
    return web.json_response(value, status=status, headers=_headers(trace_id))


# ---------------------------------------------------------------------- the page


def _base(request: web.Request) -> str | None:
    """Where the client found us; ``None`` where its Host header is none."""
    host = request.headers.get(hdrs.HOST)
    if not host:
        # HTTP/1.0 knows none: checks of load balancers.
        address, port = request.get_extra_info("sockname", ("localhost", 80))[:2]
        host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return None if name_in(host) is None else f"{request.scheme}://{host}"


def _as_text(base: str, chains: list[dict[str, Any]]) -> str:
    lines = ["rpcproxy: JSON-RPC for wallets and dapps. Point a wallet at one of these URLs:", ""]
    for chain in chains:
        lines.append(f"  {chain['name']} (chain id {chain['chain_id']})")
        lines += [f"    {base}{path}" for path in chain["paths"]]
    first = chains[0]["paths"][0] if chains else "/"
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []})
    lines += ["", "Try it:", "", f"  curl {base}{first} -d '{call}'", ""]
    return "\n".join(lines)


async def _delivered(pending: Pending) -> Answer:
    """Wait for a pending answer; given up where the client hangs up."""
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    pending.deliver = answered.set_result
    try:
        return await answered
    except asyncio.CancelledError:
        if answered.cancelled():
            pending.cancel()
        elif (rest := answered.result().rest) is not None:
            rest.close()  # it came in the turn in which the client hung up
        raise
