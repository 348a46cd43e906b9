"""Hashes that refusals name. Texts of geth 1.8 and zkSync (chainlink 12338, 12600)."""

from __future__ import annotations

import msgspec
import pytest

from rpcproxy.chains.evm.sends.said_hashes import hashes_in

A, B = "0x" + "a1" * 32, "0x" + "b2" * 32


@pytest.mark.parametrize(
    ("error", "whole"),
    [
        ({"code": -32000, "message": f"known transaction: {A[2:]}"}, [A]),
        ({"code": -32000, "message": f"Known transaction: {A.upper()}"}, [A]),
        ({"code": -32000, "message": "already known"}, []),
        ({"code": 3, "message": "known", "data": {"hash": A, "of": [B, A]}}, [A, B]),
        ({"code": 3, "message": "known", "data": "0x" + "00" * 33}, []),  # longer
        ({"code": 3, "message": "known", "data": A + "ff"}, []),
    ],
)
def test_whole(error: object, whole: list[str]) -> None:
    found = hashes_in(msgspec.json.encode(error))
    assert list(found.whole) == whole
    assert found.only == (whole[0] if len(whole) == 1 else "")


def test_shortened() -> None:
    words = "known transaction. transaction with hash 0xa1a1…a1a1 is already in the system"
    found = hashes_in(msgspec.json.encode({"code": 3, "message": words, "data": "0x"}))
    assert found.shortened == ("0xa1a1", "a1a1")
    assert found.names(A)
    assert not found.names(B)
    assert not hashes_in(b"no JSON").names(A)
    assert hashes_in(msgspec.json.encode({"message": "0xA1A1...a1a1"})).names(A)
