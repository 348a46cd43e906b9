"""The hash of a transaction of ZKsync's own type, 0x71: of what was signed, and of the signature.

Source: zksync-ethers 6 (parseEip712, eip712TxHash), the ZK stack's L2 transactions. What was signed
is typed data (EIP-712); a contract's code is named by its own kind of hash.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from rpcproxy.chains.evm.sends import rlp
from rpcproxy.chains.evm.sends.raw_transactions import keccak256, typed_items
from rpcproxy.chains.parts.transactions import BadTransaction

TYPE: Final = 0x71
_FIELDS: Final = 16
# Of a list in it; its chains take 64 dependencies at most (MAX_NEW_FACTORY_DEPS).
_MOST_LISTED: Final = 256
_DOMAIN_TYPE: Final = keccak256(b"EIP712Domain(string name,string version,uint256 chainId)")
_TYPE: Final = keccak256(
    b"Transaction(uint256 txType,uint256 from,uint256 to,uint256 gasLimit,"
    b"uint256 gasPerPubdataByteLimit,uint256 maxFeePerGas,uint256 maxPriorityFeePerGas,"
    b"uint256 paymaster,uint256 nonce,uint256 value,bytes data,bytes32[] factoryDeps,"
    b"bytes paymasterInput)"
)
_NAMES: Final = keccak256(b"zkSync") + keccak256(b"2")


def zksync_hashes(raw: bytes) -> list[str]:
    """What its hash may be: an account's own signature is written in two ways. Empty for what is no
    such transaction.
    """
    if raw[:1] != bytes((TYPE,)):
        return []
    try:
        spans = typed_items(raw)
        if len(spans) != _FIELDS:
            return []
        fields = [raw[payload:stop] for _, payload, stop in spans]
        code = _texts(raw, spans[13])
        paid = _texts(raw, spans[15])
        digest = _digest(fields, code, paid)
    except (BadTransaction, rlp.BadRlp, OverflowError):
        return []
    return ["0x" + keccak256(digest + keccak256(each)).hex() for each in _signatures(fields)]


def _texts(raw: bytes, span: tuple[int, int, int]) -> list[bytes]:
    start, _, stop = span
    if raw[start] < 0xC0:
        raise BadTransaction("rlp: expected input list", "it is no list")
    found = rlp.items(raw, start, stop, _MOST_LISTED)
    if len(found) > _MOST_LISTED:
        raise BadTransaction("rlp: input list has too many elements", "a list in it is too long")
    return [raw[payload:end] for _, payload, end in found]


def _digest(fields: list[bytes], code: list[bytes], paid: list[bytes]) -> bytes:
    nonce, tip, fee, gas, to, value, data = fields[:7]
    chain_id, sender, pubdata = fields[10:13]
    paymaster, paymaster_input = paid if len(paid) == 2 else (b"", b"")
    words = (bytes((TYPE,)), sender, to, gas, pubdata, fee, tip, paymaster, nonce, value)
    struct = keccak256(
        _TYPE
        + b"".join(map(_word, words))
        + keccak256(data)
        + keccak256(b"".join(map(_code_hash, code)))
        + keccak256(paymaster_input)
    )
    return keccak256(b"\x19\x01" + keccak256(_DOMAIN_TYPE + _NAMES + _word(chain_id)) + struct)


def _word(text: bytes) -> bytes:
    return int.from_bytes(text, "big").to_bytes(32, "big")


def _code_hash(code: bytes) -> bytes:
    """Version 1, the length in words, and most of SHA-256."""
    return b"\x01\0" + (len(code) // 32).to_bytes(2, "big") + sha256(code).digest()[4:]


def _signatures(fields: list[bytes]) -> list[bytes]:
    if fields[14]:
        return [fields[14]]
    r_and_s = _word(fields[8]) + _word(fields[9])
    parity = int.from_bytes(fields[7], "big")
    return [r_and_s + bytes((27 + parity % 2,)), r_and_s + bytes((parity % 2,))]
