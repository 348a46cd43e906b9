"""How any kind's error table matches, with a table of a kind whose nodes answer errors as 500."""

from __future__ import annotations

import re

import msgspec
import pytest

from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.chains.parts.errors import (
    ANY,
    CALLS,
    READS,
    SENDS,
    Encoded,
    ErrorRow,
    ErrorTable,
    RangeRefusal,
    by_scope,
    code_row,
    own_words,
    pattern_row,
    scope,
    start_row,
    text_row,
)
from rpcproxy.messages import Judgement, MethodClass, Reply, Verdict
from rpcproxy.rules.answers import replies
from rpcproxy.rules.answers.batched import SentCall
from rpcproxy.rules.answers.classify import Classifier

BLOCK = Method("getblock", MethodKind.BLOCK_READ, MethodClass.LIGHT)
ROWS = (
    code_row(Verdict.REVERTED, CALLS, "a script", 3),
    start_row(Verdict.ALREADY_KNOWN, SENDS, "its pool", "txn-already", codes=frozenset((-27,))),
    text_row(Verdict.MISSING_DATA, READS, "pruned nodes", "block not available"),
    pattern_row(Verdict.RATE_LIMITED, ANY, "its queue", r"\bqueue depth \d"),
    ErrorRow(
        Verdict.INVALID_PARAMS,
        "its parser",
        codes=frozenset((-8,)),
        weigh=lambda params: Verdict.SIZE_REFUSED if len(params) > 9 else Verdict.INVALID_PARAMS,
    ),
)
STATUSES = {401: Verdict.KEY_REFUSED, 403: Verdict.KEY_REFUSED, 429: Verdict.RATE_LIMITED}
TABLE = ErrorTable(rows=by_scope(ROWS), statuses=STATUSES, is_body_first=True)
STATUS_FIRST = ErrorTable(rows=by_scope(ROWS), statuses=STATUSES)
PRUNED = b'{"code":-1,"message":"Block not available (pruned data)"}'
ODD = b'{"code":-1,"message":"never heard of"}'


def judged(status: int, body: bytes, table: ErrorTable = TABLE) -> Judgement:
    return Classifier(table).judge(Reply(status, body), 7, BLOCK, 0.0)


def error(text: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":7,"error":%b}' % text


# ---- rows


def test_the_first_row_that_matches_decides_for_the_methods_it_is_meant_for() -> None:
    assert TABLE.verdict(3, "", CALLS) is Verdict.REVERTED
    assert TABLE.verdict(3, "", READS) is Verdict.UNKNOWN
    assert TABLE.verdict(-27, "txn-already-known", SENDS) is Verdict.ALREADY_KNOWN
    assert TABLE.verdict(-26, "txn-already-known", SENDS) is Verdict.UNKNOWN
    assert TABLE.verdict(None, "work queue depth 16 exceeded", READS) is Verdict.RATE_LIMITED
    assert TABLE.verdict(None, "he said 'block not available'", READS) is Verdict.UNKNOWN


def test_params_are_weighed_where_they_are_known() -> None:
    assert TABLE.verdict(-8, "", READS) is Verdict.INVALID_PARAMS
    assert TABLE.verdict(-8, "", READS, b"[1]") is Verdict.INVALID_PARAMS
    assert TABLE.verdict(-8, "", READS, msgspec.Raw(b"[1,2,3,4,5]")) is Verdict.SIZE_REFUSED


def test_scopes_follow_from_what_a_method_is() -> None:
    kinds = {MethodKind.SEND: SENDS, MethodKind.HEAD_READ: READS}
    for kind, on in kinds.items():
        assert scope(Method("", kind, MethodClass.LIGHT)) == on
    assert scope(Method("", MethodKind.BLOCK_READ, MethodClass.LIGHT, is_execution=True)) == CALLS


def test_what_is_quoted_is_somebody_elses() -> None:
    assert own_words("cannot read 'rate limit' here") == "cannot read  here"
    assert own_words("it's the node's") == "it's the node's"


# ---- what a table may leave out


def test_a_table_that_says_nothing_more_is_gone_without() -> None:
    bare = ErrorTable(rows=by_scope(()))
    assert bare.read_range("up to 10 blocks", 100) == RangeRefusal(of_width=False)
    assert not bare.is_spoken(3, CALLS)
    assert judged(429, error(PRUNED), bare).verdict is Verdict.UNKNOWN


def test_long_bytes_in_whatever_digits_are_no_words() -> None:
    base58 = "4vJ9JU1bJJE96FWSJKvHsmmFADCg4gpZQff4P3bkLKi" * 2
    read = replies.read_error(msgspec.Raw(b'{"code":1,"message":"no %b"}' % base58.encode()))
    assert read.text == "no …"
    assert read.message == f"no {base58}"


def test_a_kind_says_which_texts_are_bytes() -> None:
    ours = Encoded(re.compile(r"#[0-9]*"), lambda text: text.replace("7777", "7"))
    raw = msgspec.Raw(b'{"code":1,"message":"at 7777","data":"#123 and words"}')
    assert replies.read_error(raw, encoded=ours).text == "at 7"


# ---- the body before the status


@pytest.mark.parametrize("status", [302, 401, 403, 404, 429, 500, 503])
def test_an_error_that_is_known_outranks_any_status(status: int) -> None:
    assert judged(status, error(PRUNED)).verdict is Verdict.MISSING_DATA
    whole = b"[%b]" % error(PRUNED)
    batch = Classifier(TABLE).judge_batch(Reply(status, whole), [SentCall(7, BLOCK)], 0.0)
    assert [member.verdict for member in batch.members] == [Verdict.MISSING_DATA]


def test_elsewhere_the_status_decides() -> None:
    assert judged(429, error(PRUNED), STATUS_FIRST).verdict is Verdict.RATE_LIMITED
    assert judged(302, error(PRUNED), STATUS_FIRST).verdict is Verdict.SERVER_ERROR
    assert judged(500, error(PRUNED), STATUS_FIRST).verdict is Verdict.MISSING_DATA


@pytest.mark.parametrize("body", [b"", b"Too Many Requests", b"{}", b"[]", error(ODD)])
def test_a_body_that_says_nothing_leaves_it_to_the_status(body: bytes) -> None:
    assert judged(429, body).verdict is Verdict.RATE_LIMITED
    assert judged(401, body).verdict is Verdict.KEY_REFUSED
    assert judged(302, body).verdict is Verdict.SERVER_ERROR


def test_a_result_takes_back_no_refusal_of_ours() -> None:
    answer = b'{"jsonrpc":"2.0","id":7,"result":{"height":1}}'
    assert judged(302, answer).verdict is Verdict.OK
    assert judged(403, answer).verdict is Verdict.KEY_REFUSED
