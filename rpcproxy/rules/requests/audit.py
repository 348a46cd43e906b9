"""Audits: the same read asked of a second company, and compared by what it means.

What can be compared, and what is one value in two spellings, is the kind's ``Comparison``.
``Comparer`` compares by it, and says who of two or three stands alone; ``Auditor`` chooses the
reads.

State: ``Auditor``, one per chain, written by ``engine.watch.audits``: its purse, how many reads
passed since it last chose one, and who was the odd one out lately.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final

import msgspec

from rpcproxy.chains.parts.comparison import Comparison
from rpcproxy.rules.standing.limits import TokenBucket
from rpcproxy.rules.standing.selection import Rng

# --------------------------------------------------------------------------
# What results mean, and who stands alone

# What cannot be read as JSON in a reasonable time is compared by its bytes.
LARGEST_READ_BYTES: Final = 1024 * 1024
FINGERPRINT_BYTES: Final = 6
# Names of members come from upstreams.
LONGEST_PATH: Final = 80


class Given(msgspec.Struct, frozen=True, gc=False):
    """An answer: who gave it, of which company, and the JSON text of the result."""

    upstream: str
    company: str
    result: bytes


class AuditFinding(enum.Enum):
    """What two or three answers show."""

    AGREED = "agreed"
    DIFFERED = "differed"  # two answers: a third has to tell
    ODD_ONE_OUT = "odd_one_out"
    UNDECIDED = "undecided"


class AuditResult(msgspec.Struct, frozen=True, gc=False):
    """``odd`` is the upstream that stands alone against two companies, ``where`` the path to the
    difference; both empty where there is none.
    """

    finding: AuditFinding
    odd: str = ""
    where: str = ""


class Comparer:
    """Compares results by what they mean, for the methods in ``forms`` of its ``comparison``;
    ``KeyError`` for others. No state.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._forms = comparison.forms
        self._spell = comparison.spell
        self._ignored = comparison.ignored
        self._within = comparison.within
        self._is_waived = comparison.is_waived

    def judge(self, method: str, answers: Sequence[Given]) -> AuditResult:
        """Compare all answers (two or three, each of another upstream) with each other."""
        said = [self.meaning(method, given.result) for given in answers]
        parted = {
            (i, j): where
            for i, j in combinations(range(len(answers)), 2)
            if (where := self._parting(method, said[i], said[j]))
        }
        if not parted:
            return AuditResult(AuditFinding.AGREED)
        first_where = next(iter(parted.values()))
        if len(answers) == 2:
            return AuditResult(AuditFinding.DIFFERED, where=first_where)
        alone = dict(_alone(answers, parted))
        if len(alone) != 1:
            return AuditResult(AuditFinding.UNDECIDED, where=first_where)
        odd, where = alone.popitem()
        return AuditResult(AuditFinding.ODD_ONE_OUT, answers[odd].upstream, where)

    def difference(self, method: str, one: bytes, other: bytes) -> str:
        """Where two results part, as a path (``logs[2].data``; ``result`` for the whole of it), and
        ``""`` where they mean the same.
        """
        if one == other:
            return ""
        return self._parting(method, self.meaning(method, one), self.meaning(method, other))

    def is_evidence(self, method: str, result: bytes) -> bool:
        """Whether a result can be compared. A null is not: history may be pruned, and who lags is
        no liar. Neither is what may still change.
        """
        start = result.lstrip()[:1]
        settled_by = self._forms[method].settled_by
        if start == b"{" and settled_by:
            said = self.meaning(method, result)
            return not isinstance(said, dict) or settled_by in said
        return start != b"n"

    def fingerprint(self, method: str, result: bytes) -> str:
        """A short hash of what a result says, for people to compare. Different fingerprints may
        still mean the same: members that only one of them has count here.
        """
        said = self.meaning(method, result)
        text = said if isinstance(said, bytes) else msgspec.json.encode(said, order="deterministic")
        return hashlib.blake2b(text, digest_size=FINGERPRINT_BYTES).hexdigest()

    def meaning(self, method: str, result: bytes) -> object:
        """A result reduced to what it says: plain values, without nulls, spelled in one way. What
        cannot be read stays bytes.
        """
        if len(result) > LARGEST_READ_BYTES:
            return result
        try:
            return self._reduced(msgspec.json.decode(result), self._forms[method].spelled_as)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return result

    def _reduced(self, value: object, member: str) -> object:
        if isinstance(value, dict):
            return {
                name: self._reduced(held, name)
                for name, held in value.items()
                if held is not None and name not in self._ignored
            }
        if isinstance(value, list):
            return [self._reduced(item, member) for item in value]
        if isinstance(value, str | int) and not isinstance(value, bool):
            return self._spell(value, member)
        return value

    def _parting(self, method: str, one: object, other: object) -> str:
        path = self._path(one, other, self._forms[method].core)
        if path is None:
            return ""
        return path.lstrip(".")[:LONGEST_PATH] or "result"

    def _path(self, one: object, other: object, core: Sequence[str]) -> str | None:
        """The path to the first difference, ``None`` where there is none."""
        if isinstance(one, dict) and isinstance(other, dict):
            for name in (*core, *(name for name in one if name not in core)):
                if self._is_waived(name, one, other):
                    continue
                if name in one and name in other:
                    path = self._path(one[name], other[name], self._within.get(name, ()))
                    if path is not None:
                        return f".{name}{path}"
                elif name in core and (name in one or name in other):
                    return f".{name}"
            return None
        if isinstance(one, list) and isinstance(other, list):
            for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
                path = self._path(mine, theirs, core)
                if path is not None:
                    return f"[{index}]{path}"
            return None if len(one) == len(other) else ".length"
        return None if one == other else ""


def _alone(
    answers: Sequence[Given], parted: Mapping[tuple[int, int], str]
) -> Iterator[tuple[int, str]]:
    """Who parts from two of different companies that agree, and where."""
    everyone = range(len(answers))
    for i, j in combinations(everyone, 2):
        if (i, j) in parted or answers[i].company == answers[j].company:
            continue
        for odd in everyone:
            where = parted.get((min(odd, i), max(odd, i)))
            if where is not None and (min(odd, j), max(odd, j)) in parted:
                yield odd, where


# --------------------------------------------------------------------------
# Which reads

# A difference needs two calls at once; a large budget may spend a minute's worth.
LEAST_BURST: Final = 2.0
BURST_SECONDS: Final = 60.0
# How often someone was odd fades by two thirds in this time.
ODD_MEMORY_SECONDS: Final = 3600.0


class Auditor:
    """Chooses reads so that calls stay within a budget and spread over the hour: one in so many,
    by how many there were lately. Beyond the budget, over any time, may be the burst (two calls
    or a minute's worth) and two third opinions, which are paid off later.
    """

    __slots__ = (
        "_drawn_at",
        "_gap",
        "_interval_seconds",
        "_look_at",
        "_methods",
        "_odd",
        "_passed",
        "_purse",
    )

    def __init__(self, methods: Container[str], calls_per_hour: float, now: float) -> None:
        """``methods`` can be compared; ``calls_per_hour`` is above 0."""
        self._methods = methods
        rate = calls_per_hour / 3600.0
        self._interval_seconds = 1.0 / rate
        self._purse = TokenBucket(rate, now, max(BURST_SECONDS, LEAST_BURST / rate))
        self._passed = 0
        self._gap = 1
        self._look_at = now
        self._drawn_at = now
        self._odd: dict[str, tuple[float, float]] = {}

    def wants(self, method: str, now: float, rng: Rng) -> bool:
        """Whether this read is to be audited. Asked of every read: mostly a count and a no."""
        if method not in self._methods:
            return False
        self._passed += 1
        if self._passed < self._gap and now < self._look_at:
            return False
        tokens = self._purse.tokens(now)
        can_pay = tokens >= 1.0
        self._draw(tokens - 1.0 if can_pay else tokens, now, rng)
        return can_pay

    def _draw(self, tokens: float, now: float, rng: Rng) -> None:
        """Choose which read to look at next: after about so many as come in the time until it can
        be paid. By count, not by time alone: else the first of a burst were chosen always.
        """
        wait_seconds = (max(0.0, 1.0 - tokens) + rng.random()) * self._interval_seconds
        reads_per_second = self._passed / max(now - self._drawn_at, 0.001)
        self._gap = max(1, int(reads_per_second * wait_seconds))
        # Where there are fewer than lately.
        self._look_at = now + 2.0 * wait_seconds
        self._drawn_at = now
        self._passed = 0

    def pay(self, now: float) -> None:
        """One call was made. Third opinions are paid as well, if need be later."""
        self._purse.take(now)

    def on_odd(self, upstream: str, now: float) -> None:
        """An upstream stood alone."""
        self._odd[upstream] = (self.odd_lately(upstream, now) + 1.0, now)

    def odd_lately(self, upstream: str, now: float) -> float:
        """How often it stood alone, fading with the hours; 0 for never."""
        count, at = self._odd.get(upstream, (0.0, now))
        return count * math.exp(-max(0.0, now - at) / ODD_MEMORY_SECONDS)

    def adopt(self, old: Auditor, now: float) -> None:
        """A reload: go on with what is left to spend, and with what was learned."""
        self._purse.take(now, max(0.0, self._purse.burst - old._purse.tokens(now)))
        self._odd = dict(old._odd)
