"""Hashes of ZKsync's own type, as zksync-ethers 6.15 computes them (parseEip712 of its own bytes)."""

from __future__ import annotations

import pytest

from rpcproxy.chains.evm.sends import rlp
from rpcproxy.chains.evm.sends.raw_transactions import typed_items
from rpcproxy.chains.evm.sends.zksync import zksync_hashes

VECTORS = {
    "plain": (
        (
            "71f88f05840ee6b280840ee6b280830186a09422222222222222222222222222222222222222220784de"
            "adbeef82014480808201449419e7e376e7c213b7e7e7e46cc70a5dd086daff2a82c350c0b8413b764402"
            "ca7c34f5621694a4f23dcf81a6e8397985e84c49138d10fa4a36d43a5cd6fd9fd4c53a225f6916c693b2"
            "ef1ce870afd2da2778d8d4da512a478d93111bc0"
        ),
        "0x37b9dadb1109a6a5a05fc5edb0b29ee0025bbee1da3dcbbb6840c1044f7d60e0",
    ),
    "paid": (
        (
            "71f8a905840ee6b280840ee6b280830186a09422222222222222222222222222222222222222220784de"
            "adbeef82014480808201449419e7e376e7c213b7e7e7e46cc70a5dd086daff2a82c350c0b8415435e356"
            "22befd11b490487886ae0909b76ab32207e823cafa67927a31b7d10d2106d81b066dfdc80e5f6ed75831"
            "4eb4e88945d863bfccce9e39d2186b3c83411bda94555555555555555555555555555555555555555584"
            "8c5a3445"
        ),
        "0x0e3c7455252fceb59cf4d5207addaac7cb98268037db12e8469af22faecfe891",
    ),
    "deps": (
        (
            "71f8f205840ee6b280840ee6b280830186a09422222222222222222222222222222222222222220784de"
            "adbeef82014480808201449419e7e376e7c213b7e7e7e46cc70a5dd086daff2a82c350f862b860010101"
            "010101010101010101010101010101010101010101010101010101010102020202020202020202020202"
            "020202020202020202020202020202020202020303030303030303030303030303030303030303030303"
            "030303030303030303b841e90feda53f9a7b582f39805b9b209b74a7aa074872f676fab4d01c88a8d48d"
            "7e6bdf1d8254189213d232c120977a78566597387a32ba91ee85f240a106eed4b71bc0"
        ),
        "0x486be32b26d5e7b0b231eb26b0988b554f066fde9bd9ee8fe2893fec7aad106a",
    ),
    "custom": (
        (
            "71f89405840ee6b280840ee6b280830186a09422222222222222222222222222222222222222220784de"
            "adbeef82014480808201449419e7e376e7c213b7e7e7e46cc70a5dd086daff2a82c350c0b846abababab"
            "abababababababababababababababababababababababababababababababababababababababababab"
            "ababababababababababababababababababababababababc0"
        ),
        "0x4f59fd4c3fe9e14f5f4499bf456f3efb63b4f8ab0a5f78df58f367789ed5b3a1",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_as_zksync_ethers(name: str) -> None:
    raw, expected = VECTORS[name]
    assert zksync_hashes(bytes.fromhex(raw)) == [expected]


def test_a_signature_of_the_account_itself_is_written_in_two_ways() -> None:
    """Without a custom one, ``v``, ``r`` and ``s`` stand where the chain id and blanks are else."""
    raw = bytes.fromhex(VECTORS["plain"][0])
    items = [raw[start:stop] for start, _, stop in typed_items(raw)]
    signature = raw[typed_items(raw)[14][1] : typed_items(raw)[14][2]]
    items[7:10] = [
        rlp.encode(signature[64] - 27),
        *(rlp.encode(int.from_bytes(part, "big")) for part in (signature[:32], signature[32:64])),
    ]
    items[14] = b"\x80"
    found = zksync_hashes(b"\x71" + rlp.enclose(b"".join(items)))
    assert len(found) == 2
    assert VECTORS["plain"][1] in found


def test_a_list_that_is_far_too_long_is_not_read() -> None:
    raw = bytes.fromhex(VECTORS["plain"][0])
    items = [raw[start:stop] for start, _, stop in typed_items(raw)]
    items[13] = rlp.enclose(b"\x01" * 300)
    assert zksync_hashes(b"\x71" + rlp.enclose(b"".join(items))) == []


@pytest.mark.parametrize("raw", ["02c0", "71", "71c0", "7180", "71c20102", "71f8", ""])
def test_what_is_none(raw: str) -> None:
    assert zksync_hashes(bytes.fromhex(raw)) == []
