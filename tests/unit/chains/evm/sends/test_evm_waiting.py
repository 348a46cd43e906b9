"""What nodes say of a transaction that is in no block, without asking one."""

from __future__ import annotations

import pytest

from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.evm.sends.pending_object import pending_object
from rpcproxy.chains.evm.sends.signed import decode
from rpcproxy.chains.evm.sends.waiting import asked_hash, said_while_waiting
from tests.kits.engine_kit import CHAIN_ID
from tests.kits.sends_kit import signed

TX = signed()
LOOKED_UP = b'["%b"]' % TX.hash.encode()


@pytest.mark.parametrize("raw", [TX.raw, "0x71c0"])
def test_what_is_said_while_it_waits(raw: str) -> None:
    tx = decode(raw, CHAIN_ID)
    said = {
        name: said_while_waiting(describe(name), tx)
        for name in ("eth_getTransactionByHash", "eth_getRawTransactionByHash", "trace_transaction")
    }
    assert said["eth_getRawTransactionByHash"].result == b'"%b"' % raw.encode()
    assert said["trace_transaction"].result == b"null"
    shown = said["eth_getTransactionByHash"].result
    assert shown == (pending_object(tx) or b"null")
    for name in said:
        assert said_while_waiting(describe(name), None).result == b"null"
    assert b"not found" in said_while_waiting(describe("debug_traceTransaction"), None).error


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("eth_getTransactionReceipt", LOOKED_UP, TX.hash),
        ("eth_getTransactionReceipt", b' [ "0X%b" ]' % TX.hash[2:].upper().encode(), TX.hash),
        ("debug_traceTransaction", LOOKED_UP[:-1] + b",{}]", TX.hash),
        ("eth_call", LOOKED_UP, ""),
        ("eth_getTransactionReceipt", b"[]", ""),
        ("eth_getTransactionReceipt", b"[1]", ""),
        ("eth_getTransactionReceipt", b'["0x1"]', ""),
        ("eth_getTransactionReceipt", b'{"hash":1}', ""),
    ],
)
def test_which_transaction_is_looked_up(method: str, params: bytes, expected: str) -> None:
    assert asked_hash(describe(method), params) == expected
