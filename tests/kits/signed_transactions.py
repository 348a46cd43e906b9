"""Signed transactions of every type, and what it takes to sign wrong ones."""

from hashlib import sha256

from coincurve import PrivateKey
from eth_account import Account

from rpcproxy.chains.evm.sends.raw_transactions import keccak256
from rpcproxy.chains.evm.sends.rlp import encode

CHAIN = 1
KEY = "0x" + "11" * 32
SENDER = Account.from_key(KEY).address.lower()
TO = "0x" + "22" * 20
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_BASE = {"nonce": 7, "gas": 21000, "to": TO, "value": 5, "data": b"hello" * 20}
_NEW = {"nonce": 7, "gas": 90000, "value": 5, "data": b"hello" * 20}
_FEES = {"maxFeePerGas": 3, "maxPriorityFeePerGas": 2, "chainId": CHAIN}
_ACCESS = [
    {"address": TO, "storageKeys": ["0x" + "01" * 32, "0x" + "00" * 32]},
    {"address": TO, "storageKeys": []},
]
LENT = Account.sign_authorization({"chainId": CHAIN, "address": TO, "nonce": 0}, KEY)
HASHES = ["0x01" + "33" * 31, "0x01" + "44" * 31]

WANTED = {
    "for any chain": (0, {**_BASE, "gasPrice": 7}),
    "legacy": (0, {**_BASE, "gasPrice": 7, "chainId": CHAIN}),
    "legacy creation": (0, {**_NEW, "gasPrice": 7, "chainId": CHAIN}),
    "2930": (1, {**_BASE, "gasPrice": 7, "chainId": CHAIN, "accessList": _ACCESS}),
    "1559": (2, {**_BASE, **_FEES}),
    "1559 creation": (2, {**_NEW, **_FEES, "accessList": _ACCESS}),
    "4844": (3, {**_BASE, **_FEES, "maxFeePerBlobGas": 9, "blobVersionedHashes": HASHES}),
    "7702": (4, {**_BASE, **_FEES, "authorizationList": [LENT]}),
}


def _sign(kind):
    type, wanted = WANTED[kind]
    return Account.sign_transaction({**wanted, "type": type} if type else wanted, KEY)


SIGNED = {kind: _sign(kind) for kind in WANTED}
RAW = {kind: bytes(signed.raw_transaction) for kind, signed in SIGNED.items()}


def as_hex(raw):
    return "0x" + raw.hex()


def written(type, fields):
    return (bytes((type,)) if type else b"") + encode(fields)


# Fields of transactions of our own, without signatures.
ENTRY = [b"\x22" * 20, [b"\x01" * 32]]
LOAN = [1, b"\x22" * 20, 0, 1, 5, 6]
KZG = b"c" * 48
_BLOB_HASH = b"\x01" + sha256(KZG).digest()[1:]
PLAIN = {
    0: [7, 3, 21000, b"\x22" * 20, 5, b"data"],
    1: [CHAIN, 7, 3, 21000, b"\x22" * 20, 5, b"data", [ENTRY]],
    2: [CHAIN, 7, 2, 3, 21000, b"\x22" * 20, 5, b"data", [ENTRY]],
    3: [CHAIN, 7, 2, 3, 21000, b"\x22" * 20, 5, b"data", [ENTRY], 9, [_BLOB_HASH]],
    4: [CHAIN, 7, 2, 3, 21000, b"\x22" * 20, 5, b"data", [ENTRY], [LOAN]],
}


def signed_fields(type, fields):
    """With a signature that fits them, whatever they are."""
    if type == 0:
        digest = keccak256(encode([*fields, CHAIN, b"", b""]))
    else:
        digest = keccak256(written(type, fields))
    signature = PrivateKey(bytes.fromhex(KEY[2:])).sign_recoverable(digest, hasher=None)
    r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
    return [*fields, signature[64] + (35 + 2 * CHAIN if type == 0 else 0), r, s]


def signed_with(type, position, item):
    fields = list(PLAIN[type])
    fields[position] = item
    return written(type, signed_fields(type, fields))


# Blobs beside the transaction.
BLOB = b"\x07" * 131_072
PROOF = b"p" * 48


def wrapped(*rest):
    return b"\x03" + encode([signed_fields(3, PLAIN[3]), *rest])
