"""A pending transaction as the proxy writes it, beside what a real node says of the same one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from eth_account import Account

from rpcproxy.chains.evm.sends.pending_object import pending_object
from rpcproxy.chains.evm.sends.rlp import enclose, encode
from rpcproxy.chains.evm.sends.signed import decode
from tests.integration.anvil_node import CHAIN_ID, Anvil

GWEI = 10**9
# Of a blob of zeros the commitment and all proofs are the curve's point at infinity.
ZEROS, INFINITY = bytes(131_072), b"\xc0" + bytes(47)
TO = "0x" + "22" * 20
FEES = {"maxFeePerGas": 3 * GWEI, "maxPriorityFeePerGas": GWEI}
ACCESS = [{"address": TO, "storageKeys": ["0x" + "01" * 32, "0x" + "00" * 32]}]

KINDS: dict[str, dict[str, Any]] = {
    "legacy": {"to": TO, "gasPrice": 3 * GWEI, "chainId": CHAIN_ID},
    "legacy for any chain": {"to": TO, "gasPrice": 3 * GWEI},
    "legacy creation": {"gasPrice": 3 * GWEI, "chainId": CHAIN_ID, "data": b"\0"},
    "2930": {"to": TO, "gasPrice": 3 * GWEI, "chainId": CHAIN_ID, "type": 1, "accessList": ACCESS},
    "1559": {"to": TO, **FEES, "chainId": CHAIN_ID, "data": b"hello", "accessList": ACCESS},
    "1559 creation": {**FEES, "chainId": CHAIN_ID, "data": b"\0"},
    "4844": {
        **FEES,
        "to": TO,
        "chainId": CHAIN_ID,
        "type": 3,
        "maxFeePerBlobGas": GWEI,
        "blobVersionedHashes": [b"\x01" + sha256(INFINITY).digest()[1:]],
    },
    "7702": {"to": TO, **FEES, "chainId": CHAIN_ID, "type": 4},
}


@pytest.fixture(scope="module")
def node(anvil_binary: str) -> Iterator[Anvil]:
    node = Anvil("alder", anvil_binary)
    node.start()
    try:
        yield node
    finally:
        node.kill()


def signed(kind: str, key: str) -> str:
    wanted = {"nonce": 0, "gas": 200_000, "value": 0, **KINDS[kind]}
    if kind == "7702":
        lent = {"chainId": CHAIN_ID, "address": TO, "nonce": 1}
        wanted["authorizationList"] = [Account.sign_authorization(lent, key)]
    raw = bytes(Account.sign_transaction(wanted, key).raw_transaction)
    if kind == "4844":
        beside = (1, [ZEROS], [INFINITY], [INFINITY] * 128)
        raw = raw[:1] + enclose(raw[1:] + b"".join(map(encode, beside)))
    return "0x" + raw.hex()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pending_transaction_as_a_real_node_shows_it(kind: str, node: Anvil) -> None:
    account = node.accounts[list(KINDS).index(kind)]
    raw = signed(kind, account.key)
    hash = node.call("eth_sendRawTransaction", raw)
    transaction = decode(raw, CHAIN_ID)
    assert transaction.hash == hash
    assert transaction.lane == account.address.lower()
    ours = json.loads(pending_object(transaction))
    theirs = node.call("eth_getTransactionByHash", hash)

    # geth writes it, and null while there is no block; anvil leaves it out.
    assert ours.pop("blockTimestamp") is None
    # anvil says what a gas costs at the present base fee, geth what it may cost at most.
    base_fee = int(node.call("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
    if "maxFeePerGas" in theirs:
        assert int(theirs.pop("gasPrice"), 16) == base_fee + FEES["maxPriorityFeePerGas"]
        assert ours.pop("gasPrice") == ours["maxFeePerGas"]
    # anvil's pool gives the blobs along, geth's transaction has shed them.
    for name in ("blobs", "commitments", "proofs", "cellProofs"):
        assert name not in ours
        theirs.pop(name, None)
    assert ours == theirs
