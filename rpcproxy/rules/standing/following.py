"""How each upstream follows our chain: what its reports of blocks mean for it, and for the others.

``heads`` decides which chain is ours; here its decisions reach the standings: who left it, who is
late, and who has to be told. Doubts of answers and of state end here as well.

State: none but that of the standings and the heads; ``Standings`` calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from rpcproxy.messages import MethodClass
from rpcproxy.rules.heads.heads import Heads
from rpcproxy.rules.standing.selection import Ranking
from rpcproxy.rules.standing.standing import Standing
from rpcproxy.states import Change, ChangeKind
from rpcproxy.words import BlockNamed, Doubt, DoubtKind, Observation

# Of an upstream that left our chain, answers at so many of the last blocks are not believed.
DISTRUSTED_BLOCKS: Final = 16


class Following:
    """Reports of blocks, carried to the heads, and their decisions carried to the standings.
    One per chain.
    """

    __slots__ = ("_all", "_max_lag_blocks", "_ranking", "heads", "on_distrust", "on_served")

    def __init__(
        self, standings: Sequence[Standing], heads: Heads, ranking: Ranking, max_lag_blocks: int
    ) -> None:
        self._all = standings
        self.heads = heads
        self._ranking = ranking
        self._max_lag_blocks = max_lag_blocks
        self.on_served: list[Callable[[], None]] = []  # told when the served head moved
        # Told above which block answers may be wrong: an upstream turned out to have been.
        self.on_distrust: list[Callable[[int], None]] = []

    def on_named(self, named: BlockNamed, now: float, changes: list[Change]) -> None:
        """An answer to a client names a block above the served head: serve it where enough have it,
        else show it where who answers may be believed.
        """
        if named.number > self.heads.served:
            self.raise_to(named.number, named.hash, now, changes)
        if named.number > self.heads.served:
            voters = [standing for standing in self._all if standing.has_vote]
            self.heads.show(named.number, named.head, named.upstream, voters, now)

    def on_doubt(self, standing: Standing, doubt: Doubt, now: float, changes: list[Change]) -> None:
        """Whether it is on our chain, now that this is said of it."""
        if doubt.kind is DoubtKind.ANSWER:
            self.on_off_chain(standing, doubt.reason, now, changes)
            return
        if standing.state_fault == doubt.reason or (standing.state_fault and doubt.reason):
            return
        standing.state_fault = doubt.reason
        self.settle_fork(standing, now, changes)

    def on_off_chain(
        self, standing: Standing, reason: str, now: float, changes: list[Change]
    ) -> bool:
        """An answer of it is of another chain: leave it out for a moment. ``False`` where it is
        left out already, or nobody else can serve.
        """
        usable = self._ranking.usable[MethodClass.LIGHT]
        if standing.is_forked or not any(other is not standing for other in usable):
            return False
        standing.on_off_chain(now)
        standing.answer_fault = reason
        self.settle_fork(standing, now, changes)
        return True

    def raise_to(self, number: int, hash: str, now: float, changes: list[Change]) -> bool:
        """Serve a block that a client's answer names already, where enough upstreams have it."""
        voters = [standing for standing in self._all if standing.has_vote]
        if not self.heads.raise_to(number, hash, voters, now):
            return False
        for tell in self.on_served:
            tell()
        for standing in self._all:
            self.settle_fork(standing, now, changes)
            self.settle_lag(standing, now, changes)
        return True

    def on_headers(
        self, standing: Standing, o: Observation, now: float, changes: list[Change]
    ) -> None:
        """What an answer told of blocks."""
        has_moved = standing.track.report_anchors(o.anchors)
        for header in (o.head, o.header):
            if header is not None:
                self.heads.learn(header, standing.name)
                has_moved = has_moved or header is o.header
        if o.head is not None:
            last = standing.track.last
            if last is not None and o.head.number < last.number:
                self._distrust(o.head.number)  # what it lacked it may have answered as empty
            if standing.head is None:
                self._ranking.mark()  # no longer unknown
            has_moved = standing.report_head(o.head, now) or has_moved
        if has_moved:
            self.settle(now, changes)

    def settle(self, now: float, changes: list[Change]) -> None:
        """Look at all heads: what is served, who is on our chain, and who is late."""
        self._ranking.renew(now)
        # Those that only take transactions know the chain as well as the others.
        usable = self._ranking.usable[MethodClass.LIGHT] or self._ranking.usable[MethodClass.SEND]
        expected = sum(not standing.is_quarantined for standing in self._all)
        voters = [standing for standing in self._all if standing.has_vote]
        turns, was_split = self.heads.turns, self.heads.is_split
        if self.heads.settle(voters, expected, now):
            for tell in self.on_served:
                tell()
        if self.heads.turns != turns:
            self._tell_turn(changes)
            for standing in self._all:
                standing.forked_until = -math.inf  # whoever was first to turn was right
            for standing in self._all:  # whoever was ahead of us in this is right now
                standing.answer_fault, standing.forked_until = "", now
        if self.heads.is_split and not was_split:
            words = "half or more of the upstreams left our chain and do not agree"
            changes.append(
                Change("", ChangeKind.SPLIT, f"{words}; block {self.heads.served} stays")
            )
        if self.heads.pace.settle_halt(usable):
            kind = (
                ChangeKind.CHAIN_HALTED if self.heads.pace.is_halted else ChangeKind.CHAIN_RESUMED
            )
            served = self.heads.served
            words = (
                "all heads stand still at" if self.heads.pace.is_halted else "heads move again past"
            )
            changes.append(Change("", kind, f"{words} block {served}"))
        for standing in self._all:
            self.settle_fork(standing, now, changes)
            self.settle_lag(standing, now, changes)

    def _distrust(self, above: int) -> None:
        for tell in self.on_distrust:
            tell(above)

    def _tell_turn(self, changes: list[Change]) -> None:
        turn = self.heads.last_reorg
        if turn is None:
            return
        if turn.is_gap:
            words = f"the way from block {turn.ancestor} to {self.heads.served} is not known"
            changes.append(Change("", ChangeKind.HEAD_JUMPED, words))
        else:
            words = f"{turn.depth} blocks above {turn.ancestor} were replaced"
            changes.append(Change("", ChangeKind.REORG, f"{words}; served is {self.heads.served}"))

    def settle_fork(self, standing: Standing, now: float, changes: list[Change]) -> None:
        """Whether it is on our chain."""
        if standing.answer_fault and now >= standing.forked_until:
            standing.answer_fault = ""
        found = self.heads.forked.get(standing.name, "") or standing.state_fault
        reason = found or standing.answer_fault
        if not reason and standing.is_forked:
            if not standing.has_vote:
                return  # it was not heard
            if now < standing.forked_until and self._ranking.usable[MethodClass.LIGHT]:
                return
        if found:
            standing.on_off_chain(now)
        if bool(reason) != standing.is_forked:
            standing.is_forked = bool(reason)
            if reason:
                # Where its branch began is not known; what is kept must not fall for one flapping.
                depth = self.heads.served - DISTRUSTED_BLOCKS
                self._distrust(max(self.heads.finality.floor, depth))
            self._ranking.mark()
            kind = ChangeKind.FORKED if reason else ChangeKind.JOINED
            words = reason or "it is on our chain again"
            changes.append(Change(standing.name, kind, words))
        standing.fork_reason = reason or ""

    def settle_lag(self, standing: Standing, now: float, changes: list[Change]) -> None:
        """Whether it is late, stands still, or claims what cannot be."""
        track = standing.track
        if track.head is None:
            return
        heads = self.heads
        is_behind = track.low_water < heads.served
        if is_behind != standing.is_behind:
            standing.is_behind = is_behind
            self._ranking.mark()
        lag = heads.lineage.blocks_above(track.number)
        is_late = lag > self._max_lag_blocks
        standing.behind_since = min(standing.behind_since, now) if lag else math.inf
        # By its reports, not by the clock: who was not asked did not stand still.
        still_seconds = track.reported_at - max(track.moved_at, standing.behind_since)
        is_stalled = lag > 0 and not is_late and still_seconds > heads.pace.stall_seconds
        is_above = heads.served >= 0 and track.number > heads.highest_plausible(now)
        was_stale = standing.is_stale
        standing.is_lagging, standing.is_stalled = is_late, is_stalled
        standing.is_far_above = is_above
        penalty = 1.0 + min(1.0, lag / (self._max_lag_blocks + 1))
        if penalty != standing.lag_penalty:
            standing.lag_penalty = penalty
            for record in standing.classes:
                record.reprice()
        if standing.is_stale != was_stale:
            standing.stale_since = math.inf if was_stale else now
            self._ranking.mark()
        if standing.is_stale:
            self._tell_stale(standing, lag, still_seconds, changes)
        elif standing.stale_kind:
            standing.stale_kind, standing.stale_reason = None, ""
            changes.append(
                Change(standing.name, ChangeKind.CAUGHT_UP, f"its head is {track.number}")
            )

    def _tell_stale(
        self, standing: Standing, lag: int, still_seconds: float, changes: list[Change]
    ) -> None:
        """Say that it is stale, once that is known: who was not heard since the others moved may
        have moved as well, and who is ahead of all others may only be the first.
        """
        heads, track = self.heads, standing.track
        if standing.is_stalled:
            kind = ChangeKind.STALLED_HEAD
            reason = f"its head stands still at {track.number} for {still_seconds:.0f} s"
        elif standing.is_far_above:
            kind = ChangeKind.LAGGING
            reason = f"its head {track.number} is far above the others' {heads.served}"
            usable = self._ranking.usable[MethodClass.LIGHT]
            if not heads.is_lone_claim(standing, usable, standing.stale_since):
                return
        elif track.reported_at >= standing.stale_since:
            kind = ChangeKind.LAGGING
            reason = f"its head {track.number} is {lag} blocks behind"
        else:
            return
        if kind != standing.stale_kind:
            standing.stale_kind, standing.stale_reason = kind, reason
            changes.append(Change(standing.name, kind, reason))


def tells_of_blocks_alone(o: Observation) -> bool:
    """Whether it tells of blocks alone, and nothing of how the upstream does."""
    told = o.head or o.header or any(o.anchors)
    return bool(told) and o.seconds is None and not o.is_probe
