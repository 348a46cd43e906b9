"""JSON arrays read no further than their reader has use for."""

import msgspec
import pytest

from rpcproxy import arrays
from rpcproxy.arrays import MOST_PARAMS, SHORT_BYTES, TooMany, members_of

LONG = b" " * SHORT_BYTES


@pytest.mark.parametrize("blanks", [b"", LONG])
@pytest.mark.parametrize(
    "members",
    [[], [b"1"], [b"null", b'"a,b"', b'{"x":[1,2]}', b"[[]]"], [b"0"] * MOST_PARAMS],
)
def test_the_members_are_read_whatever_the_length(members, blanks):
    text = b"[%b%b]" % (blanks, b",".join(members))
    assert [bytes(member) for member in members_of(text)] == members


@pytest.mark.parametrize("blanks", [b"", LONG])
def test_one_member_too_many(blanks):
    text = b"[%b%b]" % (blanks, b",".join([b"0"] * (MOST_PARAMS + 1)))
    with pytest.raises(TooMany):
        members_of(text)


def test_what_is_too_much_is_skipped_and_not_made():
    read = arrays.read(b"[%b1]" % (b"1," * 100_000), msgspec.Raw, 5)
    assert len(read) == 6


@pytest.mark.parametrize("text", [b"{}", b"[1", b"1", b"[" * 20_000, b"[1]" + LONG + b"x", b""])
def test_what_is_no_array(text):
    with pytest.raises((msgspec.MsgspecError, RecursionError)):
        members_of(text)
