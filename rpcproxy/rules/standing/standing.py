"""The track record of one upstream: everything that is known of it.

``Standing`` is the upstream, ``ClassStanding`` its part for one method class. Both are written by
``standings.Standings`` alone; the executor reads, and counts attempts through ``Standings``.
"""

from __future__ import annotations

import copy
import math
from typing import Final

from rpcproxy.config.model import Upstream
from rpcproxy.messages import METHOD_CLASSES, Head, MethodClass
from rpcproxy.rules.heads.head_track import HeadTrack
from rpcproxy.rules.standing.breaker import Breaker
from rpcproxy.rules.standing.domains import UNKNOWN, domain_of
from rpcproxy.rules.standing.exclusions import Exclusions
from rpcproxy.rules.standing.latency import Latency
from rpcproxy.rules.standing.limits import Cooldown, Rates
from rpcproxy.rules.standing.reach import Reach
from rpcproxy.states import ChangeKind, UpstreamState
from rpcproxy.words import OrderName, OrderNote

# Assumed where nothing was measured.
UNKNOWN_SECONDS: Final = 0.1
# Added to every latency: a difference below it is noise to people, whatever the ratio.
FLOOR_SECONDS: Final = 0.002
FAILURE_PENALTY: Final = 4.0
SUSPECT_PENALTY: Final = 3.0
# Left out above the first, back below the second: so that it does not flap in between.
DOUBT_SHARE: Final = 0.25
TRUST_SHARE: Final = 0.15
DOUBT_STREAK: Final = 2

# Who left our chain is believed again after this, doubled each time it left again within the other.
FORK_SECONDS: Final = 3.0
FORK_MEMORY_SECONDS: Final = 600.0
KEY_QUARANTINE_SECONDS: Final = 60.0
LONGEST_KEY_QUARANTINE_SECONDS: Final = 600.0
CLEAN_CHECKS_NEEDED: Final = 2
UNVERIFIED: Final = "its chain id is not verified yet"
DRAINED: Final = "an operator drained it"
CORDONED: Final = "an operator cordoned it"


class ClassStanding:
    """One upstream and method class. ``cost`` is latency with penalties over weight; what a
    pick compares is cost · (in flight + 1). ``is_calm``: a success teaches nothing but latency.
    """

    __slots__ = (
        "breaker",
        "cost",
        "factor",
        "is_calm",
        "is_costly",
        "is_doubtful",
        "latency",
        "method_class",
        "overdue",
        "ramp",
        "standing",
    )

    def __init__(self, standing: Standing, method_class: MethodClass) -> None:
        self.standing = standing
        self.method_class = method_class
        self.breaker = Breaker(method_class)
        self.latency = Latency()
        self.factor = 1.0
        self.cost = 0.0
        self.overdue = 0
        self.ramp = 1.0
        self.is_calm = True
        self.is_doubtful = False  # fails now and then: left out while others remain
        self.is_costly = False  # far costlier than the best: left to exploration

    @property
    def is_wanting(self) -> bool:
        """Shows signs of failing: others are preferred. What the light class does not answer in
        time, the others would not either.
        """
        return self.is_doubtful or self.overdue > 0 or self.standing.light.overdue > 0

    def on_time(self, seconds: float, now: float) -> None:
        """A good answer took ``seconds``."""
        latency = self.latency
        latency.add(seconds, now)
        self.cost = (latency.seconds + FLOOR_SECONDS) * self.factor

    def settle(self, now: float) -> bool:
        """Recompute what follows from breaker and latency; whether the ranks are affected."""
        breaker = self.breaker
        self.ramp = breaker.ramp(now)
        self.is_calm = breaker.is_quiet and self.ramp == 1.0
        if self.is_doubtful:
            is_doubtful = breaker.share >= TRUST_SHARE or breaker.streak >= DOUBT_STREAK
        else:
            is_doubtful = breaker.share > DOUBT_SHARE or breaker.streak >= DOUBT_STREAK
        has_turned = is_doubtful != self.is_doubtful
        self.is_doubtful = is_doubtful
        self.reprice()
        return has_turned

    def reprice(self) -> None:
        """Recompute the cost."""
        standing, breaker = self.standing, self.breaker
        # While a failed connection is in question it keeps its share of the requests: the next
        # one settles at once whether it is dead, where a starved one would stay in doubt.
        share = 0.0 if breaker.is_in_question else breaker.share
        factor = (1.0 + FAILURE_PENALTY * share) * standing.lag_penalty
        if standing.is_suspect:
            factor *= SUSPECT_PENALTY
        self.factor = factor / standing.weight
        seconds = self.latency.seconds or standing.light.latency.seconds or UNKNOWN_SECONDS
        self.cost = (seconds + FLOOR_SECONDS) * self.factor

    def reset(self) -> None:
        """Admitted for the first time: what failed before says nothing."""
        self.breaker.reset()
        self.is_calm = True
        self.is_doubtful = False
        self.ramp = 1.0


class Standing:
    """What is known of one upstream. ``head`` is ``None`` and ``low_water`` −1 while it never
    reported: *unknown*, which is not zero lag. ``index`` is its place in the configuration.
    ``is_behind``: it may answer the latest state from below the served head.
    ``stale_kind``: how people were told that it is stale, ``None`` where they were not.
    ``needs_care``: a pick has more to check than the ranks say (a rate, a size, a method, a ramp).
    """

    __slots__ = (
        "_url",
        "answer_fault",
        "behind_since",
        "classes",
        "clean_checks",
        "cloud",
        "cooldown",
        "cooldown_reason",
        "domain",
        "exclusions",
        "failing_at",
        "fork_level",
        "fork_reason",
        "forked_at",
        "forked_until",
        "head",
        "in_flight",
        "index",
        "is_admitted",
        "is_behind",
        "is_cooling",
        "is_cordoned",
        "is_drained",
        "is_far_above",
        "is_forked",
        "is_lagging",
        "is_quarantined",
        "is_stalled",
        "is_suspect",
        "lag_penalty",
        "light",
        "low_water",
        "main",
        "name",
        "needs_care",
        "order_notes",
        "private",
        "provider",
        "quarantine_level",
        "quarantine_reason",
        "quarantine_until",
        "rates",
        "reach",
        "readmitted_at",
        "reason",
        "refused_at",
        "region",
        "role",
        "stale_kind",
        "stale_reason",
        "stale_since",
        "state",
        "state_fault",
        "state_since",
        "takes_hashes",
        "tier",
        "track",
        "weight",
    )

    def __init__(  # noqa: PLR0915 - one assignment for each thing that is known
        self, upstream: Upstream, index: int, now: float
    ) -> None:
        self.name = upstream.name
        self.provider = upstream.provider
        self.cloud = upstream.cloud
        self.region = upstream.region
        self.tier: str = upstream.tier
        self.role: str = upstream.role
        self.private = upstream.private
        self.weight = max(upstream.weight, 1e-6)
        self.domain: tuple[str, ...] = domain_of(self.provider, self.cloud, self.region)
        self._url = upstream.url
        self.index = index
        self.in_flight = 0
        self.classes = tuple(ClassStanding(self, c) for c in METHOD_CLASSES)
        self.light = self.classes[MethodClass.LIGHT]
        # What it is for: the class that its state is told by.
        self.main = self.classes[MethodClass.SEND] if self.role == "sends" else self.light
        self.head: Head | None = None
        self.low_water = -1
        self.track = HeadTrack()
        self.rates = Rates(upstream.rate_limit_per_second, now)
        self.cooldown = Cooldown()
        self.is_cooling = False
        self.is_drained = self.is_cordoned = False  # by an operator: see ``orders``
        self.order_notes: dict[OrderName, OrderNote] = {}  # since when, and by whom
        self.is_admitted = False  # its chain id was verified
        self.is_quarantined = False
        self.quarantine_until: float | None = None
        self.quarantine_level = self.clean_checks = 0
        self.readmitted_at = math.inf  # never yet: the level is kept
        self.refused_at = -math.inf  # when its key was last refused
        self.is_lagging = self.is_stalled = self.is_far_above = self.is_behind = False
        self.is_forked = False  # it is not on our chain
        self.fork_reason = ""
        self.answer_fault = ""  # how an answer of it was of another chain
        self.state_fault = ""  # how its state differs from the others'
        self.fork_level = 0  # how often it came back and left again
        self.forked_at = self.forked_until = -math.inf
        self.stale_kind: ChangeKind | None = None
        self.stale_since = math.inf
        self.is_suspect = False
        self.behind_since = math.inf
        self.lag_penalty = 1.0
        self.failing_at = -math.inf
        self.exclusions = Exclusions()
        self.reach = Reach()
        self.needs_care = False
        self.takes_hashes = False  # in place of a block's number, as was proved
        self.state = UpstreamState.UNKNOWN
        self.state_since = now
        self.reason = UNVERIFIED
        self.quarantine_reason = self.cooldown_reason = self.stale_reason = ""
        for record in self.classes:
            record.reprice()
        self.settle_care()

    def __repr__(self) -> str:
        return f"<Standing {self.name} {self.state}>"

    def shares_domain(self, other: Standing) -> bool:
        """The same provider, or the same known cloud and region."""
        return self.provider == other.provider or (
            self.cloud != UNKNOWN and self.cloud == other.cloud and self.region == other.region
        )

    def has_role(self, method_class: MethodClass, *, for_send: bool = False) -> bool:
        """Whether its owner lets it take such requests."""
        if for_send or method_class is MethodClass.SEND:
            return self.role != "reads"
        return self.role != "sends"

    @property
    def is_trusted(self) -> bool:
        """On our chain, with a key that works: else it is not asked at all."""
        return self.is_admitted and not self.is_quarantined and not self.is_forked

    @property
    def is_askable(self) -> bool:
        """Trusted, and not spared by an operator."""
        return self.is_trusted and not self.is_drained

    @property
    def has_vote(self) -> bool:
        """Whether what it tells of heads counts: it is well, whatever chain it follows."""
        return (
            self.is_admitted
            and not self.is_quarantined
            and not self.is_cooling
            and not self.main.breaker.is_open
        )

    @property
    def is_stale(self) -> bool:
        """Its head says that it should not be asked for the latest state."""
        return self.is_lagging or self.is_stalled or self.is_far_above

    def settle_care(self) -> None:
        """Recompute ``needs_care``."""
        self.needs_care = (
            self.rates.is_limited
            or bool(self.exclusions)
            or any(record.ramp < 1.0 for record in self.classes)
        )

    # ---- quarantine

    def quarantine(self, reason: str, until: float | None) -> None:
        """Not asked by anyone but probes. ``until`` ``None``: until proven otherwise."""
        self.is_quarantined = True
        self.quarantine_until = until
        self.clean_checks = 0
        self.quarantine_reason = reason

    def key_quarantine_seconds(self, now: float) -> float:
        """How long a refused key keeps it away, longer each time."""
        if now - self.readmitted_at > LONGEST_KEY_QUARANTINE_SECONDS:
            self.quarantine_level = 0
        seconds = KEY_QUARANTINE_SECONDS * 2.0 ** min(self.quarantine_level, 10)
        self.quarantine_level += 1
        return min(seconds, LONGEST_KEY_QUARANTINE_SECONDS)

    def readmit(self, now: float) -> None:
        """Proven well: with a slow start."""
        self.is_quarantined = False
        self.quarantine_until = None
        self.readmitted_at = now
        for record in self.classes:
            record.breaker.close(now)
            record.settle(now)

    def has_answered_since(self, at: float) -> bool:
        """Whether an answer's time was learned later than that."""
        return any(record.latency.answered_at > at for record in self.classes)

    def has_answered_asked_since(self, at: float) -> bool:
        """Whether it answered what it was asked later than that."""
        return any(record.latency.answered_asked_at > at for record in self.classes)

    # ---- heads

    def on_off_chain(self, now: float) -> None:
        """It is seen on another chain: out for a few seconds from then on, since machines of
        several minds may stand behind its URL. Who leaves again soon stays out for longer.
        """
        if not self.is_forked:
            self.fork_level += 1
            if now - self.forked_at > FORK_MEMORY_SECONDS:
                self.fork_level = 0
        seconds = FORK_SECONDS * 2.0 ** min(self.fork_level, 10)
        self.forked_until = now + min(seconds, FORK_MEMORY_SECONDS / 2)
        self.forked_at = now

    def report_head(self, head: Head, now: float) -> bool:
        """Take in a head report; whether anything moved."""
        has_moved = self.track.report(head, now)
        self.head = self.track.head
        self.low_water = self.track.low_water
        return has_moved

    # ---- states for people

    def settle_state(self, now: float) -> None:
        """Recompute ``state``, ``state_since`` and ``reason``."""
        state, self.reason = self._judge_state()
        if state != self.state:
            self.state = state
            self.state_since = now

    def _judge_state(self) -> tuple[UpstreamState, str]:
        state, reason = self._judge_own_state()
        if self.is_drained:
            besides = "" if state is UpstreamState.UP else f"; besides, it is {state}: {reason}"
            return UpstreamState.DRAINED, DRAINED + besides
        if self.is_cordoned and state is UpstreamState.UP:
            return UpstreamState.CORDONED, f"{CORDONED}; {reason}" if reason else CORDONED
        return state, reason

    def _judge_own_state(self) -> tuple[UpstreamState, str]:
        """As it does by itself, whatever operators ordered."""
        if self.is_quarantined:
            return UpstreamState.QUARANTINED, self.quarantine_reason
        if not self.is_admitted:
            trouble = self.light.breaker.reason
            return UpstreamState.UNKNOWN, f"{UNVERIFIED}: {trouble}" if trouble else UNVERIFIED
        if self.main.breaker.is_open:
            return UpstreamState.EJECTED, self.main.breaker.reason
        if self.is_forked:
            return UpstreamState.FORKED, self.fork_reason
        if self.is_cooling:
            return UpstreamState.COOLING, self.cooldown_reason
        if self.stale_kind:
            return UpstreamState.LAGGING, self.stale_reason
        for record in self.classes:
            if record.breaker.is_open and self.has_role(record.method_class):
                reason = record.breaker.reason
                return UpstreamState.UP, f"but for {record.method_class.name.lower()}: {reason}"
        return UpstreamState.UP, ""

    # ---- reload

    def is_same_as(self, old: Standing) -> bool:
        """The same upstream, as far as what was learned goes."""
        return self._url == old._url and self.provider == old.provider

    def adopt(self, old: Standing) -> None:
        """Take over what was learned, where it is the same, and an operator's orders in any case.
        Attempts in flight stay counted on the old one.
        """
        self.is_drained, self.is_cordoned = old.is_drained, old.is_cordoned
        self.order_notes = dict(old.order_notes)
        if not self.is_same_as(old):
            return
        for name in _LEARNED:
            setattr(self, name, getattr(old, name))
        self.cooldown = copy.copy(old.cooldown)
        self.exclusions = old.exclusions.copy()
        self.reach = old.reach.copy()
        self.track = old.track.copy()
        self.rates.adopt(old.rates)
        for record, known in zip(self.classes, old.classes, strict=True):
            record.breaker = copy.copy(known.breaker)
            record.latency = known.latency.copy()
            record.ramp = known.ramp
            record.is_calm = known.is_calm
            record.is_doubtful = known.is_doubtful
        self.settle_care()


_LEARNED: Final = (
    "behind_since",
    "clean_checks",
    "cooldown_reason",
    "failing_at",
    "fork_level",
    "fork_reason",
    "forked_at",
    "forked_until",
    "head",
    "is_admitted",
    "is_behind",
    "is_cooling",
    "is_far_above",
    "is_forked",
    "is_lagging",
    "is_quarantined",
    "is_stalled",
    "lag_penalty",
    "low_water",
    "quarantine_level",
    "quarantine_reason",
    "quarantine_until",
    "readmitted_at",
    "reason",
    "refused_at",
    "stale_kind",
    "stale_reason",
    "stale_since",
    "state",
    "state_fault",
    "state_since",
)
