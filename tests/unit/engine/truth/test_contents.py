"""Answers about a block, held against what the block says that it holds.

Seen by others: receipts and logs that are not there yet though the block is (reth 23394, geth 28789
and 26098, ponder 1852, lotus 13758, erigon 17624, boba 239, xlayer-reth 263), transactions without
receipts (ethereum-etl 362, geth 22644), no logs by a block's hash though there are some (ethermint
861), indices past the end that are refused in words (sei 3320, ethermint 807, ganache 4435).
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rpcproxy.chains.evm import entries
from rpcproxy.engine.truth.seen import MOST_LISTS
from rpcproxy.messages import Request, Verdict
from rpcproxy.rules.heads import recent_blocks
from tests.kits.engine_kit import (
    Behaviour,
    Engine,
    after,
    answering,
    hash_of,
    head_of,
    now,
    on_chain,
    refusing,
    to_head,
    virtual,
)
from tests.kits.truth_kit import another_contents, seen_hashes

ADDRESS = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
TOPIC = "0x" + "12" * 32
RECEIPTS = "eth_getBlockReceipts"
LOGS = "eth_getLogs"


def bloom_of(*items: str) -> int:
    bloom = 0
    for item in items:
        bloom |= entries._mask(item)
    return bloom


def tx_hash(number: int, index: int) -> str:
    return f"0x{number:032x}{index:032x}"


def block(number: int = 100, transactions: int = 2, bloom: int = 0, uncles: int = 0) -> bytes:
    return msgspec.json.encode(
        {
            "number": hex(number),
            "hash": hash_of(number),
            "parentHash": hash_of(number - 1),
            "logsBloom": f"0x{bloom:0512x}",
            "transactions": [tx_hash(number, index) for index in range(transactions)],
            "uncles": [hash_of(number, 9)] * uncles,
        }
    )


def receipts(number: int = 100, count: int = 2) -> bytes:
    return msgspec.json.encode(
        [
            {
                "transactionHash": tx_hash(number, index),
                "blockNumber": hex(number),
                "blockHash": hash_of(number),
                "cumulativeGasUsed": hex(21000 * (index + 1)),
                "logs": [],
            }
            for index in range(count)
        ]
    )


def logs(*numbers: int) -> bytes:
    return msgspec.json.encode(
        [
            {"address": ADDRESS, "blockNumber": hex(n), "blockHash": hash_of(n), "logIndex": "0x0"}
            for n in numbers
        ]
    )


def transaction(number: int = 100, index: int = 0) -> bytes:
    return msgspec.json.encode(
        {
            "blockHash": hash_of(number),
            "blockNumber": hex(number),
            "hash": tx_hash(number, index),
            "transactionIndex": hex(index),
        }
    )


def params(*members: Any) -> bytes:
    return msgspec.json.encode(members)


def knowing(**contents: int) -> Engine:
    """An engine at block 100 whose clients hold that block."""
    engine = on_chain()
    engine.pipeline.truth.contents.learn(block(**contents))
    return engine


async def asked(engine: Engine, method: str, text: bytes) -> Any:
    reply = await engine.ask(method, text).reply()
    return reply["result"] if "result" in reply else reply["error"]


# ---- fewer than the block has


TRACES = b'[{"blockNumber":100,"blockHash":"%b","traceAddress":[]}]' % hash_of(100).encode()
TWO_TRACES = b"[%b,%b]" % (TRACES[1:-1], TRACES[1:-1])
TRACED = b'[{"result":{}},{"result":{}}]'
REPLAYED = b'[{"stateDiff":null},{"stateDiff":null}]'


@pytest.mark.parametrize(
    ("method", "text", "wrong", "right"),
    [
        (RECEIPTS, params("0x64"), b"[]", receipts()),
        (RECEIPTS, params("latest"), b"[]", receipts()),
        (RECEIPTS, params("0x64"), receipts(count=1), receipts()),
        (RECEIPTS, params(hash_of(100)), b"[]", receipts()),
        (RECEIPTS, params({"blockHash": hash_of(100)}), b"[]", receipts()),
        ("parity_getBlockReceipts", params("0x64"), b"[ ]", receipts()),
        ("erigon_getBlockReceiptsByBlockHash", params(hash_of(100)), b"[]", receipts()),
        ("debug_getRawReceipts", params("0x64"), b'["0x01"]', b'["0x01","0x02"]'),
        ("trace_block", params("0x64"), b"[]", TWO_TRACES),
        ("trace_block", params("0x64"), TRACES, TWO_TRACES),
        ("debug_traceBlockByNumber", params("0x64", {}), b"[]", TRACED),
        ("debug_traceBlockByHash", params(hash_of(100)), b"[]", TRACED),
        ("trace_replayBlockTransactions", params("0x64", ["stateDiff"]), b"[]", REPLAYED),
        ("eth_getBlockTransactionCountByNumber", params("0x64"), b'"0x0"', b'"0x2"'),
        ("eth_getBlockTransactionCountByHash", params(hash_of(100)), b'"0x0"', b'"0x2"'),
        ("eth_getBlockTransactionCountByHash", params(hash_of(100)), b"null", b'"0x2"'),
        ("eth_getUncleCountByBlockHash", params(hash_of(100)), b'"0x0"', b'"0x1"'),
        ("eth_getUncleCountByBlockNumber", params("0x64"), b'"0x0"', b'"0x1"'),
        ("eth_getTransactionByBlockHashAndIndex", params(hash_of(100), "0x1"), b"null",
         transaction(index=1)),
        ("eth_getTransactionByBlockNumberAndIndex", params("0x64", "0x0"), b"null", transaction()),
        # another of the same block
        ("eth_getTransactionByBlockNumberAndIndex", params("0x64", "0x0"), transaction(index=1),
         transaction()),
        ("eth_getRawTransactionByBlockHashAndIndex", params(hash_of(100), "0x1"), b"null",
         b'"0x02"'),
        (LOGS, params({"blockHash": hash_of(100)}), b"[]", logs(100)),
        (LOGS, params({"fromBlock": "0x64", "toBlock": "0x64"}), b"[]", logs(100)),
        (LOGS, params({"fromBlock": "latest", "topics": []}), b"[]", logs(100)),
        (LOGS, params({"fromBlock": "0x50", "toBlock": "0x64"}), b"[]", logs(100)),
        (LOGS, params({"fromBlock": "0x50", "toBlock": "0x64"}), logs(90), logs(90, 100)),
        ("trace_filter", params({"fromBlock": "0x64", "toBlock": "0x64"}), b"[]", TWO_TRACES),
        ("eth_getBlockByHash", params(hash_of(100), False), block(transactions=0), block()),
        ("eth_getBlockByNumber", params("0x64", True), block(transactions=0), block()),
    ],
)  # fmt: skip
@virtual
async def test_what_a_block_disproves_is_asked_of_another(
    method: str, text: bytes, wrong: bytes, right: bytes
) -> None:
    engine = knowing(bloom=bloom_of(ADDRESS), uncles=1)
    engine.all_behave(answering(right, 0.05))
    engine.behave(a=answering(wrong), b=answering(wrong))
    assert await asked(engine, method, text) == msgspec.json.decode(right)
    assert engine.asked == "abc"
    assert all(standing.state == "up" for standing in engine.standings)
    await engine.assert_soon_idle()


@virtual
async def test_it_is_disproved_by_a_block_that_a_client_was_given() -> None:
    engine = on_chain()
    engine.all_behave(answering(block(99, transactions=3)))
    assert (await asked(engine, "eth_getBlockByNumber", params("0x63", False)))["number"] == "0x63"
    engine.all_behave(answering(receipts(99, 3)))
    engine.behave(a=answering(b"[]"))
    assert len(await asked(engine, RECEIPTS, params("0x63"))) == 3
    await engine.assert_soon_idle()


@virtual
async def test_members_of_a_batch_are_held_against_their_block() -> None:
    engine = knowing()
    engine.all_behave(answering(b'"0x2"', 0.05))
    engine.behave(a=answering(b'"0x0"'))
    count = b'{"jsonrpc":"2.0","id":%d,"method":"eth_getBlockTransactionCountByHash","params":%b}'
    members = [count % (id, params(hash_of(100))) for id in (1, 2)]
    replies = msgspec.json.decode((await engine.handle(b"[%b,%b]" % tuple(members)).answer()).body)
    assert [reply["result"] for reply in replies] == ["0x2", "0x2"]
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    ("method", "text", "answer"),
    [
        (RECEIPTS, params("0x64"), receipts()),
        (RECEIPTS, params("0x64"), receipts(count=3)),  # one of the chain's own (HyperEVM, Celo)
        (RECEIPTS, params("0x5f"), b"[]"),  # of a block that is not known
        ("debug_traceBlockByNumber", params("0x64"), b'[{"error":"x"},{"error":"y"}]'),
        (LOGS, params({"blockHash": hash_of(100), "address": OTHER}), b"[]"),
        (LOGS, params({"fromBlock": "0x64", "topics": [[TOPIC, OTHER + "0" * 24]]}), b"[]"),
        (LOGS, params({"fromBlock": "0x64", "topics": [None, None]}), b"[]"),
        (LOGS, params({"fromBlock": "0x64", "topics": [[]]}), b"[]"),
        (LOGS, params({"fromBlock": "0x10", "toBlock": "0x20"}), b"[]"),
        ("trace_filter", params({"fromBlock": "0x64", "toAddress": [OTHER]}), b"[]"),
        ("trace_filter", params({"fromBlock": "0x64", "toBlock": "0x64", "after": 9}), b"[]"),
    ],
)
@virtual
async def test_what_may_be_so_is_given_at_once(method: str, text: bytes, answer: bytes) -> None:
    engine = knowing(bloom=bloom_of(ADDRESS))
    engine.all_behave(answering(answer))
    assert await asked(engine, method, text) == msgspec.json.decode(answer)
    assert engine.asked == "a"
    await engine.assert_soon_idle()


@pytest.mark.parametrize("count", [1, 2, 4])
@virtual
async def test_where_all_say_so_it_is_the_answer(count: int) -> None:
    """Polygon's nodes had no receipt for a transaction that their blocks name."""
    engine = knowing()
    for name in "abcd"[count:]:
        engine.eject(name)
    few = receipts(count=1)
    engine.all_behave(answering(few))
    handle = engine.ask(RECEIPTS, params("0x64"))
    assert (await handle.reply())["result"] == msgspec.json.decode(few)
    engine.pipeline.sharing.cache.clear()
    for wire in engine.wires.values():
        wire.sent.clear()
    assert await asked(engine, RECEIPTS, params("0x64")) == msgspec.json.decode(few)
    assert engine.asked == "a"  # and it stays the answer, without another question
    await engine.assert_soon_idle()


@virtual
async def test_where_one_hangs_it_is_the_answer_of_the_others() -> None:
    engine = knowing()
    engine.all_behave(answering(b"[]"))
    engine.wires["d"].behaviour = after(30, lambda sent: sent.reply(receipts()))
    assert await asked(engine, RECEIPTS, params("0x64")) == []


@virtual
async def test_a_chain_that_writes_less_is_left_alone() -> None:
    engine = on_chain(96)
    for number in range(96, 101):
        to_head(engine, head_of(number))
        engine.pipeline.truth.contents.learn(block(number))
    engine.all_behave(answering(b"[]"))
    for number in range(96, 99):
        assert await asked(engine, RECEIPTS, params(hex(number))) == []
    for wire in engine.wires.values():
        wire.sent.clear()
    for number in (99, 100):
        assert await asked(engine, RECEIPTS, params(hex(number))) == []
    assert engine.asked == "aa"
    await engine.assert_soon_idle()


# ---- logs that a bloom admits


FILTERS = [
    {"blockHash": hash_of(100), "address": ADDRESS},
    {"fromBlock": "0x64", "toBlock": "0x64", "address": [OTHER, ADDRESS], "topics": [TOPIC]},
    {"fromBlock": "0x32", "toBlock": "latest", "address": ADDRESS, "topics": [None, [TOPIC]]},
]


@pytest.mark.parametrize("filter", FILTERS)
@virtual
async def test_what_a_bloom_admits_is_confirmed_by_a_second(filter: dict[str, Any]) -> None:
    engine = knowing(bloom=bloom_of(ADDRESS, TOPIC))
    engine.all_behave(answering(b"[]"))
    assert await asked(engine, LOGS, params(filter)) == []
    assert engine.asked == "ab"  # two alike are the answer
    engine.all_behave(answering(logs(100)))
    engine.behave(a=answering(b"[]"))
    assert await asked(engine, LOGS, params(filter)) == msgspec.json.decode(logs(100))
    await engine.assert_soon_idle()


@virtual
async def test_a_lone_upstream_is_believed() -> None:
    engine = knowing(bloom=bloom_of(ADDRESS))
    for name in "bcd":
        engine.eject(name)
    engine.all_behave(answering(b"[]"))
    assert await asked(engine, LOGS, params(FILTERS[0])) == []


@virtual
async def test_what_one_of_many_blocks_admits_is_no_sign() -> None:
    engine = on_chain(61)
    held = engine.pipeline.truth.contents
    some = sum(1 << bit for bit in range(0, 2048, 5)) | bloom_of(ADDRESS)
    for number in range(61, 101):
        to_head(engine, head_of(number))
        held.learn(block(number, bloom=some))
    engine.all_behave(answering(b"[]"))
    filters = {"address": ADDRESS, "toBlock": "0x64"}
    assert await asked(engine, LOGS, params({**filters, "fromBlock": "0x64"})) == []
    assert len(engine.asked) == 2
    assert await asked(engine, LOGS, params({**filters, "fromBlock": "0x1"})) == []
    assert len(engine.asked) == 3


@virtual
async def test_what_a_full_bloom_admits_is_no_sign() -> None:
    dense = sum(1 << bit for bit in range(0, 2048, 2)) | bloom_of(ADDRESS)
    engine = knowing(bloom=dense)
    engine.all_behave(answering(b"[]"))
    assert await asked(engine, LOGS, params(FILTERS[0])) == []
    assert engine.asked == "a"


# ---- what is certainly not there


INDEXED = [
    ("eth_getTransactionByBlockHashAndIndex", hash_of(100)),
    ("eth_getTransactionByBlockNumberAndIndex", "0x64"),
    ("eth_getRawTransactionByBlockHashAndIndex", hash_of(100)),
    ("eth_getRawTransactionByBlockNumberAndIndex", "0x64"),
    ("eth_getUncleByBlockHashAndIndex", hash_of(100)),
    ("eth_getUncleByBlockNumberAndIndex", "0x64"),
]


@pytest.mark.parametrize("behaviour", [answering(b"null"), refusing(-32000, "index out of range")])
@pytest.mark.parametrize(("method", "name"), INDEXED)
@virtual
async def test_past_the_end_of_a_block_there_is_nothing(
    method: str, name: str, behaviour: Behaviour
) -> None:
    engine = knowing(uncles=2)
    engine.all_behave(behaviour)
    assert await asked(engine, method, params(name, "0x2")) is None
    assert engine.asked == "a"
    await engine.assert_soon_idle()


@virtual
async def test_of_a_block_that_was_told_but_is_not_held_two_nulls_are_enough() -> None:
    engine = on_chain()
    engine.all_behave(answering(transaction()))
    method = "eth_getTransactionByBlockHashAndIndex"
    assert (await asked(engine, method, params(hash_of(100), "0x0")))["hash"] == tx_hash(100, 0)
    engine.all_behave(answering(b"null"))
    handle = engine.ask(method, params(hash_of(100), "0x7"))
    assert (await handle.reply())["result"] is None
    assert engine.asked == "aab"
    await engine.assert_soon_idle()


@virtual
async def test_nothing_has_the_hash_of_zeros() -> None:
    engine = on_chain()
    engine.all_behave(answering(b"null"))
    for method in ("eth_getTransactionByHash", "eth_getBlockByHash"):
        assert await asked(engine, method, params("0x" + "00" * 32, *_flag(method))) is None
    assert engine.asked == "aa"


@virtual
async def test_a_hash_is_of_a_block_or_of_a_transaction() -> None:
    """Block explorers look up what was typed in as both."""
    engine = on_chain()
    engine.all_behave(answering(block(99)))
    await asked(engine, "eth_getBlockByHash", params(hash_of(99), False))
    engine.all_behave(answering(b"null"))
    for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt"):
        assert await asked(engine, method, params(hash_of(99))) is None
    for method in ("eth_getBlockByHash", "eth_getBlockTransactionCountByHash"):
        assert await asked(engine, method, params(tx_hash(99, 1), *_flag(method))) is None
    assert engine.asked == "aaaaa"
    await engine.assert_soon_idle()


def _flag(method: str) -> list[bool]:
    return [False] if method == "eth_getBlockByHash" else []


# ---- what was shown in a list is not null


SHOWN = [
    ("eth_getBlockByNumber", params("0x64", False), block()),
    ("eth_getBlockByHash", params(hash_of(100), False), block()),
    (RECEIPTS, params("0x64"), receipts()),
    ("eth_getTransactionByBlockNumberAndIndex", params("0x64", "0x1"), transaction(index=1)),
    ("eth_getTransactionByBlockHashAndIndex", params(hash_of(100), "0x1"), transaction(index=1)),
    (
        LOGS,
        params({"fromBlock": "0x64", "toBlock": "0x64"}),
        logs(100).replace(b'"logIndex"', b'"transactionHash":"%b","logIndex"')
        % tx_hash(100, 1).encode(),
    ),
]


@pytest.mark.parametrize("lookup", ["eth_getTransactionReceipt", "eth_getTransactionByHash"])
@pytest.mark.parametrize(("method", "text", "answer"), SHOWN)
@virtual
async def test_what_was_shown_in_a_list_is_not_null_afterwards(
    method: str, text: bytes, answer: bytes, lookup: str
) -> None:
    engine = on_chain()
    engine.all_behave(answering(answer))
    await asked(engine, method, text)
    mined = transaction(index=1)
    if lookup == "eth_getTransactionReceipt":
        mined = mined.replace(b'"hash"', b'"transactionHash"')
    engine.all_behave(answering(b"null"))
    engine.behave(d=answering(mined))
    result = await asked(engine, lookup, params(tx_hash(100, 1)))
    assert result["blockNumber"] == "0x64"
    await engine.assert_soon_idle()


def test_a_reorg_may_take_what_was_shown() -> None:
    seen = seen_hashes()
    for number in (99, 100):
        seen.see_list(number, (tx_hash(number, 1),))
    seen.see_block(hash_of(99), 99)
    seen.see_block(hash_of(100), 100)
    seen.on_turn(99)
    assert [seen.block_of(tx_hash(n, 1)) for n in (99, 100)] == [99, None]
    assert [seen.has_block(hash_of(n)) for n in (99, 100)] == [True, False]


# ---- bounds


@virtual
async def test_the_contents_of_blocks_are_bounded() -> None:
    engine = on_chain(1000)
    held = engine.pipeline.truth.contents
    for number in range(500, 1001):
        held.learn(block(number))
    assert held.learn(block(100)) is None  # old ones are not worth it
    assert len(held._blocks) <= recent_blocks.MOST_BLOCKS + recent_blocks.MOST_OTHERS
    few = another_contents(engine, most_bytes=10_000)
    for number in range(900, 1001):
        few.learn(block(number, transactions=20))
    assert 0 < few._blocks._ours.size <= 10_000


def test_lists_that_were_shown_are_bounded() -> None:
    seen = seen_hashes(most_bytes=10_000)
    for number in range(500):
        seen.see_list(number, receipts(number))
    assert seen._bytes <= 10_000
    held = len(seen._lists)
    seen.see_list(1000, receipts(1000, 100))  # too large to be read at once
    assert len(seen._lists) == held <= MOST_LISTS
    assert seen.block_of(tx_hash(499, 0)) == 499
    assert seen.block_of(tx_hash(1000, 0)) is None
    assert (len(seen._lists), seen._bytes) == (0, 0)


@virtual
async def test_a_reload_forgets_nothing() -> None:
    engine = knowing()
    twin = another_contents(engine)
    twin.adopt(engine.pipeline.truth.contents)
    assert len(twin._blocks) == 1


# ---- what it is learned from


@virtual
async def test_a_block_from_disk_is_a_block_that_was_told() -> None:
    engine = on_chain()
    truth = engine.pipeline.truth
    profiles = engine.pipeline.profiles
    profile = profiles.of("eth_getBlockByHash")
    asked_for = Request("eth_getBlockByHash", b"1", params(hash_of(100), False))
    assert truth.allows(profiles.prepare(asked_for, profile), block())
    engine.all_behave(answering(b"[]"))
    engine.behave(d=answering(receipts()))
    assert len(await asked(engine, RECEIPTS, params("0x64"))) == 2
    key = hash_of(100)
    assert truth.seen.has_block(key)
    assert truth.seen.block_of(key) is None


@virtual
async def test_a_header_tells_of_logs_and_not_of_transactions() -> None:
    engine = on_chain()
    header = {"number": "0x64", "hash": hash_of(100), "logsBloom": f"0x{bloom_of(ADDRESS):0512x}"}
    engine.told.learn(msgspec.json.encode(header))
    engine.all_behave(answering(b"[]"))
    assert await asked(engine, RECEIPTS, params("0x64")) == []
    assert engine.asked == "a"
    engine.behave(d=answering(logs(100)))
    assert len(await asked(engine, LOGS, params({"blockHash": hash_of(100)}))) == 1
    await engine.assert_soon_idle()


@virtual
async def test_the_head_that_the_watcher_is_told_is_enough() -> None:
    engine = on_chain()
    engine.told.on_report(head_of(100), now(), block())
    engine.all_behave(answering(receipts()))
    engine.behave(a=answering(b"[]"))
    assert len(await asked(engine, RECEIPTS, params("0x64"))) == 2
    await engine.assert_soon_idle()


@virtual
async def test_where_blocks_are_final_at_once_their_logs_are_held_against_them_too() -> None:
    engine = knowing(bloom=bloom_of(ADDRESS))
    for name in "abcd":
        engine.observe(name, Verdict.OK, head=head_of(100), anchors=(head_of(100),), is_probe=True)
    assert engine.standings.heads.finality.floor == 100
    engine.all_behave(answering(logs(100)))
    engine.behave(a=answering(b"[]"))
    assert len(await asked(engine, LOGS, params({"fromBlock": "0x64", "toBlock": "0x64"}))) == 1
    await engine.assert_soon_idle()
