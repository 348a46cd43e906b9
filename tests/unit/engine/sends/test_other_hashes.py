"""Types that only their chain can hash, and user operations: a wallet that sends gets the hash.

Doors of one sequencer: zkSync (chainlink 12338, 12600), OP's sequencer beside a node (ithacaxyz
relay 452), several providers (dcrdex 3498); sent once more (Nethermind 4148, execution-apis 245,
ethers 4533 on Linea); bundlers (hyperbridge 1122, stackup-bundler 190, erc-4337-examples 25).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from rpcproxy.chains.evm.sends.said_hashes import candidate_hashes
from rpcproxy.chains.evm.sends.signed import decode
from rpcproxy.edges.disk.journal import DiskJournal
from tests.kits.engine_kit import (
    CHAIN_ID,
    Behaviour,
    Engine,
    after,
    answering,
    failing,
    in_turn,
    now,
    refusing,
    silent,
    virtual,
)
from tests.kits.fleet import upstream
from tests.sockets.scripted import on_both_loops
from tests.unit.chains.evm.sends.test_evm_user_operations import PAID, V07, hash_of
from tests.unit.chains.evm.sends.test_evm_zksync import VECTORS
from tests.unit.engine.sends.test_ledger import journaled

RAW = "0x71" + "c0" * 40
PARAMS = b'["%b"]' % RAW.encode()
HASH = "0x" + "5e" * 32  # not of its bytes: the chain's own way
KECCAK = candidate_hashes(bytes.fromhex(RAW[2:]))[-1]
KNOWN = refusing(3, "known transaction. transaction with hash 0x7a24…4a64 is already in the system")
YES = answering(b'"%b"' % HASH.encode())


async def send(engine: Engine, method: str = "eth_sendRawTransaction") -> dict[str, Any]:
    reply: dict[str, Any] = await engine.ask(method, PARAMS).reply()
    return reply


def by_method(send: Behaviour, look: Behaviour) -> Behaviour:
    return lambda sent: (send if "send" in sent.method else look)(sent)


def found(hash: str) -> Behaviour:
    """Known under that hash alone."""

    def look(sent: Any) -> None:
        is_it = sent.params[0] == hash
        sent.reply(b'{"hash":"%b"}' % hash.encode() if is_it else b"null")

    return after(0.01, look)


@pytest.mark.parametrize("late", "abcd")
@virtual
async def test_one_yes_beats_every_known(late: str) -> None:
    engine = Engine()
    engine.all_behave(KNOWN)
    engine.behave(**{late: answering(b'"%b"' % HASH.encode(), 0.8)})
    assert (await send(engine))["result"] == HASH
    await engine.assert_soon_idle()


@virtual
async def test_it_has_the_hash_that_it_had_whoever_sends_it_again() -> None:
    engine = Engine()
    engine.behave(a=YES, b=KNOWN, c=KNOWN, d=KNOWN)
    assert (await send(engine))["result"] == HASH
    engine.all_behave(KNOWN)
    before = len(engine.sent)
    for _ in range(3):
        assert (await send(engine))["result"] == HASH
    assert len(engine.sent) == before  # it is looked after: nobody is troubled
    await engine.assert_soon_idle()


@pytest.mark.parametrize(
    "words",
    [
        {"message": f"known transaction: {HASH[2:]}"},
        {"message": "already known", "data": {"txHash": HASH}},
        {"message": f"transaction {HASH.upper().replace('0X', '0x')} already in mempool"},
    ],
)
@virtual
async def test_the_refusal_names_it(words: dict[str, Any]) -> None:
    engine = Engine()
    error = msgspec.json.encode({"code": -32000, **words})

    def refuse(sent: Any) -> None:
        sent.say(b'{"jsonrpc":"2.0","id":%d,"error":%b}' % (sent.id, error))

    engine.all_behave(after(0.01, refuse))
    assert (await send(engine))["result"] == HASH
    assert (await send(engine))["result"] == HASH
    await engine.assert_soon_idle()


@virtual
async def test_most_chains_hash_the_bytes_and_a_look_up_proves_it() -> None:
    engine = Engine()
    engine.all_behave(by_method(refusing(-32000, "already known"), found(KECCAK)))
    assert (await send(engine))["result"] == KECCAK
    await engine.assert_soon_idle()


@virtual
async def test_mined_meanwhile_its_nonce_is_too_low() -> None:
    engine = Engine()
    engine.all_behave(by_method(refusing(-32000, "nonce too low"), found(KECCAK)))
    assert (await send(engine))["result"] == KECCAK
    await engine.assert_soon_idle()


@pytest.mark.parametrize("words", ["nonce too low", "already known"])
@virtual
async def test_where_nothing_proves_it_the_refusal_is_given(words: str) -> None:
    engine = Engine()
    engine.all_behave(by_method(refusing(-32000, words), answering(b"null")))
    assert (await send(engine))["error"]["message"] == words
    await engine.assert_soon_idle()


@virtual
async def test_a_lost_answer_and_the_same_bytes_once_more() -> None:
    engine = Engine([upstream("a")])
    shown = "0x" + KECCAK[2:6] + "…" + KECCAK[-4:]
    known = refusing(
        3, f"known transaction. transaction with hash {shown} is already in the system"
    )
    engine.all_behave(in_turn(failing(seconds=0.1), known))
    assert (await send(engine))["result"] == KECCAK
    await engine.assert_soon_idle()


@virtual
async def test_zksyncs_own_type_is_hashed_as_the_chain_does() -> None:
    raw, hash = VECTORS["plain"]
    engine = Engine([upstream("a")])
    shown = f"{hash[:6]}…{hash[-4:]}"
    words = f"known transaction. transaction with hash {shown} is already in the system"
    engine.all_behave(by_method(refusing(3, words), answering(b"null")))
    reply = await engine.ask("eth_sendRawTransaction", b'["0x%b"]' % raw.encode()).reply()
    assert reply["result"] == hash
    await engine.assert_soon_idle()


@virtual
async def test_who_hangs_holds_up_nobody_for_long() -> None:
    engine = Engine()
    engine.all_behave(by_method(refusing(-32000, "already known"), found(KECCAK)))
    engine.behave(a=silent)
    handle = engine.ask("eth_sendRawTransaction", PARAMS)
    assert (await handle.reply())["result"] == KECCAK
    assert handle.at - engine.sent[0].at < 4
    await engine.assert_soon_idle()


@virtual
async def test_a_private_one_is_not_looked_up() -> None:
    engine = Engine([upstream("a"), upstream("b", private=True, role="sends")])
    engine.all_behave(by_method(refusing(-32000, "already known"), found(KECCAK)))
    assert "error" in await send(engine)
    assert not any(KECCAK[2:].encode() in sent.payload for sent in engine.sent)
    await engine.assert_soon_idle()


@virtual
async def test_a_private_user_operation_is_not_looked_up() -> None:
    engine = Engine([upstream("a"), upstream("b", private=True, role="sends")])
    engine.all_behave(by_method(refusing(-32000, "already known"), found(OPERATION_HASH)))
    assert "error" in await operate(engine)
    assert {sent.wire.name for sent in engine.sent} == {"b"}
    await engine.assert_soon_idle()


@on_both_loops
async def test_after_a_restart_it_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "test.sqlite"
    tx = decode(RAW, CHAIN_ID)
    async with journaled(path) as ledger:
        assert await ledger.hash_of(tx.raw) == ""
        for raw, hash in ((tx.raw, HASH), (tx.raw + b"\x01", "0x" + "77" * 32)):
            known = msgspec.structs.replace(tx, raw=raw, hash=hash)
            await ledger.begin(known, is_private=False)
        ledger.on_block(5, "0xb", [HASH])
        await ledger.on_final(HASH)
    async with journaled(path) as again:
        assert await again.hash_of(tx.raw) == HASH  # closed, and on disk alone
        assert await again.hash_of(tx.raw + b"\x01") == "0x" + "77" * 32
        assert await again.hash_of(b"\x71") == ""
        assert isinstance(again.journal, DiskJournal)


# ---- user operations

OPERATION = msgspec.json.encode([PAID, V07])
OPERATION_HASH = hash_of(PAID, V07)
REPLACED = "replacement op must increase maxFeePerGas and MaxPriorityFeePerGas by >= 10%"


async def operate(engine: Engine, params: bytes = OPERATION) -> dict[str, Any]:
    reply: dict[str, Any] = await engine.ask("eth_sendUserOperation", params).reply()
    return reply


@pytest.mark.parametrize(
    "refusal",
    [
        refusing(-32602, REPLACED),
        refusing(-32000, "already known"),
        refusing(-32602, "replacement underpriced"),
    ],
)
@virtual
async def test_a_user_operation_that_the_bundler_has(refusal: Behaviour) -> None:
    engine = Engine()
    engine.all_behave(by_method(refusal, found(OPERATION_HASH)))
    assert (await operate(engine))["result"] == OPERATION_HASH
    engine.all_behave(by_method(refusal, answering(b"null")))
    assert "error" in await operate(engine)  # another one has its place
    await engine.assert_soon_idle()


@virtual
async def test_a_reload_knows_what_it_was_answered_with() -> None:
    old, new = Engine(), Engine()
    params = msgspec.json.encode([PAID, "0x" + "12" * 20])
    old.all_behave(answering(b'"%b"' % HASH.encode()))
    assert (await operate(old, params))["result"] == HASH
    new.graph.learned.adopt(old.graph.learned, now())
    new.all_behave(refusing(-32000, "already known"))
    assert (await operate(new, params))["result"] == HASH


@virtual
async def test_a_user_operation_of_an_entry_point_that_nobody_knows() -> None:
    engine = Engine()
    params = msgspec.json.encode([PAID, "0x" + "12" * 20])
    engine.all_behave(answering(b'"%b"' % HASH.encode()))
    assert (await operate(engine, params))["result"] == HASH
    engine.all_behave(refusing(-32000, "already known"))
    assert (await operate(engine, params))["result"] == HASH
    other = msgspec.json.encode([PAID | {"nonce": "0x9"}, "0x" + "12" * 20])
    assert "error" in await operate(engine, other)
    await engine.assert_soon_idle()
