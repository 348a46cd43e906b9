"""Answers that claim a block which they do not name: asked elsewhere, and a receipt of none is none.

Seen by others: viem 4012 and 3873 (a waiting transaction's receipt), rust-web3 749 (``{}``),
openethereum 3569 and MetaMask 1163 (a receipt with a null block), reth 18374 (one pre-confirmed, of
the block to come), nethermind 4384 (logs of another block than was asked for).
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rpcproxy.messages import Verdict
from tests.kits.engine_kit import (
    Engine,
    after,
    answering,
    hash_of,
    head_of,
    now,
    on_chain,
    to_head,
    virtual,
)
from tests.kits.fleet import four

RECEIPT = "eth_getTransactionReceipt"
TX = "eth_getTransactionByHash"
LOGS = "eth_getLogs"
KEY = f"0x{7:064x}"
NO_HASH = "0x" + "00" * 32
PROVISIONAL = "0x" + "9f" * 32


def text(value: Any) -> bytes:
    return msgspec.json.encode(value)


def mined(number: int = 100, hash: str | None = "") -> dict[str, Any]:
    return {"blockNumber": hex(number), "blockHash": hash if hash != "" else hash_of(number)}


NULL_BLOCK = {"blockNumber": None, "blockHash": None, "status": None}
ODD_RECEIPTS = [
    NULL_BLOCK,
    {},
    mined(101, NO_HASH),
    mined(101, None),
    {"blockHash": hash_of(100)},
    {"blockNumber": None, "blockHash": hash_of(100)},
]


async def asked(engine: Engine, method: str, *params: Any) -> Any:
    reply = await engine.ask(method, text(params)).reply()
    return reply.get("result", reply.get("error"))


# ---- receipts


@pytest.mark.parametrize("odd", ODD_RECEIPTS)
@virtual
async def test_a_receipt_in_no_block_is_null(odd: dict[str, Any]) -> None:
    engine = on_chain()
    engine.all_behave(answering(text(odd)))
    assert await asked(engine, RECEIPT, KEY) is None
    assert len(engine.asked) == 2
    assert all(standing.state == "up" for standing in engine.standings)
    await engine.assert_soon_idle()


@pytest.mark.parametrize("odd", ODD_RECEIPTS)
@virtual
async def test_whoever_has_the_mined_one_gives_it(odd: dict[str, Any]) -> None:
    engine = on_chain()
    engine.all_behave(answering(text(mined()), 0.05))
    engine.behave(a=answering(text(odd)))
    assert await asked(engine, RECEIPT, KEY) == mined()
    await engine.assert_soon_idle()


@pytest.mark.parametrize("odd", ODD_RECEIPTS)
@virtual
async def test_a_mined_receipt_is_never_taken_back(odd: dict[str, Any]) -> None:
    engine = on_chain()
    engine.all_behave(answering(text(mined())))
    assert await asked(engine, RECEIPT, KEY) == mined()
    engine.pipeline.sharing.cache.clear()
    engine.all_behave(answering(text(odd)))
    engine.behave(d=answering(text(mined())))
    assert await asked(engine, RECEIPT, KEY) == mined()
    await engine.assert_soon_idle()


@virtual
async def test_a_receipt_without_a_hash_is_given_where_two_say_so() -> None:
    engine = on_chain()
    engine.all_behave(answering(text({"blockNumber": "0x64"})))
    assert await asked(engine, RECEIPT, KEY) == {"blockNumber": "0x64"}
    assert len(engine.asked) == 2
    engine.all_behave(answering(text(mined())))
    engine.behave(a=answering(text({"blockNumber": "0x64"})))
    assert await asked(engine, RECEIPT, KEY) == mined()


@virtual
async def test_where_no_hashes_are_told_they_are_not_missed() -> None:
    engine = Engine()
    engine.all_behave(answering(b'{"number":"0x64"}'))
    assert await asked(engine, "eth_getBlockByNumber", "0x64", False) == {"number": "0x64"}
    assert engine.asked == "a"


@pytest.mark.parametrize("named", [{}, {"hash": None}, {"hash": "0x"}])
@virtual
async def test_blocks_without_a_hash_are_given_where_the_chain_has_no_other(
    named: dict[str, Any],
) -> None:
    engine = Engine()
    block = {"number": "0x64", **named}
    engine.all_behave(answering(text(block)))
    assert await asked(engine, "eth_getBlockByNumber", "0x64", False) == block
    assert await asked(engine, "eth_getBlockByHash", hash_of(100), False) == block
    assert engine.asked == "aa"
    assert all(standing.state == "up" for standing in engine.standings)


@virtual
async def test_a_block_without_a_hash_is_asked_elsewhere_where_blocks_have_one() -> None:
    engine = on_chain()
    block = {"number": "0x64", "hash": hash_of(100)}
    engine.all_behave(answering(text(block)))
    engine.behave(a=answering(text({"number": "0x64"})))
    assert await asked(engine, "eth_getBlockByHash", hash_of(100), False) == block
    engine.behave(a=answering(text({"number": "0x64", "hash": None})))
    assert await asked(engine, "eth_getBlockByNumber", "0x64", True) == block


@pytest.mark.parametrize("names", ["a", "abcd"])
@virtual
async def test_a_transaction_of_the_system_has_no_receipt(names: str) -> None:
    """Polygon's state syncs are in the block; nodes differ about their receipts (bor 1.x, Erigon)."""
    engine = on_chain(upstreams=[each for each in four() if each.name in names])
    block = {"number": "0x64", "hash": hash_of(100), "transactions": [KEY]}
    engine.all_behave(answering(text(block)))
    assert await asked(engine, "eth_getBlockByNumber", "0x64", False) == block
    engine.all_behave(answering(b"null"))
    began = now()
    assert await asked(engine, RECEIPT, KEY) is None
    assert now() - began < 0.6  # it may be late everywhere
    began = now()
    assert await asked(engine, RECEIPT, KEY) is None
    assert now() - began < 0.1
    engine.all_behave(answering(text(mined())))
    assert await asked(engine, RECEIPT, KEY) == mined()
    engine.pipeline.sharing.cache.clear()
    engine.all_behave(answering(b"null"))
    began = now()
    await asked(engine, RECEIPT, KEY)
    assert now() - began > 0.6  # and what was given is not taken back in a hurry


# ---- pre-confirmed ones


def asking_heads(engine: Engine, number: int = 100) -> None:
    """In place of the watcher: whoever is doubted is asked for its head."""
    engine.executor.on_doubt = lambda name: engine.observe(
        name, Verdict.OK, head=head_of(number), is_probe=True
    )


@virtual
async def test_a_preconfirmed_receipt_is_null_until_the_block_is_there() -> None:
    engine = on_chain()
    asking_heads(engine)
    engine.all_behave(answering(text(mined(101, PROVISIONAL))))
    handle = engine.ask(RECEIPT, text([KEY]))
    assert (await handle.reply())["result"] is None
    for wire in engine.wires.values():
        wire.sent.clear()
    assert await asked(engine, RECEIPT, KEY) is None  # and from then on at once
    assert len(engine.asked) == 2
    to_head(engine, head_of(101))
    engine.all_behave(answering(text(mined(101))))
    assert await asked(engine, RECEIPT, KEY) == mined(101)
    await engine.assert_soon_idle()


@virtual
async def test_a_preconfirmed_transaction_waits() -> None:
    engine = on_chain()
    asking_heads(engine)
    sent = {"hash": KEY, "nonce": "0x5", "transactionIndex": "0x0"}
    engine.all_behave(answering(text({**sent, **mined(101, PROVISIONAL)})))
    waiting = {**sent, "transactionIndex": None, "blockNumber": None, "blockHash": None}
    assert await asked(engine, TX, KEY) == waiting
    engine.all_behave(answering(text({**sent, **mined(101, NO_HASH)})))
    assert await asked(engine, TX, KEY) == waiting
    await engine.assert_soon_idle()


@virtual
async def test_what_is_of_a_block_that_its_upstream_has_is_waited_for() -> None:
    """No pre-confirmation: the upstream is the first that has the block."""
    engine = on_chain()
    asking_heads(engine, 101)
    engine.all_behave(answering(text(mined(101))))
    assert await asked(engine, RECEIPT, KEY) == mined(101)
    await engine.assert_soon_idle()


@virtual
async def test_a_number_above_the_head_is_refused_whatever_the_hash() -> None:
    engine = on_chain()
    for method, params, answer in (
        (RECEIPT, [KEY], mined(900, hash_of(100))),
        (TX, [KEY], {"hash": KEY, **mined(900)}),
        ("eth_getBlockReceipts", [hash_of(100)], [mined(900, hash_of(100))]),
        ("eth_getBlockByHash", [hash_of(100), False], {"number": "0x384", "hash": hash_of(100)}),
        ("trace_transaction", [KEY], [{"blockNumber": 900, "blockHash": hash_of(100)}]),
        (LOGS, [{"blockHash": hash_of(100)}], [mined(900, hash_of(100))]),
    ):
        engine.all_behave(answering(text(answer)))
        given = await asked(engine, method, *params)
        assert given is None or given.get("code") == -32603
    await engine.assert_soon_idle()


# ---- everything else that names a block


WAITING = {"hash": KEY, "blockNumber": None, "blockHash": None}
OTHERS = [
    (TX, [KEY], {}, {"hash": KEY, **mined()}),
    (TX, [KEY], {"hash": KEY, "blockNumber": "0x64"}, {"hash": KEY, **mined()}),
    (TX, [KEY], {"hash": KEY, "blockHash": hash_of(100)}, {"hash": KEY, **mined()}),
    ("eth_getTransactionByBlockNumberAndIndex", ["0x64", "0x0"], {}, mined()),
    ("eth_getTransactionByBlockNumberAndIndex", ["0x64", "0x0"], WAITING, mined()),
    ("eth_getTransactionByBlockNumberAndIndex", ["0x63", "0x0"], mined(), mined(99)),
    ("eth_getTransactionByBlockHashAndIndex", [hash_of(99), "0x0"], mined(), mined(99)),
    ("eth_getBlockByNumber", ["0x64", False], {"number": "0x64"},
     {"number": "0x64", "hash": hash_of(100)}),
    ("eth_getHeaderByNumber", ["0x63"], {"number": "0x64", "hash": hash_of(100)},
     {"number": "0x63", "hash": hash_of(99)}),
    ("eth_getBlockReceipts", ["0x63"], [mined()], [mined(99)]),
    ("eth_getBlockReceipts", ["0x64"], [{}], [mined()]),
    ("eth_getBlockReceipts", ["0x64"], [mined(100, NO_HASH)], [mined()]),
    ("eth_getBlockReceipts", [hash_of(100)], [mined(), mined(99)], [mined()]),
    ("trace_block", ["0x63"], [{"blockNumber": 100, "blockHash": hash_of(100)}],
     [{"blockNumber": 99, "blockHash": hash_of(99)}]),
    ("trace_transaction", [KEY], [{"blockNumber": 101, "blockHash": NO_HASH}],
     [{"blockNumber": 99, "blockHash": hash_of(99)}]),
    (LOGS, [{"fromBlock": "0x63", "toBlock": "0x64"}], [{"blockNumber": "0x64"}], [mined()]),
    (LOGS, [{"fromBlock": "0x63", "toBlock": "0x64"}], [mined(100, NO_HASH)], [mined()]),
    (LOGS, [{"fromBlock": "0x63", "toBlock": "0x64"}], [mined(98, hash_of(98))], [mined()]),
    (LOGS, [{"fromBlock": "0x63", "toBlock": "0x64"}], [{}], [mined()]),
    (LOGS, [{"blockHash": hash_of(99)}], [mined()], [mined(99)]),
    (LOGS, [{"blockHash": hash_of(99)}], [{"blockNumber": "0x63", "blockHash": None}], [mined(99)]),
]  # fmt: skip


@pytest.mark.parametrize(("method", "params", "odd", "right"), OTHERS)
@virtual
async def test_what_names_its_block_wrongly_is_asked_elsewhere(
    method: str, params: list[Any], odd: Any, right: Any
) -> None:
    engine = on_chain()
    engine.all_behave(answering(text(right), 0.05))
    engine.behave(a=answering(text(odd)))
    assert await asked(engine, method, *params) == right
    assert len(engine.asked) == 2
    await engine.assert_soon_idle()


HONEST = [
    (TX, [KEY], WAITING),
    (TX, [KEY], {"hash": KEY}),
    ("trace_block", ["0x64"], [{"blockNumber": 100, "blockHash": hash_of(100)}]),
    ("eth_getTransactionByBlockNumberAndIndex", ["0x64", "0x0"], mined()),
    (LOGS, [{"fromBlock": "0x63", "toBlock": "0x64"}], [mined(99), mined()]),
    ("eth_getUncleByBlockHashAndIndex", [hash_of(100), "0x0"], {"number": "0x5"}),
]


@pytest.mark.parametrize(("method", "params", "answer"), HONEST)
@virtual
async def test_what_is_honest_is_given_at_once(method: str, params: list[Any], answer: Any) -> None:
    engine = on_chain()
    engine.all_behave(answering(text(answer)))
    assert await asked(engine, method, *params) == answer
    assert engine.asked == "a"


@virtual
async def test_a_mined_transaction_does_not_wait_again() -> None:
    engine = on_chain()
    engine.all_behave(answering(text({"hash": KEY, **mined()})))
    await asked(engine, TX, KEY)
    engine.pipeline.sharing.cache.clear()
    for odd in (WAITING, {"hash": KEY, **mined(101, NO_HASH)}):
        engine.all_behave(answering(text(odd)))
        engine.wires["d"].behaviour = after(
            0.02, lambda sent: sent.reply(text({"hash": KEY, **mined()}))
        )
        assert (await asked(engine, TX, KEY))["blockNumber"] == "0x64"
        engine.pipeline.sharing.cache.clear()
    await engine.assert_soon_idle()
