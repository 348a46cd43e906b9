"""Standings: what is known of each upstream of a chain, and who is asked.

``observe`` is the only door for knowledge; ``tick`` lets time pass; ``on_sent`` and its kin count
attempts under way; ``pick`` chooses. Who does what: ``health`` judges failures and refusals,
``admit`` chain ids and keys, ``following`` and ``heads`` blocks and doubts, ``domains`` their own,
``selection`` ranks and picks; ``standing`` is one upstream.

State: ``Standings``, one per chain, written by whoever calls ``observe`` and ``tick`` (the
executor and the watcher, on one thread).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rpcproxy.chains.kind import Methods
from rpcproxy.chains.parts.errors import ReadRange
from rpcproxy.config.model import Upstream
from rpcproxy.messages import METHOD_CLASSES, Blame, MethodClass, Verdict
from rpcproxy.rules.heads.heads import Heads
from rpcproxy.rules.standing import admit, orders
from rpcproxy.rules.standing.domains import FAILING_SHARE, Domains
from rpcproxy.rules.standing.following import Following, tells_of_blocks_alone
from rpcproxy.rules.standing.health import Health
from rpcproxy.rules.standing.latency import Window
from rpcproxy.rules.standing.selection import Need, Ranking
from rpcproxy.rules.standing.settings import Settings
from rpcproxy.rules.standing.standing import ClassStanding, Standing
from rpcproxy.states import UPSTREAM_STATES, Change, ChangeKind
from rpcproxy.words import BlockNamed, Doubt, Observation, OperatorOrder, Proof, Word

__all__ = ["ClassStanding", "Need", "Standing", "Standings"]

DEFAULT_HEDGE_SECONDS: Final = 0.150
HEDGE_MIN_SAMPLES: Final = 20
HEDGE_FACTOR: Final = 1.25
SHORTEST_HEDGE_SECONDS: Final = 0.020
LONGEST_HEDGE_SECONDS: Final = 1.0

_OK: Final = Verdict.OK
# What says nothing of an upstream: given up, or not asked for want of what this machine lacks.
_OF_OURS: Final = frozenset({Verdict.CANCELLED, Verdict.OWN_FAULT})
# Good answers: they heal, and their time is learned.
_GOOD: Final = frozenset(
    {Verdict.OK, Verdict.NULL, Verdict.DOUBTED, Verdict.REVERTED, Verdict.ALREADY_KNOWN}
)


class Standings:
    """All standings of one chain, with its heads: the one door for knowledge, and who is asked.
    ``now`` is monotonic seconds; going backward does no harm.
    """

    __slots__ = (
        "_all",
        "_by_name",
        "_domains",
        "_following",
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
        "pool_for",
    )

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        settings: Settings,
        now: float,
        *,
        methods: Methods,
        read_range: ReadRange,
    ) -> None:
        """``read_range`` reads a refusal of a range of blocks."""
        self._settings = settings
        self._all = tuple(Standing(upstream, i, now) for i, upstream in enumerate(upstreams))
        self._by_name = {standing.name: standing for standing in self._all}
        self._ranking = Ranking(self._all, settings.policy, now)
        # The upstream to ask next, see there. Bound once: a frame less for each request.
        self.pick = self._ranking.pick
        self.pool_for = self._ranking.pool_for
        self._health = Health(self._ranking, methods.describe, read_range)
        self._domains = Domains(self._all)
        self._windows = tuple(Window() for _ in METHOD_CLASSES)
        self._now = self._ticked_at = now
        self.heads = Heads(
            settings.block_time_seconds, traits=settings.traits, shows_ahead=settings.shows_ahead
        )
        following = Following(self._all, self.heads, self._ranking, settings.max_lag_blocks)
        self._following = following
        self.on_served, self.on_distrust = following.on_served, following.on_distrust
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

    def observe(self, o: Word, now: float) -> Sequence[Change]:
        """Learn. Returns what turned by it, usually nothing. Unknown upstreams are ignored: a
        reload may have removed them.
        """
        if not isinstance(o, Observation):
            return self._heed(o, now)
        standing = self._by_name.get(o.upstream)
        if standing is None:
            return ()
        record = standing.classes[o.method_class]
        seconds = o.seconds
        is_plain = o.verdict is _OK and record.is_calm and not o.is_probe and o.head is None
        if is_plain and seconds is not None:
            # What tells of blocks alone (headers, anchors) took no time, and goes the other way.
            record.on_time(seconds, now)
            self._windows[o.method_class].add(seconds)
            exclusions = standing.exclusions
            if o.request_bytes > exclusions.took_bytes or exclusions.listens:
                exclusions.on_taken(o.method, o.request_bytes, o.shape)
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

    def _heed(self, word: Doubt | Proof | BlockNamed | OperatorOrder, now: float) -> list[Change]:
        """Learn what is no outcome."""
        changes: list[Change] = []
        standing = self._by_name.get(word.upstream)
        if standing is None:
            return changes
        self._now = max(now, self._now)
        match word:
            case Doubt():
                self._following.on_doubt(standing, word, self._now, changes)
            case Proof():
                standing.takes_hashes = word.takes_hashes
            case BlockNamed():
                self._following.on_named(word, self._now, changes)
            case OperatorOrder():
                changes += orders.obey(standing, word)
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
            or exclusions.listens
        ):
            return False
        record.on_time(seconds, now)
        self._windows[need.method_class].add(seconds)
        return True

    def _learn(self, standing: Standing, o: Observation, changes: list[Change]) -> None:
        now = self._now
        verdict = o.verdict
        blame = verdict.blame
        if verdict in _GOOD:
            if o.seconds is not None:
                self._windows[o.method_class].add(o.seconds)
            if not tells_of_blocks_alone(o):
                self._health.on_good(standing, o, now, changes)
            if admit.is_check(o) and admit.on_checked(
                standing, now, changes, is_needed=not self._ranking.usable[o.method_class]
            ):
                self._ranking.mark()
            self._following.on_headers(standing, o, now, changes)
        elif o.shape and self._health.on_shape(standing, o, now):
            return
        elif blame is Blame.UPSTREAM:
            self._health.on_failure(standing, o, now, changes)
        elif blame is Blame.LIMIT:
            self._health.on_limit(standing, o, now, changes)
        elif blame is Blame.ACCESS:
            usable = self._ranking.usable[o.method_class]
            if admit.on_refused(standing, o, now, changes, is_last=usable == (standing,)):
                self._ranking.mark()
        elif verdict not in _OF_OURS:
            self._health.on_exclusion(standing, o, now, changes)

    def tick(self, now: float) -> Sequence[Change]:
        """Let time pass: what ends or fades by itself. Call it about every 50 ms."""
        now = self._now = max(now, self._now)
        elapsed = now - self._ticked_at
        self._ticked_at = now
        changes: list[Change] = []
        for standing in self._all:
            self._pass_time(standing, elapsed, now, changes)
        for window in self._windows:
            window.renew()
        self._settle_domains(changes)
        self._following.settle(now, changes)
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
            changes.append(
                Change(standing.name, ChangeKind.COOLED, "the time it asked for is over")
            )

    # ---- what follows from knowledge

    def _renew(self, changes: list[Change]) -> None:
        """Where something changed: ranks, states, panic."""
        if not changes and not self._ranking.is_stale:
            return
        self._ranking.renew(self._now)
        for standing in self._all:
            standing.settle_state(self._now)
        trusted = sum(standing.is_askable for standing in self._all)
        serving = sum(UPSTREAM_STATES[standing.state].serves for standing in self._all)
        is_panicking = serving * 2 < trusted
        if is_panicking != self.is_panicking:
            self.is_panicking = is_panicking
            kind = ChangeKind.PANIC if is_panicking else ChangeKind.PANIC_OVER
            words = "; ejected ones are a last resort" if is_panicking else ""
            changes.append(Change("", kind, f"{serving} of {trusted} upstreams usable{words}"))

    def _settle_domains(self, changes: list[Change]) -> None:
        for suspicion in self._domains.settle(self._now):
            kind = ChangeKind.SUSPECT if suspicion.is_suspect else ChangeKind.UNSUSPECT
            changes.append(Change(suspicion.domain, kind, suspicion.reason, None, suspicion.until))
            for standing in self._all:
                for record in standing.classes:
                    record.reprice()
            self._ranking.mark()

    def ceiling(self, now: float) -> int:
        """How high an upstream's head may be, as far as we can tell."""
        return self.heads.ceiling((each for each in self._all if each.has_vote), now)

    # ---- attempts under way

    def on_sent(self, s: Standing, now: float, calls: int = 1) -> None:
        """An attempt goes out; ``calls`` is the size of a batch, for the rate limit. All classes
        are counted together: they share the upstream.
        """
        s.in_flight += 1
        rates = s.rates
        rates.sent += calls
        if rates.is_limited:
            rates.take(now, calls)

    def on_settled(self, s: Standing) -> None:
        """An attempt came to its end, whatever the end was."""
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

    # ---- reload

    def adopt(self, old: Standings, now: float) -> None:
        """A reload: keep what was learned about upstreams that stay, and the served head.
        Nothing is kept when the chain is another one.
        """
        if old._settings.identity != self._settings.identity:
            return
        now = self._now = self._ticked_at = max(now, old._now)
        for standing in self._all:
            known = old._by_name.get(standing.name)
            if known is not None:
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
