"""What upstreams may answer to a batch: each member gets its answer, only what is missing is
asked again, and who takes no batches is remembered.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import pytest

from rpcproxy.config.model import Deadlines
from tests.integration.rpc_kit import (
    Call,
    Post,
    Script,
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
    wrong,
)
from tests.kits.jumping import on_a_jumping_loop

Harm = Callable[[Post, list[bytes]], Sent | bytes]


def first_param(call: Call) -> bytes:
    return bytes(call.params)[1:].split(b",")[0].rstrip(b"]")


def echo(call: Call) -> bytes:
    return ok(call, first_param(call))


def asks(count: int, start: int = 0) -> list[bytes]:
    return [
        request("eth_getBalance", b'["0x%x","latest"]' % n, b'"i%d"' % n)
        for n in range(start, start + count)
    ]


def answers(count: int, start: int = 0) -> bytes:
    texts = (
        b'{"jsonrpc":"2.0","id":"i%d","result":"0x%x"}' % (n, n)
        for n in range(start, start + count)
    )
    return array(list(texts))


def batch(harm: Harm) -> Script:
    """Singles are answered well, batches as ``harm`` makes of their replies."""

    def script(post: Post) -> Sent | bytes:
        replies = [echo(call) for call in post.calls]
        return harm(post, replies) if post.is_batch else replies[0]

    return script


@contextlib.asynccontextmanager
async def two(first: Script) -> AsyncIterator[tuple[Wallet, Upstream, Upstream]]:
    async with (
        Upstream(first, "a") as a,
        Upstream(each(echo), "b") as b,
        a_proxy(a, b) as wallet,
    ):
        yield wallet, a, b


def refusals(post: Post) -> list[bytes]:
    return [wrong(call, -32005, "rate limit exceeded") for call in post.calls]


def swapped(_: Post, replies: list[bytes]) -> bytes:
    return array([*replies[1::2], *reversed(replies[::2])])


def named(call: Call, id: bytes) -> bytes:
    """The reply to ``call``, under another id."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id, first_param(call))


def as_texts(post: Post, _: list[bytes]) -> bytes:
    return array([named(call, b'"%b"' % bytes(call.id)) for call in post.calls])


@pytest.mark.parametrize("harm", [swapped, as_texts])
@on_uvloop
async def test_replies_are_found_by_their_ids(harm: Harm) -> None:
    async with two(batch(harm)) as (wallet, a, b):
        assert await wallet.ask(array(asks(20))) == answers(20)
        assert (a.shapes, b.shapes) == ([20], [])


# What is made of the replies, and how many of the 20 members go unanswered by it.
PARTS: dict[str, tuple[Harm, int]] = {
    "the second half is missing": (lambda _, r: array(r[:10]), 10),
    "every other one is missing": (lambda _, r: array(r[::2]), 10),
    "three are missing": (lambda _, r: array(r[3:]), 3),
    "one is missing": (lambda _, r: array(r[1:]), 1),
    "all but one are missing": (lambda _, r: array(r[:1]), 19),
    "one reply without its array": (lambda _, r: r[4], 19),
    "half are refused": (lambda p, r: array([*refusals(p)[:10], *r[10:]]), 10),
    "one is refused": (lambda p, r: array([*r[:7], refusals(p)[7], *r[8:]]), 1),
    "one is trouble": (lambda p, r: array([*r[:7], wrong(p.calls[7], -32603, "oh"), *r[8:]]), 1),
    "one is not found": (
        lambda p, r: array([*r[:7], wrong(p.calls[7], -32000, "header not found"), *r[8:]]),
        1,
    ),
    "one has another id": (
        lambda p, r: array([*r[:7], named(p.calls[7], b"12345678"), *r[8:]]),
        1,
    ),
    "one is answered twice": (lambda _, r: array([*r, r[7]]), 1),
    "one is null": (lambda p, r: array([*r[:7], ok(p.calls[7], b"null"), *r[8:]]), 1),
    "one is no object": (lambda _, r: array([*r[:7], b"7", *r[8:]]), 1),
    "two strangers": (
        lambda _, r: array([*r[:5], b"null", *r[6:], b'{"id":null,"result":"0x0"}']),
        1,
    ),
}


@pytest.mark.parametrize("name", PARTS)
@on_uvloop
async def test_only_what_is_missing_is_asked_again(name: str) -> None:
    harm, missing = PARTS[name]
    async with two(batch(harm)) as (wallet, a, b):
        assert await wallet.ask(array(asks(20))) == answers(20)
        assert a.shapes == [20]
        # Many as one batch, a few one by one.
        assert b.shapes == ([missing] if missing >= 8 else [0] * missing)


WHOLE: dict[str, Harm] = {
    "nothing": lambda *_: b"",
    "an empty array": lambda *_: b"[]",
    "a page": lambda *_: b"<html>502</html>",
    "half an array": lambda _, r: array(r)[:-20],
    "503": lambda *_: Sent(b"no healthy upstream", 503),
    "429": lambda *_: Sent(b"slow down", 429),
    "one refusal for all": lambda *_: b'{"id":null,"error":{"code":-32005,"message":"rate limit"}}',
    "one trouble for all": lambda *_: b'{"id":null,"error":{"code":-32603,"message":"oh"}}',
    "500 with trouble for all": lambda p, _: Sent(wrong(p.calls[0], -32603, "oh"), 500),
    "others' ids": lambda p, _: array([named(c, b"9" + bytes(c.id)) for c in p.calls]),
    "the connection breaks": lambda _, r: Sent(array(r), cut_at=30, end="reset"),
}


@pytest.mark.parametrize("name", WHOLE)
@on_uvloop
async def test_a_batch_that_failed_as_a_whole_goes_elsewhere_as_a_batch(name: str) -> None:
    async with two(batch(WHOLE[name])) as (wallet, a, b):
        assert await wallet.ask(array(asks(20))) == answers(20)
        assert (a.shapes, b.shapes) == ([20], [20])


@on_uvloop
async def test_errors_that_are_answers_are_not_asked_again() -> None:
    def script(call: Call) -> bytes:
        number = int(first_param(call).strip(b'"'), 16)
        if number % 3 == 0:
            return wrong(call, 3, "execution reverted", data="0x")
        return wrong(call, -32602, "invalid params") if number % 3 == 1 else echo(call)

    async with two(each(script)) as (wallet, a, b):
        replies = msgspec.json.decode(await wallet.ask(array(asks(30))))
        # Reverts are; the params that one refused the other took.
        assert [reply.get("error", {}).get("code") for reply in replies] == [3, None, None] * 10
        assert (a.shapes, b.shapes) == ([30], [10])


@on_uvloop
async def test_invalid_params_within_a_batch_are_confirmed() -> None:
    def picky(call: Call) -> bytes:
        is_refused = first_param(call) in (b'"0x3"', b'"0x4"')
        return wrong(call, -32602, "invalid params") if is_refused else echo(call)

    async with two(each(picky)) as (wallet, a, b):
        await wallet.ask(array(asks(2)))
        assert await wallet.ask(array(asks(5))) == answers(5)  # the other one takes them
        assert (a.shapes, b.shapes) == ([2, 5], [0, 0])
        b.script = each(picky)
        replies = msgspec.json.decode(await wallet.ask(array(asks(5))))
        assert [reply.get("error", {}).get("code") for reply in replies] == [None] * 3 + [
            -32602
        ] * 2
        assert (a.shapes, b.shapes) == ([2, 5, 5], [0] * 4)


@on_a_jumping_loop
async def test_what_a_lone_upstream_does_not_have_is_asked_again_a_few_times() -> None:
    def empty(call: Call) -> bytes:
        if call.method == "eth_getTransactionReceipt":
            return ok(call, b"null")
        return wrong(call, -32000, "header not found")

    async with Upstream(each(empty), "a") as a, a_proxy(a) as wallet:
        receipt = request("eth_getTransactionReceipt", b'["0x%064x"]' % 7, b'"r"')
        replies = msgspec.json.decode(await wallet.ask(array([*asks(2), receipt])))
        assert [reply.get("error", {}).get("message") for reply in replies] == [
            "header not found",
            "header not found",
            None,
        ]
        assert replies[2] == {"jsonrpc": "2.0", "id": "r", "result": None}
        # The block at the head is asked for a few times more: it may be there in a moment.
        assert a.shapes[0] == 3
        assert "eth_getTransactionReceipt" not in a.methods[3:]
        assert len(a.shapes) <= 1 + 2 * 4


@on_a_jumping_loop
async def test_all_rounds_of_a_batch_share_one_deadline() -> None:
    down = always(Sent(b"no", 503))
    async with (
        Upstream(down, "a") as a,
        Upstream(down, "b") as b,
        a_proxy(a, b, deadlines=Deadlines(light_seconds=1.0)) as wallet,
    ):
        started = time.monotonic()
        replies = msgspec.json.decode(await wallet.ask(array(asks(20))))
        assert time.monotonic() - started < 1.9  # two rounds would take 2.0
        assert [reply["id"] for reply in replies] == [f"i{n}" for n in range(20)]
        for reply in replies:
            assert reply["error"]["code"] == -32603
            assert "error of its own" in reply["error"]["data"]["reason"]


# ---- who takes no batches

REFUSALS = (
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}',
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}',
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batch requests are not supported"}}',
    b'[{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batch too large"}}]',
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"exceeded max batch size"}}',
    b'{"error":"batch requests are not allowed on the free plan"}',
)


@pytest.mark.parametrize("refusal", REFUSALS)
@on_uvloop
async def test_who_refuses_batches_gets_singles_from_then_on(refusal: bytes) -> None:
    async with two(batch(lambda *_: refusal)) as (wallet, a, b):
        assert await wallet.ask(array(asks(10))) == answers(10)
        assert a.shapes == [10]
        assert sum(max(shape, 1) for shape in b.shapes) == 10
        for start in (10, 20, 30):
            assert await wallet.ask(array(asks(10, start))) == answers(10, start)
        assert a.shapes == [10]  # batches go to the other one
        single, reply = asks(1)[0], msgspec.json.decode(answers(1), type=list[msgspec.Raw])[0]
        assert await wallet.ask(single) == bytes(reply)
        assert a.shapes == [10, 0]
        assert wallet.state(a) == "up"


@on_uvloop
async def test_where_nobody_takes_batches_members_are_sent_one_by_one() -> None:
    refuse = batch(lambda *_: REFUSALS[0])
    async with Upstream(refuse, "a") as a, Upstream(refuse, "b") as b, a_proxy(a, b) as wallet:
        assert await wallet.ask(array(asks(10))) == answers(10)
        assert sorted(a.shapes + b.shapes) == [0] * 10 + [10, 10]
        for upstream in (a, b):
            upstream.forget()
        assert await wallet.ask(array(asks(10, 20))) == answers(10, 20)
        assert a.shapes + b.shapes == [0] * 10


@on_uvloop
async def test_the_only_upstream_refuses_batches() -> None:
    async with Upstream(batch(lambda *_: REFUSALS[2]), "a") as a, a_proxy(a) as wallet:
        assert await wallet.ask(array(asks(10))) == answers(10)
        assert a.shapes == [10] + [0] * 10
        a.forget()
        assert await wallet.ask(array(asks(10, 20))) == answers(10, 20)
        assert a.shapes == [0] * 10


@on_uvloop
async def test_a_limited_half_gives_the_upstream_a_pause() -> None:
    def half(post: Post, replies: Sequence[bytes]) -> bytes:
        return array([*replies[:10], *refusals(post)[10:]])

    async with two(batch(half)) as (wallet, a, b):
        assert await wallet.ask(array(asks(20))) == answers(20)
        assert wallet.state(a) == "cooling"
        assert await wallet.ask(array(asks(20))) == answers(20)
        assert (a.shapes, b.shapes) == ([20], [10, 20])


@on_uvloop
async def test_a_slow_member_does_not_take_the_others_along() -> None:
    """Heavy reads and sends travel apart from the light ones of a batch."""
    async with two(each(echo)) as (wallet, a, _):
        heavy = request("debug_traceTransaction", b'["0x%064x"]' % 7, b"7")
        send = request("eth_sign", b"[]", b"8")
        body = await wallet.ask(array([*asks(3), heavy, *asks(3, 3), send]))
        replies = msgspec.json.decode(body)
        assert [reply["id"] for reply in replies] == ["i0", "i1", "i2", 7, "i3", "i4", "i5", 8]
        assert sorted(a.shapes) == [0, 6]
