import json
import sys

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpcproxy.chains.evm.methods import METHODS, describe
from rpcproxy.config.model import ErrorPhrase
from rpcproxy.messages import Failure, FailureKind, Judgement, Reply, Verdict
from rpcproxy.rules.answers.batched import SentCall
from tests.kits.evm_rules import classifier

V = Verdict
ID = 7
NOW = 1_000_000.0
CLASSIFIER = classifier()
SEND, CALL, BLOCK_NUMBER = "eth_sendRawTransaction", "eth_call", "eth_blockNumber"
RECEIPT, BALANCE = "eth_getTransactionReceipt", "eth_getBalance"


@pytest.fixture
def usual_recursion_limit():
    """eth_account's dependencies raise the limit of the whole process when they are imported."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


class Rest:
    async def read(self):
        return b""

    def close(self):
        pass


def judge(body, method=BLOCK_NUMBER, status=200, classifier=CLASSIFIER, **fields):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classifier.judge(Reply(status, text, **fields), ID, describe(method), NOW)


def ok(result, id=ID, **more):
    return {"jsonrpc": "2.0", "id": id, "result": result, **more}


def failed(code, message, id=ID, **more):
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, **more}}


def error_of(judgement: Judgement):
    return json.loads(bytes(judgement.error))


# ------------------------------------------------------------------ successes


def test_a_success_is_passed_on_byte_by_byte():
    judgement = judge(b'{"jsonrpc":"2.0","id":7,"result": {"b" : 1.0,"a":"\\u00e9"} }', "eth_foo")
    assert judgement.verdict is V.OK
    assert bytes(judgement.result) == b'{"b" : 1.0,"a":"\\u00e9"}'
    assert judgement.error is None
    assert judgement.detail == ""


@pytest.mark.parametrize("id", [b"7", b'"7"', b"7.0", b"70e-1"])
def test_an_id_may_come_back_in_another_notation(id):
    judgement = judge(b'{"id":' + id + b',"result":"0x1"}')
    assert judgement.verdict is V.OK
    assert bytes(judgement.result) == b'"0x1"'


@pytest.mark.parametrize(
    "id",
    [
        b"8",
        b'"8"',
        b"null",
        b'""',
        b'"0x7"',
        b"7.5",
        b"true",
        b"[7]",
        b'{"a":7}',
        b'"\xff"',
        b"9" * 40,
        b"1e999",
    ],
)
def test_another_id_is_a_fault(id):
    assert judge(b'{"id":' + id + b',"result":"0x1"}').verdict is V.WRONG_ID
    judgement = judge(b'{"id":' + id + b',"error":{"code":3,"message":"x"}}')
    assert judgement.verdict is (V.UNKNOWN if id == b"null" else V.WRONG_ID) or (
        id == b"null" and judgement.verdict is V.REVERTED
    )


def test_a_missing_id_is_a_fault_beside_a_result_only():
    assert judge({"result": "0x1"}).verdict is V.WRONG_ID
    assert judge({"error": {"code": -32602, "message": "x"}}).verdict is V.INVALID_PARAMS


def test_a_limit_is_a_limit_whatever_the_id():
    assert judge(failed(-32005, "rate limit", id=99)).verdict is V.RATE_LIMITED
    assert judge(failed(-32000, "invalid api key", id=99)).verdict is V.KEY_REFUSED
    assert judge(failed(-32602, "nonsense", id=99)).verdict is V.WRONG_ID


def test_an_error_of_null_beside_a_result_is_a_success():
    judgement = judge(ok("0x1", error=None))
    assert judgement.verdict is V.OK
    assert judgement.error is None


def test_an_error_beside_a_result_wins():
    judgement = judge(
        ok([{"partial": 1}], error={"code": -32000, "message": "execution aborted"}),
        "debug_traceTransaction",
    )
    assert judgement.verdict is V.SERVER_ERROR
    assert judgement.result is None


def test_a_result_counts_whatever_the_status():
    assert judge(ok("0x1"), status=500).verdict is V.OK
    assert judge(ok("0x1"), status=404).verdict is V.OK


# ------------------------------------------------------------------ null and shapes


@pytest.mark.parametrize(
    ("method", "verdict"),
    [
        (RECEIPT, V.NULL),
        ("eth_getTransactionByHash", V.NULL),
        ("eth_getBlockByHash", V.NULL),
        ("eth_getBlockByNumber", V.MISSING_DATA),
        ("eth_getUncleByBlockHashAndIndex", V.OK),
        ("foo_bar", V.OK),
        (BALANCE, V.BAD_RESULT),
        ("eth_getTransactionCount", V.BAD_RESULT),
        ("eth_getCode", V.BAD_RESULT),
        (CALL, V.BAD_RESULT),
        ("eth_estimateGas", V.BAD_RESULT),
        (BLOCK_NUMBER, V.BAD_RESULT),
        ("eth_getLogs", V.BAD_RESULT),
    ],
)
def test_null(method, verdict):
    judgement = judge(ok(None), method)
    assert judgement.verdict is verdict
    assert judgement.result == (None if verdict is V.BAD_RESULT else msgspec.Raw(b"null"))


@pytest.mark.parametrize(
    ("method", "good", "bad"),
    [
        (BLOCK_NUMBER, ["0x0", "0xFf"], ["0x", "1", "", 1, {}, [], False, "0xzz", "0x" + "1" * 65]),
        (BALANCE, ["0x1"], ["0x", {"balance": 1}]),
        ("eth_getTransactionCount", ["0x1"], ["0x"]),
        ("eth_gasPrice", ["0x1"], [1]),
        ("eth_estimateGas", ["0x5208"], ["0x"]),
        (CALL, ["0x", "0x00"], [1, "00", {}]),
        ("eth_getCode", ["0x"], [None, {}]),
        ("eth_getLogs", [[]], [{}, "0x"]),
        ("eth_getProof", [{}], [[]]),
    ],
)
def test_what_a_result_must_look_like(method, good, bad):
    for result in good:
        assert judge(ok(result), method).verdict is V.OK, result
    for result in bad:
        assert judge(ok(result), method).verdict is V.BAD_RESULT, result
        assert judge(ok(result, id="7"), method).verdict is V.BAD_RESULT, result


def test_not_found_as_an_error_is_a_null():
    judgement = judge(failed(-32000, "transaction not found"), RECEIPT)
    assert judgement.verdict is V.NULL
    assert bytes(judgement.result) == b"null"
    assert judgement.error is None
    judgement = judge(failed(-32000, "transaction not found"), "debug_traceTransaction")
    assert judgement.verdict is V.MISSING_DATA
    assert error_of(judgement)["message"] == "transaction not found"


# ------------------------------------------------------------------ errors


def test_an_error_is_passed_on_byte_by_byte():
    text = b'{"code":3 ,"message":"execution reverted: no","data":"0x08c379a0"}'
    for status in (200, 400, 500):
        judgement = judge(b'{"id":7,"error":' + text + b"}", CALL, status)
        assert judgement.verdict is V.REVERTED
        assert bytes(judgement.error) == text
        assert judgement.result is None
        assert judgement.cooldown_seconds is None
        assert judgement.detail == "3: execution reverted: no"


@pytest.mark.parametrize(
    ("error", "verdict", "told"),
    [
        ("Too many requests", V.RATE_LIMITED, {"code": -32603, "message": "Too many requests"}),
        (
            {"message": "too many requests"},
            V.RATE_LIMITED,
            {"code": -32603, "message": "too many requests"},
        ),
        (
            {"code": "-32005", "message": "slow"},
            V.RATE_LIMITED,
            {"code": -32005, "message": "slow"},
        ),
        (
            {"code": -32005.0, "message": "slow"},
            V.RATE_LIMITED,
            {"code": -32005, "message": "slow"},
        ),
        ({"code": "many", "message": "slow"}, V.UNKNOWN, {"code": -32603, "message": "slow"}),
        ({"code": True, "message": "x"}, V.UNKNOWN, {"code": -32603, "message": "x"}),
        ({"code": 1.5, "message": "x"}, V.UNKNOWN, {"code": -32603, "message": "x"}),
        ({"code": 10**30, "message": "x"}, V.UNKNOWN, {"code": -32603, "message": "x"}),
        ({"code": str(10**17), "message": "x"}, V.UNKNOWN, {"code": -32603, "message": "x"}),
        (
            {"code": 3, "message": {"a": 1}},
            V.REVERTED,
            {"code": 3, "message": "the upstream gave an error without a message"},
        ),
        (
            {"code": -32000, "data": "header not found"},
            V.MISSING_DATA,
            {"code": -32000, "message": "header not found"},
        ),
        ({"code": -32000, "message": "oops", "data": "missing trie node"}, V.MISSING_DATA, None),
        (
            {"code": -32000, "message": "oops", "data": {"message": "rate limit"}},
            V.RATE_LIMITED,
            None,
        ),
        ({"code": -32000, "message": "oops", "data": {"message": 5}}, V.UNKNOWN, None),
        (
            {},
            V.UNKNOWN,
            {"code": -32603, "message": "the upstream gave an error without a message"},
        ),
        (
            [],
            V.UNKNOWN,
            {"code": -32603, "message": "the upstream gave an error without a message"},
        ),
        (
            False,
            V.UNKNOWN,
            {"code": -32603, "message": "the upstream gave an error without a message"},
        ),
    ],
)
def test_errors_in_odd_forms(error, verdict, told):
    judgement = judge({"id": ID, "error": error}, CALL)
    assert judgement.verdict is verdict
    assert error_of(judgement) == (error if told is None else told)


def test_an_error_whose_text_is_no_text():
    judgement = judge(b'{"id":7,"error":{"code":-32005,"message":"rate limit \xff"}}')
    assert judgement.verdict is V.RATE_LIMITED
    assert error_of(judgement)["code"] == -32603


def test_detail_holds_no_secret():
    judgement = judge(
        failed(-32000, "see https://x.io/v3/abcdef0123456789abcdef for 0123456789abcdef0123456789")
    )
    assert judgement.detail == "-32000: see (url) for …"
    judgement = judge(b"<html>" + b"ab12" * 20 + b"</html>")
    assert "ab12ab12" not in judgement.detail


# ------------------------------------------------------------------ no reply


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (FailureKind.RESOLVE, V.UNREACHABLE),
        (FailureKind.CONNECT, V.UNREACHABLE),
        (FailureKind.TLS, V.UNREACHABLE),
        (FailureKind.RESET, V.BROKEN),
        (FailureKind.TRUNCATED, V.BROKEN),
        (FailureKind.PROTOCOL, V.BROKEN),
        (FailureKind.TOO_LARGE, V.RANGE_TOO_LARGE),
        (FailureKind.TIMEOUT, V.TIMEOUT),
        (FailureKind.OVERTAKEN, V.OVERTAKEN),
        (FailureKind.CANCELLED, V.CANCELLED),
        (FailureKind.OWN, V.OWN_FAULT),
    ],
)
def test_failures(kind, verdict):
    failure = Failure(kind, "no luck at https://host/key")
    judgement = CLASSIFIER.judge(failure, ID, describe(CALL), NOW)
    assert judgement == Judgement(verdict, detail="no luck at (url)")
    batch = CLASSIFIER.judge_batch(
        failure, [SentCall(1, describe(CALL)), SentCall(2, describe(SEND))], NOW
    )
    assert batch.verdict is verdict
    assert [member.verdict for member in batch.members] == [verdict] * 2


def test_every_failure_has_a_verdict():
    for kind in FailureKind:
        assert CLASSIFIER.judge(Failure(kind), ID, describe(CALL), NOW).verdict is not V.OK


# ------------------------------------------------------------------ HTTP


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (401, b"", V.KEY_REFUSED),
        (401, b'{"id":7,"result":"0x1"}', V.KEY_REFUSED),
        (402, b"Payment Required", V.QUOTA),
        (403, b"<html>Forbidden</html>", V.KEY_REFUSED),
        (403, b"error code: 1015", V.RATE_LIMITED),
        (403, b"Too Many Requests", V.RATE_LIMITED),
        (403, b'{"id":7,"error":{"code":-32601,"message":"rpc method is not whitelisted"}}', V.UNSUPPORTED),
        (403, b"monthly capacity limit", V.QUOTA),
        (403, b'{"id":7,"error":{"code":3,"message":"execution reverted"}}', V.REVERTED),
        (403, b'{"id":7,"error":{"code":-32500,"message":"AA23 reverted: x"}}', V.REVERTED),
        (403, b'{"id":7,"error":{"code":-32000,"message":"execution reverted"}}', V.KEY_REFUSED),
        (429, b"", V.RATE_LIMITED),
        (429, b"<html>busy</html>", V.RATE_LIMITED),
        (429, b'{"id":7,"error":{"code":-32005,"message":"daily request count exceeded, request rate limited"}}', V.QUOTA),
        (429, b'{"id":7,"error":{"code":429,"message":"Monthly capacity limit exceeded"}}', V.QUOTA),
        (429, b'{"id":7,"error":{"code":-32602,"message":"invalid argument"}}', V.RATE_LIMITED),
        (413, b"<html>", V.SIZE_REFUSED),
        (413, b'{"id":7,"error":{"code":-32614,"message":"eth_getLogs is limited to a 10,000 range"}}', V.RANGE_TOO_LARGE),
        (405, b"", V.UNSUPPORTED),
        (415, b"", V.UNSUPPORTED),
        (300, b"", V.SERVER_ERROR),
        (301, b'{"id":7,"result":"0x1"}', V.SERVER_ERROR),
        (304, b"", V.SERVER_ERROR),
        (500, b"", V.SERVER_ERROR),
        (500, b'{"id":7,"error":{"code":-32603,"message":"x"}}', V.SERVER_ERROR),
        (500, b'{"id":7,"error":{"code":-32000,"message":"header not found"}}', V.MISSING_DATA),
        (502, b"<html>Bad Gateway</html>", V.SERVER_ERROR),
        (503, b"please try again in 30 seconds", V.SERVER_ERROR),
        (503, b"rate limit", V.RATE_LIMITED),
        (408, b"", V.SERVER_ERROR),
        (404, b"not here", V.UNKNOWN),
        (404, b"", V.EMPTY),
        (418, b'{"message":"teapot"}', V.UNKNOWN),
        (100, b"", V.EMPTY),
        (999, b"x", V.SERVER_ERROR),
        (200, b"", V.EMPTY),
        (200, b" \r\n", V.EMPTY),
        (200, b"<html>hello</html>", V.NOT_JSON),
        (200, b"<html>code: 1015</html>", V.RATE_LIMITED),
        (200, b'{"id":7,"result":"0x', V.NOT_JSON),
        (200, b"\xff\xfe\x00", V.NOT_JSON),
        (200, b"[]", V.BAD_RESULT),
        (200, b'[{"id":7,"result":"0x1"}]', V.BAD_RESULT),
        (200, b"7", V.BAD_RESULT),
        (200, b"{}", V.BAD_RESULT),
        (200, b'{"id":7}', V.BAD_RESULT),
        (200, b'{"id":7,"error":null}', V.BAD_RESULT),
        (200, b'{"message":"You are over the rate limit"}', V.RATE_LIMITED),
    ],
)  # fmt: skip
def test_http(status, body, verdict):
    judgement = judge(body, "eth_getLogs" if b"getLogs" in body else BLOCK_NUMBER, status)
    assert judgement.verdict is verdict
    assert judgement.detail
    assert len(judgement.detail) <= 200


def test_the_sender_s_limit_is_the_client_s():
    body = failed(-32017, "sender is over rate limit")
    judgement = judge(body, SEND, 429, retry_after="5")
    assert (judgement.verdict, judgement.cooldown_seconds) == (V.SENDER_LIMITED, None)
    assert error_of(judgement)["code"] == -32017


def test_nesting_too_deep_to_check_is_nobody_s_fault(usual_recursion_limit):
    deep = b'{"id":7,"result":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert judge(deep, "debug_traceTransaction").verdict is V.RANGE_TOO_LARGE


# ------------------------------------------------------------------ cooldowns


@pytest.mark.parametrize(
    ("status", "body", "retry_after", "seconds"),
    [
        (429, b"", "", None),
        (429, b"", "3", 3.0),
        (429, b"", "Mon, 12 Jan 1970 13:47:40 GMT", 60.0),
        (429, b"", "-3", None),
        (429, b"", "99999999", 86400.0),
        (429, failed(-32005, "x", data={"rate": {"backoff_seconds": 30}}), "", 30.0),
        (429, failed(-32005, "x", data={"rate": {"backoff_seconds": 30}}), "60", 60.0),
        (200, failed(-32005, "x", data={"try_again_in": "850ms"}), "", 0.85),
        (200, failed(-32007, "rate limit, try again in 3s"), "", 3.0),
        (429, b"slow down, retry after 12 seconds", "", 12.0),
        (503, b"", "4", 4.0),
        (200, failed(3, "execution reverted: try again in 3s"), "5", None),
        (402, b"", "", 600.0),
        (402, b"", "30", 30.0),
        (200, failed(-32000, "monthly capacity limit"), "", 600.0),
        (200, failed(-32000, "monthly capacity limit"), "7200", 7200.0),
    ],
)  # fmt: skip
def test_cooldowns(status, body, retry_after, seconds):
    judgement = judge(body, status=status, retry_after=retry_after)
    assert judgement.cooldown_seconds == (seconds if seconds is None else pytest.approx(seconds))


def test_a_daily_quota_is_asked_again_after_midnight():
    almost_midnight = 86400.0 * 100 - 45
    reply = Reply(402, b"")
    judgement = CLASSIFIER.judge(reply, ID, describe(CALL), almost_midnight)
    assert (judgement.verdict, judgement.cooldown_seconds) == (V.QUOTA, 45.0)


# ------------------------------------------------------------------ the user's phrases


PHRASES = classifier(
    [
        ErrorPhrase(contains="Quota Gone", verdict="rate_limited"),
        ErrorPhrase(contains="no such thing", verdict="null"),
        ErrorPhrase(contains="reverted", verdict="server_error"),
    ]
)


def test_the_user_s_phrases_come_first():
    assert judge(failed(-32602, "quota gone, sorry"), classifier=PHRASES).verdict is V.RATE_LIMITED
    assert judge(b"<h1>QUOTA GONE</h1>", classifier=PHRASES).verdict is V.RATE_LIMITED
    assert judge(b"quota gone", status=500, classifier=PHRASES).verdict is V.RATE_LIMITED
    assert judge(b"quota gone", status=401, classifier=PHRASES).verdict is V.RATE_LIMITED
    assert (
        judge(failed(3, "execution reverted"), CALL, classifier=PHRASES).verdict is V.SERVER_ERROR
    )
    assert judge(failed(-1, "no such thing"), RECEIPT, classifier=PHRASES).verdict is V.NULL
    assert judge(failed(-1, "no such thing"), BALANCE, classifier=PHRASES).verdict is V.MISSING_DATA
    assert judge(ok("0x1", note="quota gone"), classifier=PHRASES).verdict is V.OK


@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_page_is_never_a_null(status):
    judgement = judge(b"no such thing", RECEIPT, status, classifier=PHRASES)
    assert judgement.verdict is V.MISSING_DATA
    assert judgement.result is None


@pytest.mark.parametrize("label", ["nonsense", "ok", ""])
def test_a_phrase_of_no_class_is_refused(label):
    with pytest.raises(ValueError, match="no error is of the class"):
        classifier([ErrorPhrase(contains="x", verdict=label)])


# ------------------------------------------------------------------ bodies not held whole


@pytest.mark.parametrize(
    ("status", "start", "verdict"),
    [
        (200, b'{"jsonrpc":"2.0","id":7,"result":[{', V.OK),
        (200, b'{"jsonrpc":"2.0","result":[{', V.OK),
        (200, b' { "error" : null , "id" : "7" ,\n"result" : {', V.OK),
        (200, b'{"jsonrpc":"2.0","id":8,"result":[{', V.WRONG_ID),
        (200, b'{"jsonrpc":"2.0","id":7,"error":{"message":"', V.UNKNOWN),
        (200, b'{"jsonrpc":"2.0","id":7,"data":{"result":[', V.UNKNOWN),
        (200, b"<html>", V.UNKNOWN),
        (500, b'{"jsonrpc":"2.0","id":7,"result":[{', V.SERVER_ERROR),
        (429, b'{"jsonrpc":"2.0","id":7,"result":[{', V.RATE_LIMITED),
        (302, b"", V.SERVER_ERROR),
    ],
)
def test_a_beginning(status, start, verdict):
    body = start + b'"x",' * 2000
    judgement = judge(body, "debug_traceTransaction", status, rest=Rest())
    assert judgement.verdict is verdict
    assert judgement.result is None
    assert judgement.error is None


# ------------------------------------------------------------------ whatever comes

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.sampled_from(["0x1", "rate limit", "batch", "header not found", "try again in 3s"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["code", "message", "data", "rate", "x"]), inner),
    max_leaves=6,
)  # fmt: skip
_envelopes = st.dictionaries(st.sampled_from(["id", "result", "error", "jsonrpc"]), _values)
_ids = st.sampled_from([1, 2, "1", None, 1.0])
_likely = st.builds(lambda envelope, number: {**envelope, "id": number}, _envelopes, _ids)
_json = (_values | _envelopes | _likely | st.lists(_envelopes | _likely | _values, max_size=4)).map(
    lambda value: json.dumps(value).encode()
)
_mutated = st.builds(
    lambda body, at, byte: body[: at % (len(body) + 1)] + byte + body[at % (len(body) + 1) + 1 :],
    _json,
    st.integers(0, 10_000),
    st.binary(max_size=2),
)
_statuses = (
    st.sampled_from([200, 301, 400, 401, 402, 403, 404, 405, 413, 429, 500, 503]) | st.integers()
)
_methods = st.sampled_from(sorted(METHODS)).map(describe)
_rests = st.sampled_from([None, Rest()])


@given(_json | _mutated | st.binary(), _statuses, _methods, st.text(), _rests, st.floats(0, 2e9))
@example(b'{"id":1,"error":"\\ud800"}', 200, describe(CALL), "", None, 0.0)
@example(b"[" * 5_000, 200, describe(CALL), "", None, 0.0)
@example(b'{"id":1,"error":' + b"[" * 5_000, 200, describe(CALL), "", None, 0.0)
def test_judging_never_raises(body, status, method, retry_after, rest, now):
    reply = Reply(status, body, retry_after, "", rest)
    for judge in (CLASSIFIER, PHRASES):
        judgement = judge.judge(reply, 1, method, now)
        check(judgement)
        assert rest is None or judgement.result is None
        calls = [SentCall(1, method), SentCall(2, describe(CALL))]
        batch = judge.judge_batch(reply, calls, now)
        assert len(batch.members) == 2
        for member in batch.members:
            check(member)


def check(judgement):
    assert judgement.result is None or judgement.error is None
    if judgement.error is not None:
        error = msgspec.json.decode(judgement.error)
        assert isinstance(error["code"], int)
        assert isinstance(error["message"], str)
    if judgement.verdict is V.NULL:
        assert judgement.result == msgspec.Raw(b"null")
    seconds = judgement.cooldown_seconds
    assert seconds is None or 0 <= seconds <= 86400
    assert len(judgement.detail) <= 200
    assert judgement.detail.isprintable()


def test_a_result_that_is_not_utf8_is_never_given_to_a_client() -> None:
    method = describe("eth_call")
    for text, verdict in ((b'"0x\xff\xfe"', Verdict.NOT_JSON), (b'"0x\xc3\xa9"', Verdict.OK)):
        reply = b'{"jsonrpc":"2.0","id":1,"result":%b}' % text
        assert classifier().judge(Reply(200, reply), 1, method, 0.0).verdict is verdict
        judged = classifier().judge_batch(Reply(200, b"[%b]" % reply), [SentCall(1, method)], 0.0)
        assert judged.members[0].verdict is verdict
