"""Large requests, large answers and gzip, end to end, exact to the byte."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from rpcproxy.config.model import Limits
from tests.integration.rpc_kit import (
    NUMBER,
    Call,
    Post,
    Sent,
    Upstream,
    Wallet,
    a_proxy,
    always,
    array,
    each,
    ok,
    on_uvloop,
    request,
)
from tests.sockets import front_kit

MIB = 1024 * 1024
HOLD = 8 * MIB  # answers up to this size are whole before they are given on
PARAMS = b'["0x%064x"]' % 7
ASK = request("debug_traceTransaction", PARAMS, b'"id \\u0041"')
HEAD = b'{"jsonrpc":"2.0","id":"id \\u0041","result":"'
BLOCK = (bytes(range(ord("a"), ord("x"))) * (MIB // 23 + 1))[: MIB - 1] + b"."


def first(call: Call) -> tuple[bytes, bytes]:
    return b'{"jsonrpc":"2.0","id":%b,"result":"' % bytes(call.id), b'"}'


def last(call: Call) -> tuple[bytes, bytes]:
    return b'{"jsonrpc":"2.0","result":"', b'","id":%b}' % bytes(call.id)


def with_null(call: Call) -> tuple[bytes, bytes]:
    return b'{"id":"%b","result":"' % bytes(call.id), b'","error":null,"jsonrpc":"2.0"}\n'


ORDERS = {"id first": first, "id last": last, "error null": with_null}


def filling(size: int) -> list[bytes]:
    """Text of ``size`` bytes, in pieces."""
    whole, rest = divmod(size, MIB)
    return [BLOCK] * whole + [BLOCK[:rest]] * bool(rest)


def large(size: int, order: str = "id first") -> Callable[[Post], Sent]:
    """A reply with a body of ``size`` bytes."""

    def script(post: Post) -> Sent:
        start, end = ORDERS[order](post.calls[0])
        pieces = [*filling(size - len(start) - len(end)), end]
        if post.is_batch:
            start, pieces = b"[" + start, [*pieces, b"]"]
        return Sent(start, pieces=pieces)

    return script


@contextlib.asynccontextmanager
async def one(script: object, **given: object) -> AsyncIterator[tuple[Wallet, Upstream]]:
    async with Upstream(script, "a") as a, a_proxy(a, **given) as wallet:  # type: ignore[arg-type]
        yield wallet, a


class Digest:
    """Of an HTTP answer's body, read in pieces so that 64 MiB are never in memory."""

    def __init__(self) -> None:
        self.size = 0
        self.hash = hashlib.blake2b()
        self.start = b""
        self.end = b""

    def add(self, piece: bytes) -> None:
        if len(self.start) < 512:
            self.start += piece[:512]
        self.end = (self.end + piece)[-512:] if len(piece) < 512 else piece[-512:]
        self.size += len(piece)
        self.hash.update(piece)


async def read_response(client: front_kit.Client) -> tuple[dict[str, str], Digest]:
    status, headers = await client.head()
    assert status == 200
    digest = Digest()
    left = int(headers.get("content-length", 0))
    is_chunked = headers.get("transfer-encoding") == "chunked"
    while is_chunked or left:
        if is_chunked:
            size = left = int(await client.reader.readuntil(b"\r\n"), 16)
        while left:
            piece = await client.reader.read(min(left, MIB))
            assert piece, "the answer broke off"
            left -= len(piece)
            digest.add(piece)
        if is_chunked:
            assert await client.reader.readexactly(2) == b"\r\n"
            if not size:
                break
    return headers, digest


def expected(size: int, order: str) -> Digest:
    """What a client gets of a reply of ``size`` bytes: the same result in our own envelope."""
    start, end = ORDERS[order](Call("", msgspec.Raw(b"1" * ID_DIGITS)))
    digest = Digest()
    for piece in (HEAD, *filling(size - len(start) - len(end)), b'"}'):
        digest.add(piece)
    return digest


ID_DIGITS = 1  # of the proxy's first request


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [1000, MIB, HOLD - 1, HOLD, HOLD + 1, HOLD + 700, 12 * MIB])
@on_uvloop
async def test_an_answer_of_any_size_is_exact(size: int, order: str) -> None:
    async with one(large(size, order)) as (wallet, a):
        wallet.client.send(front_kit.post(ASK))
        headers, digest = await read_response(wallet.client)
        assert len(bytes(a.calls[0].id)) == ID_DIGITS
        wanted = expected(size, order)
        assert (digest.size, digest.start[:200]) == (wanted.size, wanted.start[:200])
        assert digest.hash.digest() == wanted.hash.digest()
        assert ("content-length" in headers) == (size <= HOLD)
        assert headers["access-control-allow-origin"] == "*"
        # The connection goes on.
        a.script = each(lambda call: ok(call, b'"0x1"'))
        assert (await wallet.call("eth_gasPrice"))["result"] == "0x1"


@on_uvloop
async def test_64_mib_are_exact() -> None:
    async with one(large(64 * MIB)) as (wallet, _):
        wallet.client.send(front_kit.post(ASK))
        _, digest = await read_response(wallet.client)
        assert digest.hash.digest() == expected(64 * MIB, "id first").hash.digest()


@on_uvloop
async def test_a_large_answer_within_a_batch_is_whole() -> None:
    """The member that is too large to hold is asked for alone; the array leaves in pieces."""

    def script(post: Post) -> Sent | bytes:
        if post.calls[-1].method == "eth_getTransactionReceipt":
            return large(HOLD + 5)(post)
        return each(lambda call: ok(call, b'"0x1"'))(post)

    receipt = request("eth_getTransactionReceipt", PARAMS, b'"id \\u0041"')
    async with one(script) as (wallet, a):
        wallet.client.send(front_kit.post(array([request("eth_gasPrice"), receipt])))
        headers, digest = await read_response(wallet.client)
        assert headers["transfer-encoding"] == "chunked"
        assert digest.size > HOLD
        start = b'[{"jsonrpc":"2.0","id":1,"result":"0x1"},' + HEAD
        assert digest.start.startswith(start + BLOCK[:100])
        assert digest.end.endswith(b'"}]')
        assert a.shapes == [2, 0, 0]


@on_uvloop
async def test_a_large_answer_that_breaks_off_early_is_asked_elsewhere() -> None:
    def script(post: Post) -> Sent:
        sent = large(HOLD)(post)
        body = sent.body + b"".join(sent.pieces)
        return Sent(body, cut_at=HOLD // 2, end="close")

    async with (
        Upstream(script, "a") as a,
        Upstream(large(HOLD), "b") as b,
        a_proxy(a, b) as wallet,
    ):
        wallet.client.send(front_kit.post(ASK))
        _, digest = await read_response(wallet.client)
        assert digest.hash.digest() == expected(HOLD, "id first").hash.digest()
        assert (len(a.calls), len(b.calls)) == (1, 1)


@on_uvloop
async def test_a_stream_that_breaks_off_is_never_given_as_whole() -> None:
    def script(post: Post) -> Sent:
        sent = large(12 * MIB)(post)
        return Sent(sent.body + b"".join(sent.pieces), cut_at=10 * MIB, end="close")

    async with one(script) as (wallet, _):
        wallet.client.send(front_kit.post(ASK))
        _, headers = await wallet.client.head()
        assert headers["transfer-encoding"] == "chunked"
        assert not (await wallet.client.rest()).endswith(b"0\r\n\r\n")


# ---- gzip


@pytest.mark.parametrize("size", [500, 2000, 200_000, HOLD + 1000])
@on_uvloop
async def test_gzip_from_an_upstream_and_towards_a_client(size: int) -> None:
    def script(post: Post) -> Sent:
        start, end = first(post.calls[0])
        body = start + b"".join(filling(size - len(start) - len(end))) + end
        assert b"accept-encoding: gzip" in post.head
        return Sent(gzip.compress(body, 1), lines=(b"Content-Encoding: gzip",))

    wanted = expected(size, "id first")
    async with one(script) as (wallet, _):
        wallet.client.send(front_kit.post(ASK))
        headers, digest = await read_response(wallet.client)
        assert "content-encoding" not in headers
        assert digest.hash.digest() == wanted.hash.digest()
        response = await wallet.post(ASK, "Accept-Encoding: deflate, gzip;q=0.8")
        # Small answers are not worth it, and streams are not compressed.
        assert response.is_gzip == (1024 < wanted.size <= HOLD)
        text = zlib.decompress(response.body, 31) if response.is_gzip else response.body
        assert hashlib.blake2b(text).digest() == wanted.hash.digest()
        refused = await wallet.post(ASK, "Accept-Encoding: gzip;q=0")
        assert not refused.is_gzip
        assert hashlib.blake2b(refused.body).digest() == wanted.hash.digest()


@on_uvloop
async def test_gzip_can_be_turned_off() -> None:
    async with one(large(5000), server={"gzip": False}) as (wallet, _):
        response = await wallet.post(ASK, "Accept-Encoding: gzip")
        assert not response.is_gzip
        assert len(response.body) > 4000


@on_uvloop
async def test_a_batch_is_compressed_as_a_whole() -> None:
    async with one(each(lambda call: ok(call, b'"0x1"'))) as (wallet, _):
        members = [request("eth_gasPrice", id=b"%d" % n) for n in range(50)]
        plain = await wallet.ask(array(members))
        response = await wallet.post(array(members), "Accept-Encoding: gzip")
        assert response.is_gzip
        assert response.headers["vary"] == "Accept-Encoding"
        assert gzip.decompress(response.body) == plain


# ---- large requests


def call_of(size: int) -> bytes:
    """A request of ``size`` bytes."""
    empty = request("eth_call", b'[{"data":"0x"},"latest"]')
    return request("eth_call", b'[{"data":"0x%b"},"latest"]' % (b"a" * (size - len(empty))))


@on_uvloop
async def test_a_request_at_the_limit_is_taken_and_one_above_is_413() -> None:
    limit = Limits().body_bytes
    assert limit == 5 * MIB
    async with one(each(lambda call: ok(call, b'"0x1"'))) as (wallet, a):
        body = call_of(limit)
        assert len(body) == limit
        assert await wallet.ask(body) == b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'
        # Compared apart: a difference would be printed.
        sent, came = bytes(a.calls[0].params), bytes(msgspec.json.decode(body, type=Call).params)
        is_same = sent == came.replace(b'"latest"', b'"0x%x"' % NUMBER)
        assert is_same
        response = await wallet.post(call_of(limit + 1))
        assert response.status == 413
        assert msgspec.json.decode(response.body)["error"]["code"] == -32600
        assert len(a.calls) == 1


@on_uvloop
async def test_a_size_that_one_refuses_is_learned() -> None:
    async with (
        Upstream(always(b""), "a") as a,
        Upstream(each(lambda call: ok(call, b'"0x1"')), "b") as b,
        a_proxy(a, b) as wallet,
    ):
        answer = b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'

        def script(post: Post) -> Sent | bytes:
            if len(bytes(post.calls[0].params)) > 200_000:
                return Sent(b"<html>413 Request Entity Too Large</html>", 413)
            return ok(post.calls[0], b'"0x1"')

        a.script = script
        for size in (300_000, 300_000, 400_000):
            assert await wallet.ask(call_of(size)) == answer
        assert (len(a.calls), len(b.calls)) == (1, 3)
        for size in (100_000, 1000):
            assert await wallet.ask(call_of(size)) == answer
        assert (len(a.calls), len(b.calls)) == (3, 3)
        assert wallet.state(a) == "up"
