"""What the proxy answers itself, and why it refuses what it refuses."""

from __future__ import annotations

import msgspec
import pytest

import rpcproxy
from rpcproxy.rules.admission import LISTENING, REFUSED_KEYS, REFUSED_STATEFUL, constant_answers


@pytest.mark.parametrize(
    ("chain_id", "hex_id", "decimal"),
    [(1, "0x1", "1"), (8453, "0x2105", "8453"), (2**53 + 1, "0x20000000000001", str(2**53 + 1))],
)
def test_the_chain_id_comes_from_the_configuration(
    chain_id: int, hex_id: str, decimal: str
) -> None:
    answers = constant_answers(chain_id)
    assert msgspec.json.decode(answers["eth_chainId"]) == hex_id
    assert msgspec.json.decode(answers["net_version"]) == decimal


def test_the_rest_is_what_is_true_of_a_proxy() -> None:
    answers = constant_answers(1)
    assert msgspec.json.decode(answers["web3_clientVersion"]) == f"rpcproxy/{rpcproxy.__version__}"
    assert msgspec.json.decode(answers["eth_syncing"]) is False
    assert msgspec.json.decode(answers["eth_accounts"]) == []


def test_every_answer_is_compact_json() -> None:
    for text in constant_answers(42161).values():
        assert msgspec.json.encode(msgspec.json.decode(text)) == text


def test_what_changes_is_no_constant() -> None:
    assert LISTENING == "net_listening"
    assert LISTENING not in constant_answers(1)
    assert "eth_blockNumber" not in constant_answers(1)


def test_refusals_tell_the_wallets_developer_what_to_do_or_why() -> None:
    assert "use eth_getLogs" in REFUSED_STATEFUL
    assert "node's own keys" in REFUSED_KEYS
