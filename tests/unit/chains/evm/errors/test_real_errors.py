"""What real nodes said (``python -m tools.real_errors --write``), held against the table, and our
own refusals of transactions held against geth's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.evm.sends.raw_transactions import raw_transaction
from rpcproxy.chains.evm.sends.signed import decode
from rpcproxy.chains.parts.transactions import BadTransaction
from rpcproxy.messages import Blame, Reply, Verdict
from tests.kits.evm_rules import classifier

RECORDS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "real_errors.json").read_text(encoding="utf-8")
)
GETH_CHAIN = 1337
LABELS = {verdict.label: verdict for verdict in Verdict}


def named(record: dict[str, Any]) -> str:
    return f"{record['node']}: {record['case']}"


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_a_real_nodes_error_is_known(record: dict[str, Any]) -> None:
    params = record["params"]
    text = params.encode() if isinstance(params, str) else b'["%b"]' % (b"0" * params)
    reply = Reply(record["status"], record["body"].encode())
    judged = classifier().judge(reply, 1, describe(record["method"]), 0.0, text)
    assert judged.verdict is LABELS[record["verdict"]]
    assert judged.verdict.blame in (Blame.CLIENT, Blame.NOBODY)  # no node is at fault here


def test_several_nodes_in_several_versions_were_asked() -> None:
    nodes = {record["node"] for record in RECORDS}
    assert len({node for node in nodes if node.startswith("geth-")}) == 3
    assert {node.partition("-")[0] for node in nodes} == {"geth", "anvil", "hardhat"}


def our_refusal(record: dict[str, Any]) -> BadTransaction | None:
    raw = raw_transaction(record["params"].encode())
    assert raw is not None
    try:
        decode(raw, GETH_CHAIN)
    except BadTransaction as bad:
        return bad
    return None


# What geth refused and we refuse too: the rest only a node can know.
REFUSED = [
    (record, ours)
    for record in RECORDS
    if record["method"] == "eth_sendRawTransaction" and record["node"] == "geth-1.17.10"
    if (ours := our_refusal(record)) is not None
]


@pytest.mark.parametrize(("record", "ours"), REFUSED, ids=[named(record) for record, _ in REFUSED])
def test_our_own_refusals_are_in_geths_words(record: dict[str, Any], ours: BadTransaction) -> None:
    geths = json.loads(record["body"])["error"]
    words, _, reason = ours.told.partition(" (not sent: ")
    # Beyond the fault itself geth names its own types, and we the figures.
    kind = words.partition(": maxPriority")[0]
    assert geths["message"].startswith(kind)
    assert ours.code == geths["code"]
    assert reason


def test_most_broken_transactions_are_refused_here() -> None:
    assert len(REFUSED) > 25
