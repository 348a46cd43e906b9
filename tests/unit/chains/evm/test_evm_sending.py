"""How transactions of the EVM are sent and asked for."""

from __future__ import annotations

import msgspec
import pytest

from rpcproxy.chains.evm.methods import METHODS
from rpcproxy.chains.evm.sending import EVM_SENDS, SYNC_DEFAULT_SECONDS
from rpcproxy.chains.method import MethodKind, SendForm
from rpcproxy.chains.parts.transactions import Inclusion, ListedBlock

HASH = "0x" + "a1" * 32
LOOK_UPS = EVM_SENDS.look_ups


# ---- bytes and hashes as JSON


def test_bytes_are_sent_as_a_wallet_writes_them() -> None:
    assert EVM_SENDS.text_of(b"\x02\xff") == "0x02ff"
    assert EVM_SENDS.params_of(b"\x02\xff") == b'["0x02ff"]'
    assert EVM_SENDS.raw_of(EVM_SENDS.params_of(b"\x02\xff")) == "0x02ff"


def test_what_is_copied_is_spelled_as_it_came() -> None:
    assert EVM_SENDS.plain(b' [ "0X02Ff" , 5000 ]') == b'["0X02Ff"]'


def test_results_are_hashes() -> None:
    assert EVM_SENDS.result_of(HASH) == b'"%b"' % HASH.encode()
    assert EVM_SENDS.hash_told(EVM_SENDS.result_of(HASH)) == HASH
    assert EVM_SENDS.hash_told(b'"0xA1B2"') == "0xa1b2"
    for result in (b"null", b'"ok"', b'{"bundleHash":"0x1"}', b"", b'"\xff"'):
        assert EVM_SENDS.hash_told(result) == ""


# ---- which way a send goes


def test_ways_of_sends() -> None:
    ways = {
        name: method.send_form
        for name, method in METHODS.items()
        if method.send_form is not SendForm.OTHER
    }
    assert ways == {
        "eth_sendRawTransaction": SendForm.OURS,
        "eth_sendRawTransactionSync": SendForm.SYNC,
        "eth_sendUserOperation": SendForm.OPERATION,
    }
    assert all(METHODS[name].kind is MethodKind.SEND for name in ways)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"5000", 5.0),
        (b'"0x1388"', 5.0),
        (b"0", 0.0),
        (b"-5", 0.0),
        (b"100000", 60.0),
        (b"1" + b"0" * 400, 60.0),
        (b"null", SYNC_DEFAULT_SECONDS),
        (b"1.5e3", SYNC_DEFAULT_SECONDS),
        (b"", SYNC_DEFAULT_SECONDS),
        (b"{}", SYNC_DEFAULT_SECONDS),
    ],
)
def test_the_time_that_a_client_names(text: bytes, seconds: float) -> None:
    assert EVM_SENDS.sync is not None
    params = b'["0x02",%b]' % text if text else b'["0x02"]'
    assert EVM_SENDS.sync.seconds(params) == seconds


def test_too_late_it_says_that_it_was_sent() -> None:
    assert EVM_SENDS.sync is not None
    error = msgspec.json.decode(EVM_SENDS.sync.late(HASH, 2.5))
    assert (error["code"], error["data"]) == (4, HASH)
    assert "2.5s (it was sent)" in error["message"]


# ---- what is asked


def test_a_transaction_and_its_receipt_are_asked_for_by_hash() -> None:
    assert LOOK_UPS.transaction(HASH).method.name == "eth_getTransactionByHash"
    receipt = LOOK_UPS.receipt(HASH)
    assert (receipt.method.name, receipt.params) == (
        "eth_getTransactionReceipt",
        b'["%b"]' % HASH.encode(),
    )
    told = {"blockNumber": "0x1f", "blockHash": HASH, "status": "0x1"}
    assert receipt.read(msgspec.json.encode(told)) == Inclusion(31, HASH)
    for other in (None, {}, {**told, "blockNumber": None}, {**told, "blockNumber": "new"}, []):
        assert receipt.read(msgspec.json.encode(other)) is None
    assert receipt.read(b"no JSON") is None


def test_a_block_is_asked_for_with_its_hashes() -> None:
    block = LOOK_UPS.block(31)
    assert (block.method.name, block.params) == ("eth_getBlockByNumber", b'["0x1f",false]')
    told = {"number": "0x1f", "hash": HASH, "transactions": [HASH]}
    assert block.read(msgspec.json.encode(told)) == ListedBlock(HASH, [HASH])
    for other in (None, {**told, "number": None}, {**told, "transactions": [{"hash": HASH}]}):
        assert block.read(msgspec.json.encode(other)) is None


def test_a_lane_is_counted_at_a_height() -> None:
    assert LOOK_UPS.counter is not None
    counter = LOOK_UPS.counter("0xab", 31)
    assert (counter.method.name, counter.params) == ("eth_getTransactionCount", b'["0xab","0x1f"]')
    assert counter.read(b'"0x7"') == 7
    assert counter.read(b"null") is None
