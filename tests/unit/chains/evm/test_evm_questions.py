"""What is asked of EVM upstreams: methods, params, and how answers are read."""

from __future__ import annotations

import pytest

from rpcproxy.chains.evm.questions import QUESTIONS
from rpcproxy.chains.parts.inquiries import Inquiry, Question
from rpcproxy.messages import Head, MethodClass

HASH = "0x" + "ab" * 31 + "cd"
OTHER = "0x" + "12" * 32
PAYEE = "0x" + "fe" * 20
BLOCK = b'{"number":"0x64","hash":"%b","parentHash":"%b","timestamp":"0x5","miner":"%b"}' % (
    HASH.encode(),
    OTHER.encode(),
    PAYEE.encode(),
)
HEAD = Head(100, HASH, OTHER, 5)


def said(inquiry: Inquiry[object], *results: bytes) -> object:
    """Play an inquiry: its questions get these results. ``None`` where one is no answer."""
    question = next(inquiry)
    for result in results:
        value = question.read(result)
        if value is None:
            return None
        try:
            question = inquiry.send(value)
        except StopIteration as end:
            return end.value
    raise AssertionError("it asks on")


def spelled(question: Question[object]) -> str:
    return f"{question.method.name} {question.params.decode()}"


def test_the_questions_are_spelled_as_nodes_take_them() -> None:
    genesis, heavy = QUESTIONS.genesis, QUESTIONS.heavy
    assert genesis is not None
    assert heavy is not None
    assert spelled(next(QUESTIONS.identity())) == "eth_chainId []"
    assert spelled(next(QUESTIONS.head())) == 'eth_getBlockByNumber ["latest",false]'
    assert spelled(next(genesis())) == 'eth_getBlockByNumber ["0x0",false]'
    assert spelled(next(QUESTIONS.header(HASH))) == f'eth_getBlockByHash ["{HASH}",false]'
    assert {name: spelled(next(ask())) for name, ask in QUESTIONS.anchors.items()} == {
        "safe": 'eth_getBlockByNumber ["safe",false]',
        "finalized": 'eth_getBlockByNumber ["finalized",false]',
    }
    assert heavy.method_class is MethodClass.HEAVY
    assert heavy.method.name == "eth_getLogs"
    assert heavy.read(b"[]") is not None
    assert next(QUESTIONS.head()).method_class is MethodClass.LIGHT


@pytest.mark.parametrize(("result", "value"), [(b'"0x1a"', "26"), (b'"1a"', None), (b"{}", None)])
def test_a_chain_id_is_a_quantity_and_told_in_decimal(result: bytes, value: str | None) -> None:
    assert said(QUESTIONS.identity(), result) == value


def test_a_head_is_a_block() -> None:
    assert said(QUESTIONS.head(), BLOCK) == HEAD
    assert said(QUESTIONS.head(), b"null") is None
    assert said(QUESTIONS.anchors["safe"](), BLOCK) == HEAD


def test_a_header_is_of_the_hash_that_was_asked_for() -> None:
    assert said(QUESTIONS.header(HASH), BLOCK) == HEAD
    assert said(QUESTIONS.header(OTHER), BLOCK) is None
    assert said(QUESTIONS.header(OTHER), b"[]") is None


@pytest.mark.parametrize(
    ("block", "head"),
    [
        (b'{"number":"0x0","hash":"0xAB"}', Head(0, "0xab")),
        (b'{"number":"0x0"}', None),
        (b"null", None),
    ],
)
def test_a_genesis_has_a_hash(block: bytes, head: Head | None) -> None:
    assert QUESTIONS.genesis is not None
    assert said(QUESTIONS.genesis(), block) == head


def test_state_is_the_balance_of_whom_the_block_pays() -> None:
    assert QUESTIONS.state is not None
    question = QUESTIONS.state(BLOCK, 100)
    assert question is not None
    assert spelled(question) == f'eth_getBalance ["{PAYEE}","0x64"]'
    assert question.read(b'"0x5"') == 5
    assert question.read(b"[]") is None
    assert QUESTIONS.state(b'{"number":"0x64"}', 100) is None


def test_hashes_are_proved_at_a_block_and_at_none() -> None:
    assert QUESTIONS.hash_proof is not None
    pair = QUESTIONS.hash_proof(BLOCK, HASH)
    assert pair is not None
    turned = "0x" + HASH[:1:-1]
    assert [spelled(each) for each in pair] == [
        f'eth_getBalance ["{PAYEE}",{{"blockHash":"{hash}"}}]' for hash in (HASH, turned)
    ]
    assert turned != HASH
    assert len(turned) == len(HASH)
    assert QUESTIONS.hash_proof(b"{}", HASH) is None
