import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpcproxy.chains.evm.sends.rlp import BadRlp, enclose, encode, extent, items


@pytest.mark.parametrize(
    ("item", "encoded"),
    [
        (b"", "80"),
        (b"\0", "00"),
        (b"\x7f", "7f"),
        (b"\x80", "8180"),
        (b"cat", "83" + b"cat".hex()),
        (b"a" * 55, "b7" + "61" * 55),
        (b"a" * 56, "b838" + "61" * 56),
        (b"a" * 256, "b90100" + "61" * 256),
        (0, "80"),
        (1, "01"),
        (127, "7f"),
        (128, "8180"),
        (1024, "820400"),
        ([], "c0"),
        ([b"cat", 5], "c5" + "83" + b"cat".hex() + "05"),
        ((b"", (), [[]]), "c480c0c1c0"),
        ([b"a" * 55], "f838b7" + "61" * 55),
    ],
)
def test_what_is_written(item, encoded):
    assert encode(item).hex() == encoded


def _read(data, start, end):
    if data[start] >= 0xC0:
        return [_read(data, begin, stop) for begin, _, stop in items(data, start, end)]
    payload, stop = extent(data, start, end)
    assert stop == end
    return data[payload:stop]


NESTED = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=70))


@given(NESTED)
@example([b"a" * 70_000, []])
def test_what_is_written_is_read_again(item):
    data = encode(item)
    assert _read(data, 0, len(data)) == item


@given(st.lists(st.binary(max_size=70)))
def test_a_list_of_what_is_encoded_already(members):
    assert enclose(b"".join(map(encode, members))) == encode(members)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("c000", "after the end"),
        ("c1", "item goes past the end"),
        ("c182", "item goes past the end"),
        ("c18201", "after the end"),
        ("f8", "length goes past the end"),
        ("f800", "length is not canonical"),
        ("f837" + "01" * 55, "length is not canonical"),
        ("f9003801", "length is not canonical"),
        ("c28105", "byte is not canonical"),
        ("ff" + "ff" * 8, "item goes past the end"),
    ],
)
def test_what_is_not_read(data, reason):
    with pytest.raises(BadRlp, match=reason) as caught:
        items(bytes.fromhex(data), 0, len(data) // 2)
    assert reason in caught.value.reason


@given(st.binary(max_size=80))
def test_only_the_shortest_encoding_is_read(rest):
    data = (
        bytes((0xC0 + len(rest),)) + rest
        if len(rest) < 56
        else b"\xf8" + bytes((len(rest),)) + rest
    )
    try:
        members = _read(data, 0, len(data))
    except BadRlp:
        return
    assert encode(members) == data


def test_an_item_does_not_reach_beyond_the_list_that_holds_it():
    data = encode([[b"ab"], b"c"])
    with pytest.raises(BadRlp, match="after the end"):
        items(data, 1, len(data))
