"""What the proxy tells of an EVM chain by itself."""

from __future__ import annotations

import msgspec
import pytest

import rpcproxy
from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.evm.own_words import OWN_WORDS, constant_answers
from rpcproxy.chains.parts.asked_at import LATEST, NONE, PENDING


@pytest.mark.parametrize(
    ("chain_id", "hex_id", "decimal"),
    [(1, "0x1", "1"), (8453, "0x2105", "8453"), (2**53 + 1, "0x20000000000001", str(2**53 + 1))],
)
def test_the_chain_id_comes_from_the_configuration(
    chain_id: int, hex_id: str, decimal: str
) -> None:
    answers = constant_answers(str(chain_id))
    assert msgspec.json.decode(answers["eth_chainId"]) == hex_id
    assert msgspec.json.decode(answers["net_version"]) == decimal


def test_the_rest_is_what_is_true_of_a_proxy() -> None:
    answers = constant_answers("1")
    assert msgspec.json.decode(answers["web3_clientVersion"]) == f"rpcproxy/{rpcproxy.__version__}"
    assert msgspec.json.decode(answers["eth_syncing"]) is False
    assert msgspec.json.decode(answers["eth_accounts"]) == []


def test_every_answer_is_compact_json() -> None:
    for text in constant_answers("42161").values():
        assert msgspec.json.encode(msgspec.json.decode(text)) == text


def test_what_changes_is_no_constant() -> None:
    assert OWN_WORDS.listening == "net_listening"
    assert OWN_WORDS.listening not in constant_answers("1")
    assert OWN_WORDS.head not in constant_answers("1")


def test_a_flag_is_a_boolean() -> None:
    assert [OWN_WORDS.flag_text(value) for value in (True, False)] == [b"true", b"false"]


def test_a_head_is_told_as_a_quantity() -> None:
    assert OWN_WORDS.head == "eth_blockNumber"
    assert [OWN_WORDS.head_text(number) for number in (0, 255)] == [b'"0x0"', b'"0xff"']


@pytest.mark.parametrize(
    ("method", "params", "block"),
    [
        ("eth_getBlockByNumber", b'["latest",false]', LATEST),
        ("eth_getBlockByNumber", b'["0x64", false ]', 100),
        ("eth_getBlockByNumber", b'["0x64"]', 100),
        ("eth_getBlockByNumber", b'["pending",false]', PENDING),
        ("eth_getBlockByNumber", b'["latest", true ]', NONE),  # full transactions are not kept
        ("eth_getHeaderByNumber", b'["latest"]', NONE),
        ("eth_call", b'[{},"latest"]', NONE),
    ],
)
def test_which_requests_the_text_of_a_block_answers(method: str, params: bytes, block: int) -> None:
    assert OWN_WORDS.told_block(describe(method), params) == block
