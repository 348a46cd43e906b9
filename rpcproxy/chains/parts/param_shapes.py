"""The shape of a request: its method, and how its params are built, whatever they hold.

Nodes differ in what they take: options, objects, lists, words for blocks. Requests of one shape are
taken or refused alike. Values are left out; plain words stay, since an upstream may take
``finalized`` and not ``safe``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

# What is larger is not read: it is of one shape with all that is as large.
LARGEST_BYTES: Final = 64 * 1024
DEEPEST: Final = 8
# Of a list or an object so many members are looked at.
MOST_MEMBERS: Final = 64
_LONGEST_WORD: Final = 24
_DIGEST_BYTES: Final = 8

_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_]*", re.ASCII)

_decode = msgspec.json.Decoder().decode


def text_kind(text: str) -> str:
    """What a string is: a plain word as it stands, ``text`` for all others."""
    is_word = len(text) <= _LONGEST_WORD and _WORD.fullmatch(text) is not None
    return text if is_word else "text"


def shape_of(
    method: str, params: bytes | msgspec.Raw, kind_of: Callable[[str], str] = text_kind
) -> str:
    """A short text that is the same for requests of the same shape. Never raises. ``kind_of`` says
    what a string is, where a kind of chain knows more of them.
    """
    if len(params) > LARGEST_BYTES:
        return f"{method} large"
    try:
        text = "".join(_parts(_decode(params) if params else [], 0, kind_of))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return f"{method} unreadable"
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES)
    return f"{method} {digest.hexdigest()}"


def _parts(value: object, depth: int, kind_of: Callable[[str], str]) -> Iterator[str]:
    if isinstance(value, str):
        yield kind_of(value)
    elif isinstance(value, list):
        yield from _of_list(value, depth, kind_of)
    elif isinstance(value, dict):
        yield from _of_object(value, depth, kind_of)
    else:
        yield type(value).__name__


def _of_list(value: list[object], depth: int, kind_of: Callable[[str], str]) -> Iterator[str]:
    """The params by their places; in an inner list, which kinds of members it has, and whether
    it has one or more.
    """
    if depth >= DEEPEST:
        yield "["
        return
    members = ["".join(_parts(member, depth + 1, kind_of)) for member in value[:MOST_MEMBERS]]
    if depth:
        yield "many" if len(value) > 1 else ""
        members = sorted(set(members))
    yield f"[{','.join(members)}]"


def _of_object(
    value: dict[str, object], depth: int, kind_of: Callable[[str], str]
) -> Iterator[str]:
    """Its keys and what they hold; those of one kind that is no word stand for one."""
    if depth >= DEEPEST:
        yield "{"
        return
    members = {
        f"{kind_of(key)}:{''.join(_parts(inner, depth + 1, kind_of))}"
        for key, inner in list(value.items())[:MOST_MEMBERS]
    }
    yield f"{{{','.join(sorted(members))}}}"
