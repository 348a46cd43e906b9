"""The shape of a request: its method, and how its params are built, whatever they hold.

Nodes differ in what they take: state overrides, EIP-1898's objects, tracers, tags, lists of
addresses, quantities with leading zeros. Requests of one shape are taken or refused alike. Values
are left out; tags and other plain words stay, since an upstream may take ``finalized`` and not
``safe``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

import msgspec

# What is larger is not read: it is of one shape with all that is as large.
LARGEST_BYTES: Final = 64 * 1024
DEEPEST: Final = 8
# Of a list or an object so many members are looked at.
MOST_MEMBERS: Final = 64
_LONGEST_WORD: Final = 24
_DIGEST_BYTES: Final = 8

_HEX: Final = re.compile(r"0x[0-9a-fA-F]*", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_]*", re.ASCII)
_LENGTHS: Final = {42: "address", 66: "hash"}
_LONGEST_PADDED: Final = 6  # longer ones may be data

_decode = msgspec.json.Decoder().decode


def shape_of(method: str, params: bytes | msgspec.Raw) -> str:
    """A short text that is the same for requests of the same shape. Never raises."""
    if len(params) > LARGEST_BYTES:
        return f"{method} large"
    try:
        text = "".join(_parts(_decode(params) if params else [], 0))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return f"{method} unreadable"
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES)
    return f"{method} {digest.hexdigest()}"


def _parts(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield _of_text(value)
    elif isinstance(value, list):
        yield from _of_list(value, depth)
    elif isinstance(value, dict):
        yield from _of_object(value, depth)
    else:
        yield type(value).__name__


def _of_list(value: list[object], depth: int) -> Iterator[str]:
    """The params by their places; in an inner list, which kinds of members it has, and whether
    it has one or more.
    """
    if depth >= DEEPEST:
        yield "["
        return
    members = ["".join(_parts(member, depth + 1)) for member in value[:MOST_MEMBERS]]
    if depth:
        yield "many" if len(value) > 1 else ""
        members = sorted(set(members))
    yield f"[{','.join(members)}]"


def _of_object(value: dict[str, object], depth: int) -> Iterator[str]:
    """Its keys and what they hold; those that are addresses or hashes stand for one."""
    if depth >= DEEPEST:
        yield "{"
        return
    members = {
        f"{_of_text(key)}:{''.join(_parts(inner, depth + 1))}"
        for key, inner in list(value.items())[:MOST_MEMBERS]
    }
    yield f"{{{','.join(sorted(members))}}}"


def _of_text(text: str) -> str:
    """What a string is: hex by its kind, a plain word as it stands."""
    if not _HEX.fullmatch(text):
        is_word = len(text) <= _LONGEST_WORD and _WORD.fullmatch(text) is not None
        return text if is_word else "text"
    if len(text) in _LENGTHS:
        return _LENGTHS[len(text)]
    # Nodes differ in whether a quantity may be empty, or begin with a zero.
    is_padded = 2 < len(text) <= _LONGEST_PADDED and text[2] == "0" and text != "0x0"
    return "0x" if text == "0x" else "padded" if is_padded else "hex"
