import json
from pathlib import Path

import pytest
from eth_account import Account
from hypothesis import example, given
from hypothesis import strategies as st

from rpcproxy.chains.evm.sends.raw_transactions import raw_transaction, transaction_hash
from rpcproxy.chains.parts.transactions import BadTransaction

KEY = "0x" + "11" * 32
TO = "0x" + "22" * 20
CORPUS = Path(__file__).parents[6] / "shared/corpora/execution-apis/eth_sendRawTransaction"

_BASE = {"nonce": 1, "gas": 21000, "to": TO, "value": 5, "data": b"hello" * 20}
_FEES = {"maxFeePerGas": 3, "maxPriorityFeePerGas": 2, "chainId": 1}
_ACCESS = [{"address": TO, "storageKeys": ["0x" + "01" * 32]}]


def _signed():
    authorization = Account.sign_authorization({"chainId": 1, "address": TO, "nonce": 0}, KEY)
    return {
        "before EIP-155": {**_BASE, "gasPrice": 7},
        "legacy": {**_BASE, "gasPrice": 7, "chainId": 1},
        "2930": {**_BASE, "gasPrice": 7, "chainId": 1, "type": 1, "accessList": _ACCESS},
        "1559": {**_BASE, **_FEES, "type": 2},
        "4844": {
            **_BASE,
            **_FEES,
            "type": 3,
            "maxFeePerBlobGas": 1,
            "blobVersionedHashes": ["0x01" + "33" * 31],
        },
        "7702": {**_BASE, **_FEES, "type": 4, "authorizationList": [authorization]},
    }


@pytest.mark.parametrize("kind", ["before EIP-155", "legacy", "2930", "1559", "4844", "7702"])
def test_the_hash_is_the_one_that_the_signer_computed(kind):
    signed = Account.sign_transaction(_signed()[kind], KEY)
    raw = "0x" + signed.raw_transaction.hex().removeprefix("0x")
    expected = "0x" + signed.hash.hex().removeprefix("0x")
    assert transaction_hash(raw) == expected
    assert transaction_hash(raw.upper().replace("0X", "0x", 1)) == expected


def _rlp(item):
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        body, offset = item, 0x80
    else:
        body, offset = b"".join(_rlp(member) for member in item), 0xC0
    if len(body) <= 55:
        return bytes([offset + len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(size)]) + size + body


BLOB = b"\x07" * 131072
PAYLOAD = [b"\x01", b"", b"\x05", b"\x06", b"\x52\x08", b"\x22" * 20, b"", b"", [], b"\x01"]


@pytest.mark.parametrize(
    "rest",
    [
        [[BLOB], [b"c" * 48], [b"p" * 48]],
        [b"\x01", [BLOB], [b"c" * 48], [b"p" * 48] * 128],  # EIP-7594
    ],
)
def test_blobs_are_not_part_of_the_hash(rest):
    bare = "0x03" + _rlp(PAYLOAD).hex()
    wrapped = "0x03" + _rlp([PAYLOAD, *rest]).hex()
    assert transaction_hash(wrapped) == transaction_hash(bare)


def test_types_that_are_hashed_whole_or_not_by_us():
    body = _rlp(PAYLOAD).hex()
    assert transaction_hash("0x7b" + body) not in (None, transaction_hash("0x02" + body))
    for unknown in ("00", "05", "71", "7e", "7f"):
        assert transaction_hash("0x" + unknown + body) is None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "0x prefix"),
        ("f86c", "0x prefix"),
        ("0x", "empty"),
        ("0xabc", "not valid hex"),
        ("0xzz", "not valid hex"),
        ("0xc0 c0", "not valid hex"),
        ("0x٣٣", "not valid hex"),
        ("0x80", "neither typed nor"),
        ("0xb801", "neither typed nor"),
        ("0xc000", "after the end"),
        ("0xc1", "past the end"),
        ("0xf8", "past the end"),
        ("0xf800", "not canonical"),
        ("0xf90001" + "01", "not canonical"),
        ("0xc28105", "not canonical"),
        ("0xc3c20101" + "ff", "after the end"),
        ("0xc182", "past the end"),
        ("0x02", "not an RLP list"),
        ("0x0201", "not an RLP list"),
        ("0x03c0", "empty"),
        ("0x03c1c0", "neither 4 nor 5"),
        ("0x03c5c1b8808080", "past the end"),
    ],
)
def test_what_no_node_can_decode(raw, reason):
    with pytest.raises(BadTransaction, match=reason) as caught:
        transaction_hash(raw)
    assert reason in caught.value.reason


@given(st.binary(max_size=80))
@example(b"\xff" + b"\xff" * 8)
@example(b"\xbf")
def test_any_bytes_hash_or_are_refused(raw):
    try:
        told = transaction_hash("0x" + raw.hex())
    except BadTransaction:
        return
    assert told is None or len(told) == 66


@given(st.text(max_size=40))
def test_any_text_hashes_or_is_refused(text):
    try:
        told = transaction_hash("0x" + text)
    except BadTransaction:
        return
    assert told is None or len(told) == 66


@pytest.mark.parametrize(
    ("params", "raw"),
    [
        (b'["0x01"]', "0x01"),
        (b'["0x01",{"knownAccounts":{}}]', "0x01"),
        (b'[{"tx":"0x02","maxBlockNumber":"0x1"}]', "0x02"),
        (b'[{"txs":["0x02"]}]', None),
        (b"[]", None),
        (b"[1]", None),
        (b"[null]", None),
        (b'{"tx":"0x02"}', None),
        (b'["\xff"]', None),
        (b'[{"tx":"\xff"}]', None),
        (b"", None),
        (b"[" * 5_000, None),
    ],
)
def test_the_raw_transaction_in_the_params(params, raw):
    assert raw_transaction(params) == raw


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the execution-apis pairs are not here")
def test_the_hashes_of_the_execution_apis_pairs():
    checked = 0
    for file in sorted(CORPUS.glob("*.io")):
        lines = file.read_text().splitlines()
        asked = json.loads(next(line for line in lines if line.startswith(">>"))[3:])
        told = json.loads(next(line for line in lines if line.startswith("<<"))[3:])
        raw = raw_transaction(json.dumps(asked["params"]).encode())
        assert transaction_hash(raw) == told["result"], file.name
        checked += 1
    assert checked >= 5
