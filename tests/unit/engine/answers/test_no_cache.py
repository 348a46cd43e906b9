"""A client that wants nothing kept is answered anew: alone, and in a batch."""

from __future__ import annotations

import asyncio

import msgspec

from rpcproxy.messages import Head
from tests.kits.engine_kit import (
    Engine,
    Handle,
    after,
    answering,
    request,
    to_head,
    virtual,
)

BALANCE = b'["0x' + b"11" * 20 + b'","latest"]'
LOGS = b'[{"fromBlock":"0x5a","toBlock":"0x5b"}]'
A_LOG = b'[{"blockNumber":"0x5a"}]'


def handle(engine: Engine, body: bytes, *, is_fresh: bool) -> Handle:
    return Handle(engine.pipeline.handle(body, "trace", is_fresh=is_fresh))


async def result(engine: Engine, body: bytes, *, is_fresh: bool = False) -> object:
    reply = msgspec.json.decode((await handle(engine, body, is_fresh=is_fresh).answer()).body)
    return [each["result"] for each in reply] if isinstance(reply, list) else reply["result"]


@virtual
async def test_what_is_kept_is_asked_anew() -> None:
    engine = Engine()
    body = request("eth_getBalance", BALANCE)
    assert await result(engine, body) == "0x1"
    engine.all_behave(answering(b'"0x2"'))
    assert await result(engine, body) == "0x1", "kept"
    assert await result(engine, body, is_fresh=True) == "0x2"
    assert len(engine.sent) == 2
    assert await result(engine, body) == "0x1", "what was asked anew is for who asked it"
    assert engine.counters.kept_answers == {"block": 2}
    engine.close()


@virtual
async def test_what_is_in_flight_is_not_followed() -> None:
    engine = Engine()
    engine.all_behave(answering(b'"0x1"', seconds=0.01))
    body = request("eth_getBalance", BALANCE)
    leader = handle(engine, body, is_fresh=False)
    own = handle(engine, body, is_fresh=True)
    follower = handle(engine, body, is_fresh=False)
    for asked in (leader, own, follower):
        assert (await asked.reply())["result"] == "0x1"
    assert len(engine.sent) == 2
    assert engine.counters.joined == 1
    engine.close()


@virtual
async def test_it_is_wished_after_a_wait_for_the_block_as_well() -> None:
    engine = Engine()
    engine.all_behave(after(0.01, lambda sent: sent.reply(b'{"number":"0x65"}')))
    body = request("eth_getBlockByNumber", b'["0x65",false]')
    asked = [handle(engine, body, is_fresh=is_fresh) for is_fresh in (False, True, False)]
    await asyncio.sleep(0.1)
    assert not engine.sent
    to_head(engine, Head(101), "bcd")
    for each in asked:
        assert (await each.reply())["result"] == {"number": "0x65"}
    assert len(engine.sent) == 2, "the two that share, and the one that does not"
    engine.close()


@virtual
async def test_members_of_a_batch_are_asked_anew() -> None:
    """Light ones, which travel together, and heavy ones, which go their own way."""
    engine = Engine()

    def behave(value: bytes, logs: bytes) -> None:
        engine.all_behave(
            after(0.01, lambda sent: sent.reply(logs if sent.method == "eth_getLogs" else value))
        )

    members = [request("eth_getBalance", BALANCE), request("eth_getLogs", LOGS, b"2")]
    body = b"[" + b",".join(members) + b"]"
    behave(b'"0x1"', A_LOG)
    assert (await result(engine, body))[0] == "0x1"
    asked = len(engine.sent)
    assert (await result(engine, body))[0] == "0x1"
    assert len(engine.sent) == asked, "all of it was kept"
    behave(b'"0x2"', b'[{"blockNumber":"0x5b"}]')
    assert await result(engine, body, is_fresh=True) == ["0x2", [{"blockNumber": "0x5b"}]]
    assert len(engine.sent) == asked + 2
    engine.close()


@virtual
async def test_what_needs_no_upstream_is_still_answered_at_once() -> None:
    engine = Engine()
    assert await result(engine, request("eth_chainId"), is_fresh=True) == "0x7"
    assert engine.sent == []
    await asyncio.sleep(0)
    engine.close()
