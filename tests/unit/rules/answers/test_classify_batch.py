"""Replies to several calls sent as one array."""

import json

import msgspec
import pytest

from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.registry import EVM
from rpcproxy.config.model import ErrorPhrase
from rpcproxy.messages import Reply, Verdict
from rpcproxy.rules.answers import replies
from rpcproxy.rules.answers.batched import SentCall
from tests.kits.evm_rules import classifier

V = Verdict
NOW = 1_000_000.0
CLASSIFIER = classifier()
PHRASES = classifier([ErrorPhrase(contains="quota gone", verdict="rate_limited")])
BLOCK_NUMBER, CALL, RECEIPT = "eth_blockNumber", "eth_call", "eth_getTransactionReceipt"


class Rest:
    async def read(self):
        return b""

    def close(self):
        pass


def ok(result, id):
    return {"jsonrpc": "2.0", "id": id, "result": result}


def failed(code, message, id, **more):
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, **more}}


CALLS = [
    SentCall(1, describe(BLOCK_NUMBER)),
    SentCall(2, describe(CALL)),
    SentCall(3, describe(RECEIPT)),
]
GOOD = [ok("0x1", 1), ok("0x", 2), ok({"status": "0x1"}, 3)]


def judge_batch(body, status=200, calls=CALLS, classifier=CLASSIFIER, **fields):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classifier.judge_batch(Reply(status, text, **fields), calls, NOW)


def verdicts(batch):
    return [member.verdict for member in batch.members]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_replies_in_any_order(order):
    batch = judge_batch([GOOD[i] for i in order])
    assert batch.verdict is V.OK
    assert verdicts(batch) == [V.OK] * 3
    assert [json.loads(bytes(m.result)) for m in batch.members] == ["0x1", "0x", {"status": "0x1"}]


def test_half_a_batch_fails_only_what_is_missing():
    batch = judge_batch(GOOD[:2])
    assert verdicts(batch) == [V.OK, V.OK, V.BAD_RESULT]
    assert batch.verdict is V.BAD_RESULT


def test_an_empty_array_fails_all():
    assert verdicts(judge_batch([])) == [V.BAD_RESULT] * 3


def test_two_replies_with_one_id_are_neither():
    batch = judge_batch([*GOOD, ok("0x2", 1)])
    assert verdicts(batch) == [V.WRONG_ID, V.OK, V.OK]
    assert batch.verdict is V.WRONG_ID


def test_a_reply_to_nobody_stands_for_the_missing_one():
    assert verdicts(judge_batch([*GOOD[:2], ok("0x9", 9)])) == [V.OK, V.OK, V.WRONG_ID]
    assert verdicts(judge_batch([*GOOD, ok("0x9", 9)])) == [V.OK] * 3


def test_members_that_are_no_objects():
    assert verdicts(judge_batch([5, *GOOD[:2], None])) == [V.OK, V.OK, V.WRONG_ID]
    assert verdicts(judge_batch([*GOOD[:2], ok(None, [3])])) == [V.OK, V.OK, V.WRONG_ID]


def test_each_member_is_judged_by_its_method():
    batch = judge_batch([ok(None, 1), failed(3, "execution reverted", 2), ok(None, 3)])
    assert verdicts(batch) == [V.BAD_RESULT, V.REVERTED, V.NULL]
    assert batch.verdict is V.BAD_RESULT


def test_what_is_the_client_s_is_no_fault():
    batch = judge_batch([GOOD[0], failed(3, "execution reverted", 2), ok(None, 3)])
    assert batch.verdict is V.OK


def test_part_of_a_batch_refused_for_its_rate():
    limited = failed(-32007, "50/second request limit reached, try again in 2s", 2)
    batch = judge_batch([GOOD[0], limited, ok(None, 1000)])
    assert verdicts(batch) == [V.OK, V.RATE_LIMITED, V.WRONG_ID]
    assert (batch.verdict, batch.cooldown_seconds) == (V.RATE_LIMITED, 2.0)


def test_access_outranks_limits_and_faults():
    batch = judge_batch(
        [failed(-32603, "x", 1), failed(-32005, "x", 2), failed(-32000, "invalid api key", 3)]
    )
    assert verdicts(batch) == [V.SERVER_ERROR, V.RATE_LIMITED, V.KEY_REFUSED]
    assert batch.verdict is V.KEY_REFUSED


def test_an_error_without_id_speaks_for_the_rest():
    batch = judge_batch([GOOD[0], failed(-32005, "rate limit", None)])
    assert verdicts(batch) == [V.OK, V.RATE_LIMITED, V.RATE_LIMITED]


@pytest.mark.parametrize("id", [None, 1, 99])
def test_one_error_object_is_an_error_for_each(id):
    batch = judge_batch(failed(-32005, "rate limit", id, data={"try_again_in": "3s"}))
    assert verdicts(batch) == [V.RATE_LIMITED] * 3
    assert (batch.verdict, batch.cooldown_seconds) == (V.RATE_LIMITED, 3.0)
    assert verdicts(judge_batch(failed(-32000, "invalid api key", id))) == [V.KEY_REFUSED] * 3
    assert verdicts(judge_batch(failed(-32603, "x", id))) == [V.SERVER_ERROR] * 3


def test_one_object_that_answers_one_member():
    assert verdicts(judge_batch(GOOD[0])) == [V.OK, V.BAD_RESULT, V.BAD_RESULT]
    assert verdicts(judge_batch(GOOD[0], calls=CALLS[:1])) == [V.OK]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32600, "Invalid Request"),
        (-32700, "json: cannot unmarshal array into Go value"),
        (-32700, "parse error"),
        (-32000, "batch requests are not supported"),
        (-32005, "Batched requests are not supported by this server"),
        (-32010, "The batch request was too large"),
        (-32014, "too many RPC calls in batch request"),
        (-32005, "Number of requests exceeds max batch size"),
        (31, "Batch of more than 3 requests are not allowed on free tier"),
        (-32600, "batch too large"),
        (-32000, "no batch today"),
    ],
)
def test_a_batch_refused_as_a_batch(code, message):
    batch = judge_batch(failed(code, message, None))
    assert batch.verdict is V.BATCH_REFUSED
    assert verdicts(batch) == [V.BATCH_REFUSED] * 3


def test_a_limit_on_batches_is_a_limit():
    assert judge_batch(failed(-32005, "rate limit in this batch", None)).verdict is V.RATE_LIMITED


def test_a_key_refused_is_not_a_batch_refused():
    assert judge_batch(failed(-32600, "Must be authenticated!", None)).verdict is V.KEY_REFUSED


def test_the_user_s_phrase_outranks_a_refused_batch():
    batch = judge_batch(failed(-32600, "batch: quota gone", None), classifier=PHRASES)
    assert verdicts(batch) == [V.RATE_LIMITED] * 3


def test_geth_answers_a_batch_too_large_with_an_array_of_one():
    batch = judge_batch([failed(-32600, "batch too large", 1)])
    assert verdicts(batch) == [V.BATCH_REFUSED] * 3
    assert batch.verdict is V.BATCH_REFUSED


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (429, b"", V.RATE_LIMITED),
        (401, b"", V.KEY_REFUSED),
        (413, b"", V.SIZE_REFUSED),
        (405, b"", V.BATCH_REFUSED),
        (403, b"method is not whitelisted", V.BATCH_REFUSED),
        (302, b"", V.SERVER_ERROR),
        (502, b"<html>", V.SERVER_ERROR),
        (200, b"<html>", V.NOT_JSON),
        (200, b"", V.EMPTY),
        (200, b"{}", V.BAD_RESULT),
        (200, b'[{"id":1,"result":"0x1"},', V.NOT_JSON),
    ],
)
def test_http_for_all_members_alike(status, body, verdict):
    batch = judge_batch(body, status, retry_after="2")
    assert batch.verdict is verdict
    assert verdicts(batch) == [verdict] * 3
    if verdict in (V.RATE_LIMITED, V.SERVER_ERROR) and status != 302:
        assert batch.cooldown_seconds == 2.0


def test_a_batch_not_held_whole_is_asked_singly():
    batch = judge_batch(b'[{"id":1,"result":"0x1"},', rest=Rest())
    assert verdicts(batch) == [V.BATCH_REFUSED] * 3


def test_replies_that_nobody_asked_for_are_not_read():
    """A million of them cost a second, in one call of a decoder."""
    reply = b'{"jsonrpc":"2.0","id":%d,"result":"0x1"}'
    body = b"[%b]" % b",".join([*(reply % id for id in (1, 2)), *[b"{}"] * 200_000])
    assert len(replies.read_members(body)) < 1000
    judged = CLASSIFIER.judge_batch(Reply(200, body), CALLS[:2], 0.0)
    assert [member.verdict for member in judged.members] == [Verdict.OK, Verdict.OK]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (b'{"code":3,"message":"execution reverted","data":"0x%b"}' % (b"ab" * 50_000), True),
        (b'{"code":-32000,"message":"x","data":[%b1]}' % (b"1," * 100_000), False),
        (b'{"code":-32000,"message":"x","data":{"a":[%b{}]}}' % (b"{}," * 50_000), False),
    ],
)
def test_of_a_long_error_what_it_says_is_kept_and_its_data_where_they_are_bytes(error, kept):
    told = replies.read_error(msgspec.Raw(error), encoded=EVM.errors.encoded)
    assert told.code in (3, -32000)
    assert told.message in ("execution reverted", "x")
    assert ("data" in json.loads(bytes(told.json))) is kept


@pytest.mark.parametrize("error", [b'"%b"', b'{"code":-1,"message":"%b"}', b"[%b]"])
def test_a_message_of_megabytes_is_cut(error):
    told = replies.read_error(msgspec.Raw(error % (b"a b" * 500_000)))
    assert len(told.json) < 2000
    json.loads(bytes(told.json))


def test_a_contracts_words_of_a_batch_refuse_none():
    """One member came, one did not: a revert's reason may speak of batches."""
    said = "execution reverted: batch size too large, too many items in batch"
    for code in (3, -32000):
        batch = judge_batch([failed(code, said, 2), ok("0x1", 1)])
        assert verdicts(batch) == [V.OK, V.REVERTED, V.BAD_RESULT]
