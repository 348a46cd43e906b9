"""A client that reads gets all of a batch that is larger than what may be held for it, in order.

How much memory that takes is an exam: ``tests/exam/exam_memory.py``.
"""

from __future__ import annotations

import json
from typing import Final

from rpcproxy.config import model
from tests.integration import rpc_kit
from tests.integration.test_fuzz import a_world, answer_to, quietly
from tests.integration.test_leaks import until_nothing_is_left
from tests.kits.waiting import limited
from tests.sockets import front_kit, scripted

MIB: Final = 1024 * 1024
SIZE: Final = 4 * MIB
SLOW: Final = model.Deadlines(heavy_seconds=60.0)
# Room for half of them: the others are asked for again at their turn.
LIMITS: Final = model.Limits(held_bytes=16 * MIB, held_bytes_per_client=12 * MIB)


async def large_answers(peer: scripted.Peer) -> None:
    """Each of ``SIZE`` bytes and some, where that is asked for."""
    while True:
        _, _, body = (await peer.request()).partition(b"\r\n\r\n")
        peer.requests.clear()
        text = answer_to(body)
        if b"debug_traceCall" in body:
            text = text.replace(b"0x900d", b"x" * SIZE)
        await peer.send(scripted.reply(text))


def a_batch(members: int, first: int = 0) -> bytes:
    calls = [
        rpc_kit.request("debug_traceCall", b'[{"data":"0x%04x"},"latest"]' % n, id=b"%d" % n)
        for n in range(first, first + members)
    ]
    return b"[%b]" % b",".join(calls)


async def ids_of(client: front_kit.Client) -> tuple[list[int], int]:
    """The ids in an array of answers that come in chunks, and how large it is."""
    status, headers = await client.head()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    ids, size, tail = [], 0, b""
    while count := int(await client.reader.readuntil(b"\r\n"), 16):
        piece = (await client.reader.readexactly(count + 2))[:-2]
        size += count
        window = tail + piece
        for part in window.split(b'"id":')[1:]:
            number = part.split(b",", 1)
            if len(number) == 2 and number[0].isdigit() and len(number[0]) < 6:
                ids.append(int(number[0]))
        tail = window[-40:] if b'"id":' not in window[-40:] else b""
    await client.reader.readexactly(2)
    return ids, size


@quietly
async def test_who_reads_gets_every_member_in_order() -> None:
    async with a_world(large_answers, deadlines=SLOW, limits=LIMITS) as world:
        client = await world.open()
        client.send(front_kit.post(a_batch(6)))
        async with limited():
            ids, size = await ids_of(client)
        assert ids == [0, 1, 2, 3, 4, 5]
        assert size > 6 * SIZE
        assert world.proxy.holdings.most <= LIMITS.held_bytes_per_client < size
        client.send(front_kit.post(b"[%b]" % rpc_kit.request("eth_gasPrice", id=b"9")))
        assert json.loads((await client.response()).body)[0]["id"] == 9, "the connection goes on"
        client.reset()
        assert world.proxy.holdings.used == 0
        await until_nothing_is_left(world)
