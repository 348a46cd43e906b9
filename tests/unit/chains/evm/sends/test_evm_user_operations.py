"""Hashes of user operations as viem 2 computes them (getUserOperationHash)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rpcproxy.chains.evm.sends.user_operations import user_operation_hash

V06 = "0x5FF137D4b0FDCD49DcA30c7CF57E578a026d2789"
V07 = "0x0000000071727De22E5E9d8BAf0edAc6f37da032"
V08 = "0x4337084D9E255Ff0702461CF8895CE9E3b5Ff108"
PLAIN: dict[str, Any] = {
    "sender": "0x1234567890123456789012345678901234567890",
    "nonce": "0x5",
    "callData": "0xdeadbeef",
    "callGasLimit": "0x186a0",
    "verificationGasLimit": "0x30d40",
    "preVerificationGas": "0xc350",
    "maxFeePerGas": "0xb2d05e00",
    "maxPriorityFeePerGas": "0x3b9aca00",
    "signature": "0x",
}
UNPACKED = PLAIN | {"initCode": "0x" + "11" * 30, "paymasterAndData": "0x"}
PAID = PLAIN | {
    "factory": "0x" + "22" * 20,
    "factoryData": "0x3344",
    "paymaster": "0x" + "55" * 20,
    "paymasterVerificationGasLimit": "0x7",
    "paymasterPostOpGasLimit": "0x8",
    "paymasterData": "0x99",
}


def hash_of(operation: object, entry_point: object) -> str:
    return user_operation_hash(msgspec.json.encode([operation, entry_point]), 7)


@pytest.mark.parametrize(
    ("operation", "entry_point", "expected"),
    [
        (UNPACKED, V06, "0xb1be8122cc6e80b80368d4a2dbe1b0ab1140fd8213669b8d785fc93ed407dfb7"),
        (PAID, V07, "0x7250a31d4ed503997393bca539032544956f31992746c126fcf6835fd8624ea9"),
        (PLAIN, V07, "0xd4042edbcfc8b25bd5d161f13f173a690cba0e8fb4b2e4a18ac0bc3683b1cbc6"),
        (PLAIN, V08, "0x7f9fac88532a7c8328f343e095be1dd12a89a7fb8bf0b92a7b4ffbf8d9b144ad"),
    ],
)
def test_as_viem(operation: object, entry_point: str, expected: str) -> None:
    assert hash_of(operation, entry_point) == expected


def test_the_signature_is_left_out() -> None:
    assert hash_of(PLAIN | {"signature": "0x99"}, V07.lower()) == hash_of(PLAIN, V07)


@pytest.mark.parametrize(
    ("operation", "entry_point"),
    [
        (PLAIN, "0x" + "12" * 20),
        (PLAIN, 7),
        ({}, V07),
        (7, V07),
        (PLAIN | {"nonce": 5}, V07),
        (PLAIN | {"nonce": "0x" + "f" * 65}, V07),
        (PLAIN | {"callData": "0xz"}, V07),
        (PLAIN | {"eip7702Auth": {"address": "0x"}}, V07),
    ],
)
def test_what_has_none(operation: object, entry_point: object) -> None:
    assert hash_of(operation, entry_point) == ""


def test_what_is_no_list() -> None:
    for params in (b"[]", b"{}", b"", b'["0x"]', b"[" * 2000):
        assert user_operation_hash(params, 7) == ""


def test_what_has_more_fields_than_an_operation_is_not_read() -> None:
    """A client's 240,000 fields took 83 ms, in which nobody else was served."""
    odd = {f"more{index}": "0x" for index in range(64)}
    assert hash_of(PLAIN | {"initCode": "0x", "paymasterAndData": "0x"}, V06)
    assert hash_of(PLAIN | {"initCode": "0x", "paymasterAndData": "0x"} | odd, V06) == ""
