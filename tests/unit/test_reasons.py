"""Words for wallets and words for operators."""

import msgspec
import pytest

from rpcproxy.messages import INTERNAL_ERROR, encode_error
from rpcproxy.reasons import (
    HIDDEN,
    LONGEST_ERROR,
    LONGEST_REASON,
    Reason,
    Worded,
    veiled,
    veiled_json,
)


@pytest.mark.parametrize(
    "private",
    [
        *("/root/.local/state/rpcproxy/journal/ethereum.sqlite", "~/state/journal.sqlite"),
        *("10.0.0.5:8545", "10.0.0.5", "[::1]:8545", "geth:8545", "node-1.internal:8545"),
        *("[Errno 13]", "process 4711", "pid=4711", "pid: 4711", "executor.py:41"),
        "<object object at 0x7f1c2a>",
    ],
)
def test_what_is_for_operators_is_hidden(private: str) -> None:
    said = veiled(f"the journal ({private}) cannot be used: {private}, and so on")
    assert private not in said
    assert said.count(HIDDEN) == 2
    said = veiled(f"{private}: no")
    assert private not in said


@pytest.mark.parametrize(
    "told",
    [
        "no upstream of ethereum could answer for 42 s (infura, alchemy: no answer in time)",
        "GET / lists those that are; POST to /ethereum",
        "parse error: JSON is malformed: invalid character (byte 3)",
        "until 2026-12-01T16:24:59.123Z, or 12:30 or 16:24:59",
        "err: max fee per gas less than block base fee: address 0x52908400098527886E0F7030069857D2E4169EE7, maxFeePerGas: 1 baseFee: 2",
        "HTTP 429: too many requests (100 in 10 s), 1.5 of 3/4",
        "version 1.2.3 of the process; all 3 upstreams",
    ],
)
def test_what_is_for_everybody_stays(told: str) -> None:
    assert veiled(told) == told


@pytest.mark.parametrize("begins", ["[:", "[::1%", "/a", "geth.", "pid ", "<a."])
def test_a_long_text_of_anybodys_is_read_once(begins: str) -> None:
    """Whoever writes it, an upstream or a wallet: where each character were the beginning of
    another look, this would not end, and nobody would be served meanwhile.
    """
    text = begins + begins[-1] * 50_000
    assert veiled(text) == text


def test_an_error_of_ours_hides_what_it_must_wherever_it_is_made() -> None:
    answer = encode_error(b"1", INTERNAL_ERROR, "/var/lib/journal/x.sqlite is in use")
    assert b"/var" not in answer
    assert answer.count(HIDDEN.encode()) == 2  # the message and data.reason


def test_an_errors_texts_are_hidden_and_nothing_else_of_it() -> None:
    error = b'{"code":-32603,"message":"dial tcp\\n10.1.2.3:8545: refused","data":{"at":[1,"x"]}}'
    veiled_error = msgspec.json.decode(veiled_json(error))
    assert veiled_error == {
        "code": -32603,
        "message": f"dial tcp\n{HIDDEN}: refused",
        "data": {"at": [1, "x"]},
    }
    plain = b'{"code":3 , "message": "execution reverted"}'
    assert veiled_json(plain) is plain
    assert veiled_json(b"{nonsense 10.0.0.1") == b"{nonsense 10.0.0.1"


def test_what_is_long_is_cut_before_it_is_looked_through() -> None:
    """A method's name is the client's, and may be as long as a request."""
    long = "personal_" + "x/" * 500_000
    answer = msgspec.json.decode(encode_error(b"1", INTERNAL_ERROR, f"the method {long}: no"))
    assert len(answer["error"]["message"]) <= LONGEST_REASON
    error = msgspec.json.encode({"code": -32603, "message": f"10.0.0.1 {long}", "data": long})
    told = msgspec.json.decode(veiled_json(error))
    assert (told["code"], told["message"][:18]) == (-32603, f"{HIDDEN} personal_"[:18])
    assert len(msgspec.json.encode(told)) < LONGEST_ERROR
    odd = msgspec.json.encode({"code": "x", "message": f"10.0.0.1 {long}"})
    assert msgspec.json.decode(veiled_json(odd)) == {"code": -32603, "message": HIDDEN}


def test_an_error_in_words_has_some_for_each() -> None:
    worded = Worded("/x/y is locked", "it is locked")
    assert worded.told == Reason("it is locked", "/x/y is locked")
    assert Worded("/x/y is locked").public == Worded.usual
    assert Reason("no").for_operators == "no"
