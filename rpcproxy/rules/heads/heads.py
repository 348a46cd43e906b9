"""The served head: the block that answers are given from, and how it moves.

*Known* heads are one upstream's (``head_track``). The *served* head is the chain's. A block that
is higher is served when
- a majority of the voters (the upstreams that are well) has it, or
- two of different providers (one, where at most two vote) have had it for half a block time, at
  most 2 s, so that slow ones do not hold it back,
and its parent hashes link it to the served head. A majority is believed without links as well,
after a moment in which the headers in between are asked for (``wanted``): after a sleep or an
outage they are too many. Any other head that nobody can link moves nothing, however large its
number, with one exception: where only one upstream votes, its head is believed after
``LONE_JUMP_SECONDS``, since nobody else is there to tell what came during a sleep.

*Forked* is who has another block at a height of our chain. While those are no more than half they
are left alone; once they are more and agree on a block, the chain reorganised: the served head
goes back to the common ancestor and forward along theirs.

The served head decreases in three ways, and in no other:
- in such a reorg, never below what is finalized;
- where no upstream on our chain has the served head any more, for ``FALLEN_SECONDS`` or
  ``FALLEN_BLOCKS`` block times, and a majority agrees on a lower block (``_fall_back``): the chain
  was rolled back, or the head was a claim that nobody was there to contradict. Never below what is
  finalized either;
- while no served head was ever had by two providers, and a majority of several agrees on a lower
  block (``_correct``): the first voice after a start was alone, and wrong.

On fast chains (block time under 2 s) the served head moves about once a second, so that wallets
pin the same blocks.

State: ``Heads``, one per chain; written by ``Standings`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from rpcproxy.chains.parts.traits import Traits
from rpcproxy.messages import Head
from rpcproxy.rules.heads.ahead import Ahead, reach, second_height
from rpcproxy.rules.heads.chain_pace import LONGEST_HOLD_SECONDS, ChainPace
from rpcproxy.rules.heads.finality import Finality
from rpcproxy.rules.heads.lineage import DEEPEST, Lineage, is_numbered, name_of
from rpcproxy.rules.heads.support import Claimant, SupportedBlock, Vote, blocks_of, votes_of
from rpcproxy.rules.heads.wanted import WantedHeader, wanted_of

# How long a majority without links waits for the headers that would link it.
LINK_SECONDS: Final = 1.0
# Who claims a number far above is a liar only when more than half of the others have reported this
# much later and are not there: until then it may be the first to tell of a jump. Longer than an
# answer is on its way.
CONTRADICTION_SECONDS: Final = 1.0
# A lone upstream's claim far above, or from the future, needs to last this long: after a laptop
# slept, the heads jump further than the (monotonic) clock says.
LONE_JUMP_SECONDS: Final = 5.0
# Nobody has told of the served head in its last ten reports: after this, and after so many block
# times, what a majority has is the chain. Before, it may be a node that fell out, whose block the
# others are about to have.
FALLEN_SECONDS: Final = 3.0
FALLEN_BLOCKS: Final = 2
# A head above all others that nothing links for so long is isolated.
UNLINKED_SECONDS: Final = 3.0
SLACK_BLOCKS: Final = 10
SLACK_SECONDS: Final = 60  # block timestamps are whole seconds of clocks that differ


class Reorg(NamedTuple):
    """The served head left a branch: blocks above ``ancestor`` are no longer ours.
    ``is_gap``: the way between is not known, so nobody can say whether any block was lost.
    """

    ancestor: int
    depth: int
    is_gap: bool


class Heads:
    """``served`` is −1 while nothing is known; ``moved_at`` is when it last moved. ``shown`` is the
    highest block that clients know: the served one, or one above it (see ``ahead``). ``pace``: how
    long its blocks take, and whether the chain stands.

    ``forked``: why each upstream is isolated, by name. ``wanted``: headers worth asking for.
    ``last_reorg``: the latest; ``reorgs`` counts them, gaps apart. ``is_split``: half of the
    voters have left our chain, and nobody can say who is right.
    """

    __slots__ = (
        "_first_claim_at",
        "_held_since",
        "_turning",
        "_unlinked_since",
        "_unreached_since",
        "ahead",
        "depth",
        "finality",
        "forked",
        "is_backed",
        "is_split",
        "last_reorg",
        "lineage",
        "moved_at",
        "pace",
        "reorgs",
        "served",
        "served_head",
        "shown",
        "turned_at",
        "turns",
        "wanted",
    )

    def __init__(
        self,
        block_time_seconds: float,
        depth: int = DEEPEST,
        *,
        traits: Traits = Traits(),  # noqa: B008 -- frozen
        shows_ahead: bool = False,
    ) -> None:
        self.pace = ChainPace(block_time_seconds, traits)
        self.ahead = Ahead(is_allowed=shows_ahead)
        self.depth = depth  # so many blocks of our chain are to be known by their hashes
        self.served = self.shown = -1
        self.served_head: Head | None = None
        self.finality = Finality(traits.anchors, traits.final_depth)
        self.lineage = Lineage(skips=traits.skips_numbers)
        self.moved_at = -math.inf
        self.is_backed = False  # two of different providers have had the served head
        self.is_split = False
        self.forked: dict[str, str] = {}
        self.wanted: tuple[WantedHeader, ...] = ()
        self.last_reorg: Reorg | None = None
        self.reorgs = 0
        self.turns = 0  # how often blocks left our chain, gaps included
        self.turned_at = -math.inf
        self._held_since: dict[str, float] = {}
        self._turning: tuple[str, float] = ("", 0.0)  # to which block, and since when
        self._unreached_since = math.inf  # since when nobody is as far as the served head
        self._unlinked_since: dict[str, float] = {}
        self._first_claim_at = math.inf

    # ---- questions

    def hash_at(self, number: int) -> str:
        """The hash of our chain's block, ``""`` where it is not known."""
        name = self.lineage.chain.get(number, "")
        return "" if is_numbered(name) else name

    def denies(self, number: int, hash: str) -> bool:
        """Whether our chain is known to have another block at this height, or none."""
        ours = self.hash_at(number)
        if not ours:
            return self.lineage.is_hole(number)
        return bool(hash) and ours != hash

    def highest_plausible(self, now: float) -> int:
        """The highest number that time allows: blocks at twice the usual rate since the last
        move, and some slack. Anything, while nothing is known.
        """
        if self.served < 0:
            return 2**63
        passed = max(0.0, now - self.moved_at)
        return self.served + SLACK_BLOCKS + int(2.0 * passed / self.pace.block_time_seconds)

    def is_lone_claim(self, claimant: Claimant, usable: Sequence[Claimant], since: float) -> bool:
        """Whether others have contradicted what it has claimed ``since``: more than half of them
        have reported later, and nobody is as high.
        """
        others = [
            other.track
            for other in usable
            if other.track is not claimant.track and other.track.head is not None
        ]
        newer = sum(track.reported_at >= since + CONTRADICTION_SECONDS for track in others)
        ceiling = claimant.track.number - SLACK_BLOCKS
        return newer * 2 > len(others) and all(track.number < ceiling for track in others)

    # ---- knowledge

    def learn(self, header: Head, upstream: str) -> None:
        """A header that an upstream told, as its head or because it was asked for."""
        self.lineage.learn(header, upstream)
        self.lineage.deepen()

    def settle(self, voters: Sequence[Claimant], expected: int, now: float) -> bool:
        """Recompute from what the voters told; ``expected`` is how many may yet be heard.
        True when ``served`` moved.
        """
        votes = votes_of(voters, self.lineage)
        if not votes or not self._has_heard_enough(len(votes), expected, now):
            return False
        before = (self.served, self.turns)
        count = len(voters)
        if self.served < 0:
            self._begin(votes, count, now)
        elif sum(vote.is_forked for vote in votes) * 2 > count:
            self._reorganise(votes, count, now)
        else:
            self._advance(votes, count, now, is_sole=count == expected == 1)
        if self.served >= 0:
            self._fall_back(votes, count, now)
        self._isolate(votes, count, now)
        if self.shown > self.served and self.ahead.has_lapsed(
            self.shown, voters, self.pace.block_time_seconds, now
        ):
            self.shown = self.served
        self.finality.settle(votes, count, self.served, self.hash_at, is_backed=self.is_backed)
        self.wanted = wanted_of(
            self.lineage, votes, self.served_head, self.finality.floor, self.depth
        )
        return before != (self.served, self.turns)

    def raise_to(self, number: int, hash: str, voters: Sequence[Claimant], now: float) -> bool:
        """A client's answer names a block above the served head. Whether that one can be served
        already: two of different providers have it, or one where at most two vote, and it links.
        """
        votes = votes_of(voters, self.lineage)
        for block in blocks_of(votes, self.lineage, self.served):
            if (block.number, block.name) != (number, hash) or not self._is_linked(block):
                continue
            if len(block.providers) >= 2 or len(voters) <= 2:
                self._move_to(block, now)
                self._isolate(votes, len(voters), now)
                return True
        return False

    def ceiling(self, claimants: Iterable[Claimant], now: float) -> int:
        """How high a block may be that nothing links to the served head: upstreams are ahead of it
        by what came in the last moments.
        """
        steps = reach(self.pace.block_time_seconds, now - self.moved_at)
        return max(self.served, second_height(claimants)) + steps

    def show(
        self, number: int, head: Head | None, teller: str, voters: Sequence[Claimant], now: float
    ) -> bool:
        """An upstream answers a client from a block above the served head, ``head`` where it tells
        its header: whether that may be shown, and from now on nothing lower.
        """
        if number <= self.shown:
            return True
        if not self.ahead.believes(teller, now):
            return False
        if head is not None and self._is_from_the_future(head, now):
            return False
        if number > self.ceiling(voters, now):
            served = self.served_head
            if head is None or served is None or number > self.highest_plausible(now):
                return False
            self.learn(head, teller)
            if self.lineage.has(head, self.served, name_of(served)) is not True:
                return False
        self.shown = number
        self.ahead.on_shown(teller, now)
        return True

    # ---- moves

    def _is_linked(self, block: SupportedBlock) -> bool:
        """Whether its ancestors lead to the served head."""
        if self.served_head is None:
            return False
        return self.lineage.has(block.tip, self.served, name_of(self.served_head)) is True

    def _has_heard_enough(self, heard: int, expected: int, now: float) -> bool:
        """At start-up the first voice alone is not believed at once: it may be the liar."""
        if self.served >= 0:
            return True
        self._first_claim_at = min(self._first_claim_at, now)
        return heard * 2 > expected or now - self._first_claim_at >= LONGEST_HOLD_SECONDS

    def _begin(self, votes: Sequence[Vote], count: int, now: float) -> None:
        """The first served head: nothing is there yet to link to."""
        blocks = blocks_of(votes, self.lineage, -1)
        best = next((block for block in blocks if len(block.votes) * 2 > count), None)
        if best is None and now - self._first_claim_at >= LONGEST_HOLD_SECONDS:
            best = next((block for block in blocks if len(block.providers) >= 2), None)
            # Nobody agrees: neither the highest nor the lowest is likely to be right.
            heads = sorted((vote.head.number for vote in votes), reverse=True)
            middle = heads[len(heads) // 2]
            best = best or next(block for block in blocks if block.number == middle)
        if best is not None:
            self._move_to(best, now)

    def _advance(self, votes: Sequence[Vote], count: int, now: float, *, is_sole: bool) -> None:
        """To the highest block that may be served now. ``is_sole``: nobody but one may be heard."""
        blocks = blocks_of([v for v in votes if not v.is_forked], self.lineage, self.served)
        held = {block.name: self._held_since.get(block.name, now) for block in blocks}
        self._held_since = held
        if not self.is_backed:
            self._back(votes)
        if self.pace.is_too_fast(now - self.moved_at):
            return
        for block in blocks:
            held_seconds = now - held[block.name]
            if is_sole and block.number <= self.highest_plausible(now) and self._is_linked(block):
                # Its times are those of the chain: a development node's clock is set forward, and
                # some chains count milliseconds or nanoseconds.
                held_seconds = LONE_JUMP_SECONDS
            if self._may_serve(block, count, held_seconds, now):
                self._move_to(block, now)
                return
        if not self.is_backed:
            self._correct(votes, count, now)

    def _may_serve(
        self, block: SupportedBlock, count: int, held_seconds: float, now: float
    ) -> bool:
        is_majority = len(block.votes) * 2 > count > 1
        is_linked = self._is_linked(block)
        if is_majority:
            is_far = block.number - self.served > DEEPEST
            return is_linked or is_far or held_seconds >= LINK_SECONDS
        if not is_linked or block.number > self.highest_plausible(now):
            # Alone after a sleep: nobody is there to contradict it.
            return count == 1 and held_seconds >= LONE_JUMP_SECONDS
        if self._is_from_the_future(block.tip, now):
            return count == 1 and held_seconds >= LONE_JUMP_SECONDS
        if count == 1:
            return True
        is_supported = len(block.providers) >= (2 if count > 2 else 1)
        return is_supported and held_seconds >= self.pace.hold_seconds

    def _is_from_the_future(self, tip: Head, now: float) -> bool:
        """By the time that passed since the served head came, whatever our own clock says."""
        served = self.served_head
        if served is None or not served.timestamp or not tip.timestamp:
            return False
        return tip.timestamp > served.timestamp + (now - self.moved_at) + SLACK_SECONDS

    def _back(self, votes: Sequence[Vote]) -> None:
        served = self.served_head
        having = {
            vote.claimant.provider
            for vote in votes
            if served and self.lineage.has(vote.head, served.number, name_of(served))
        }
        self.is_backed = len(having) >= 2

    def _correct(self, votes: Sequence[Vote], count: int, now: float) -> None:
        """The first voice was alone, and a majority of several providers knows better."""
        for block in blocks_of(votes, self.lineage, -1):
            is_majority = len(block.votes) * 2 > count and len(block.providers) >= 2
            if is_majority and block.number < self.served:
                self._turn(-1, now, is_gap=True)
                self._move_to(block, now)
                return

    def _reorganise(self, votes: Sequence[Vote], count: int, now: float) -> None:
        """More than half left our chain above what is final: where they agree, follow them."""
        floor = self.finality.floor
        forked = [v for v in votes if v.is_forked and not self.lineage.misses(v.head, floor)]
        for block in blocks_of(forked, self.lineage, floor):
            if len(block.votes) * 2 <= count:
                continue
            if self.lineage.chain.get(block.number) == block.name:
                return  # they agree on what is ours, and not on what comes instead of the rest
            ancestor = self.lineage.common_ancestor(block.tip)
            if self._turning[0] != block.name:
                self._turning = (block.name, now)
            if ancestor is None and now - self._turning[1] < LINK_SECONDS:
                return  # the headers in between are on their way
            if ancestor is None or ancestor >= floor:
                self._turn(floor if ancestor is None else ancestor, now, is_gap=ancestor is None)
                self._move_to(block, now)
                return

    def _fall_back(self, votes: Sequence[Vote], count: int, now: float) -> None:
        """The chain was rolled back with nothing new on top, or a claim that nobody was there to
        contradict was a lie: what nobody has cannot be served. Never below what is final.
        """
        if any(vote.head.number >= self.served for vote in votes if not vote.is_forked):
            self._unreached_since = math.inf
            return
        self._unreached_since = min(self._unreached_since, now)
        patience = max(FALLEN_SECONDS, FALLEN_BLOCKS * self.pace.block_time_seconds)
        if now - self._unreached_since < patience:
            return
        for block in blocks_of(votes, self.lineage, self.finality.floor):
            if len(block.votes) * 2 > count and block.number < self.served:
                is_ours = self.lineage.chain.get(block.number) == block.name
                ancestor = block.number if is_ours else self.lineage.common_ancestor(block.tip)
                is_gap = ancestor is None or ancestor < self.finality.floor
                self._turn(self.finality.floor if is_gap else ancestor or 0, now, is_gap=is_gap)
                self._move_to(block, now)
                self._unreached_since = math.inf
                return

    @property
    def ancestor(self) -> int:
        """Up to where the last reorg left everything as it was."""
        return -1 if self.last_reorg is None else self.last_reorg.ancestor

    def _turn(self, ancestor: int, now: float, *, is_gap: bool) -> None:
        self.last_reorg = Reorg(ancestor, max(0, self.served - ancestor), is_gap)
        self.turned_at = now
        self.turns += 1
        if not is_gap:
            self.shown = -1  # it may be of the branch that was left
        self.reorgs += not is_gap

    def _move_to(self, block: SupportedBlock, now: float) -> None:
        before = self.served_head
        head = block.head(self.lineage)
        is_turn = before is not None and self.lineage.has(block.tip, before.number, name_of(before))
        if before is not None and is_turn is None and block.number > self.served:
            self._turn(self.finality.floor, now, is_gap=True)
        self.lineage.extend(head)
        self.shown = block.number if block.number < self.served else max(self.shown, block.number)
        self.served, self.served_head = block.number, head
        self.moved_at = now
        self.is_backed = self.is_backed or len(block.providers) >= 2
        self._held_since.clear()
        self.pace.measure(block.number, now)

    # ---- who is not on our chain

    def _isolate(self, votes: Sequence[Vote], count: int, now: float) -> None:
        """Name those that have left our chain, unless they are more than half, those above it
        that nothing links to it, and those that contradict what is final.
        """
        lineage = self.lineage
        forked: dict[str, str] = {}
        unlinked: dict[str, float] = {}
        for vote in votes:
            name, number = vote.claimant.name, vote.head.number
            meeting = lineage.meets(vote.head)
            if meeting is None:
                if number > self.served:
                    unlinked[name] = self._unlinked_since.get(name, now)
            elif not meeting[1]:
                forked[name] = f"its block {meeting[0]} is not the others'"
        self._unlinked_since = unlinked
        self.is_split = len(forked) * 2 >= count > 1
        if len(forked) * 2 > count:
            forked.clear()
        if count > 2:
            for name, since in unlinked.items():
                if now - since >= UNLINKED_SECONDS:
                    forked[name] = "nothing links its head to the others' chain"
        for vote in votes:
            name = vote.claimant.name
            if lineage.is_time_disputed(vote.head, name):
                forked[name] = f"its block {vote.head.number} has another time than the others say"
            contradiction = self.finality.contradiction(vote.claimant.track, self.hash_at)
            if contradiction:
                forked[vote.claimant.name] = contradiction
        self.forked = forked

    def adopt(self, old: Heads) -> None:
        """A reload: go on from what was served."""
        for name in self.__slots__:
            if name not in {"ahead", "pace"}:
                setattr(self, name, getattr(old, name))
        self.pace.adopt(old.pace)
        if self.ahead.is_allowed:
            self.ahead.adopt(old.ahead)
        else:
            self.shown = self.served
