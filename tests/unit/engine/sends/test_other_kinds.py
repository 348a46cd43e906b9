"""Kinds of chain that send otherwise than the EVM's, or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.evm.sending import EVM_SENDS
from rpcproxy.chains.kind import Kind
from rpcproxy.chains.method import OBJECT
from rpcproxy.chains.parts.inquiries import JsonText, Question
from rpcproxy.chains.parts.transactions import (
    DecodedTransaction,
    Inclusion,
    ListedBlock,
    Said,
    Sends,
    TransactionLookUps,
    TransactionNames,
    WaitingTransactions,
)
from rpcproxy.chains.registry import EVM
from rpcproxy.messages import METHOD_REFUSED
from rpcproxy.rules.sends.journaled import TransactionState
from tests.kits.engine_kit import Engine, Sent, after, now, virtual
from tests.kits.fleet import upstream
from tests.kits.sends_kit import rebroadcast_of, signed

TX = signed()
HASH_PARAMS = b'["%b"]' % TX.hash.encode()


def kind_with(sends: Sends | None) -> Kind:
    """EVM, but for how transactions are sent."""
    return replace(EVM, sends=sends)


# ---- without sends


@virtual
async def test_where_nothing_is_sent_a_send_is_refused_in_words() -> None:
    engine = Engine(kind=kind_with(None))
    error = (await engine.ask("eth_sendRawTransaction", TX.params).reply())["error"]
    assert error["code"] == METHOD_REFUSED
    assert "eth_sendRawTransaction does not exist/is not available" in error["message"]
    assert engine.asked == ""
    assert not engine.pipeline.is_sending


@virtual
async def test_where_nothing_is_sent_reads_go_on() -> None:
    engine = Engine(kind=kind_with(None))
    assert (await engine.ask("eth_gasPrice").reply())["result"] == "0x1"
    for wire in engine.wires.values():
        wire.behaviour = after(0.01, lambda sent: sent.reply(b"null"))
    for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt"):
        assert (await engine.ask(method, HASH_PARAMS).reply())["result"] is None
    engine.graph.learned.adopt(Engine(kind=kind_with(None)).graph.learned, now())
    engine.close()


# ---- without counters


@virtual
async def test_without_counters_nobody_can_tell_where_a_private_one_is() -> None:
    """It is not asked for by its hash, nor looked for at each look: only its block tells."""
    sends = replace(EVM_SENDS, look_ups=replace(EVM_SENDS.look_ups, counter=None))
    engine = Engine([upstream("a", private=True), upstream("b")], kind=kind_with(sends))
    chain = Chain(engine)
    rebroadcast = rebroadcast_of(engine, sends)
    assert "result" in await engine.ask("eth_sendRawTransaction", TX.params).reply()
    rebroadcast._unsure.append(TX.hash)
    await rebroadcast._look_up_unsure()
    assert not rebroadcast._unsure
    assert {sent.method for sent in engine.sent} == {"eth_sendRawTransaction"}
    engine.all_behave(chain.refuse_nonce)
    await rebroadcast._see_whether_replaced(engine.ledger.pool.get(TX.hash))
    assert engine.ledger.pool.get(TX.hash).state is TransactionState.SENT
    assert {sent.method for sent in engine.sent} == {"eth_sendRawTransaction"}


class Chain:
    """Takes every send, and knows nothing."""

    def __init__(self, engine: Engine) -> None:
        engine.all_behave(after(0.01, self._act))

    @staticmethod
    def _act(sent: Sent) -> None:
        if sent.method == "eth_sendRawTransaction":
            sent.reply(b'"%b"' % TX.hash.encode())
        else:
            sent.reply(b"null")

    @staticmethod
    def refuse_nonce(sent: Sent) -> None:
        sent.refuse(-32000, "nonce too low")


# ---- a kind of its own: no hexadecimal digits, no lanes, numbers in plain


def _decode(text: str, identity: str) -> DecodedTransaction:
    del identity
    return DecodedTransaction(text.encode(), text.removesuffix("!"))


def _text_in(params: JsonText) -> str | None:
    texts = msgspec.json.decode(params, type=list[str])
    return texts[0] if texts else None


def _read_as(kind: type[Any]) -> Callable[[JsonText], Any]:
    def read(result: JsonText) -> Any:
        try:
            return msgspec.json.decode(result, type=kind)
        except msgspec.MsgspecError:
            return None

    return read


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


SUBMIT = dataclasses.replace(describe("eth_sendRawTransaction"), name="submit", shape=OBJECT)
PLAIN_SENDS = Sends(
    method=SUBMIT,
    raw_of=_text_in,
    check_size=lambda _text, _identity, /, *, is_public: None,
    decode=_decode,
    text_of=bytes.decode,
    params_of=lambda raw: _json([raw.decode()]),
    plain=lambda params: _json([_text_in(params), "copy"]),
    result_of=lambda text: _json({"hash": text}),
    hash_told=lambda result: msgspec.json.decode(result)["hash"],
    look_ups=TransactionLookUps(
        transaction=lambda text: Question(
            describe("eth_getTransactionByHash"), _json([text]), _read_as(dict)
        ),
        receipt=lambda text: Question(
            describe("eth_getTransactionReceipt"), _json([text]), _read_as(Inclusion)
        ),
        block=lambda height: Question(
            describe("eth_getBlockByHash"), _json([height]), _read_as(ListedBlock)
        ),
    ),
    names=TransactionNames(
        hash_of=lambda text: text or None,
        hash_words="any text",
        hash_in=lambda params: _text_in(params) or "",
        hashes_in=lambda params: msgspec.json.decode(params, type=list[str]),
        start_of=lambda raw: raw[:8],
        starts_in=lambda _params: (),
        transactions_in=lambda _params: (),
    ),
    waiting=WaitingTransactions(
        object_of=lambda tx: _json({"hash": tx.hash, "waits": True}),
        looked_up=lambda _method, params: _text_in(params) or "",
        said=lambda _method, tx: Said(b"null" if tx is None else _json({"hash": tx.hash})),
    ),
    lifetime_seconds=600.0,
)


@virtual
async def test_a_kind_without_lanes_is_copied_and_found_in_its_block() -> None:
    engine = Engine(kind=kind_with(PLAIN_SENDS))
    engine.all_behave(
        after(
            0.01,
            lambda sent: sent.reply(
                {
                    "submit": _json({"hash": "dog"}),
                    "eth_getBlockByHash": _json({"hash": "B100", "transactions": ["cat", "dog"]}),
                    "eth_getTransactionReceipt": _json({"block": 100, "block_hash": "B100"}),
                }[sent.method]
            ),
        )
    )
    reply = await engine.ask("eth_sendRawTransaction", b'["dog!"]').reply()
    assert reply["result"] == {"hash": "dog"}
    assert [sent.params for sent in engine.sent] == [["dog!", "copy"]] * 3
    entry = engine.ledger.pool.get("dog")
    assert (entry.lane, entry.order, entry.owner) == ("", -1, "dog")
    rebroadcast = rebroadcast_of(engine, PLAIN_SENDS)
    rebroadcast._read_to = 99
    await rebroadcast._look()
    assert (entry.state, entry.block, entry.block_hash) == (TransactionState.MINED, 100, "B100")


@virtual
async def test_a_kind_says_for_how_long_it_is_sent_again() -> None:
    engine = Engine(kind=kind_with(PLAIN_SENDS))
    engine.all_behave(after(0.01, lambda sent: sent.reply(b'{"hash":"dog"}')))
    await engine.ask("eth_sendRawTransaction", b'["dog!"]').reply()
    assert engine.ledger.pool.expire(now() + 590) == []
    assert [entry.hash for entry in engine.ledger.pool.expire(now() + 601)] == ["dog"]


@virtual
async def test_a_private_one_is_known_by_its_own_kind_of_hash() -> None:
    engine = Engine(
        [upstream("a", private=True, role="sends"), upstream("b")], kind=kind_with(PLAIN_SENDS)
    )
    engine.all_behave(after(0.01, lambda sent: sent.reply(b'{"hash":"dog"}')))
    engine.ledger.on_no_journal("")
    await engine.ask("eth_sendRawTransaction", b'["dog!"]').reply()
    engine.ledger.on_looked(100)
    answer = await engine.ask("eth_getTransactionByHash", _json(["dog"])).reply()
    assert answer["result"] == {"hash": "dog"}
    assert {sent.wire.name for sent in engine.sent} == {"a"}
