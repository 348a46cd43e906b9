"""The values that travel, and the JSON-RPC codec: exact ids, and nothing that is not JSON-RPC."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy import messages
from rpcproxy.messages import (
    INVALID_REQUEST,
    MOST_PARTS,
    PARSE_ERROR,
    Blame,
    Malformed,
    Pending,
    Request,
    Retry,
    TooLarge,
    Verdict,
    decode_body,
    decode_envelope,
    decode_request,
    encode_batch,
    encode_call,
    encode_error,
    encode_raw_error,
    encode_result,
)


def single(body: bytes) -> Request:
    request = decode_body(body)
    assert isinstance(request, Request)
    return request


def batch(body: bytes) -> list[msgspec.Raw]:
    members = decode_body(body)
    assert isinstance(members, list)
    return members


def refused(body: bytes) -> tuple[int, str, bytes]:
    with pytest.raises(Malformed) as caught:
        decode_body(body)
    assert str(caught.value) == caught.value.reason
    return caught.value.code, caught.value.reason, caught.value.id


# ---- ids


EXACT_IDS = [
    *(b"0", b"1", b"-1", b"-0", b"1.5", b"1.50", b"0.10", b"1e5", b"1E+5", b"-1.5e-7", b"1E400"),
    b"18446744073709551616",
    b"123456789012345678901234567890123456789012345678901234567890",
    b"9007199254740993",
    b"null",
    b'""',
    b'"abc"',
    rb'"a\"b\\c\/d\b\f\n\r\t"',
    rb'"\u00e9\u0000\ud83d\ude00"',
    '"é😀"'.encode(),
    b'"' + b"x" * 10_000 + b'"',
]


@pytest.mark.parametrize("id", EXACT_IDS)
def test_ids_go_back_exact_to_the_byte(id: bytes) -> None:
    request = single(b'{"jsonrpc":"2.0","method":"m","params":[],"id": %b }' % id)
    assert bytes(request.id) == id
    assert not request.is_notification
    assert encode_result(request.id, b"1") == b'{"jsonrpc":"2.0","id":%b,"result":1}' % id


def test_without_an_id_it_is_a_notification() -> None:
    assert single(b'{"method":"m"}').is_notification
    assert not single(b'{"method":"m","id":null}').is_notification


@pytest.mark.parametrize("id", [b"{}", b"[]", b"[1]", b"true", b"false", b'{"a":1}'])
def test_ids_of_other_types_are_refused(id: bytes) -> None:
    code, reason, given = refused(b'{"method":"m","id":%b}' % id)
    assert (code, given) == (INVALID_REQUEST, b"null")
    assert "id must be" in reason


def test_of_two_ids_the_last_counts_as_in_every_json_reader() -> None:
    request = single(b'{"method":"a","id":1,"params":[1],"method":"b","id":2,"params":[2]}')
    assert (request.method, bytes(request.id), bytes(request.params)) == ("b", b"2", b"[2]")


# ---- requests


@pytest.mark.parametrize("params", [b"[]", b"{}", b'[ 1 , "a" ]', b'{"a":[1.50,1e5,"\\u0041"]}'])
def test_params_are_kept_as_they_came(params: bytes) -> None:
    assert bytes(single(b'{"method":"m","params":%b}' % params).params) == params


@pytest.mark.parametrize("members", [b"", b',"params":null', b',"params": null '])
def test_params_left_out_or_null_are_an_empty_array_upstream(members: bytes) -> None:
    request = single(b'{"method":"m","id":1%b}' % members)
    assert bytes(request.params) == b""
    assert json.loads(encode_call(7, request.method, request.params))["params"] == []


@pytest.mark.parametrize("params", [b'"x"', b"1", b"true", b"false", b"-1"])
def test_params_of_other_types_are_refused(params: bytes) -> None:
    code, reason, id = refused(b'{"method":"m","params":%b,"id":"q"}' % params)
    assert (code, id) == (INVALID_REQUEST, b'"q"')
    assert "params must be" in reason
    assert refused(b'{"method":"m","params":%b}' % params)[2] == b"null"


def test_the_version_is_not_insisted_on_and_other_members_are_ignored() -> None:
    for start in (
        b"",
        b'"jsonrpc":"2.0",',
        b'"jsonrpc":"1.0",',
        b'"jsonrpc":2,',
        b'"x":{"y":[1]},',
    ):
        assert single(b"{%b" % start + b'"method":"m","id":1}').method == "m"


def test_methods_are_text_in_any_notation() -> None:
    assert single(rb'{"method":"eth_\u0063all"}').method == "eth_call"
    assert single('{"method":"é"}'.encode()).method == "é"


def test_space_around_a_body_is_no_matter() -> None:
    assert single(b' \t\r\n{"method":"m"}\r\n ').method == "m"
    assert len(batch(b' \t\r\n[{"method":"m"}]\n')) == 1


NOT_JSON = [
    *(b"", b" ", b"\n", b"x", b"{", b"}", b"[", b"]", b"[1", b"[1,]", b"[,]", b'"', b"nul", b"{}x"),
    *(b'{"method":"m"', b'{"method":"m",}', b'{"method" "m"}', b"{method:1}", b"{'method':1}"),
    *(b'{"method":"m"}{"method":"m"}', b'[{"method":"m"}]]', b'[{"method":"m"} {"method":"m"}]'),
    *(b'{"method":"m","id":%b}' % id for id in (b"01", b"1.", b".5", b"1e", b"-", b"+1", b"--1")),
    *(b'{"method":"m","id":%b}' % id for id in (b"NaN", b"Infinity", b"0x1", b"nulll", b"1x", b"")),
    *(b'{"method":"m","id":"%b"}' % id for id in (b"\n", rb"\q", rb"\u12", b"\x00", b"\\")),
    *(b'{"method":"m","params":[%b]}' % x for x in (b"01", b"tru", rb'"\x"', b"1 2", b'{"a"}')),
    b"\xef\xbb\xbf{}",  # a byte order mark
    '{"method":"m"}'.encode("utf-16"),
    b"<html>",
    *(b"1x", b'"x"y', b"null null"),
    b"method=m",
    b"\x00",
    b"\x1f\x8b\x08",
]


@pytest.mark.parametrize("body", NOT_JSON)
def test_what_is_not_json_is_a_parse_error(body: bytes) -> None:
    code, reason, id = refused(body)
    assert (code, id) == (PARSE_ERROR, b"null")
    assert reason.startswith("parse error: ")


@pytest.mark.parametrize(
    "body",
    [
        b'{"method":"m\xff"}',
        b'{"method":"m","id":"\xff"}',
        b'{"method":"m","params":["\xff"]}',
        b'{"method":"m","params":["\xc3"]}',
        b'{"method":"m","params":["\xed\xa0\x80"]}',  # a surrogate in UTF-8's clothes
        b'{"method":"m","other":"\xff"}',
        b'[{"method":"m","params":["\xff"]}]',
    ],
)
def test_what_is_not_utf8_never_reaches_an_upstream(body: bytes) -> None:
    code, reason, id = refused(body)
    assert (code, id) == (PARSE_ERROR, b"null")
    assert reason.startswith("parse error: not UTF-8 (byte ")


@pytest.mark.parametrize(
    ("body", "id"),
    [
        (b"1", b"null"),
        (b'"x"', b"null"),
        (b"null", b"null"),
        (b"true", b"null"),
        (b"{}", b"null"),
        (b'{"id":1}', b"1"),
        (b'{"id":"a","params":[]}', b'"a"'),
        (b'{"method":1,"id":1.50}', b"1.50"),
        (b'{"method":null,"id":null}', b"null"),
        (b'{"method":["m"],"id":{"a":1}}', b"null"),
        (b'{"Method":"m","id":3}', b"3"),
        (b'{"jsonrpc":"2.0","result":1,"id":3}', b"3"),
        (b"[]", b"null"),
        (b" [ ] ", b"null"),
    ],
)
def test_json_that_is_no_request_is_an_invalid_request_under_its_id(body: bytes, id: bytes) -> None:
    code, reason, given = refused(body)
    assert (code, given) == (INVALID_REQUEST, id)
    assert reason.startswith("invalid request: ")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"method":"m","params":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"method":"m","x":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
        b"[" + b"[" * 5_000 + b"]" * 5_000 + b"]",
    ],
)
def test_deep_nesting_is_refused_not_crashed_on(body: bytes) -> None:
    assert refused(body) == (PARSE_ERROR, "parse error: nested too deeply", b"null")


def test_what_is_too_deep_beside_a_bad_method_has_no_id() -> None:
    deep = b"[" * 5_000 + b"]" * 5_000
    code, _, id = refused(b'{"method":1,"id":1,"x":%b}' % deep)
    assert (code, id) == (PARSE_ERROR, b"null")


@pytest.mark.parametrize("end", [b"", b"}x", b',"params":[01]}', b',"x":}', b"]"])
def test_what_follows_a_wrong_member_must_be_json_too(end: bytes) -> None:
    code, _, id = refused(b'{"id":1,"method":5' + end)
    assert (code, id) == (PARSE_ERROR, b"null")


# ---- batches


def test_one_bad_member_does_not_spoil_the_others() -> None:
    members = batch(b'[{"method":"a","id":1}, 5, {"id":"x"}, [], {"method":"b","id":2.0}]')
    assert decode_request(members[0]).method == "a"
    assert bytes(decode_request(members[4]).id) == b"2.0"
    for bad, id in ((1, b"null"), (2, b'"x"'), (3, b"null")):
        with pytest.raises(Malformed) as caught:
            decode_request(members[bad])
        assert (caught.value.code, caught.value.id) == (INVALID_REQUEST, id)


@pytest.mark.parametrize(
    "half", [rb"\ud800", rb"\udc00", rb"\ud800x", rb"\ud800\ud800", rb"\udfff "]
)
def test_half_a_surrogate_cannot_be_written_again_and_is_refused(half: bytes) -> None:
    for member in (
        b'"method":"%b","id":2',
        b'"method":"m","id":"%b"',
        b'"method":"m","params":["%b"]',
    ):
        body = b"{" + member % half + b"}"
        assert refused(body)[0] == PARSE_ERROR


# ---- encoding


def test_a_call_is_written_under_an_id_of_ours() -> None:
    text = encode_call(2**60, 'a"b\\\né', b'[1.50,"\\u0041"]')
    params = b'"params":[1.50,"\\u0041"]}'
    assert text.endswith(params)
    told = json.loads(text)
    assert told == {"jsonrpc": "2.0", "id": 2**60, "method": 'a"b\\\né', "params": [1.5, "A"]}


def test_results_and_errors_are_passed_on_unparsed() -> None:
    assert encode_result(b'"x"', msgspec.Raw(b'{"a": 1.50 }')) == (
        b'{"jsonrpc":"2.0","id":"x","result":{"a": 1.50 }}'
    )
    assert encode_raw_error(msgspec.Raw(b"1.0"), b'{"code":3,"data":"0x"}') == (
        b'{"jsonrpc":"2.0","id":1.0,"error":{"code":3,"data":"0x"}}'
    )
    assert json.loads(encode_raw_error(b"", b"{}"))["id"] is None


def test_errors_of_our_own_say_why_twice() -> None:
    text = json.loads(encode_error(b"7", -32603, 'no "upstream" could answer', since=3))
    assert text == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {
            "code": -32603,
            "message": 'no "upstream" could answer',
            "data": {"reason": 'no "upstream" could answer', "since": 3},
        },
    }


def test_batches_are_joined() -> None:
    assert encode_batch([]) == b"[]"
    assert encode_batch(iter([b"1", b'"a"'])) == b'[1,"a"]'


# ---- what upstreams reply


def test_an_envelope_keeps_what_is_there() -> None:
    told = decode_envelope(b'{"jsonrpc":"2.0","id":"7","result": {"a":1.50},"error":null}')
    assert told is not None
    assert [bytes(part) for part in (told.id, told.result, told.error)] == [
        *(b'"7"', b'{"a":1.50}', b"null")
    ]
    empty = decode_envelope(b"{}")
    assert empty is not None
    assert not empty.id
    assert not empty.result
    assert not empty.error


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b"<html>", b'{"id":1', b"{" * 9, b'{"a":' * 50_000, b"\xff\xfe"]
)
def test_what_is_no_envelope_is_none(body: bytes) -> None:
    assert decode_envelope(body) is None


# ---- values


def test_verdicts_are_told_apart_by_label_and_carry_both_axes() -> None:
    assert len({verdict.label for verdict in Verdict}) == len(Verdict)
    for verdict in Verdict:
        assert isinstance(verdict.retry, Retry)
        assert isinstance(verdict.blame, Blame)
        # Nobody is blamed for an answer, and whoever is blamed is not the last one asked.
        if verdict.retry is Retry.NO:
            assert verdict.blame in (Blame.NOBODY, Blame.CLIENT)
        if verdict.blame in (Blame.UPSTREAM, Blame.LIMIT, Blame.ACCESS):
            assert verdict.retry is Retry.ELSEWHERE


def test_classes_have_names_in_order() -> None:
    assert [c.name.lower() for c in messages.METHOD_CLASSES] == list(messages.CLASS_NAMES)


def test_a_pending_answer_must_say_how_it_is_cancelled() -> None:
    with pytest.raises(NotImplementedError):
        Pending().cancel()


# ---- whatever comes

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
ids = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
params = st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4)
spaces = st.text(" \t\r\n", max_size=3).map(str.encode)


def finite(value: object) -> bytes:
    """JSON as another writer makes it; infinities have no JSON."""
    return json.dumps(value).replace("-Infinity", "0").replace("Infinity", "0").encode()


@given(texts, ids, params, st.booleans(), spaces)
def test_any_request_comes_through_whole(
    method: str, id: object, given_params: object, ascii_only: bool, space: bytes
) -> None:
    id_text = json.dumps(id, ensure_ascii=ascii_only).encode()
    params_text = finite(given_params)
    body = b'{%b"id":%b%b,%b"method":%b,"params":%b%b}%b' % (
        *(space, space, id_text, space),
        *(json.dumps(method, ensure_ascii=ascii_only).encode(), params_text, space, space),
    )
    request = single(body)
    assert request.method == method
    assert bytes(request.id) == id_text
    assert bytes(request.params) == params_text
    sent = json.loads(encode_call(9, request.method, request.params))
    assert sent == {"jsonrpc": "2.0", "id": 9, "method": method, "params": json.loads(params_text)}
    answer = json.loads(encode_result(request.id, params_text))
    assert answer == {"jsonrpc": "2.0", "id": id, "result": json.loads(params_text)}
    [member] = batch(b"[" + body + b"]")
    assert decode_request(member) == request


@given(st.binary(max_size=60) | values.map(finite))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        decoded = decode_body(body)
    except Malformed as malformed:
        json.loads(encode_error(malformed.id, malformed.code, malformed.reason))
        is_invalid = malformed.code == INVALID_REQUEST
    else:
        is_invalid = False
        assert decoded
        json.loads(body)
    if is_invalid:
        json.loads(body)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=1))
def test_one_byte_changed_is_read_or_refused(place: int, byte: bytes) -> None:
    body = bytearray(
        b'[{"jsonrpc":"2.0","id":"a\\u00e9","method":"eth_call","params":[1.5,{"a":null}]}]'
    )
    body[place % len(body)] = byte[0]
    try:
        for member in batch(bytes(body)):
            request = decode_request(member)
            if request.id:
                json.loads(encode_result(request.id, request.params or b"[]"))
    except Malformed as malformed:
        json.loads(encode_error(malformed.id, malformed.code, malformed.reason))
    except AssertionError:
        assert body[0] != ord("[")


# ---- bodies that are more work than bytes


DENSE = [
    # bitcoin 15850, pyquarkchain 435: small on the wire, and the reader stands still
    pytest.param(
        b'{"id":1,"method":"m","params":[%b1]}' % (b"1," * (MOST_PARTS + 1)), id="numbers"
    ),
    pytest.param(b"[%b{}]" % (b"{}," * (MOST_PARTS + 1)), id="members"),
    pytest.param(
        b'{"id":1,"method":"m","params":["%b"]}' % (b"\\u0041" * (MOST_PARTS + 1)), id="escapes"
    ),
]


@pytest.mark.parametrize("body", DENSE)
def test_a_body_of_more_parts_than_any_request_is_not_read(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_decode_spelled", None)
    monkeypatch.setattr(messages.arrays, "read", None)
    with pytest.raises(TooLarge) as caught:
        decode_body(body)
    assert caught.value.code == INVALID_REQUEST


def test_the_largest_list_of_addresses_is_read() -> None:
    addresses = b",".join(b'"0x%040x"' % i for i in range(100_000))
    body = b'{"id":1,"method":"eth_getLogs","params":[{"address":[%b]}]}' % addresses
    assert single(body).method == "eth_getLogs"


@pytest.mark.parametrize("count", [1001, 100_000])
def test_a_batch_is_read_no_further_than_its_limit(count: int) -> None:
    with pytest.raises(TooLarge, match="batch too large: more than 1000 requests"):
        decode_body(b"[%b]" % b",".join([b"{}"] * count))
    assert len(batch(b"[%b]" % b",".join([b"{}"] * 1000))) == 1000
