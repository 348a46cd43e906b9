"""Standings: what is known of each upstream of a chain, and who is asked.

``observe`` is the only door for knowledge; ``tick`` lets time pass; ``on_sent`` and its kin count
attempts under way; ``pick`` chooses. Who does what: ``health`` judges failures and refusals,
``admit`` chain ids and keys, ``heads`` and ``domains`` their own, ``selection`` ranks and picks;
``track_record`` is one upstream.

State: ``Standings``, one per chain, written by whoever calls ``observe`` and ``tick`` (the
executor and the watcher, on one thread).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from rpcproxy.config.model import Chain, Upstream
from rpcproxy.messages import METHOD_CLASSES, Blame, MethodClass, Observation, Verdict
from rpcproxy.rules import admit
from rpcproxy.rules.domains import FAILING_SHARE, Domains
from rpcproxy.rules.heads import Heads
from rpcproxy.rules.health import Health
from rpcproxy.rules.latency import Window
from rpcproxy.rules.selection import Need, Policy, Ranking
from rpcproxy.rules.snapshot import describe
from rpcproxy.rules.track_record import FLOOR_SECONDS, Change, ClassStanding, Standing

__all__ = ["Change", "ClassStanding", "Need", "Settings", "Standing", "Standings"]

DEFAULT_HEDGE_SECONDS: Final = 0.150
HEDGE_MIN_SAMPLES: Final = 20
HEDGE_FACTOR: Final = 1.25
SHORTEST_HEDGE_SECONDS: Final = 0.020
LONGEST_HEDGE_SECONDS: Final = 1.0

# Of an upstream that left our chain, answers at so many of the last blocks are not believed.
DISTRUSTED_BLOCKS: Final = 16

_OK: Final = Verdict.OK
# Good answers: they heal, and their time is learned.
_GOOD: Final = frozenset({Verdict.OK, Verdict.NULL, Verdict.REVERTED, Verdict.ALREADY_KNOWN})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What of a chain's configuration concerns its standings."""

    block_time_seconds: float = 12.0
    max_lag_blocks: int = 2
    policy: Policy = "fastest"
    chain_id: int = 1

    @classmethod
    def of(cls, chain: Chain) -> Settings:
        return cls(
            block_time_seconds=chain.block_time_seconds,
            max_lag_blocks=chain.max_lag_blocks,
            policy=chain.selection,
            chain_id=chain.chain_id,
        )


class Standings:
    """See the module's docstring. ``now`` is monotonic seconds; going backward does no harm."""

    __slots__ = (
        "_all",
        "_by_name",
        "_domains",
        "_health",
        "_now",
        "_ranking",
        "_settings",
        "_ticked_at",
        "_windows",
        "heads",
        "is_panicking",
        "on_distrust",
        "on_served",
        "pick",
    )

    def __init__(self, upstreams: Sequence[Upstream], settings: Settings, now: float) -> None:
        self._settings = settings
        self._all = tuple(Standing(upstream, i, now) for i, upstream in enumerate(upstreams))
        self._by_name = {standing.name: standing for standing in self._all}
        self._ranking = Ranking(self._all, settings.policy, now)
        # The upstream to ask next, see there. Bound once: a frame less for each request.
        self.pick = self._ranking.pick
        self._health = Health(self._ranking)
        self._domains = Domains(self._all)
        self._windows = tuple(Window() for _ in METHOD_CLASSES)
        self._now = self._ticked_at = now
        self.heads = Heads(settings.block_time_seconds)
        self.on_served: list[Callable[[], None]] = []  # told when the served head moved
        # Told above which block answers may be wrong: an upstream turned out to have been.
        self.on_distrust: list[Callable[[int], None]] = []
        self.is_panicking = False

    def __getitem__(self, name: str) -> Standing:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Standing]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def all(self) -> Sequence[Standing]:
        """In the order of the configuration."""
        return self._all

    # ---- knowledge

    def observe(self, o: Observation, now: float) -> Sequence[Change]:
        """Learn. Returns what turned by it, usually nothing. Unknown upstreams are ignored: a
        reload may have removed them.
        """
        standing = self._by_name.get(o.upstream)
        if standing is None:
            return ()
        record = standing.classes[o.method_class]
        seconds = o.seconds
        is_plain = o.verdict is _OK and record.is_calm and not o.is_probe and o.head is None
        if is_plain and seconds is not None:
            # What tells of blocks alone (headers, anchors) took no time, and goes the other way.
            self._learn_time(record, seconds, now)
            exclusions = standing.exclusions
            if o.request_bytes > exclusions.took_bytes or exclusions.methods:
                exclusions.on_taken(o.method, o.request_bytes)
            if o.lowest >= 0:
                self._health.on_reached(standing, o)
            return ()
        now = self._now = max(now, self._now)
        changes: list[Change] = []
        self._learn(standing, o, changes)
        if record.settle(now):
            self._ranking.mark()
        self._renew(changes)
        return changes

    def on_answered(self, standing: Standing, need: Need, seconds: float, now: float) -> bool:
        """``on_settled`` and ``observe`` for nearly every answer: a good one, of an upstream that
        is well, that tells of no head. ``False``: nothing was learned; it is to be told as an
        ``Observation``.
        """
        if standing.in_flight > 0:
            standing.in_flight -= 1
        record = standing.classes[need.method_class]
        exclusions = standing.exclusions
        if (
            not record.is_calm
            or need.lowest >= 0
            or need.request_bytes > exclusions.took_bytes
            or exclusions.methods
        ):
            return False
        self._learn_time(record, seconds, now)
        return True

    def _learn_time(self, record: ClassStanding, seconds: float, now: float) -> None:
        latency = record.latency
        latency.add(seconds, now)
        record.cost = (latency.seconds + FLOOR_SECONDS) * record.factor
        self._windows[record.method_class].add(seconds)

    def _learn(self, standing: Standing, o: Observation, changes: list[Change]) -> None:
        now = self._now
        verdict = o.verdict
        blame = verdict.blame
        if verdict in _GOOD:
            if o.seconds is not None:
                self._windows[o.method_class].add(o.seconds)
            if not is_word_alone(o):
                self._health.on_good(standing, o, now, changes)
            if admit.is_check(o) and admit.on_checked(
                standing, now, changes, is_needed=not self._ranking.usable[o.method_class]
            ):
                self._ranking.mark()
            self._on_headers(standing, o, changes)
        elif blame is Blame.UPSTREAM:
            self._health.on_failure(standing, o, now, changes)
        elif blame is Blame.LIMIT:
            self._health.on_limit(standing, o, now, changes)
        elif blame is Blame.ACCESS:
            usable = self._ranking.usable[o.method_class]
            if admit.on_refused(standing, o, now, changes, is_last=usable == (standing,)):
                self._ranking.mark()
        elif verdict is not Verdict.CANCELLED:
            self._health.on_exclusion(standing, o, now, changes)

    def _on_headers(self, standing: Standing, o: Observation, changes: list[Change]) -> None:
        has_moved = standing.track.report_anchors(o.safe, o.finalized)
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
            has_moved = standing.report_head(o.head, self._now) or has_moved
        if has_moved:
            self._settle_heads(changes)

    def tick(self, now: float) -> Sequence[Change]:
        """Let time pass: what ends or fades by itself. Call it about every 100 ms."""
        now = self._now = max(now, self._now)
        elapsed = now - self._ticked_at
        self._ticked_at = now
        changes: list[Change] = []
        for standing in self._all:
            self._pass_time(standing, elapsed, now, changes)
        for window in self._windows:
            window.renew()
        self._settle_domains(changes)
        self._settle_heads(changes)
        self._ranking.reprice()
        self._renew(changes)
        return changes

    def _pass_time(
        self, standing: Standing, elapsed: float, now: float, changes: list[Change]
    ) -> None:
        for record in standing.classes:
            breaker = record.breaker
            breaker.fade(elapsed, now)
            latency = record.latency
            if latency.sampled_at != latency.seen_at:
                latency.settle(now)
            if record is not standing.light:
                latency.drift(standing.light.latency.seconds, elapsed, now)
            if record.settle(now):
                self._ranking.mark()
            if breaker.is_open or breaker.share > FAILING_SHARE:
                standing.failing_at = now
        self._health.close_proven(standing, now, changes)
        standing.rates.settle(elapsed, now, is_paused=standing.is_cooling)
        standing.exclusions.forget_expired(now)
        standing.settle_care()
        if standing.is_cooling and now >= standing.cooldown.until:
            standing.is_cooling = False
            standing.rates.on_pause_over(now)
            self._ranking.mark()
            changes.append(Change(standing.name, "cooled", "the time it asked for is over"))

    # ---- what follows from knowledge

    def _renew(self, changes: list[Change]) -> None:
        """Where something changed: ranks, states, panic."""
        if not changes and not self._ranking.is_stale:
            return
        self._ranking.renew(self._now)
        for standing in self._all:
            standing.settle_state(self._now)
        trusted = sum(standing.is_trusted for standing in self._all)
        serving = sum(standing.state in ("up", "lagging") for standing in self._all)
        is_panicking = serving * 2 < trusted
        if is_panicking != self.is_panicking:
            self.is_panicking = is_panicking
            kind = "panic" if is_panicking else "panic_over"
            words = "; ejected ones are a last resort" if is_panicking else ""
            changes.append(Change("", kind, f"{serving} of {trusted} upstreams usable{words}"))

    def _settle_domains(self, changes: list[Change]) -> None:
        for suspicion in self._domains.settle(self._now):
            kind = "suspect" if suspicion.is_suspect else "unsuspect"
            changes.append(Change(suspicion.domain, kind, suspicion.reason, None, suspicion.until))
            for standing in self._all:
                for record in standing.classes:
                    record.reprice()
            self._ranking.mark()

    def _settle_heads(self, changes: list[Change]) -> None:
        now = self._now
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
                standing.answer_fault, standing.forked_until = "", self._now
        if self.heads.is_split and not was_split:
            words = "half or more of the upstreams left our chain and do not agree"
            changes.append(Change("", "split", f"{words}; block {self.heads.served} stays"))
        if self.heads.settle_halt(usable):
            kind = "chain_halted" if self.heads.is_halted else "chain_resumed"
            served = self.heads.served
            words = "all heads stand still at" if self.heads.is_halted else "heads move again past"
            changes.append(Change("", kind, f"{words} block {served}"))
        for standing in self._all:
            self._settle_fork(standing, changes)
            self._settle_lag(standing, changes)

    def _distrust(self, above: int) -> None:
        for tell in self.on_distrust:
            tell(above)

    def raise_served(self, number: int, hash: str, now: float) -> Sequence[Change]:
        """A client's answer names a block above the served head: serve that one already, where
        enough upstreams have it.
        """
        self._now = max(now, self._now)
        changes: list[Change] = []
        voters = [standing for standing in self._all if standing.has_vote]
        if self.heads.raise_to(number, hash, voters, self._now):
            for tell in self.on_served:
                tell()
            for standing in self._all:
                self._settle_fork(standing, changes)
                self._settle_lag(standing, changes)
            self._renew(changes)
        return changes

    def doubt_answer(self, name: str, reason: str, now: float) -> Sequence[Change]:
        """An answer of it is of another chain: it is left out for a moment, while others can
        serve. In a reorg it may only be the first to know.
        """
        standing = self._by_name[name]
        usable = self._ranking.usable[MethodClass.LIGHT]
        if standing.is_forked or not any(other is not standing for other in usable):
            return ()
        self._now = max(now, self._now)
        standing.on_off_chain(self._now)
        standing.answer_fault = reason
        changes: list[Change] = []
        self._settle_fork(standing, changes)
        self._renew(changes)
        return changes

    def doubt_state(self, name: str, reason: str, now: float) -> Sequence[Change]:
        """Its state was held against the others': ``reason`` says how it differs, ``""`` that it
        does not.
        """
        standing = self._by_name[name]
        if standing.state_fault == reason or (standing.state_fault and reason):
            return ()
        self._now = max(now, self._now)
        standing.state_fault = reason
        changes: list[Change] = []
        self._settle_fork(standing, changes)
        self._renew(changes)
        return changes

    def learn_hashes(self, name: str, *, takes: bool) -> None:
        """Whether it looks at a block's hash in place of its number."""
        self._by_name[name].takes_hashes = takes

    def _tell_turn(self, changes: list[Change]) -> None:
        turn = self.heads.last_reorg
        if turn is None:
            return
        if turn.is_gap:
            words = f"the way from block {turn.ancestor} to {self.heads.served} is not known"
            changes.append(Change("", "head_jumped", words))
        else:
            words = f"{turn.depth} blocks above {turn.ancestor} were replaced"
            changes.append(Change("", "reorg", f"{words}; served is {self.heads.served}"))

    def _settle_fork(self, standing: Standing, changes: list[Change]) -> None:
        if standing.answer_fault and self._now >= standing.forked_until:
            standing.answer_fault = ""
        found = self.heads.forked.get(standing.name, "") or standing.state_fault
        reason = found or standing.answer_fault
        if not reason and standing.is_forked:
            if not standing.has_vote:
                return  # it was not heard
            if self._now < standing.forked_until and self._ranking.usable[MethodClass.LIGHT]:
                return
        if found:
            standing.on_off_chain(self._now)
        if bool(reason) != standing.is_forked:
            standing.is_forked = bool(reason)
            if reason:
                # Where its branch began is not known; what is kept must not fall for one flapping.
                depth = self.heads.served - DISTRUSTED_BLOCKS
                self._distrust(max(self.heads.finality.floor, depth))
            self._ranking.mark()
            kind, words = ("forked", reason) if reason else ("joined", "it is on our chain again")
            changes.append(Change(standing.name, kind, words))
        standing.fork_reason = reason or ""

    def _settle_lag(self, standing: Standing, changes: list[Change]) -> None:
        track = standing.track
        if track.head is None:
            return
        heads = self.heads
        is_behind = track.low_water < heads.served
        if is_behind != standing.is_behind:
            standing.is_behind = is_behind
            self._ranking.mark()
        lag = max(0, heads.served - track.number)
        is_late = lag > self._settings.max_lag_blocks
        standing.behind_since = min(standing.behind_since, self._now) if lag else math.inf
        # By its reports, not by the clock: who was not asked did not stand still.
        still_seconds = track.reported_at - max(track.moved_at, standing.behind_since)
        is_stalled = lag > 0 and not is_late and still_seconds > heads.stall_seconds
        is_above = heads.served >= 0 and track.number > heads.highest_plausible(self._now)
        was_stale = standing.is_stale
        standing.is_lagging, standing.is_stalled = is_late, is_stalled
        standing.is_far_above = is_above
        penalty = 1.0 + min(1.0, lag / (self._settings.max_lag_blocks + 1))
        if penalty != standing.lag_penalty:
            standing.lag_penalty = penalty
            for record in standing.classes:
                record.reprice()
        if standing.is_stale != was_stale:
            standing.stale_since = math.inf if was_stale else self._now
            self._ranking.mark()
        if standing.is_stale:
            self._tell_stale(standing, lag, still_seconds, changes)
        elif standing.stale_kind:
            standing.stale_kind = standing.stale_reason = ""
            changes.append(Change(standing.name, "caught_up", f"its head is {track.number}"))

    def _tell_stale(
        self, standing: Standing, lag: int, still_seconds: float, changes: list[Change]
    ) -> None:
        """Say that it is stale, once that is known: who was not heard since the others moved may
        have moved as well, and who is ahead of all others may only be the first.
        """
        heads, track = self.heads, standing.track
        if standing.is_stalled:
            kind = "stalled_head"
            reason = f"its head stands still at {track.number} for {still_seconds:.0f} s"
        elif standing.is_far_above:
            kind = "lagging"
            reason = f"its head {track.number} is far above the others' {heads.served}"
            usable = self._ranking.usable[MethodClass.LIGHT]
            if not heads.is_lone_claim(standing, usable, standing.stale_since):
                return
        elif track.reported_at >= standing.stale_since:
            kind = "lagging"
            reason = f"its head {track.number} is {lag} blocks behind"
        else:
            return
        if kind != standing.stale_kind:
            standing.stale_kind, standing.stale_reason = kind, reason
            changes.append(Change(standing.name, kind, reason))

    # ---- attempts under way

    def on_sent(self, s: Standing, c: MethodClass, now: float, calls: int = 1) -> None:
        """An attempt goes out; ``calls`` is the size of a batch, for the rate limit."""
        del c  # in flight counts all classes: they share the upstream
        s.in_flight += 1
        rates = s.rates
        rates.sent += calls
        if rates.is_limited:
            rates.take(now, calls)

    def on_settled(self, s: Standing, c: MethodClass) -> None:
        """An attempt came to its end, whatever the end was."""
        del c
        if s.in_flight > 0:
            s.in_flight -= 1

    def on_overdue(self, s: Standing, c: MethodClass, now: float) -> None:
        """An attempt passed its hedge time without an answer: others are preferred meanwhile."""
        record = s.classes[c]
        record.overdue += 1
        if record.overdue == 1:
            self._now = max(now, self._now)
            self._ranking.mark()

    def on_overdue_settled(self, s: Standing, c: MethodClass) -> None:
        """An attempt that had been overdue ended."""
        record = s.classes[c]
        if record.overdue > 0:
            record.overdue -= 1
            if record.overdue == 0:
                self._ranking.mark()

    # ---- choosing

    def hedge_delay(self, c: MethodClass) -> float:
        """Seconds after which an unanswered attempt deserves a second copy."""
        window = self._windows[c]
        if len(window) < HEDGE_MIN_SAMPLES:
            return DEFAULT_HEDGE_SECONDS
        delay = HEDGE_FACTOR * window.value()
        return min(LONGEST_HEDGE_SECONDS, max(SHORTEST_HEDGE_SECONDS, delay))

    def usable(self, c: MethodClass) -> Sequence[Standing]:
        """Trusted, not ejected, not cooling, of the right role; in the configuration's order."""
        self._ranking.renew(self._now)
        return self._ranking.usable[c]

    def has_usable(self, c: MethodClass, now: float) -> bool:
        self._ranking.renew(now)
        return bool(self._ranking.usable[c])

    def outage_since(self, c: MethodClass) -> float | None:
        """Since when nobody is usable for the class, ``None`` while somebody is."""
        self._ranking.renew(self._now)
        return self._ranking.outage_since[c]

    # ---- reload and status

    def adopt(self, old: Standings, now: float) -> None:
        """A reload: keep what was learned about upstreams that stay, and the served head.
        Nothing is kept when the chain is another one.
        """
        if old._settings.chain_id != self._settings.chain_id:
            return
        now = self._now = self._ticked_at = max(now, old._now)
        for standing in self._all:
            known = old._by_name.get(standing.name)
            if known is not None and standing.is_same_as(known):
                standing.adopt(known)
        self.heads.adopt(old.heads)
        self._domains.adopt(old._domains, now)
        self._windows = tuple(window.copy() for window in old._windows)
        self.is_panicking = old.is_panicking
        for standing in self._all:
            for record in standing.classes:
                record.settle(now)
        self._ranking.mark()
        self._renew([])

    def snapshot(self, now: float) -> list[dict[str, Any]]:
        """Per upstream, for the status page and metrics; see ``snapshot.describe``."""
        return [describe(standing, self.heads.served, now) for standing in self._all]


def is_word_alone(o: Observation) -> bool:
    """Whether it tells of blocks alone, and nothing of how the upstream does."""
    told = o.head or o.header or o.safe or o.finalized
    return told is not None and o.seconds is None and not o.is_probe
