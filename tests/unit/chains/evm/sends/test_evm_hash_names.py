"""How hashes and bytes of transactions stand in texts."""

from __future__ import annotations

import pytest

from rpcproxy.chains.evm.sends.hash_names import EVM_NAMES, START_DIGITS
from tests.kits.signed_transactions import RAW, SIGNED

A, B = "0x" + "a1" * 32, "0x" + "b2" * 32


@pytest.mark.parametrize(
    ("text", "hash"),
    [(A, A), (A.upper(), A), (A[2:], None), (A + "0", None), (A[:-1], None), ("", None)],
)
def test_as_people_write_it(text: str, hash: str | None) -> None:
    assert EVM_NAMES.hash_of(text) == hash


def test_the_first_in_params_is_a_text_of_its_own() -> None:
    assert EVM_NAMES.hash_in(b'[1, "%b", "%b"]' % (A.upper().encode(), B.encode())) == A
    assert EVM_NAMES.hash_in(b'["%b"]' % A[2:].encode()) == ""
    assert EVM_NAMES.hash_in(b"[]") == ""


def test_all_that_stand_for_themselves() -> None:
    params = b'["%b", "%b", "%bff"]' % (A.encode(), B[2:].upper().encode(), A.encode())
    assert EVM_NAMES.hashes_in(params) == [A, B]


def test_by_the_beginning_of_its_bytes() -> None:
    raw = RAW["1559"]
    start = EVM_NAMES.start_of(raw)
    assert len(start) == START_DIGITS
    assert EVM_NAMES.start_of(raw[:128]) == start
    assert start in EVM_NAMES.starts_in(b'["0x%b"]' % raw.hex().upper().encode())
    assert EVM_NAMES.starts_in(b'["0x%b"]' % raw[:79].hex().encode()) == []


def test_whole_ones_in_a_bundle() -> None:
    texts = b",".join(b'"0x%b"' % RAW[kind].hex().encode() for kind in ("legacy", "1559"))
    found = EVM_NAMES.transactions_in(b'[{"txs":[%b]}]' % texts)
    assert found == [
        ("0x" + SIGNED[k].hash.hex().removeprefix("0x"), RAW[k]) for k in ("legacy", "1559")
    ]
