"""Upstreams repeat what they were sent: what of their words is shown, and what is left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rpcproxy.chains.evm.methods import describe
from rpcproxy.config.model import ErrorPhrase
from rpcproxy.config.secrets import Redactor
from rpcproxy.messages import Judgement, Reply, Verdict
from rpcproxy.rules.answers.batched import SentCall
from tests.kits.evm_rules import classifier

KEY = "hQ7zk3Vw9p"
CLASSIFIER = classifier((ErrorPhrase(contains="of hq7zk3vw9p", verdict="quota"),), Redactor([KEY]))
READ = describe("eth_getBalance")


def judged(body: Any, status: int = 200) -> Judgement:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CLASSIFIER.judge(Reply(status, text), 1, READ, 0.0)


def error(told: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": told}


def shown(judgement: Judgement) -> Any:
    assert judgement.error is not None
    return json.loads(bytes(judgement.error))


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"code": 3, "message": f"see {KEY}"}, {"code": 3, "message": "see [secret]"}),
        (
            {"code": 3, "message": "no", "data": {"url": [f"/v3/{KEY.upper()}"], KEY: 1.5}},
            {"code": 3, "message": "no", "data": {"url": ["/v3/[secret]"], "[secret]": 1.5}},
        ),
        ({"message": f"see {KEY}"}, {"code": -32603, "message": "see [secret]"}),
        (f"see {KEY}", {"code": -32603, "message": "see [secret]"}),
    ],
)
def test_errors_reach_wallets_without_secrets(told: Any, wanted: Any) -> None:
    judgement = judged(error(told))
    assert shown(judgement) == wanted
    assert KEY not in judgement.detail
    batch = CLASSIFIER.judge_batch(
        Reply(200, json.dumps([error(told)]).encode()), [SentCall(1, READ)], 0.0
    )
    assert shown(batch.members[0]) == wanted
    assert KEY not in batch.detail


def test_an_escaped_secret_is_found() -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    body = b'{"jsonrpc":"2.0","id":1,"error":{"code":3,"message":"see %b"}}' % escaped.encode()
    assert shown(judged(body)) == {"code": 3, "message": "see [secret]"}


def test_bytes_that_are_no_text_are_read_without_secrets() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"error":{"code":3,"message":"\xff %b"}}' % KEY.encode()
    assert KEY.lower() not in shown(judged(body))["message"].lower()


def test_what_holds_none_is_passed_on_to_the_byte() -> None:
    text = b'{ "code":3 ,"message":"execution reverted", "data":"0x08c3\\u0037", "more":1e2}'
    judgement = judged(b'{"jsonrpc":"2.0","id":1,"error":%b}' % text)
    assert bytes(judgement.error or b"") == text


def test_what_a_contract_returned_is_left_alone() -> None:
    """A password of four digits is in nearly everything."""
    ours = classifier((), Redactor(["1234"]))
    told = error({"code": 3, "message": "1234", "data": "0x08c31234"})
    judgement = ours.judge(Reply(200, json.dumps(told).encode()), 1, READ, 0.0)
    assert shown(judgement) == {"code": 3, "message": "[secret]", "data": "0x08c31234"}


def test_results_are_never_touched() -> None:
    method = describe("web3_clientVersion")
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": f"node of {KEY}"}).encode()
    judgement = CLASSIFIER.judge(Reply(200, body), 1, method, 0.0)
    assert judgement.verdict is Verdict.OK
    assert bytes(judgement.result or b"") == f'"node of {KEY}"'.encode()


@pytest.mark.parametrize("status", [200, 403, 429, 502])
def test_pages_are_told_without_secrets(status: int) -> None:
    # Cut in the middle of the key, half of it would be told.
    for padding in range(175, 195):
        page = b"x " * (padding // 2) + b"." * (padding % 2) + KEY.encode() + b" " + KEY.encode()
        detail = judged(page, status).detail
        assert KEY[:4].lower() not in detail
        assert "[secret]"[: 200 - len(detail)] in detail


def test_verdicts_are_found_in_the_words_as_they_came() -> None:
    assert judged(error({"code": -32000, "message": f"end of {KEY}"})).verdict is Verdict.QUOTA
