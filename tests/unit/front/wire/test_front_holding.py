"""front: what is held for clients is counted, bounded, and given back."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import socket

from rpcproxy.engine.answers.shared_text import result_answer
from rpcproxy.messages import LIMIT_EXCEEDED, Answer
from rpcproxy.rules.answers.holding import Holdings
from tests.kits.waiting import limited, until
from tests.sockets.front_kit import (
    Client,
    Echo,
    Front,
    Held,
    Later,
    Pieces,
    Saying,
    a_front,
    both_loops,
    post,
)

MIB = 1024 * 1024


async def reluctant(front: Front) -> Client:
    """A client whose side takes little by itself."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", front.port))
    client = Client(*await asyncio.open_connection(sock=sock, limit=1000))
    front.clients.append(client)
    return client


def is_crowded_out(response) -> bool:
    error = json.loads(response.body)["error"]
    assert error["code"] == LIMIT_EXCEEDED
    assert "waiting for this client" in error["message"]
    assert response.headers["retry-after"] == "1"
    assert response.headers["access-control-allow-origin"] == "*"
    return response.status == 429


@both_loops
async def test_answers_that_nobody_takes_are_bounded_and_others_are_served():
    answer = os.urandom(8 * MIB)
    holdings = Holdings(64 * MIB, 64 * MIB)
    doors = {"/": Echo(), "/large": Saying(lambda: Answer(answer))}
    async with a_front(doors, holdings=holdings) as front:
        clients = [await reluctant(front) for _ in range(20)]
        for client in clients:
            client.send(post(b"x", "/large"))
        await until(lambda: front.listener.counters.answers_by_status.get(429, 0) > 10)
        assert holdings.used <= 32 * MIB
        neighbour = await front.client()
        for _ in range(3):
            assert (await neighbour.ask(b"x")).body == b"x", "small ones are not touched by it"
        for client in clients:
            client.reset()
        await until(lambda: holdings.used == 0)
        assert (await neighbour.ask(b"x", "/large")).body == answer


@both_loops
async def test_one_that_takes_its_answers_gets_them_all():
    answer = os.urandom(8 * MIB)
    doors = {"/": Saying(lambda: Answer(answer))}
    async with a_front(doors, holdings=Holdings(32 * MIB, 32 * MIB)) as front:
        client = await front.client(limit=64 * MIB)
        client.send(post(b"x") * 10)
        for _ in range(10):
            assert (await client.response()).body == answer
        assert front.listener.counters.crowded_out == 0


@both_loops
async def test_uploads_that_are_never_finished_are_bounded():
    holdings = Holdings(16 * MIB, 16 * MIB)
    async with a_front(holdings=holdings, linger_seconds=0.1) as front:
        refused = 0
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (5 * MIB)
        clients = []
        for number in range(10):
            client = await front.client()
            clients.append(client)
            client.send(head + bytes(4 * MIB))
            before = holdings.used
            await until(
                lambda before=before: (
                    holdings.used >= before + 4 * MIB - 65536 or front.listener.counters.crowded_out
                )
            )
            if front.listener.counters.crowded_out:
                assert is_crowded_out(await client.response())
                refused = number
                break
        assert refused >= 2
        assert holdings.used <= 8 * MIB
        for client in clients:
            client.reset()
        await until(lambda: holdings.used == 0)


@both_loops
async def test_a_chunked_upload_is_counted_too():
    holdings = Holdings(4 * MIB, 4 * MIB)
    async with a_front(holdings=holdings, linger_seconds=0.1) as front:
        client = await front.client()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"%x\r\n" % (4 * MIB) + bytes(3 * MIB))
        assert is_crowded_out(await client.response())


@both_loops
async def test_a_request_is_held_until_it_is_answered():
    later = Later(lambda _: Answer(b"ok"))
    later.gate.clear()
    holdings = Holdings()
    async with a_front({"/": later}, holdings=holdings) as front:
        client = await front.client()
        client.send(post(bytes(MIB)))
        await until(lambda: later.running == 1)
        assert holdings.used == MIB
        later.gate.set()
        assert (await client.response()).body == b"ok"
        await until(lambda: holdings.used == 0)
        assert (await client.ask(bytes(MIB))).body == b"ok"
        assert holdings.used == 0


@both_loops
async def test_streams_are_bounded_in_number():
    rests = [Pieces(*[bytes(MIB)] * 100) for _ in range(30)]
    waiting = list(rests)
    holdings = Holdings(16 * MIB, 16 * MIB)
    doors = {"/": Saying(lambda: Answer(b"a", rest=waiting.pop(0)))}
    async with a_front(doors, holdings=holdings) as front:
        clients = [await reluctant(front) for _ in range(30)]
        for client in clients:
            client.send(post(b"x"))
        await until(lambda: front.listener.counters.crowded_out > 0 and not waiting)
        await until(
            lambda: sum(rest.closed for rest in rests) == front.listener.counters.crowded_out
        )
        assert holdings.used <= 8 * MIB + MIB
        for client in clients:
            client.reset()
        await until(lambda: all(rest.closed == 1 for rest in rests))


@both_loops
async def test_many_short_answers_that_nobody_takes_end_the_connection():
    holdings = Holdings(64 * 1024, 64 * 1024)
    async with a_front({"/": Saying(lambda: Answer(b"y" * 1000))}, holdings=holdings) as front:
        client = await reluctant(front)
        for _ in range(200):
            if client.writer.is_closing():
                break
            client.send(post(b"x") * 100)
            await asyncio.sleep(0)
            assert holdings.used <= 64 * 1024
        await until(lambda: holdings.used > 0 or front.listener.counters.crowded_out > 0)


@both_loops
async def test_a_shared_text_is_poured_or_compressed():
    result = b'"%b"' % (b"z" * 3 * MIB)
    wanted = b'{"jsonrpc":"2.0","id":1,"result":%b}' % result
    async with a_front({"/": Saying(lambda: result_answer(b"1", result))}) as front:
        client = await front.client(limit=16 * MIB)
        assert (await client.ask(b"x")).body == wanted
        response = await client.ask(b"x", "/", "Accept-Encoding: gzip")
        assert response.is_gzip
        assert gzip.decompress(response.body) == wanted


@both_loops
async def test_batches_get_the_purse_of_their_connection():
    purses = []

    class Noting:
        def handle(self, body, trace_id, *, is_fresh=False, purse=None):
            purses.append(purse)
            return Answer(b"[]")

    async with a_front({"/": Noting()}) as front:
        one, other = await front.client(), await front.client()
        for client in (one, one, other):
            for body in (b"[1]", b" \n[1]", b"\t[1]"):
                await client.ask(body)
        assert None not in purses
        assert len({id(purse) for purse in purses}) == 2
        await one.ask(b"{}")
        assert purses[-1] is None


@both_loops
async def test_a_pending_answer_that_finds_no_room_is_refused_in_its_place():
    held = Held()
    holdings = Holdings(MIB, MIB)
    async with a_front({"/": Saying(lambda: held), "/echo": Echo()}, holdings=holdings) as front:
        client = await front.client()
        client.send(post(b"x") + post(b"next", "/echo"))
        await until(lambda: getattr(held, "deliver", None) is not None)
        held.deliver(Answer(bytes(MIB)))
        assert is_crowded_out(await client.response())
        assert (await client.response()).body == b"next", "the connection goes on"


@both_loops
async def test_who_takes_next_to_nothing_takes_nothing():
    rest = Pieces(*[bytes(MIB)] * 100)
    doors = {"/": Saying(lambda: Answer(b"a", rest=rest))}
    async with a_front(doors, stall_seconds=60, has_time_stopped=True) as front:
        client = await reluctant(front)
        client.writer.transport.pause_reading()
        client.send(post(b"x"))
        sock = client.socket.dup()
        sock.setblocking(False)
        async with limited():
            while not front.listener.counters.stalled_clients:
                await front.pass_time(1)
                with contextlib.suppress(BlockingIOError):
                    sock.recv(16)
        sock.close()
        await until(lambda: rest.closed == 1)
