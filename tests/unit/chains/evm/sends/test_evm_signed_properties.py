import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rpcproxy.chains.evm.sends.pending_object import pending_object
from rpcproxy.chains.evm.sends.rlp import enclose, encode
from rpcproxy.chains.evm.sends.signed import decode
from rpcproxy.chains.parts.transactions import BadTransaction
from tests.kits.signed_transactions import (
    BLOB,
    CHAIN,
    KZG,
    PLAIN,
    PROOF,
    RAW,
    WANTED,
    as_hex,
    signed_fields,
    signed_with,
    wrapped,
)


def _decoded(raw):
    """Hash and sender, or why not."""
    try:
        transaction = decode(as_hex(raw), CHAIN)
    except BadTransaction as bad:
        return bad.reason
    shown = pending_object(transaction)
    assert (shown == b"") == (transaction.lane == "")
    assert shown == b"" or json.loads(shown)["hash"] == transaction.hash
    return transaction.hash, transaction.lane


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(RAW)), st.data())
def test_no_byte_can_change_unnoticed(kind, data):
    raw = RAW[kind]
    position = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[position]))
    changed = raw[:position] + bytes((byte,)) + raw[position + 1 :]
    assert _decoded(changed) != _decoded(raw)


@pytest.mark.parametrize("kind", WANTED)
def test_no_byte_can_be_missing_or_too_many(kind):
    raw = RAW[kind]
    whole = _decoded(raw)
    for end in range(1, len(raw)):
        assert isinstance(_decoded(raw[:end]), str), end
        assert _decoded(raw[end:]) != whole
        assert _decoded(raw[: end - 1] + raw[end:]) != whole
    assert isinstance(_decoded(raw + b"\0"), str)


_WITH_BLOB = wrapped([BLOB], [KZG], [PROOF])
_INSIDE = (_WITH_BLOB.index(encode(signed_fields(3, PLAIN[3]))), _WITH_BLOB.index(BLOB) - 8)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.integers(*_INSIDE), st.integers(-130, -1)), st.integers(1, 255))
def test_a_changed_byte_beside_blobs(position, change):
    changed = bytearray(_WITH_BLOB)
    changed[position] ^= change
    # What blob and proof have to do with each other, only nodes can tell.
    assert _decoded(changed) != _decoded(_WITH_BLOB) or position < 0


ITEMS = st.recursive(
    st.one_of(st.binary(max_size=40), st.integers(0, 2**260)),
    lambda inner: st.lists(inner, max_size=4),
)


@pytest.mark.parametrize("position", [6, 7])
def test_lists_within_lists_do_not_exhaust_the_stack(position):
    nested = b"\xc0"
    for _ in range(5_000):
        nested = enclose(nested)
    fields = [encode(field) for field in signed_fields(1, PLAIN[1])]
    fields[position] = nested
    with pytest.raises(BadTransaction, match="list"):
        decode(as_hex(b"\x01" + enclose(b"".join(fields))), CHAIN)


@given(st.sampled_from(sorted(PLAIN)), st.data())
def test_any_item_in_any_field(type, data):
    position = data.draw(st.integers(0, len(PLAIN[type]) - 1))
    _decoded(signed_with(type, position, data.draw(ITEMS)))


@given(st.sampled_from((b"", b"\1", b"\2", b"\3", b"\4")), st.lists(ITEMS, max_size=15))
def test_any_list_is_a_transaction_or_refused(prefix, items):
    _decoded(prefix + encode(items))


@given(st.binary(min_size=1, max_size=80))
@example(b"\xff" + b"\xff" * 8)
@example(b"\x02" + b"\xff" * 9)
@example(b"\x03\xc3\xc2\x01")
def test_any_bytes_are_a_transaction_or_refused(raw):
    _decoded(raw)


@given(st.text(max_size=40))
def test_any_text_is_a_transaction_or_refused(text):
    try:
        transaction = decode("0x" + text, CHAIN)
    except BadTransaction:
        return
    assert transaction.raw == bytes.fromhex(text)
