"""Lineage: which block follows which, by the hashes that upstreams told.

``Lineage`` keeps two things: the headers told lately, by hash, and *our chain*, the hashes by
number that lead to the served head. Where an upstream tells no hashes, a block is named by its
number (``#100``), and numbers are taken as linked.

Two upstreams may tell different parents or times for one hash, and one of them lies: what more
upstreams told counts.

State: one per chain, written by ``heads.Heads`` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from rpcproxy.messages import Head

DEEPEST: Final = 64  # so many blocks back are linked; what is further away is a jump
KEPT_BLOCKS: Final = 1024  # of our chain
MOST_HEADERS: Final = 4096


class Parent(NamedTuple):
    """What is unknown yet: a header that would link what is known."""

    hash: str
    number: int


def name_of(head: Head) -> str:
    """What a block is known by: its hash, or its number where no hash was told."""
    return head.hash or f"#{head.number}"


def is_numbered(name: str) -> bool:
    """Whether a block is known by its number alone."""
    return name[:1] == "#"


class Lineage:
    """See the module's docstring."""

    __slots__ = ("_headers", "_times", "bottom", "chain", "top")

    def __init__(self) -> None:
        self.chain: dict[int, str] = {}
        self.top = self.bottom = -1  # the highest and the lowest number in it
        # By hash: the number, and who told which parent; and who told which time.
        self._headers: dict[str, tuple[int, dict[str, set[str]]]] = {}
        self._times: dict[str, dict[int, set[str]]] = {}

    def learn(self, head: Head, upstream: str) -> None:
        """An upstream told a header."""
        if not head.hash or not head.parent_hash or head.number < 0:
            return
        known = self._headers.get(head.hash)
        if known is None:
            self._headers[head.hash] = (head.number, {head.parent_hash: {upstream}})
            self._forget(self.top)
        elif known[0] == head.number:
            known[1].setdefault(head.parent_hash, set()).add(upstream)
        if head.timestamp:
            self._times.setdefault(head.hash, {}).setdefault(head.timestamp, set()).add(upstream)

    def is_time_disputed(self, head: Head, upstream: str) -> bool:
        """Whether more upstreams told another time for this block than told this one."""
        times = self._times.get(head.hash)
        if not times or len(times) == 1 or not head.timestamp:
            return False
        agreeing = len(times.get(head.timestamp, {upstream}))
        return any(
            len(tellers) > agreeing for time, tellers in times.items() if time != head.timestamp
        )

    def is_other_time(self, head: Head) -> bool:
        """Whether two upstreams or more told the time of this block, and all others another."""
        times = self._times.get(head.hash)
        if not times or not head.timestamp:
            return False
        agreeing = len(times.get(head.timestamp, ()))
        return any(len(tellers) > max(1, agreeing) for tellers in times.values())

    def parent_of(self, name: str, number: int) -> str:
        """The name of the block before it, ``""`` where it is not known."""
        if is_numbered(name):
            return f"#{number - 1}"
        known = self._headers.get(name)
        if known is None or known[0] != number:
            return ""
        parents = known[1]
        if len(parents) == 1:
            return next(iter(parents))
        return max(parents, key=lambda parent: len(parents[parent]))

    def back(self, head: Head) -> Iterator[tuple[int, str]]:
        """``head`` and its ancestors as far as they are known, at most ``DEEPEST`` steps back:
        number and name.
        """
        number, name = head.number, name_of(head)
        for _ in range(DEEPEST + 1):
            yield number, name
            name = self.parent_of(name, number)
            number -= 1
            if not name or number < 0:
                return

    def path(self, head: Head, floor: int) -> list[tuple[int, str]]:
        """The part of ``back`` above ``floor``; of numbered blocks only the first."""
        if is_numbered(name_of(head)):
            return [(head.number, name_of(head))] if head.number > floor else []
        path = []
        for number, name in self.back(head):
            if number <= floor:
                break
            path.append((number, name))
        return path

    def has(self, head: Head, number: int, name: str) -> bool | None:
        """Whether ``name`` is ``head`` or an ancestor of it; ``None`` where that is unknown."""
        if number > head.number:
            return False
        if is_numbered(name_of(head)):
            return name == f"#{number}"
        if head.number - number > DEEPEST:
            return None
        for at, ancestor in self.back(head):
            if at == number:
                return ancestor == name
        return None

    def meets(self, head: Head) -> tuple[int, bool] | None:
        """Where the way back from ``head`` first meets a number of our chain: that number, and
        whether the block is ours. ``None`` where the way is not known so far.
        """
        if not self.chain:
            return None
        name = name_of(head)
        if is_numbered(name) or is_numbered(self.chain[self.top]):
            # Numbers link to numbers; a number says nothing about a hash.
            is_alike = is_numbered(name) and is_numbered(self.chain[self.top])
            return (min(head.number, self.top), True) if is_alike else None
        for number, ancestor in self.back(head):
            ours = self.chain.get(number)
            if ours is not None:
                return number, ours == ancestor
        return None

    def common_ancestor(self, head: Head) -> int | None:
        """The highest block that ``head``'s chain shares with ours, ``None`` while unknown."""
        if is_numbered(name_of(head)):
            return min(head.number, self.top)
        for number, name in self.back(head):
            if self.chain.get(number) == name:
                return number
        return None

    def missing(self, head: Head) -> Parent | None:
        """The first header on the way back from ``head`` that nobody told yet; ``None`` where
        the way leads to our chain, or further than is worth going.
        """
        number, name = head.number, name_of(head)
        for number, name in self.back(head):
            if self.chain.get(number) == name:
                return None
        if number == 0 or head.number - number >= DEEPEST or is_numbered(name):
            return None
        return Parent(name, number)

    def missing_below(self, head: Head) -> Parent | None:
        """The header that would tell what comes before our chain as far as it is known."""
        if self.bottom <= 0 or head.number - self.bottom >= DEEPEST:
            return None
        name = self.chain[self.bottom]
        return None if is_numbered(name) else Parent(name, self.bottom)

    def deepen(self) -> None:
        """Follow our chain further back, where headers told lately say how."""
        while self.bottom > 0 and self.top - self.bottom < DEEPEST:
            name = self.chain[self.bottom]
            parent = "" if is_numbered(name) else self.parent_of(name, self.bottom)
            if not parent:
                return
            self.bottom -= 1
            self.chain[self.bottom] = parent

    def extend(self, head: Head) -> None:
        """Make ``head`` the end of our chain. Blocks that it does not follow are taken out; where
        its way back is not known, all of them are.
        """
        way: list[tuple[int, str]] = []
        low = self.bottom
        for number, name in self.back(head):
            if self.chain.get(number) == name:
                self._cut_above(number)
                break
            way.append((number, name))
            if is_numbered(name):
                self._cut_above(number - 1)
                break
        else:
            self.chain.clear()
        if not self.chain:
            low = way[-1][0]
        self.chain.update(way)
        self.top = head.number
        self.bottom = low
        self._forget(head.number)

    def _cut_above(self, number: int) -> None:
        for above in range(number + 1, self.top + 1):
            self.chain.pop(above, None)

    def _forget(self, top: int) -> None:
        oldest = top - KEPT_BLOCKS
        if len(self.chain) > KEPT_BLOCKS + 64:
            self.chain = {n: name for n, name in self.chain.items() if n > oldest}
            self.bottom = min(self.chain)
        if len(self._headers) > MOST_HEADERS:
            ours, others = {}, {}
            names = set(self.chain.values())
            for name, known in self._headers.items():
                if name in names and known[0] > top - DEEPEST:
                    ours[name] = known
                elif known[0] >= top - 2:
                    others[name] = known
            # However many somebody invents: ours stay.
            self._headers = ours | dict(list(others.items())[-MOST_HEADERS // 2 :])
            self._times = {n: times for n, times in self._times.items() if n in self._headers}
