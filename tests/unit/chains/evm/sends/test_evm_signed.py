import contextlib
import json

import pytest

from rpcproxy.chains.evm.sends import rlp
from rpcproxy.chains.evm.sends.pending_object import pending_object
from rpcproxy.chains.evm.sends.raw_transactions import (
    MOST_FIELDS,
    BadTransaction,
    Oversized,
    check_size,
    raw_transaction,
    transaction_hash,
)
from rpcproxy.chains.evm.sends.rlp import enclose, encode
from rpcproxy.chains.evm.sends.signed import decode
from tests.kits.signed_transactions import (
    BLOB,
    CHAIN,
    ENTRY,
    KZG,
    LOAN,
    ORDER,
    PLAIN,
    PROOF,
    RAW,
    SENDER,
    SIGNED,
    WANTED,
    as_hex,
    signed_fields,
    signed_with,
    wrapped,
    written,
)


@pytest.mark.parametrize("kind", WANTED)
def test_hash_sender_and_nonce_are_the_signers(kind):
    transaction = decode(as_hex(RAW[kind]), CHAIN)
    assert transaction.raw == RAW[kind]
    assert transaction.hash == SIGNED[kind].hash.to_0x_hex() == transaction_hash(as_hex(RAW[kind]))
    assert (transaction.lane, transaction.order) == (SENDER, 7)
    assert transaction.type == WANTED[kind][0]
    assert transaction.chain_id == (None if kind == "for any chain" else CHAIN)


def test_the_example_of_eip_155():
    transaction = decode(
        "0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080"
        "25a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276"
        "a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83",
        1,
    )
    assert transaction.lane == "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"
    assert (transaction.order, transaction.chain_id) == (9, 1)


@pytest.mark.parametrize("type", PLAIN)
def test_transactions_of_our_own(type):
    transaction = decode(as_hex(written(type, signed_fields(type, PLAIN[type]))), CHAIN)
    assert (transaction.lane, transaction.order, transaction.type) == (SENDER, 7, type)


_LONG = b"\x01" + bytes(32)


@pytest.mark.parametrize(
    ("type", "position", "item", "reason"),
    [
        (0, 0, b"\0", "the nonce begins with a zero byte"),
        (0, 0, b"\0\x07", "the nonce begins with a zero byte"),
        (0, 0, 2**64 - 1, "the nonce is too large"),
        (0, 0, 2**64, "the nonce is too large"),
        (0, 0, [], "the nonce is a list"),
        (0, 1, _LONG, "the gas price is too large"),
        (0, 2, 2**64, "the gas limit is too large"),
        (0, 3, b"\x22" * 19, "the recipient's address must have 20 bytes and has 19"),
        (0, 3, b"\x22" * 21, "the recipient's address must have 20 bytes and has 21"),
        (0, 4, _LONG, "the value is too large"),
        (0, 5, [], "the data is a list"),
        (1, 0, b"\0\x01", "the chain id begins with a zero byte"),
        (1, 0, 5, "it is for chain 5, this is chain 1"),
        (1, 0, 0, "it is for chain 0, this is chain 1"),
        (1, 2, b"\0", "the gas price begins with a zero byte"),
        (1, 7, b"", "the access list is not a list"),
        (1, 7, [b""], "the access list's entry is not a list"),
        (1, 7, [[]], "an entry of the access list has 2 fields, this one has 0"),
        (1, 7, [[b"\x22" * 20]], "has 2 fields, this one has 1"),
        (1, 7, [[*ENTRY, b""]], "has 2 fields, this one has 3"),
        (1, 7, [[b"\x22" * 19, []]], "the access list's address must have 20 bytes and has 19"),
        (1, 7, [[[], []]], "the access list's address is a list"),
        (1, 7, [[b"\x22" * 20, b""]], "the list of storage keys is not a list"),
        (1, 7, [[b"\x22" * 20, [b"k" * 31]]], "storage key must have 32 bytes and has 31"),
        (1, 7, [[b"\x22" * 20, [[]]]], "storage key is a list"),
        (2, 2, 4, "the priority fee is higher than the maximum fee"),
        (2, 2, _LONG, "the priority fee is too large"),
        (2, 3, _LONG, "the maximum fee is too large"),
        (2, 5, b"\x22", "the recipient's address must have 20 bytes and has 1"),
        (3, 5, b"", "the recipient's address must have 20 bytes and has 0"),
        (3, 9, _LONG, "the maximum blob fee is too large"),
        (3, 10, [], "at least one blob"),
        (3, 10, b"", "the list of blob hashes is not a list"),
        (3, 10, [b"\x01" * 31], "the blob hash must have 32 bytes and has 31"),
        (4, 5, b"", "the recipient's address must have 20 bytes and has 0"),
        (4, 9, [], "the authorization list is empty"),
        (4, 9, b"", "the authorization list is not a list"),
        (4, 9, [b""], "the authorization is not a list"),
        (4, 9, [LOAN[:5]], "an authorization has 6 fields, this one has 5"),
        (4, 9, [[_LONG, *LOAN[1:]]], "the authorization's chain id is too large"),
        (4, 9, [[1, b"", 0, 1, 5, 6]], "the authorization's address must have 20 bytes and has 0"),
        (4, 9, [[1, b"\x22" * 20, 2**64, 1, 5, 6]], "the authorization's nonce is too large"),
        (4, 9, [[1, b"\x22" * 20, 0, 256, 5, 6]], "the authorization's y parity is too large"),
        (4, 9, [[1, b"\x22" * 20, 0, 1, _LONG, 6]], "the authorization's r is too large"),
        (4, 9, [[1, b"\x22" * 20, 0, 1, 5, b"\0"]], "the authorization's s begins with a zero"),
    ],
)
def test_each_field_is_checked(type, position, item, reason):
    with pytest.raises(BadTransaction) as caught:
        decode(as_hex(signed_with(type, position, item)), CHAIN)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("type", "position", "item"),
    [
        (0, 0, 0),
        (0, 0, 2**64 - 2),
        (0, 1, 2**256 - 1),
        (0, 2, 2**64 - 1),
        (0, 3, b""),
        (1, 4, b""),
        (1, 7, []),
        (2, 2, 3),
        (2, 5, b""),
        (2, 6, 2**256 - 1),
        # EIP-7702: of a signature that fits nobody the transaction does not fall.
        (4, 9, [[2**256 - 1, b"\x22" * 20, 2**64 - 1, 255, 0, 2**256 - 1]]),
    ],
)
def test_what_is_just_within_bounds(type, position, item):
    transaction = decode(as_hex(signed_with(type, position, item)), CHAIN)
    assert transaction.lane == SENDER
    assert json.loads(pending_object(transaction))["from"] == SENDER


@pytest.mark.parametrize("type", PLAIN)
@pytest.mark.parametrize("more", [1, -1])
def test_the_number_of_fields(type, more):
    fields = signed_fields(type, PLAIN[type])
    fields = [*fields, b""] if more > 0 else fields[:-1]
    expected = f"type {type} has {len(fields) - more} fields, this one has {len(fields)}"
    with pytest.raises(BadTransaction, match=expected):
        decode(as_hex(written(type, fields)), CHAIN)


@pytest.mark.parametrize(
    ("type", "v", "r", "s", "reason"),
    [
        (2, 2, 1, 1, "bad signature: its y parity is neither 0 nor 1"),
        (2, 0, 0, 1, "bad signature: its r is out of range"),
        (2, 0, ORDER, 1, "bad signature: its r is out of range"),
        (2, 0, 1, 0, "bad signature: its s is out of range"),
        (2, 0, 1, ORDER // 2 + 1, "bad signature: its s is out of range"),
        (2, 0, 2**256, 1, "the signature's r is too large"),
        (2, 0, 5, 1, "bad signature"),  # no point of the curve is there
        (0, 0, 1, 1, "bad signature: its v is none of 27, 28, 35 and above"),
        (0, 29, 1, 1, "bad signature: its v is none of 27, 28, 35 and above"),
        (0, 34, 1, 1, "bad signature: its v is none of 27, 28, 35 and above"),
        (0, 35, 1, 1, "it is for chain 0, this is chain 1"),
        (0, 46, 1, 1, "it is for chain 5, this is chain 1"),
        (0, 27, 1, ORDER // 2 + 1, "bad signature: its s is out of range"),
    ],
)
def test_the_signature(type, v, r, s, reason):
    with pytest.raises(BadTransaction) as caught:
        decode(as_hex(written(type, [*PLAIN[type], v, r, s])), CHAIN)
    assert reason in caught.value.reason


def test_the_other_half_of_s_signs_the_same_and_is_refused():
    *fields, v, r, s = signed_fields(2, PLAIN[2])
    with pytest.raises(BadTransaction, match="out of range"):
        decode(as_hex(written(2, [*fields, 1 - v, r, ORDER - s])), CHAIN)


def test_another_chain_is_named():
    for kind in WANTED:
        if kind == "for any chain":
            assert decode(as_hex(RAW[kind]), 10).lane == SENDER
        else:
            with pytest.raises(BadTransaction, match="it is for chain 1, this is chain 10"):
                decode(as_hex(RAW[kind]), 10)


@pytest.mark.parametrize(
    "rest",
    [
        ([BLOB], [KZG], [PROOF]),
        (1, [BLOB], [KZG], [PROOF] * 128),
        (2, [BLOB], [KZG], [PROOF] * 3),  # a version to come
    ],
)
def test_blobs_stay_out_of_the_hash_and_in_the_bytes(rest):
    bare = decode(as_hex(written(3, signed_fields(3, PLAIN[3]))), CHAIN)
    whole = decode(as_hex(wrapped(*rest)), CHAIN)
    assert (whole.hash, whole.lane) == (bare.hash, SENDER)
    assert whole.raw == wrapped(*rest)
    assert pending_object(whole) == pending_object(bare)


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ((), "neither 4 nor 5 items"),
        (([BLOB], [KZG]), "neither 4 nor 5 items"),
        ((1, [BLOB], [KZG], [], b""), "neither 4 nor 5 items"),
        (([], [KZG], [PROOF]), "1 blob hashes, 0 blobs and 1 blob commitments"),
        (([BLOB], [], [PROOF]), "1 blob hashes, 1 blobs and 0 blob commitments"),
        (([BLOB] * 2, [KZG] * 2, [PROOF] * 2), "1 blob hashes, 2 blobs and 2"),
        (([BLOB], [KZG], []), "must have 1 blob proofs and has 0"),
        ((1, [BLOB], [KZG], [PROOF]), "must have 128 blob proofs and has 1"),
        (([BLOB[1:]], [KZG], [PROOF]), "the blob must have 131072 bytes and has 131071"),
        (([BLOB], [KZG[1:]], [PROOF]), "the blob commitment must have 48 bytes and has 47"),
        (([BLOB], [KZG], [b""]), "the blob proof must have 48 bytes and has 0"),
        ((b"", [KZG], [PROOF]), "the list of blobs is not a list"),
        (([], [BLOB], [KZG], [PROOF]), "the blob wrapper's version is a list"),
        (([BLOB], [b"d" * 48], [PROOF]), "not the one that the blob hash names"),
    ],
)
def test_blobs_that_do_not_fit_the_transaction(rest, reason):
    with pytest.raises(BadTransaction) as caught:
        decode(as_hex(wrapped(*rest)), CHAIN)
    assert reason in caught.value.reason


# Types that are not Ethereum's.
FOREIGN = (0x00, 0x05, *range(0x64, 0x79), 0x7B, 0x7C, 0x7E, 0x7F)


@pytest.mark.parametrize("type", FOREIGN)
@pytest.mark.parametrize("rest", [b"", b"\xc0", encode(PLAIN[2]), b"\xf8", b"whatever"])
def test_a_chains_own_types_are_never_refused(type, rest):
    raw = bytes((type,)) + rest
    transaction = decode(as_hex(raw), CHAIN)
    assert (transaction.type, transaction.raw) == (type, raw)
    assert (transaction.lane, transaction.order, transaction.chain_id) == ("", -1, None)
    assert pending_object(transaction) == b""
    try:
        assert transaction.hash == (transaction_hash(as_hex(raw)) or "")
    except BadTransaction:
        assert transaction.hash == ""


def test_celos_type_is_hashed():
    raw = as_hex(b"\x7b" + encode(PLAIN[2]))
    assert decode(raw, CHAIN).hash == transaction_hash(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "0x prefix"),
        ("0x", "empty"),
        ("0xabc", "not valid hex"),
        ("0x80", "neither typed nor"),
        ("0xb801", "neither typed nor"),
        ("0xc000", "after the end"),
        ("0xc0", "a transaction of type 0 has 9 fields, this one has 0"),
        ("0x02", "not an RLP list"),
        ("0x0201", "not an RLP list"),
        ("0x02c0", "a transaction of type 2 has 12 fields, this one has 0"),
        ("0x03c0", "empty"),
        ("0x03c1c0", "neither 4 nor 5"),
    ],
)
def test_what_is_no_transaction(raw, reason):
    with pytest.raises(BadTransaction) as caught:
        decode(raw, CHAIN)
    assert reason in caught.value.reason


# As viem 2 signs for Celo (CIP-64): the fee is paid in a token.
CIP64 = (
    "0x7bf87982a4ec0501198252089422222222222222222222222222222222222222220780c094765de816845861e7"
    "5a25fca122bb6898b8b1282a01a08ee5392e0738d5aa32b1c52e23233ac76ae2a6a1b36194161c6d6cec15cb3889"
    "a03bd9084f469855579218f1096f636fa50126ee8b91b1b36a301f67f498e2b2fa"
)


def test_of_celos_own_type_sender_and_nonce_are_known() -> None:
    """A cancel that pays in a token has the place of the payment that it cancels."""
    tx = decode(CIP64, 42220)
    assert tx.hash == "0xb34d2c09ae1cc62cc8673519a8faab4db3166a155c117ab473691fb9a1b12f62"
    assert (tx.lane, tx.order, tx.body) == ("0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a", 5, None)
    spoiled = decode(CIP64[:-66] + "00" * 33, 42220)
    assert (spoiled.lane, spoiled.order) == ("", -1)


# ---- what is more work than a transaction can be


class Counted:
    """Counts the items that are looked at."""

    def __init__(self, monkeypatch):
        self.items = 0
        self._extent = rlp.extent
        monkeypatch.setattr(rlp, "extent", self)

    def __call__(self, *arguments):
        self.items += 1
        return self._extent(*arguments)


MANY = 200_000
ENTRY_OF_NOTHING = encode([b"\x22" * 20, []])


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(enclose(b"\x01" * MANY), id="legacy"),
        pytest.param(b"\x02" + enclose(b"\x01" * MANY), id="typed"),
        pytest.param(b"\x03" + enclose(b"\x01" * MANY), id="blobs"),
        pytest.param(b"\x03" + enclose(enclose(b"\x01" * MANY) + b"\xc0" * 3), id="wrapped"),
        pytest.param(b"\x03" + enclose(b"\xc0" * MANY), id="wrapper"),
        pytest.param(b"\x7b" + enclose(b"\x01" * MANY), id="Celo's"),
        pytest.param(enclose(enclose(b"\xc0" * MANY)), id="one list of lists"),
    ],
)
def test_the_first_surplus_item_is_the_last_that_is_looked_at(raw, monkeypatch):
    """Nethermind 13506, reth's and geth's decoders: an item too many ends the reading."""
    counted = Counted(monkeypatch)
    with contextlib.suppress(BadTransaction):  # Celo's is for its nodes to refuse
        decode(as_hex(raw), CHAIN)
    assert counted.items <= 3 * MOST_FIELDS


@pytest.mark.parametrize(
    ("type", "position", "before", "item"),
    [
        (1, 7, [], b"\x01"),
        (1, 7, [ENTRY_OF_NOTHING], b"\xc0"),
        (1, 7, [], enclose(b"\x01" * MANY)),
        (4, 9, [], b"\x01"),
        (4, 9, [], b"\xc0"),
        (4, 9, [], enclose(b"\x01" * MANY)),
        (3, 10, [], b"\x01"),
    ],
)
def test_the_first_wrong_entry_is_the_last_that_is_looked_at(
    type, position, before, item, monkeypatch
):
    fields = [encode(field) for field in signed_fields(type, PLAIN[type])]
    fields[position] = enclose(b"".join(before) + item * max(1, MANY // len(item)))
    raw = bytes([type]) + enclose(b"".join(fields))
    counted = Counted(monkeypatch)
    with pytest.raises(BadTransaction):
        decode(as_hex(raw), CHAIN)
    assert counted.items <= 5 * MOST_FIELDS


def test_storage_keys_are_not_looked_at_one_by_one(monkeypatch):
    keys = [[b"\x22" * 20, [b"\x33" * 32] * 1000]]
    raw = as_hex(signed_with(1, 7, keys))
    counted = Counted(monkeypatch)
    told = decode(raw, CHAIN)
    assert len(told.body.access_list[0].storage_keys) == 1000
    assert counted.items < 100


@pytest.mark.parametrize(
    ("chain", "type", "size", "limit"),
    [
        (
            1,
            "02",
            131_073,
            131_072,
        ),  # geth: "oversized data: transaction size 480186, limit 131072"
        (1, "f9", 131_073, 131_072),
        (1, "03", 1_181_120, 1_048_576),  # go-ethereum 31792: nine blobs
        (8453, "02", 480_186, 131_072),
        (143, "02", 2_097_153, 2_097_152),  # Monad's contracts are larger: up to what anybody takes
    ],
)
def test_what_no_pool_takes_is_refused_in_geths_words(chain, type, size, limit):
    check_size("0x" + type + "00" * (limit - 1), chain, is_public=True)
    with pytest.raises(Oversized) as caught:
        check_size("0x" + type + "00" * (size - 1), chain, is_public=True)
    expected = f"oversized data: transaction size {size}, limit {limit}"
    assert caught.value.reason == expected


def test_blobs_and_what_goes_to_builders_may_be_larger():
    check_size("0x03" + "00" * 824_000, 1, is_public=True)  # erigon 18330: six blobs
    check_size("0x02" + "00" * 1_000_000, 1, is_public=False)


def test_what_is_far_too_large_is_not_even_read(monkeypatch):
    monkeypatch.setattr("rpcproxy.chains.evm.sends.raw_transactions.members_of", None)
    with pytest.raises(Oversized):
        raw_transaction(b'["0x' + b"00" * 2_500_000 + b'"]')
