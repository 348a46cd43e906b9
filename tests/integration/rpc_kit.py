"""A whole proxy between a raw client and scripted upstreams, all in the test's own loop.

async with Upstream(each(lambda call: ok(call, b'"0x1"'))) as upstream:
    async with a_proxy(upstream) as wallet:
        reply = await wallet.ask(b'{"id":1,"method":"eth_gasPrice"}')
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import msgspec
import uvloop

from rpcproxy.app.proxy import Proxy
from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.config import model
from rpcproxy.messages import METHOD_CLASSES
from tests.kits.jumping import InTheLoop, JumpingLoop
from tests.kits.waiting import until
from tests.sockets import front_kit, scripted

CHAIN_ID = 7
NUMBER = 1000
CLOUDS = ("aws", "gcp", "azure", "hetzner")
# Keys of ``server``, for a proxy without threads: on a jumping loop.
_IN_MEMORY: dict[str, Any] = {
    "journal": model.Journal(is_on=False),
    "history": model.History(is_on=False),
}


class Call(msgspec.Struct):
    """One call as it arrived at an upstream."""

    method: str
    id: msgspec.Raw = msgspec.Raw(b"null")
    params: msgspec.Raw = msgspec.Raw(b"[]")


class Post(msgspec.Struct):
    """One HTTP request as it arrived at an upstream; ``head`` is in lower case."""

    head: bytes
    calls: list[Call]
    is_batch: bool


class Sent(msgspec.Struct):
    """What an upstream answers. ``cut_at``: so many bytes of the body leave, and then the
    connection is ``end``-ed; ``end`` may also follow a whole answer. ``after_seconds`` pass before
    it, and ``pause_seconds`` before each of the ``pieces``.
    """

    body: bytes
    status: int = 200
    lines: tuple[bytes, ...] = ()
    cut_at: int | None = None
    end: str = ""  # "", close, reset, stall
    pieces: Sequence[bytes] = ()  # go out after the body
    after_seconds: float = 0.0
    pause_seconds: float = 0.0


Script = Callable[[Post], Sent | bytes]
PROBES = {
    ("eth_chainId", b"[]"),
    *(
        ("eth_getBlockByNumber", b'["%b",false]' % tag)
        for tag in (b"latest", b"safe", b"finalized")
    ),
    ("eth_getLogs", b'[{"fromBlock":"latest","toBlock":"latest","address":"0x%040d"}]' % 0),
}
PARENT = b'["0x%064x",false]' % (NUMBER - 1)


def ok(call: Call, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (bytes(call.id), result)


def wrong(call: Call, code: int, message: str, **rest: Any) -> bytes:
    error = msgspec.json.encode({"code": code, "message": message, **rest})
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (bytes(call.id), error)


def array(replies: Sequence[bytes]) -> bytes:
    return b"[%b]" % b",".join(replies)


def each(answer: Callable[[Call], bytes]) -> Script:
    """Answer call by call, batches as batches."""

    def script(post: Post) -> bytes:
        replies = [answer(call) for call in post.calls]
        return array(replies) if post.is_batch else replies[0]

    return script


def always(sent: Sent | bytes) -> Script:
    return lambda _: sent


class Upstream(scripted.Scripted):
    """An upstream that runs ``script`` for what clients ask. Probes of the watcher are answered
    by the kit and not counted, unless ``are_probes_scripted``.
    """

    def __init__(self, script: Script, name: str = "", *, chain_id: int = CHAIN_ID) -> None:
        super().__init__(self._serve)
        self.script = script
        self.name = name
        self.chain_id = chain_id
        self.block = b'{"number":"0x%x","hash":"0x%064x","parentHash":"0x%064x"}' % (
            *(NUMBER, NUMBER, NUMBER - 1),
        )
        self.are_probes_scripted = False
        self.posts: list[Post] = []
        self.heard = bytearray()  # every byte that came
        self.probes = 0
        self._bugs: list[Exception] = []

    async def __aexit__(self, *exc_info: object) -> None:
        await super().__aexit__(*exc_info)
        if self._bugs:
            raise self._bugs[0]  # of the script: without it nothing else makes sense

    @property
    def calls(self) -> list[Call]:
        return [call for post in self.posts for call in post.calls]

    @property
    def methods(self) -> list[str]:
        return [call.method for call in self.calls]

    @property
    def shapes(self) -> list[int]:
        """Of what arrived: 0 for a single, else the size of the batch."""
        return [len(post.calls) if post.is_batch else 0 for post in self.posts]

    def forget(self) -> None:
        self.posts.clear()

    async def _serve(self, peer: scripted.Peer) -> None:
        while True:
            heard = await peer.request()
            self.heard += heard
            head, _, body = heard.partition(b"\r\n\r\n")
            peer.requests.clear()
            is_batch = body.startswith(b"[")
            kind: Any = list[Call] if is_batch else Call
            decoded = msgspec.json.decode(body, type=kind)
            post = Post(head.lower(), decoded if is_batch else [decoded], is_batch)
            if not await self._answer(peer, self._decide(post)):
                return

    def _decide(self, post: Post) -> Sent:
        call = post.calls[0]
        is_probe = not post.is_batch and (
            (call.method, bytes(call.params)) in PROBES or bytes(call.params) == PARENT
        )
        if is_probe:
            self.probes += 1
        else:
            self.posts.append(post)
        if is_probe and not self.are_probes_scripted:
            return Sent(self._probe(call))
        try:
            sent = self.script(post)
        except Exception as bug:
            self._bugs.append(bug)
            raise
        return Sent(sent) if isinstance(sent, bytes) else sent

    def _probe(self, call: Call) -> bytes:
        if call.method == "eth_chainId":
            return ok(call, b'"0x%x"' % self.chain_id)
        if call.method == "eth_getBlockByHash":
            return ok(call, b"null")
        return ok(call, b"[]" if call.method == "eth_getLogs" else self.block)

    @staticmethod
    async def _answer(peer: scripted.Peer, sent: Sent) -> bool:
        """Whether the connection goes on."""
        if sent.after_seconds:
            await asyncio.sleep(sent.after_seconds)
        size = len(sent.body) + sum(map(len, sent.pieces))
        lines = (b"Content-Type: application/json", *sent.lines, b"Content-Length: %d" % size)
        head = b"HTTP/1.1 %d Said\r\n%b\r\n\r\n" % (sent.status, b"\r\n".join(lines))
        if sent.cut_at is None:
            await peer.send(head + sent.body)
            for piece in sent.pieces:
                if sent.pause_seconds:
                    await asyncio.sleep(sent.pause_seconds)
                await peer.send(piece)
        elif sent.cut_at:
            await peer.send(head + sent.body[: sent.cut_at])
        if sent.end == "reset":
            peer.reset()
        elif sent.end == "stall":
            await peer.gone()
        return not sent.end


class Wallet:
    """What a test sees of the proxy: raw HTTP, one keep-alive connection."""

    def __init__(self, proxy: Proxy, client: front_kit.Client) -> None:
        self.proxy = proxy
        self.client = client
        self.runtime = next(iter(proxy.chains.values()))

    async def post(self, body: bytes, *fields: str) -> front_kit.Response:
        """POST; every response has what CORS and tracing ask for."""
        response = await self.client.ask(body, "/", "Cache-Control: no-cache", *fields)
        headers = response.headers
        assert headers["access-control-allow-origin"] == "*"
        assert headers["access-control-expose-headers"] == "Retry-After, X-Trace-Id"
        assert headers["x-trace-id"]
        return response

    async def ask(self, body: bytes) -> bytes:
        """The body of an answer that is HTTP 200."""
        response = await self.post(body)
        assert response.status == 200, response.body
        return response.body

    async def call(self, method: str, params: bytes = b"[]", id: bytes = b"1") -> dict[str, Any]:
        reply = await self.ask(request(method, params, id))
        decoded: dict[str, Any] = msgspec.json.decode(reply)
        return decoded

    def state(self, upstream: Upstream) -> str:
        return self.runtime.standings[upstream.name].state

    async def until_served(self, number: int) -> None:
        """The block that upstreams tell of is served. They are asked at once, and not when it is
        expected.
        """
        heads, wake = self.runtime.standings.heads, self.runtime.watcher._wake

        def is_served() -> bool:
            for each in wake.values():
                each.set()
            return heads.served == number

        await until(is_served, f"block {number} is served")

    async def until_state(self, upstream: Upstream, state: str) -> None:
        await until(lambda: self.state(upstream) == state)


def request(method: str, params: bytes = b"[]", id: bytes = b"1") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":%b}' % (id, method.encode(), params)


def described(upstream: Upstream, index: int, **more: Any) -> model.Upstream:
    """Each on a cloud of its own."""
    upstream.name = upstream.name or f"up{index}"
    return model.Upstream(
        name=upstream.name,
        url=upstream.url,
        provider=f"provider{index}",
        cloud=CLOUDS[index],
        region="r1",
        **more,
    )


@contextlib.asynccontextmanager
async def a_proxy(
    *upstreams: Upstream,
    admitted: int | None = None,
    more: Sequence[dict[str, Any]] = (),
    server: dict[str, Any] | None = None,
    **chain: Any,
) -> AsyncIterator[Wallet]:
    """A proxy that is ready: ``admitted`` upstreams (all of them by default) are usable. Asked
    in their order and never hedged, so that calls can be counted. Nothing may be left behind.
    """
    before = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    jumping = loop if isinstance(loop, JumpingLoop) else None
    given = {"selection": "ordered", "hedge": "off", "chain_id": CHAIN_ID, **chain}
    settings = [dict(more[i]) if i < len(more) else {} for i in range(len(upstreams))]
    config = model.Config(
        server=model.Server(
            **{
                "listen": model.Address(host="127.0.0.1", port=0),
                "admin": None,
                **(_IN_MEMORY if jumping else {}),
                **(server or {}),
            }
        ),
        chains=(
            model.Chain(
                name="test",
                upstreams=tuple(
                    described(upstream, index, **settings[index])
                    for index, upstream in enumerate(upstreams)
                ),
                **given,
            ),
        ),
    )
    proxy = Proxy(config, clock=jumping.clock if jumping else SYSTEM_CLOCK)
    await proxy.start()
    if jumping:
        proxy.chains["test"].pipeline._broadcast._reader = InTheLoop()  # type: ignore[assignment]
    wallet = None
    try:
        standings = proxy.chains["test"].standings
        wanted = len(upstreams) if admitted is None else admitted
        await until(
            lambda: (
                sum(s.is_trusted and s.head is not None for s in standings) >= wanted
                and (not wanted or all(standings.has_usable(c, 0.0) for c in METHOD_CLASSES))
            )
        )
        streams = await asyncio.open_connection(*proxy.address, limit=1 << 20)
        wallet = Wallet(proxy, front_kit.Client(*streams))
        yield wallet
    finally:
        if wallet is not None:
            wallet.client.reset()
        await proxy.stop(drain_seconds=0)
    serving = {task for upstream in upstreams for task in upstream._tasks}
    try:
        await until(lambda: asyncio.all_tasks() <= before | serving)
    except AssertionError:
        raise AssertionError(f"left behind: {asyncio.all_tasks() - before - serving}") from None


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an ``async def`` test on the loop that serves; unhandled errors fail it."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        unhandled: list[dict[str, Any]] = []

        async def watched() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: unhandled.append(context))
            await test(**fixtures)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(watched())
        assert not unhandled, unhandled

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run


# ---- upstreams that are well, and what they say

GOOD = b'"0x900d"'
ANSWER = b'{"jsonrpc":"2.0","id":1,"result":%b}' % GOOD
ASK = b'{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x1","latest"]}'
HASH = b'["0x%064x"]' % 5


def good(call: Call) -> bytes:
    return ok(call, GOOD)


@contextlib.asynccontextmanager
async def fleet(*scripts: Script, **given: object) -> AsyncIterator[tuple[Wallet, list[Upstream]]]:
    """Upstreams a, b, c, d, asked in this order; without a script they are well."""
    async with contextlib.AsyncExitStack() as stack:
        scripts = (*scripts, *[each(good)] * (2 - len(scripts)))
        upstreams = [
            await stack.enter_async_context(Upstream(script, name))
            for script, name in zip(scripts, "abcd", strict=False)
        ]
        yield await stack.enter_async_context(a_proxy(*upstreams, **given)), upstreams


def counts(upstreams: list[Upstream]) -> list[int]:
    return [len(upstream.calls) for upstream in upstreams]


def first_and_all(upstreams: list[Upstream]) -> tuple[int, int]:
    """Calls at the first, and at all together: which is asked second depends on their speed."""
    return len(upstreams[0].calls), sum(counts(upstreams))


def error_reply(code: int, message: str, data: str = "") -> bytes:
    told = b',"data":"%b"' % data.encode() if data else b""
    error = b'{"code":%d,"message":"%b"%b}' % (code, message.encode(), told)
    return b'{"jsonrpc":"2.0","id":1,"error":%b}' % error
