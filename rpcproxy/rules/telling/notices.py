"""What webhooks are told of: changes, outages as samples show them, and messages made of both.

An end is told only where its beginning was seen: upstreams that are admitted at the start are no
news. Events that come together go out together, so many messages a minute at most; of one that
repeats itself in between the last is told, and how often it came. What is left out is counted.

State: ``Conditions``, ``Outages`` and ``SendRefusals``, one of each per process; ``Gathering``, one
per webhook.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from rpcproxy.messages import CLASS_NAMES
from rpcproxy.rules.standing.limits import TokenBucket
from rpcproxy.rules.telling.sample import Refused, Sample
from rpcproxy.states import CHANGES, ChangeKind, Severity, condition_of, severity_of

# What seldom comes alone (an ejection, and the suspicion of a domain) is told in one message.
GROUP_SECONDS: Final = 2.0
MESSAGES_PER_MINUTE: Final = 6.0
_BURST_SECONDS: Final = 30.0  # three messages may follow each other at once
MOST_LINES: Final = 20  # in one message
# A moment without anybody is waited out by requests, and no wallet notices it.
OUTAGE_TOLD_SECONDS: Final = 3.0


class NoticeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something turned. ``chain`` is empty for what concerns the process, ``upstream`` for what
    concerns the chain, and a domain's name for suspicion. ``method_class`` is ``None`` for all of
    them. ``is_over``: what ``condition`` names has ended with it.
    """

    kind: ChangeKind
    chain: str = ""
    upstream: str = ""
    reason: str = ""
    method_class: str | None = None
    unix_seconds: float = 0.0
    is_over: bool = False

    @property
    def condition(self) -> ChangeKind:
        """What begins or ends with it, by the kind that begins it."""
        return condition_of(self.kind)


_Whose = tuple[str, str, ChangeKind]


class Conditions:
    """What has begun and is not over: by chain, upstream and condition, the method classes."""

    def __init__(self) -> None:
        self._open: dict[_Whose, set[str]] = {}

    def told(self, event: NoticeEvent) -> NoticeEvent | None:
        """The event as it is told; ``None`` where it ends what nobody was told of."""
        whose = (event.chain, event.upstream, event.condition)
        classes = CLASS_NAMES if event.method_class is None else (event.method_class,)
        if CHANGES[event.kind].ends is None:
            if not event.is_over:
                self._open.setdefault(whose, set()).update(classes)
            return event
        ill = self._open.get(whose)
        if ill is None:
            return None
        ill.difference_update(classes)
        if not ill:
            del self._open[whose]
        return msgspec.structs.replace(event, is_over=not ill)

    def forget_chains_but(self, names: Collection[str]) -> None:
        """Chains that left the configuration end nothing any more."""
        kept = {"", *names}
        self._open = {whose: ill for whose, ill in self._open.items() if whose[0] in kept}


class Outages:
    """Compares samples: which chains nobody can serve, since when."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}  # by chain, monotonic seconds; told

    def compare(self, sample: Sample) -> Iterator[NoticeEvent]:
        """Outages that began or ended since the sample before."""
        names = {chain.name for chain in sample.chains}
        self._began = {name: began for name, began in self._began.items() if name in names}
        for chain in sample.chains:
            seconds = chain.outage_seconds
            if seconds is None:
                began = self._began.pop(chain.name, None)
                if began is not None:
                    yield NoticeEvent(
                        kind=ChangeKind.OUTAGE_OVER,
                        chain=chain.name,
                        reason=f"after {sample.seconds - began:.0f} s",
                        unix_seconds=sample.unix_seconds,
                    )
            elif seconds >= OUTAGE_TOLD_SECONDS and chain.name not in self._began:
                self._began[chain.name] = sample.seconds - seconds
                ill = (f"{up.name} {up.state}" for up in chain.upstreams if up.role != "sends")
                yield NoticeEvent(
                    kind=ChangeKind.OUTAGE,
                    chain=chain.name,
                    reason=f"for {seconds:.0f} s so far: " + ", ".join(ill),
                    unix_seconds=sample.unix_seconds - seconds,
                )


class SendRefusals:
    """Compares samples: the chains whose transactions are refused, for a reason of our own."""

    def __init__(self) -> None:
        self._refused: set[str] = set()  # names of chains; told

    def compare(self, sample: Sample) -> Iterator[NoticeEvent]:
        """What began or ended since the sample before."""
        self._refused &= {chain.name for chain in sample.chains}
        for chain in sample.chains:
            refusal = next((each for each in chain.refusals if each.what is Refused.SENDS), None)
            if refusal is None:
                if chain.name in self._refused:
                    self._refused.discard(chain.name)
                    yield NoticeEvent(
                        kind=ChangeKind.SENDS_TAKEN,
                        chain=chain.name,
                        unix_seconds=sample.unix_seconds,
                    )
            elif chain.name not in self._refused and refusal.since_seconds >= OUTAGE_TOLD_SECONDS:
                self._refused.add(chain.name)
                yield NoticeEvent(
                    kind=ChangeKind.SENDS_REFUSED,
                    chain=chain.name,
                    reason=refusal.why,
                    unix_seconds=sample.unix_seconds - refusal.since_seconds,
                )


class Line(msgspec.Struct):
    """One event of a message, and how often it came since the last one."""

    event: NoticeEvent
    count: int = 1


class Bulletin(msgspec.Struct, frozen=True, kw_only=True):
    """One message: its lines in the order of their last events; how many events were left out of
    it, and how many of earlier ones reached nobody.
    """

    lines: tuple[Line, ...]
    left_out: int = 0
    undelivered: int = 0

    @property
    def count(self) -> int:
        """How many events it tells of."""
        return sum(line.count for line in self.lines)


class Gathering:
    """The events that one webhook was not told of yet; those of ``group_seconds`` go together.
    ``now`` is monotonic seconds.
    """

    def __init__(self, now: float, group_seconds: float = GROUP_SECONDS) -> None:
        self._group_seconds = group_seconds
        self._bucket = TokenBucket(MESSAGES_PER_MINUTE / 60.0, now, _BURST_SECONDS)
        self._lines: dict[tuple[str, str, ChangeKind, str | None], Line] = {}
        self._since = 0.0
        self._left_out = 0
        self._undelivered = 0

    def add(self, event: NoticeEvent, now: float) -> int:
        """Keep it for the next message; how many events are left out for it."""
        if not self._lines:
            self._since = now
        key = (event.chain, event.upstream, event.kind, event.method_class)
        before = self._lines.pop(key, None)
        self._lines[key] = Line(event, 1 if before is None else before.count + 1)
        if len(self._lines) <= MOST_LINES:
            return 0
        light = (key for key in self._lines if not _is_weighty(key[2]))
        gone = self._lines.pop(next(light, next(iter(self._lines))))
        self._left_out += gone.count
        return gone.count

    def due(self, now: float) -> float | None:
        """When the next message may go out, ``None`` while there is nothing to tell."""
        if not self._lines:
            return None
        lacking = max(0.0, 1.0 - self._bucket.tokens(now)) / self._bucket.rate
        return max(self._since + self._group_seconds, now + lacking)

    def take(self, now: float) -> Bulletin | None:
        """All of it as one message, ``None`` where there is nothing to tell."""
        if not self._lines:
            return None
        self._bucket.take(now)
        bulletin = Bulletin(
            lines=tuple(self._lines.values()),
            left_out=self._left_out,
            undelivered=self._undelivered,
        )
        self._lines, self._left_out, self._undelivered = {}, 0, 0
        return bulletin

    def on_undelivered(self, bulletin: Bulletin) -> None:
        """A message reached nobody: the next one says so."""
        self._undelivered += bulletin.count + bulletin.left_out + bulletin.undelivered


def _is_weighty(kind: ChangeKind) -> bool:
    """Whether it is never left out for others: critical, and it lasts."""
    is_passing = CHANGES[condition_of(kind)].is_passing
    return severity_of(kind) is Severity.CRITICAL and not is_passing
