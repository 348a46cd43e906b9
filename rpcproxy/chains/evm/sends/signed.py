"""A signed transaction read field by field: who sent it, and what no node can take.

Sources: EIP-2 (upper half of s), EIP-155 (chain id in v), EIP-2681 (nonce), EIP-2718 (envelopes),
EIP-2930, 1559, 4844, 7594 and 7702 (types 1–4). Types that chains made for themselves are passed
on unread, but for sender and nonce of Celo's (CIP-64). What only a node can know (balance, gas,
blob proofs) is left to nodes. A transaction is refused at the first item that none has, and each
list in it is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

import msgspec
from coincurve import PublicKey

from rpcproxy.chains.evm.sends import rlp
from rpcproxy.chains.evm.sends.raw_transactions import (
    MOST_FIELDS,
    NEITHER,
    keccak256,
    transaction_hash,
    typed_items,
    unhex,
    without_blobs,
)
from rpcproxy.chains.parts.transactions import BadTransaction, DecodedTransaction

LEGACY: Final = 0
_ACCESS: Final = 1  # EIP-2930
_FEES: Final = 2  # EIP-1559
_BLOBS: Final = 3  # EIP-4844
_SET_CODE: Final = 4  # EIP-7702

_CELO: Final = 0x7B  # CIP-64
_CELO_FIELDS: Final = 13

_FIELDS: Final = {LEGACY: 9, _ACCESS: 11, _FEES: 12, _BLOBS: 14, _SET_CODE: 13}

# How go-ethereum 1.17.10 says it (rlp/decode.go, core/types, core/txpool).
_NO_STRING: Final = "rlp: expected input string or byte"
_NO_LIST: Final = "rlp: expected input list"
_LONGER: Final = "rlp: input string too long"
_SHORTER: Final = "rlp: input string too short"
_ZEROS: Final = "rlp: non-canonical integer (leading zero bytes)"
_BAD_SIGNATURE: Final = "invalid sender: invalid transaction v, r, s values"

_CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER: Final = _CURVE_ORDER // 2
_MAX_NONCE: Final = 2**64 - 2

_BLOB_BYTES: Final = 131_072  # EIP-4844: 4096 field elements of 32 bytes
_KZG_BYTES: Final = 48
_KZG_VERSION: Final = b"\x01"
_CELLS_VERSION: Final = 1  # EIP-7594: the wrapper that has a proof for each cell
_CELL_PROOFS: Final = 128


class AccessListItem(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a transaction says beforehand it will touch, as in its JSON."""

    address: str
    storage_keys: tuple[str, ...]


class Authorization(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """An account that lends itself code (EIP-7702), as in its JSON."""

    chain_id: str
    address: str
    nonce: str
    y_parity: str
    r: str
    s: str


class Body(msgspec.Struct, frozen=True, gc=False):
    """What only the JSON needs. Prices in wei per gas; ``None`` where the type has no such."""

    gas: int
    gas_price: int  # the most it pays, where there is a tip
    tip: int | None
    to: str | None  # None: it creates a contract
    value: int
    input: bytes
    access_list: tuple[AccessListItem, ...] | None
    blob_gas_price: int | None
    blob_hashes: tuple[str, ...] | None
    authorizations: tuple[Authorization, ...] | None
    v: int
    r: int
    s: int


class SignedTransaction(DecodedTransaction, frozen=True, gc=False):
    """A signed transaction; addresses and hashes are ``0x`` and lower-case digits.

    ``raw`` is as it was sent, blobs included; ``lane`` is the sender's address, ``order`` the
    nonce. ``body`` is ``None`` where the type is not ours to read: lane and order are unknown then,
    but for Celo's, and ``hash`` is empty where only the chain can compute it. ``chain_id`` is
    ``None`` there, and where the transaction may go to any chain.
    """

    type: int = LEGACY
    chain_id: int | None = None
    body: Body | None = None


def decode(raw_hex: str, chain_id: int) -> SignedTransaction:
    """The transaction in what a wallet sends to this chain.

    Raises ``BadTransaction`` for what no node of the chain can take. Types that are not
    Ethereum's are never refused.
    """
    raw = unhex(raw_hex)
    first = raw[0]
    if 0x80 <= first < 0xC0:
        raise BadTransaction(*NEITHER)
    if first < 0x80 and first not in (_ACCESS, _FEES, _BLOBS, _SET_CODE):
        hash = _foreign_hash(raw_hex)
        sender, nonce = _celo_place(raw) if first == _CELO and hash else ("", -1)
        return SignedTransaction(raw, hash, sender, nonce, type=first)
    try:
        return _read(raw, chain_id)
    except rlp.BadRlp as bad:
        raise BadTransaction(bad.words, bad.reason) from None


def _foreign_hash(raw_hex: str) -> str:
    try:
        return transaction_hash(raw_hex) or ""
    except BadTransaction:
        # One chain's type may have another chain's number: who knows the type decides.
        return ""


def _celo_place(raw: bytes) -> tuple[str, int]:
    """Sender and nonce of what pays its fee in a token (CIP-64): written as EIP-1559's, with the
    token before the signature. What reads otherwise has neither.
    """
    try:
        fields = _Fields(raw, typed_items(raw))
        fields.must_be(_CELO_FIELDS, "it")
        fields.next = 1
        nonce = fields.number("nonce", 64)
        fields.next = _CELO_FIELDS - 3
        signature = _parity(fields), fields.number("r"), fields.number("s")
        return _sender(_signed_digest(fields, _CELO, None), *signature), nonce
    except (BadTransaction, rlp.BadRlp):
        return "", -1


def _read(raw: bytes, chain_id: int) -> SignedTransaction:
    is_legacy = raw[0] >= 0xC0
    type = LEGACY if is_legacy else raw[0]
    bare = without_blobs(raw) if type == _BLOBS else raw
    items = rlp.items(bare, 0, len(bare), MOST_FIELDS) if is_legacy else typed_items(bare)
    fields = _Fields(bare, items)
    fields.must_be(_FIELDS[type], f"a transaction of type {type}")
    own_chain = None if is_legacy else fields.number("chain id")
    if own_chain is not None:
        _must_match(own_chain, chain_id)
    nonce = fields.number("nonce", 64)
    if nonce > _MAX_NONCE:
        raise BadTransaction("nonce has max value", "the nonce is too large")
    body = _body(fields, type)
    if is_legacy:
        own_chain, parity = _chain_and_parity(body.v)
        if own_chain is not None:
            _must_match(own_chain, chain_id)
    else:
        parity = body.v
    if bare is not raw:
        _check_wrapper(raw, body.blob_hashes or ())
    hash = "0x" + keccak256(bare).hex()
    sender = _sender(_signed_digest(fields, type, own_chain), parity, body.r, body.s)
    return SignedTransaction(raw, hash, sender, nonce, type, own_chain, body)


def _must_match(own_chain: int, chain_id: int) -> None:
    if own_chain != chain_id:
        raise BadTransaction(
            f"invalid sender: invalid chain id for signer: have {own_chain} want {chain_id}",
            f"it is for chain {own_chain}, this is chain {chain_id}",
        )


class _Fields:
    """The items of one RLP list, taken one after the other. ``next`` is the only state.

    Its methods raise ``BadTransaction`` and ``rlp.BadRlp``.
    """

    __slots__ = ("data", "items", "next")

    def __init__(self, data: bytes, items: list[tuple[int, int, int]]) -> None:
        self.data = data
        self.items = items
        self.next = 0

    def must_be(self, count: int, what: str) -> None:
        """``what`` has so many fields."""
        if (found := len(self.items)) != count:
            told = f"{found} or more" if found > MOST_FIELDS else f"{found}"
            few = "too few elements" if found < count else "input list has too many elements"
            raise BadTransaction(f"rlp: {few}", f"{what} has {count} fields, this one has {told}")

    def text(self, name: str) -> bytes:
        start, payload, stop = self.items[self.next]
        if self.data[start] >= 0xC0:
            raise BadTransaction(_NO_STRING, f"the {name} is a list")
        self.next += 1
        return self.data[payload:stop]

    def sized(self, name: str, size: int) -> bytes:
        text = self.text(name)
        if len(text) != size:
            reason = f"the {name} must have {size} bytes and has {len(text)}"
            raise BadTransaction(_SHORTER if len(text) < size else _LONGER, reason)
        return text

    def number(self, name: str, bits: int = 256) -> int:
        text = self.text(name)
        if text[:1] == b"\0":
            raise BadTransaction(_ZEROS, f"the {name} begins with a zero byte")
        if len(text) * 8 > bits:
            raise BadTransaction(_LONGER, f"the {name} is too large")
        return int.from_bytes(text, "big")

    def _list(self, name: str) -> tuple[int, int]:
        """Where the list begins, its header included, and where it ends."""
        start, _, stop = self.items[self.next]
        if self.data[start] < 0xC0:
            raise BadTransaction(_NO_LIST, f"the {name} is not a list")
        self.next += 1
        return start, stop

    def lists(self, name: str, each: str, count: int, what: str) -> Iterator[_Fields]:
        """Of a list of lists one after the other: the first that has not ``count`` fields is the
        last that is looked at.
        """
        start, stop = self._list(name)
        position, _ = rlp.extent(self.data, start, stop)
        while position < stop:
            if self.data[position] < 0xC0:
                raise BadTransaction(_NO_LIST, f"the {each} is not a list")
            _, end = rlp.extent(self.data, position, stop)
            inner = _Fields(self.data, rlp.items(self.data, position, end, MOST_FIELDS))
            inner.must_be(count, what)
            yield inner
            position = end

    def all_sized(self, name: str, each: str, size: int) -> list[bytes]:
        """A list of byte strings of one size."""
        start, stop = self._list(name)
        data = self.data
        payloads = rlp.sized_items(data, start, stop, size)
        if payloads is not None:
            return [data[payload : payload + size] for payload in payloads]
        # Something is wrong in it: say what is, at the first of them.
        position, _ = rlp.extent(data, start, stop)
        while position < stop:
            payload, end = rlp.extent(data, position, stop)
            _Fields(data, [(position, payload, end)]).sized(each, size)
            position = end
        return []


def _body(fields: _Fields, type: int) -> Body:
    """All fields after the nonce, taken in the order in which they stand here."""
    tip = fields.number("priority fee") if type >= _FEES else None
    gas_price = fields.number("gas price" if tip is None else "maximum fee")
    if tip is not None and tip > gas_price:
        raise BadTransaction(
            "max priority fee per gas higher than max fee per gas:"
            f" maxPriorityFeePerGas: {tip}, maxFeePerGas: {gas_price}",
            "the priority fee is higher than the maximum fee",
        )
    return Body(
        gas=fields.number("gas limit", 64),
        gas_price=gas_price,
        tip=tip,
        to=_to(fields, can_create=type < _BLOBS),
        value=fields.number("value"),
        input=fields.text("data"),
        access_list=None if type == LEGACY else _access_list(fields),
        blob_gas_price=fields.number("maximum blob fee") if type == _BLOBS else None,
        blob_hashes=_blob_hashes(fields) if type == _BLOBS else None,
        authorizations=_authorizations(fields) if type == _SET_CODE else None,
        v=fields.number("v") if type == LEGACY else _parity(fields),
        r=fields.number("signature's r"),
        s=fields.number("signature's s"),
    )


def _to(fields: _Fields, *, can_create: bool) -> str | None:
    to = fields.text("recipient")
    if not to and can_create:
        return None
    if len(to) != 20:
        reason = f"the recipient's address must have 20 bytes and has {len(to)}"
        words = _SHORTER if len(to) < 20 else _LONGER
        raise BadTransaction(f"{words} for common.Address", reason)
    return "0x" + to.hex()


def _access_list(fields: _Fields) -> tuple[AccessListItem, ...]:
    entries = fields.lists("access list", "access list's entry", 2, "an entry of the access list")
    return tuple([_access(entry) for entry in entries])


def _access(entry: _Fields) -> AccessListItem:
    address = entry.sized("access list's address", 20)
    keys = entry.all_sized("list of storage keys", "storage key", 32)
    return AccessListItem("0x" + address.hex(), tuple(["0x" + key.hex() for key in keys]))


def _blob_hashes(fields: _Fields) -> tuple[str, ...]:
    hashes = fields.all_sized("list of blob hashes", "blob hash", 32)
    if not hashes:
        reason = "a blob transaction has at least one blob, this one has none"
        raise BadTransaction("blobless blob transaction", reason)
    return tuple(["0x" + each.hex() for each in hashes])


def _authorizations(fields: _Fields) -> tuple[Authorization, ...]:
    entries = fields.lists("authorization list", "authorization", 6, "an authorization")
    found = tuple([_authorization(entry) for entry in entries])
    if not found:
        words = "set code tx must have at least one authorization tuple"
        raise BadTransaction(words, "the authorization list is empty")
    return found


def _authorization(entry: _Fields) -> Authorization:
    """EIP-7702: a signature that fits nobody is skipped, and the transaction is valid without."""
    return Authorization(
        chain_id=hex(entry.number("authorization's chain id")),
        address="0x" + entry.sized("authorization's address", 20).hex(),
        nonce=hex(entry.number("authorization's nonce", 64)),
        y_parity=hex(entry.number("authorization's y parity", 8)),
        r=hex(entry.number("authorization's r")),
        s=hex(entry.number("authorization's s")),
    )


def _parity(fields: _Fields) -> int:
    parity = fields.number("signature's y parity")
    if parity > 1:
        raise BadTransaction(_BAD_SIGNATURE, "bad signature: its y parity is neither 0 nor 1")
    return parity


def _chain_and_parity(v: int) -> tuple[int | None, int]:
    """What a legacy transaction's ``v`` says. Without a chain it is for any: nodes decide."""
    if v in (27, 28):
        return None, v - 27
    if v < 35:
        reason = "bad signature: its v is none of 27, 28, 35 and above"
        raise BadTransaction(_BAD_SIGNATURE, reason)
    return (v - 35) // 2, (v - 35) % 2


def _check_wrapper(raw: bytes, hashes: tuple[str, ...]) -> None:
    """That the blobs beside the transaction are the ones that it names."""
    wrapper = _Fields(raw, typed_items(raw))
    wrapper.next = 1
    has_version = len(wrapper.items) == 5
    version = wrapper.number("blob wrapper's version", 8) if has_version else 0
    blobs = wrapper.all_sized("list of blobs", "blob", _BLOB_BYTES)
    commitments = wrapper.all_sized("list of blob commitments", "blob commitment", _KZG_BYTES)
    proofs = wrapper.all_sized("list of blob proofs", "blob proof", _KZG_BYTES)
    if not len(blobs) == len(commitments) == len(hashes):
        raise BadTransaction(
            f"invalid number of {len(commitments)} blob commitments"
            f" compared to {len(hashes)} blob hashes",
            f"it has {len(hashes)} blob hashes, {len(blobs)} blobs"
            f" and {len(commitments)} blob commitments",
        )
    # Of versions to come nothing is known.
    if not has_version or version == _CELLS_VERSION:
        expected = len(blobs) * (_CELL_PROOFS if has_version else 1)
        if len(proofs) != expected:
            raise BadTransaction(
                f"Wrong sidecar format: invalid number of {len(proofs)} blob proofs"
                f" expected {expected}",
                f"it must have {expected} blob proofs and has {len(proofs)}",
            )
    for index, (hash, commitment) in enumerate(zip(hashes, commitments, strict=True)):
        named = bytes.fromhex(hash[2:])
        if named[:1] == _KZG_VERSION and named[1:] != sha256(commitment).digest()[1:]:
            raise BadTransaction(
                f"blob {index}: computed hash mismatches transaction one {hash}",
                "a blob commitment is not the one that the blob hash names",
            )


def _signed_digest(fields: _Fields, type: int, own_chain: int | None) -> bytes:
    """What the sender signed: all fields but the signature, which stand side by side already."""
    signed = fields.data[fields.items[0][0] : fields.items[-3][0]]
    if type != LEGACY:
        return keccak256(fields.data[:1] + rlp.enclose(signed))
    if own_chain is not None:
        signed += rlp.encode(own_chain) + b"\x80\x80"
    return keccak256(rlp.enclose(signed))


def _sender(digest: bytes, parity: int, r: int, s: int) -> str:
    if not 0 < r < _CURVE_ORDER:
        raise BadTransaction(_BAD_SIGNATURE, "bad signature: its r is out of range")
    if not 0 < s <= _HALF_ORDER:
        raise BadTransaction(_BAD_SIGNATURE, "bad signature: its s is out of range")
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((parity,))
    try:
        key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except ValueError:
        raise BadTransaction(_BAD_SIGNATURE, "bad signature") from None
    return "0x" + keccak256(key.format(compressed=False)[1:])[12:].hex()
