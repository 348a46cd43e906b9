"""Lineage: which block follows which, by the hashes that upstreams told.

``Lineage`` keeps two things: the headers told lately, by hash, and *our chain*, the hashes by
number that lead to the served head. Where an upstream tells no hashes, a block is named by its
number (``#100``), and numbers are taken as linked.

A block follows the one that its parent hash names, whatever its number: some chains have heights
without a block (Filecoin's null rounds, Solana's skipped slots). Where that is so (``skips``) the
number of a block whose header nobody told yet is known only if its child told it; elsewhere it is
the next lower one.

Two upstreams may tell different numbers, parents or times for one hash, and one of them lies: what
more upstreams told counts.

State: one per chain, written by ``heads.Heads`` alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from rpcproxy.messages import Head

DEEPEST: Final = 64  # so many blocks back are linked; what is further away is a jump
KEPT_BLOCKS: Final = 1024  # of our chain
MOST_HEADERS: Final = 4096


class Parent(NamedTuple):
    """What is unknown yet: a header that would link what is known. ``number`` is the highest that
    it may have.
    """

    hash: str
    number: int


class _Version(NamedTuple):
    """What an upstream told of a block."""

    number: int
    parent: str
    parent_number: int  # −1 where it was not told


def name_of(head: Head) -> str:
    """What a block is known by: its hash, or its number where no hash was told."""
    return head.hash or f"#{head.number}"


def is_numbered(name: str) -> bool:
    """Whether a block is known by its number alone."""
    return name[:1] == "#"


class Lineage:
    """Headers told lately, and the hashes by number that lead to the served head."""

    __slots__ = (
        "_awaited",
        "_gap_tellers",
        "_headers",
        "_places",
        "_tellers",
        "_times",
        "bottom",
        "chain",
        "skips",
        "top",
    )

    def __init__(self, *, skips: bool = False) -> None:
        """``skips``: heights without a block are normal; else they are believed where seen."""
        self.chain: dict[int, str] = {}
        self.top = self.bottom = -1  # the highest and the lowest number in it
        self.skips = skips
        self._places: dict[str, int] = {}  # our chain, the other way round
        # By hash: who told which number and parent; and who told which time.
        self._headers: dict[str, dict[_Version, set[str]]] = {}
        self._times: dict[str, dict[int, set[str]]] = {}
        # By hash: the number of a block that follows it, and who told that first.
        self._awaited: dict[str, tuple[int, str]] = {}
        self._tellers: set[str] = set()
        self._gap_tellers: set[str] = set()

    def learn(self, head: Head, upstream: str) -> None:
        """An upstream told a header."""
        if not head.hash or not head.parent_hash or head.number < 0:
            return
        versions = self._headers.get(head.hash)
        if versions is None:
            versions = self._headers[head.hash] = {}
            self._forget(self.top)
        before = head.parent_number if head.parent_number < head.number else -1
        version = _Version(head.number, head.parent_hash, before)
        versions.setdefault(version, set()).add(upstream)
        self._look_for_gap(head, upstream)
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

    def _look_for_gap(self, head: Head, upstream: str) -> None:
        """Whether there are heights without a block next to this one. One upstream alone is not
        believed, where others tell of blocks.
        """
        self._tellers.add(upstream)
        self._awaited.setdefault(head.parent_hash, (head.number, upstream))
        below = self.number_of(head.parent_hash)
        if below < 0:
            below = head.parent_number
        above, teller = self._awaited.get(head.hash, (-1, ""))
        if 0 <= below < head.number - 1:
            self._gap_tellers.add(upstream)
        if above > head.number + 1:
            self._gap_tellers.add(teller)  # who told the child: the number of this one is no claim
        if not self.skips and 0 < len(self._gap_tellers) >= min(2, len(self._tellers)):
            self.skips = True
            self._drop_untold()
        place = self._places.get(head.hash, head.number)
        if place != head.number and place == self.bottom and self.number_of(head.hash) < place:
            # Its number was taken for the next lower one.
            del self.chain[place]
            self._put(head.number, head.hash)
            self.bottom = head.number

    def _drop_untold(self) -> None:
        """The lowest block of our chain may be known as a parent alone: its height was a guess."""
        name = self.chain.get(self.bottom, "")
        if self.bottom < self.top and name not in self._headers and not is_numbered(name):
            del self.chain[self.bottom], self._places[name]
            self.bottom = min(self.chain)

    def _put(self, number: int, name: str) -> None:
        self.chain[number] = name
        self._places[name] = number

    def number_of(self, hash: str) -> int:
        """The number of the block of that hash, −1 where it is not known."""
        versions = self._headers.get(hash)
        told = None if versions is None else _most_told(versions)
        return self._places.get(hash, -1) if told is None else told.number

    def is_hole(self, number: int) -> bool:
        """Whether our chain is known to have no block at this height."""
        if not self.bottom <= number <= self.top or number in self.chain:
            return False
        return self.skips and not is_numbered(self.chain[self.top])

    def blocks_above(self, number: int) -> int:
        """Count the blocks of our chain above a height; far below the head, the heights."""
        heights = max(0, self.top - number)
        if not self.skips or heights > DEEPEST:
            return heights
        return sum(not self.is_hole(above) for above in range(number + 1, self.top + 1))

    def parent_of(self, name: str, number: int) -> str:
        """The name of the block before it, ``""`` where it is not known."""
        if is_numbered(name):
            return f"#{number - 1}"
        told = self._version(name, number)
        return "" if told is None else told.parent

    def _version(self, name: str, number: int) -> _Version | None:
        """What was told of the block of that hash at that height."""
        versions = self._headers.get(name)
        return None if versions is None else _most_told(versions, number, number)

    def _before(self, name: str, number: int) -> tuple[int, str]:
        """Number and name of the block before it; the name is empty where either is not known.
        Until there are known to be heights without a block, one that is told is a claim.
        """
        parent = self.parent_of(name, number)
        if not parent or is_numbered(parent) or not self.skips:
            return number - 1, parent
        versions = self._headers.get(parent)
        told = None if versions is None else _most_told(versions, 0, number - 1)
        height = self._number_before(name, number, parent) if told is None else told.number
        is_near = number - DEEPEST <= height < number
        return height, parent if height >= 0 and is_near else ""

    def _number_before(self, name: str, number: int, parent: str) -> int:
        """The number of a parent whose header nobody told: by our chain, or as its child says."""
        known = self._places.get(parent, -1)
        if known >= 0:
            return known
        told = self._version(name, number)
        return -1 if told is None else told.parent_number

    def back(self, head: Head) -> Iterator[tuple[int, str]]:
        """``head`` and its ancestors as far as they are known, at most ``DEEPEST`` steps back:
        number and name.
        """
        number, name = head.number, name_of(head)
        for _ in range(DEEPEST + 1):
            yield number, name
            number, name = self._before(name, number)
            if not name or number < 0:
                return

    def path(self, head: Head, floor: int) -> list[tuple[int, str]]:
        """The part of ``back`` above ``floor``; of numbered blocks only the first."""
        if head.number <= floor:
            return []
        if is_numbered(name_of(head)):
            return [(head.number, name_of(head))]
        path = []
        for number, name in self.back(head):
            if number <= floor:
                break
            path.append((number, name))
        return path

    def has(self, head: Head, number: int, name: str) -> bool | None:
        """Whether ``name`` is ``head`` or an ancestor of it; ``None`` where that is unknown."""
        if number >= head.number:
            return number == head.number and name == name_of(head)
        if is_numbered(name_of(head)):
            return name == f"#{number}"
        if head.number - number > DEEPEST:
            return None
        for at, ancestor in self.back(head):
            if at == number:
                return ancestor == name
            if at < number:
                return False  # it has no block at that height
        return None

    def misses(self, head: Head, number: int) -> bool:
        """Whether ``head`` is known not to follow our chain's block at that height."""
        ours = self.chain.get(number, "")
        if not ours or is_numbered(ours) or is_numbered(name_of(head)):
            return False
        return self.has(head, number, ours) is False

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
        ours = self.chain.get(head.number)
        if ours is not None:
            return head.number, ours == name  # nearly always: it is where we are, or below
        above = head.number
        for number, ancestor in self.back(head):
            for passed in range(number + 1, above):
                if passed in self.chain:
                    return passed, False  # it has no block where we have one
            ours = self.chain.get(number)
            if ours is not None:
                return number, ours == ancestor
            if self.is_hole(number):
                return number, False
            above = number
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
        if self.chain.get(number) == name:
            return None
        for number, name in self.back(head):
            if self.chain.get(number) == name:
                return None
        number, name = self._untold(number, name)
        if number == 0 or head.number - number >= DEEPEST or is_numbered(name):
            return None
        return Parent(name, number)

    def _untold(self, number: int, name: str) -> tuple[int, str]:
        """The first block without a header on the way back: this one, or its parent where the
        number of that is not known.
        """
        parent = self.parent_of(name, number)
        if not parent or not self.skips:
            return number, name
        before = self._number_before(name, number, parent)
        return (before if before >= 0 else number - 1), parent

    def missing_below(self, head: Head) -> Parent | None:
        """The header that would tell what comes before our chain as far as it is known."""
        if self.bottom <= 0 or head.number - self.bottom >= DEEPEST:
            return None
        number, name = self._untold(self.bottom, self.chain[self.bottom])
        return None if is_numbered(name) else Parent(name, number)

    def deepen(self) -> None:
        """Follow our chain further back, where headers told lately say how."""
        while self.bottom > 0 and self.top - self.bottom < DEEPEST:
            name = self.chain[self.bottom]
            number, parent = self.bottom, ""
            if not is_numbered(name):
                number, parent = self._before(name, self.bottom)
            if not parent or number < 0:
                return
            self.bottom = number
            self._put(number, parent)

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
            self._places.clear()
        if not self.chain:
            low = way[-1][0]
        for number, name in way:
            self._put(number, name)
        self.top = head.number
        self.bottom = low
        self._forget(head.number)

    def _cut_above(self, number: int) -> None:
        for above in range(number + 1, self.top + 1):
            self._places.pop(self.chain.pop(above, ""), None)

    def _forget(self, top: int) -> None:
        oldest = top - KEPT_BLOCKS
        if len(self.chain) > KEPT_BLOCKS + 64:
            self.chain = {n: name for n, name in self.chain.items() if n > oldest}
            self._places = {name: n for n, name in self.chain.items()}
            self.bottom = min(self.chain)
        if len(self._headers) > MOST_HEADERS:
            ours, others = {}, {}
            for name, versions in self._headers.items():
                told = _most_told(versions)
                number = top if told is None else told.number
                if name in self._places and number > top - DEEPEST:
                    ours[name] = versions
                elif number >= top - 2:
                    others[name] = versions
            # However many somebody invents: ours stay.
            self._headers = ours | dict(list(others.items())[-MOST_HEADERS // 2 :])
            self._times = {n: times for n, times in self._times.items() if n in self._headers}
        if len(self._awaited) > MOST_HEADERS:
            self._awaited = {n: told for n, told in self._awaited.items() if told[0] > top - 2}
            self._awaited = dict(list(self._awaited.items())[-MOST_HEADERS // 2 :])


def _most_told(
    versions: Mapping[_Version, set[str]], low: int = 0, high: int = sys.maxsize
) -> _Version | None:
    """What most upstreams told, of those from a height to another; of equals the highest."""
    if len(versions) == 1:
        only = next(iter(versions))
        return only if low <= only.number <= high else None
    told = [version for version in versions if low <= version.number <= high]
    return max(told, key=lambda each: (len(versions[each]), each.number), default=None)
