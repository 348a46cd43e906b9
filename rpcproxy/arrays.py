"""JSON arrays read no further than their reader has use for.

Bytes are cheap to skip and members are dear to make: five megabytes of ``[1,1,1,…]`` cost a
decoder of lists half a second, in one call that nothing can interrupt, and one that skips what
is too much ten milliseconds. Whatever reads an array that somebody else wrote reads it by this.

Pure, and no state but decoders that were made before (by type and size, a few).
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

# Below this a list of nothing but commas is read in a millisecond, whatever it holds.
SHORT_BYTES: Final = 16 * 1024
# Of params; what geth itself takes is five at most.
MOST_PARAMS: Final = 32


class TooMany(msgspec.ValidationError):
    """The array has more members than its reader takes."""


def members_of(text: bytes | msgspec.Raw, most: int = MOST_PARAMS) -> list[msgspec.Raw]:
    """The members of a JSON array, not decoded. Raises ``TooMany`` where there are more than
    ``most``, and what msgspec raises (``MsgspecError``, ``UnicodeDecodeError``,
    ``RecursionError``) for what is no array.
    """
    members = read(text, msgspec.Raw, most)
    if len(members) > most:
        raise TooMany(f"more than {most} members")
    return members


def read(text: bytes | msgspec.Raw, member: type[T], most: int) -> list[T]:
    """The members as ``member``; where there are more than ``most``, one more than that, and the
    rest is only skipped. Raises as ``members_of`` does.
    """
    kind: Any = member  # a type; mypy does not see that those are hashable
    if len(text) <= SHORT_BYTES:
        members: list[T] = _list_decoder(kind).decode(text)
        return members
    found = msgspec.structs.astuple(_bounded_decoder(kind, most + 1).decode(text))
    return [each for each in found if each is not None]


@functools.lru_cache(maxsize=8)
def _list_decoder(member: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(list[member])  # type: ignore[valid-type]  # known when called


@functools.lru_cache(maxsize=8)
def _bounded_decoder(member: Hashable, count: int) -> msgspec.json.Decoder[Any]:
    """Reads an array as an object of ``count`` members, each of which may be missing: msgspec
    skips what comes after the last.
    """
    fields = [(f"member_{place}", member, None) for place in range(count)]
    return msgspec.json.Decoder(msgspec.defstruct("Members", fields, array_like=True, gc=False))
