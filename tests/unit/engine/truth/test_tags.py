"""What is asked by a tag: only the upstream knows which block that is.

The pending block is named by each node in its own way: number and no hash (geth 1.17), number and
hash (anvil 1.7; geth's transactions in it, go-ethereum 19332), hash and no number (hardhat 2.29),
neither (parity 8281), null (reth on Gnosis, reth_gnosis 67), the latest block (Nitro). ``latest`` is
above the served head where blocks are fast (firehose-ethereum 198, go-ethereum 27353).
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from rpcproxy.messages import Reply
from tests.kits.engine_kit import (
    Engine,
    Rest,
    Sent,
    after,
    answering,
    hash_of,
    head_of,
    now,
    on_chain,
    refusing,
    request,
    result_of,
    to_head,
    virtual,
)

LATEST = b'["latest",false]'
PENDING = b'["pending",false]'
BLOCK = "eth_getBlockByNumber"
UNKNOWN = "0x" + "ab" * 32
RECEIPT = "eth_getTransactionReceipt"
TX_HASH = b'["0x%064x"]' % 9


def block(
    number: int | None, hash: str | None = None, parent: str | None = None, time: int = 0
) -> bytes:
    told = {
        "number": None if number is None else hex(number),
        "hash": hash,
        "parentHash": parent,
        "timestamp": hex(time),
    }
    return msgspec.json.encode({name: value for name, value in told.items() if value != ""})


def full(number: int, branch: int = 0) -> bytes:
    """The block as a node at it tells it."""
    return block(number, hash_of(number, branch), hash_of(number - 1, branch))


async def told(engine: Engine, method: str, params: bytes) -> bytes:
    """What a client gets."""
    answer = await engine.ask(method, params).answer()
    return answer.body


def assert_nobody_blamed(engine: Engine) -> None:
    assert engine.changes == []
    for standing in engine.standings:
        assert not any(record.breaker.share > 0 for record in standing.classes), standing.name


# ---- pending

GETH = block(101, None, hash_of(100))
ANVIL = block(101, UNKNOWN, hash_of(100))
HARDHAT = block(None, UNKNOWN, hash_of(100))
PARITY = block(None, None, hash_of(100))
NITRO = full(100)
AHEAD = block(102, None, UNKNOWN)  # a block later than we know


@pytest.mark.parametrize("consistency", ["pinned", "routed", "off"])
@pytest.mark.parametrize("named", [GETH, ANVIL, HARDHAT, PARITY, NITRO, AHEAD])
@virtual
async def test_the_pending_block_is_given_as_it_is(named: bytes, consistency: str) -> None:
    engine = on_chain(consistency=consistency)
    engine.all_behave(answering(named))
    started = now()
    body = await told(engine, BLOCK, PENDING)
    assert named in body
    assert now() - started < 0.1
    assert engine.asked == "a"
    assert engine.told.text() == b'"0x64"'  # no head by an invented number
    assert not engine.pipeline.truth.seen
    assert_nobody_blamed(engine)


@pytest.mark.parametrize("consistency", ["pinned", "routed"])
@pytest.mark.parametrize(
    "named",
    [
        block(61, None, hash_of(60)),  # of a node that stands still
        block(5000, None, UNKNOWN),  # of a liar
        block(None, UNKNOWN, UNKNOWN),  # of whatever chain
        block(None, UNKNOWN, hash_of(80)),
        block(101, None, hash_of(100, 3)),  # of another branch
        b'"0x65"',
        b"{}",
    ],
)
@virtual
async def test_a_pending_block_far_from_the_head_is_asked_of_another(
    named: bytes, consistency: str
) -> None:
    engine = on_chain(consistency=consistency)
    engine.all_behave(answering(GETH))
    engine.behave(a=answering(named))
    assert GETH in await told(engine, BLOCK, PENDING)
    assert engine.asked == "ab"
    assert engine.told.text() == b'"0x64"'
    assert_nobody_blamed(engine)


@virtual
async def test_where_two_have_no_pending_block_null_is_the_answer() -> None:
    engine = on_chain()
    engine.all_behave(answering(b"null"))
    started = now()
    assert b'"result":null' in await told(engine, BLOCK, PENDING)
    assert engine.asked == "ab"
    assert now() - started < 0.2
    engine.all_behave(answering(GETH))
    engine.behave(a=answering(b"null"))
    assert GETH in await told(engine, BLOCK, PENDING)
    assert_nobody_blamed(engine)


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("eth_getBlockReceipts", b'["pending"]', b'[{"blockNumber":"0x65","blockHash":"%b"}]'),
        ("eth_getBlockReceipts", b'["pending"]', b'[{"blockHash":null,"blockNumber":null}]'),
        ("eth_getHeaderByNumber", b'["pending"]', GETH),
        (
            "eth_getTransactionByBlockNumberAndIndex",
            b'["pending","0x0"]',
            b'{"blockNumber":"0x65","blockHash":"%b"}',
        ),
        (
            "eth_getTransactionByBlockNumberAndIndex",
            b'["pending","0x0"]',
            b'{"blockNumber":null,"blockHash":null}',
        ),
        ("trace_block", b'["pending"]', b'[{"blockNumber":101,"blockHash":"%b"}]'),
        (
            "eth_getLogs",
            b'[{"fromBlock":"pending","toBlock":"pending"}]',
            b'[{"blockNumber":"0x65","blockHash":"%b"}]',
        ),
        ("eth_getUncleCountByBlockNumber", b'["pending"]', b'"0x0"'),
        ("eth_feeHistory", b'["0x1","pending",[]]', b'{"oldestBlock":"0x65"}'),
        ("eth_getBalance", b'["0x1",{"blockNumber":"pending"}]', b'"0x0"'),
    ],
)
@virtual
async def test_all_that_is_of_the_pending_block(method: str, params: bytes, result: bytes) -> None:
    result = result.replace(b"%b", UNKNOWN.encode())
    for consistency in ("pinned", "routed"):
        engine = on_chain(consistency=consistency)
        engine.all_behave(answering(result))
        assert result in await told(engine, method, params)
        assert engine.asked == "a"
        assert not engine.pipeline.truth.seen
        assert_nobody_blamed(engine)


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("eth_getProof", b'["0x1",[],"pending"]', -32000, "pending block is not available"),
        ("eth_call", b'[{},"pending"]', -32000, "header not found"),
        ("debug_traceBlockByNumber", b'["pending"]', -32000, "tracing on top of pending is not supported"),
        ("eth_getUncleCountByBlockNumber", b'["pending"]', -32001, "Resource not found"),
    ],
)  # fmt: skip
@virtual
async def test_what_all_refuse_of_the_pending_block_is_refused_soon(
    method: str, params: bytes, code: int, words: str
) -> None:
    engine = on_chain()
    engine.all_behave(refusing(code, words))
    started = now()
    assert words.encode() in await told(engine, method, params)
    assert now() - started < 1.0
    # That is not to say that they lack the method.
    engine.all_behave(answering(b"[]" if method.startswith("debug") else b'"0x0"'))
    assert not any(standing.exclusions.methods for standing in engine.standings)
    assert_nobody_blamed(engine)


@virtual
async def test_pending_within_a_batch() -> None:
    engine = on_chain()

    def act(sent: Sent) -> None:
        texts = [
            result_of(call, GETH if call["params"][0] == "pending" else full(100))
            for call in sent.calls
        ]
        sent.say(b"[%b]" % b",".join(texts) if sent.is_batch else texts[0])

    engine.all_behave(after(0.02, act))
    bodies = [request(BLOCK, params) for params in (PENDING, LATEST, PENDING)]
    answer = await engine.handle(b"[%b]" % b",".join(bodies)).answer()
    assert answer.body.count(GETH) == 2
    assert full(100) in answer.body
    assert_nobody_blamed(engine)
    # Those without one are told apart from those that fail.
    engine.all_behave(answering(b"null"))
    answer = await engine.handle(b"[%b]" % b",".join([bodies[0]] * 3)).answer()
    assert answer.body.count(b'"result":null') == 3
    assert_nobody_blamed(engine)


# ---- latest, where it is left to the upstream


def fast(**chain: object) -> Engine:
    return on_chain(consistency="routed", block_time_seconds=0.4, **chain)


@virtual
async def test_latest_may_be_above_the_served_head() -> None:
    engine = fast()
    engine.all_behave(answering(full(102)))
    assert full(102) in await told(engine, BLOCK, LATEST)
    assert engine.asked == "a"
    assert engine.told.text() == b'"0x66"'
    assert_nobody_blamed(engine)


@virtual
async def test_what_was_told_does_not_fall() -> None:
    engine = fast()
    engine.all_behave(answering(full(101)))
    engine.behave(a=answering(full(102)))
    assert full(102) in await told(engine, BLOCK, LATEST)
    # Only `a` is there: whoever asks anybody else gets it from `a` all the same.
    engine.eject("a")
    handle = engine.ask(BLOCK, LATEST)
    await asyncio.sleep(0.3)
    assert not handle.is_done
    engine.all_behave(answering(full(103)))
    to_head(engine, head_of(103))
    assert full(103) in (await handle.answer()).body
    assert engine.told.text() == b'"0x67"'
    assert "a stale" not in engine.changes


@virtual
async def test_a_lone_liar_far_above_is_not_believed() -> None:
    engine = fast()
    engine.all_behave(answering(full(101)))
    engine.behave(a=answering(full(200, branch=3)))
    assert full(101) in await told(engine, BLOCK, LATEST)
    assert engine.told.text() == b'"0x65"'
    linked = block(109, hash_of(109, 3), hash_of(100))  # a parent that is ours proves no number
    engine.behave(a=answering(linked))
    assert full(101) in await told(engine, BLOCK, LATEST)


@virtual
async def test_what_nobody_else_comes_to_is_taken_back() -> None:
    engine = fast()
    engine.all_behave(answering(full(100)))
    engine.behave(a=answering(full(102, branch=3)))
    assert full(102, branch=3) in await told(engine, BLOCK, LATEST)
    assert engine.told.text() == b'"0x66"'
    for _ in range(50):
        await asyncio.sleep(0.1)
        engine.standings.tick(now())
    assert engine.told.text() == b'"0x66"'  # nobody else was heard since
    to_head(engine, head_of(100), "bc")
    engine.standings.tick(now())
    assert engine.told.text() == b'"0x64"'
    # For a while it is not believed again.
    assert full(100) in await told(engine, BLOCK, LATEST)
    assert engine.told.text() == b'"0x64"'


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        (RECEIPT, TX_HASH, b'{"blockNumber":"0x66","blockHash":"%b"}'),
        ("eth_getTransactionByHash", TX_HASH, b'{"blockNumber":"0x66","blockHash":"%b"}'),
        ("eth_getBlockReceipts", b'["latest"]', b'[{"blockNumber":"0x66","blockHash":"%b"}]'),
        (
            "eth_getLogs",
            b'[{"fromBlock":"0x64","toBlock":"latest"}]',
            b'[{"blockNumber":"0x66","blockHash":"%b"}]',
        ),
        (BLOCK, b'["safe",false]', full(102)),
        (BLOCK, b'["0x66",false]', full(102)),
        ("eth_getHeaderByNumber", b'["0x66"]', full(102)),
        (
            "eth_getLogs",
            b'[{"fromBlock":"0x66","toBlock":"0x66"}]',
            b'[{"blockNumber":"0x66","blockHash":"%b"}]',
        ),
    ],
)
@virtual
async def test_what_is_just_above_the_served_head_is_given_and_told(
    method: str, params: bytes, result: bytes
) -> None:
    result = result.replace(b"%b", hash_of(102).encode())
    engine = fast()
    engine.all_behave(answering(result))
    started = now()
    assert result in await told(engine, method, params)
    assert now() - started < 0.1
    assert engine.told.text() == b'"0x66"'
    assert_nobody_blamed(engine)


@virtual
async def test_where_latest_is_a_number_nothing_above_the_served_head_is_given() -> None:
    engine = on_chain(block_time_seconds=0.4)
    engine.all_behave(answering(full(100)))
    engine.behave(a=answering(b'{"blockNumber":"0x66","blockHash":"%b"}' % hash_of(102).encode()))
    other = b'{"blockNumber":"0x64","blockHash":"%b"}' % hash_of(100).encode()
    engine.behave(b=answering(other))
    assert other in await told(engine, RECEIPT, TX_HASH)
    assert engine.told.text() == b'"0x64"'


@virtual
async def test_sixty_questions_while_the_upstream_is_ahead() -> None:
    """Every one is answered, and none with less than before (category-labs' chain, 0.4 s)."""
    engine = fast()
    begun = now()

    def height() -> int:
        return 100 + int((now() - begun) / 0.4)

    def at_head(sent: Sent) -> None:
        sent.reply(full(height()))

    engine.all_behave(after(0.02, at_head))
    highest = 100
    for at in range(60):
        body = await told(engine, BLOCK, LATEST)
        number = int(msgspec.json.decode(body)["result"]["number"], 16)
        assert number >= highest, body
        highest = number
        blocks = await told(engine, "eth_blockNumber", b"[]")
        assert int(msgspec.json.decode(blocks)["result"], 16) >= highest
        await asyncio.sleep(0.15)
        engine.standings.tick(now())
        if at % 5 == 4:  # our own questions come late
            to_head(engine, head_of(height() - 2))
    assert highest == height() or highest == height() - 1
    assert_nobody_blamed(engine)


# ---- earliest


@pytest.mark.parametrize("consistency", ["pinned", "routed"])
@virtual
async def test_earliest_is_the_first_block_that_a_node_has(consistency: str) -> None:
    """geth may drop the history before the merge, and says so of block 0 (EIP-4444; go-ethereum
    31366, 31939; BlockByNumber in its eth/api_backend.go).
    """
    engine = on_chain(consistency=consistency)
    first = full(40)

    def pruned(sent: Sent) -> None:
        if sent.params[0] == "earliest":
            sent.reply(first)
        else:
            sent.refuse(4444, "pruned history unavailable")

    engine.all_behave(after(0.02, pruned))
    started = now()
    for params in (b'["earliest",false]', b'[ "earliest", false ]'):
        assert first in await told(engine, BLOCK, params)
    assert now() - started < 1.0
    assert b"pruned history" in await told(engine, BLOCK, b'["0x0",false]')
    assert_nobody_blamed(engine)
    # Whoever has block 0 is asked before.
    engine = on_chain(consistency=consistency)
    engine.all_behave(after(0.02, pruned))
    engine.behave(c=answering(block(0, UNKNOWN, None)))
    if consistency == "pinned":
        assert b'"number":"0x0"' in await told(engine, BLOCK, b'["earliest",false]')
    assert_nobody_blamed(engine)


@pytest.mark.parametrize("leader", ["earliest", "0x0"])
@pytest.mark.parametrize("hangs_up", [False, True])
@virtual
async def test_who_asks_by_earliest_shares_with_none_who_asks_by_number(
    leader: str, hangs_up: bool
) -> None:
    """A node without block 0 answers the two differently."""
    engine = on_chain()
    first = full(40)

    def pruned(sent: Sent) -> None:
        if sent.params[0] == "earliest":
            sent.reply(first)
        else:
            sent.refuse(4444, "pruned history unavailable")

    engine.all_behave(after(0.02, pruned))
    if hangs_up:
        engine.eject(*engine.wires)
    handles = [engine.ask(BLOCK, b'["%b",false]' % leader.encode())]
    if hangs_up:
        await asyncio.sleep(0.01)
    spellings = [b'["earliest",false]', b'["0x0",false]', b'[ "earliest", false ]']
    waiting = [engine.ask(BLOCK, params) for params in spellings]
    if hangs_up:
        handles[0].hang_up()
        await asyncio.sleep(1.5)
        engine.recover(*engine.wires)
    replies = [await handle.reply() for handle in waiting]
    assert [reply.get("result") for reply in replies] == [
        msgspec.json.decode(first),
        None,
        msgspec.json.decode(first),
    ]
    assert "pruned history" in replies[1]["error"]["message"]
    assert len(engine.sent) < 30
    await engine.assert_soon_idle()
    # It may be another block tomorrow.
    assert not engine.ask(BLOCK, b'["earliest",false]').is_done
    await engine.assert_soon_idle()


@virtual
async def test_a_first_block_too_large_to_hold_is_given_in_pieces() -> None:
    engine = on_chain()
    rest = Rest()

    def pruned(sent: Sent) -> None:
        if sent.params[0] == "earliest":
            sent.end(Reply(200, b'{"id":%d,"result":{"number":"0x28",' % sent.id, rest=rest))
        else:
            sent.refuse(4444, "pruned history unavailable")

    engine.all_behave(after(0.02, pruned))
    answer = await engine.ask(BLOCK, b'["earliest",true]').answer()
    assert answer.rest is not None
    answer.rest.close()
    assert rest.is_closed
    assert_nobody_blamed(engine)


@virtual
async def test_a_range_from_earliest_begins_at_what_a_node_has() -> None:
    engine = on_chain()
    logs = b'[{"blockNumber":"0x32","blockHash":"%b"}]' % hash_of(50).encode()

    def pruned(sent: Sent) -> None:
        if sent.params[0]["fromBlock"] == "earliest":
            sent.reply(logs)
        else:
            sent.refuse(4444, "pruned history unavailable")

    engine.all_behave(after(0.02, pruned))
    params = b'[{"fromBlock":"earliest","toBlock":"0x50"}]'
    assert logs in await told(engine, "eth_getLogs", params)
    assert_nobody_blamed(engine)


# ---- blocks that nobody can have yet

FAR = f'"{2_000:#x}"'.encode()


@pytest.mark.parametrize("consistency", ["pinned", "routed"])
@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("debug_getRawBlock", b'"0x"'),  # geth
        ("debug_getRawHeader", b'"0x"'),
        ("trace_block", b"[]"),  # anvil
        ("trace_replayBlockTransactions", b"[]"),
    ],
)
@virtual
async def test_where_a_node_has_an_empty_answer_for_no_block_it_is_given_at_once(
    method: str, result: bytes, consistency: str
) -> None:
    engine = on_chain(consistency=consistency)
    engine.all_behave(answering(result))
    began = now()
    assert result in await told(engine, method, b"[%b]" % FAR)
    assert now() - began < 0.1
    assert len(engine.asked) == 2
    assert_nobody_blamed(engine)


@pytest.mark.parametrize("consistency", ["pinned", "routed"])
@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("eth_feeHistory", b'["0x2",%b,[]]' % FAR, b'{"oldestBlock":"0x7cf","gasUsedRatio":[]}'),
        ("eth_getBalance", b'["0x%040x",%b]' % (7, FAR), b'"0x5"'),
        ("eth_call", b'[{"to":"0x%040x"},%b]' % (7, FAR), b'"0x"'),
    ],
)
@virtual
async def test_state_of_another_block_is_an_error_in_words_of_nodes_at_once(
    method: str, params: bytes, result: bytes, consistency: str
) -> None:
    engine = on_chain(consistency=consistency)
    engine.all_behave(answering(result))
    began = now()
    error = (await engine.ask(method, params).reply())["error"]
    assert error == {"code": -32000, "message": "header not found"}
    assert now() - began < 0.5
    assert_nobody_blamed(engine)


@pytest.mark.parametrize("consistency", ["pinned", "routed"])
@virtual
async def test_logs_up_to_a_block_far_above_are_those_up_to_the_head(consistency: str) -> None:
    engine = on_chain(consistency=consistency)
    log = b'[{"blockNumber":"0x64","blockHash":"%b"}]' % hash_of(100).encode()
    engine.all_behave(answering(log))
    began = now()
    result = await told(engine, "eth_getLogs", b'[{"fromBlock":"0x60","toBlock":%b}]' % FAR)
    assert log in result
    assert now() - began < 0.1
    assert_nobody_blamed(engine)
