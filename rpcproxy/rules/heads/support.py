"""Who has which block: what the heads that upstreams told amount to, as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from rpcproxy.messages import Head
from rpcproxy.rules.heads.head_track import HeadTrack
from rpcproxy.rules.heads.lineage import Lineage, is_numbered, name_of


class Claimant(Protocol):
    """Who tells heads: a standing."""

    @property
    def name(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def track(self) -> HeadTrack: ...


class Vote(NamedTuple):
    """What one voter stands for: its head, and where that meets our chain, if that is known."""

    claimant: Claimant
    head: Head
    met_at: int | None
    is_forked: bool


class SupportedBlock(NamedTuple):
    """A block above a height, and who has it. ``tip`` is a head that leads to it."""

    number: int
    name: str
    tip: Head
    votes: tuple[Vote, ...]
    providers: frozenset[str]

    def head(self, lineage: Lineage) -> Head:
        """As somebody told it who is there; an ancestor of such a head has its hashes alone."""
        for vote in self.votes:
            if vote.head.number == self.number and name_of(vote.head) == self.name:
                return vote.head
        if is_numbered(self.name):
            return Head(self.number)
        return Head(self.number, self.name, lineage.parent_of(self.name, self.number))


def votes_of(claimants: Iterable[Claimant], lineage: Lineage) -> list[Vote]:
    """The votes of those that told a head."""
    return [
        _vote_of(claimant, claimant.track.head, lineage)
        for claimant in claimants
        if claimant.track.head is not None
    ]


def _vote_of(claimant: Claimant, head: Head, lineage: Lineage) -> Vote:
    """The highest of its reports speaks for it, unless the latest contradicts that one."""
    last = claimant.track.last
    if last is not None and last is not head:
        agrees = lineage.has(head, last.number, name_of(last))
        if agrees is None:
            meeting = lineage.meets(last)
            agrees = meeting is None or meeting[1]
        if not agrees:
            head = last
    meeting = lineage.meets(head)
    if meeting is None:
        return Vote(claimant, head, None, is_forked=False)
    return Vote(claimant, head, meeting[0], is_forked=not meeting[1])


def blocks_of(votes: Sequence[Vote], lineage: Lineage, floor: int) -> list[SupportedBlock]:
    """The blocks above ``floor`` that somebody has, the highest first."""
    tips: dict[tuple[int, str], Head] = {}
    having: dict[tuple[int, str], list[Vote]] = {}
    numbered: list[Vote] = []
    for vote in votes:
        for block in lineage.path(vote.head, floor):
            tips.setdefault(block, vote.head)
            having.setdefault(block, []).append(vote)
        if is_numbered(name_of(vote.head)):
            numbered.append(vote)
    blocks = []
    for number, name in sorted(tips, reverse=True):
        who = having[number, name]
        if is_numbered(name):
            who = [vote for vote in numbered if vote.head.number >= number]
        providers = frozenset(vote.claimant.provider for vote in who)
        blocks.append(SupportedBlock(number, name, tips[number, name], tuple(who), providers))
    return blocks
