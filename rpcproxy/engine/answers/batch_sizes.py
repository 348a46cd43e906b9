"""How much one upstream is asked for at once: by members, and by the bytes that they bring.

State: how large answers are, of methods whose batches were large; bounded by ``MOST_SIZES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from rpcproxy.messages import Request

GROUP: Final = 100  # what one upstream is asked at once; public providers refuse more
GROUP_BYTES: Final = 4 * 1024 * 1024  # of answers, as far as is known; half of what is held
LARGE_MEMBER_BYTES: Final = 16 * 1024  # smaller ones are not worth remembering
MOST_SIZES: Final = 64


class SizedMember(Protocol):
    """A member of a batch."""

    @property
    def request(self) -> Request: ...


M = TypeVar("M", bound=SizedMember)


class Sizes:
    """How many bytes the answers of a method have, where batches of it were large."""

    def __init__(self) -> None:
        self._bytes: dict[str, int] = {}

    def learn(self, members: Sequence[SizedMember], size: int) -> None:
        """``size`` bytes came of these, at least."""
        each = size // len(members)
        if each < LARGE_MEMBER_BYTES and not self._bytes:
            return
        for name in {member.request.method for member in members}:
            if each >= LARGE_MEMBER_BYTES:
                while len(self._bytes) >= MOST_SIZES:
                    del self._bytes[next(iter(self._bytes))]
                self._bytes[name] = each
            else:
                self._bytes.pop(name, None)

    def groups(self, members: Sequence[M]) -> list[list[M]]:
        """What one upstream is asked at once."""
        if not self._bytes and len(members) <= GROUP:
            return [list(members)] if members else []
        groups: list[list[M]] = []
        size = GROUP_BYTES
        for member in members:
            more = self._bytes.get(member.request.method, 0)
            if not groups or len(groups[-1]) >= GROUP or size + more > GROUP_BYTES:
                groups.append([])
                size = 0
            groups[-1].append(member)
            size += more
        return groups
