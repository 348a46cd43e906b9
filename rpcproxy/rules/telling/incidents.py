"""Incidents: what was wrong, from when to when, why, and what wallets noticed of it. Pure.

State: those under way, those that a process before this one left under way, and the last ``KEPT``
that are over, in ``Incidents``, written by ``rules.telling.chronicle``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from rpcproxy.rules.telling.sample import ChainSample
from rpcproxy.rules.telling.troubles import (
    Trouble,
    is_new,
    is_starting,
    troubles_of,
)
from rpcproxy.states import OF_STATES, IncidentKind, UpstreamState

KEPT: Final = 200
# Of one upstream, over so soon, and no wallet noticed: not worth a line.
BRIEF_SECONDS: Final = 5.0
# Again within this time: the same incident, one time more.
AGAIN_SECONDS: Final = 60.0
LONGEST_CAUSE: Final = 300
STARTING: Final = "the proxy had just started: no upstream was known yet"
BRIEF_KEPT: Final = 100
_SPANS_KEPT: Final = 64  # looks at a chain: a minute and more

# Of one upstream, the worst last: an incident is called after the worst it came to.
UPSTREAM_KINDS: Final = tuple(OF_STATES.values())


_Key: TypeAlias = tuple[str, str, str]  # chain, subject, and the kind but for upstreams


class Incident(msgspec.Struct, kw_only=True):
    """``subject`` is an upstream, a fault domain, or empty for the chain itself.
    ``requests`` came while it lasted; ``unserved`` of them had an error of the proxy's own.
    Times are wall-clock seconds. ``id`` is its own for ever, ``again_unix`` when it came back last;
    ``is_brief``: it was over at once each time, and no wallet noticed.
    """

    chain: str
    subject: str
    kind: IncidentKind
    cause: str
    started_unix: float
    ended_unix: float | None = None
    requests: int = 0
    unserved: int = 0
    times: int = 1
    id: str = ""
    again_unix: float = 0.0
    is_brief: bool = False

    def __post_init__(self) -> None:
        self.again_unix = self.again_unix or self.started_unix
        if not self.id:
            names = (self.chain, self.subject, self.key[2])
            self.id = f"{':'.join(filter(None, names))}@{self.started_unix:.3f}"

    @property
    def key(self) -> _Key:
        return self.chain, self.subject, "" if self.kind in UPSTREAM_KINDS else self.kind


class _Span(NamedTuple):
    """What came until ``unix_seconds``, since the look before."""

    unix_seconds: float
    requests: int
    unserved: int


class _Left(NamedTuple):
    """Under way when the process before this one was last heard of, at ``seen_unix``; whether it
    goes on is not known yet.
    """

    incident: Incident
    seen_unix: float


class Incidents:
    """Incidents under way, and the last ``KEPT`` that are over."""

    __slots__ = ("_brief", "_left", "_open", "_over", "_spans", "_unsaid")

    def __init__(self, over: Sequence[Incident] = ()) -> None:
        self._open: dict[_Key, Incident] = {}
        self._left: dict[_Key, _Left] = {}
        self._over: deque[Incident] = deque(over, maxlen=KEPT)
        self._brief: deque[Incident] = deque(maxlen=BRIEF_KEPT)
        self._spans: dict[str, deque[_Span]] = {}  # by chain, the latest last
        self._unsaid: dict[str, int] = {}  # by chain, unserved while nobody was known

    # ---- what is told

    def latest_first(self) -> list[Incident]:
        """Those under way, then the others by their ends. Not what was over at once, nor that few
        upstreams are left, which is told of each of the others.
        """
        under_way = [*self._open.values(), *(left.incident for left in self._left.values())]
        under_way.sort(key=lambda each: -each.started_unix)
        over = sorted(self._over, key=lambda each: -(each.ended_unix or 0.0))
        return [each for each in (*under_way, *over) if each.kind is not IncidentKind.PANIC]

    def every(self) -> list[Incident]:
        """All that is known, in no order."""
        left = (each.incident for each in self._left.values())
        return [*self._open.values(), *left, *self._over, *self._brief]

    def under_way_since(self, chain: str, subject: str, kind: IncidentKind) -> float | None:
        """When what is wrong began, also where that was before this process; in Unix seconds.
        ``None`` where nothing is known to be.
        """
        key = chain, subject, "" if kind in UPSTREAM_KINDS else kind
        left = self._left.get(key)
        incident = self._open.get(key) or (None if left is None else left.incident)
        return None if incident is None else incident.again_unix

    def has_open(self, chain: str) -> bool:
        """Whether anything is wrong that a wallet may notice."""
        under_way = (*self._open.values(), *(left.incident for left in self._left.values()))
        return any(each.chain == chain for each in under_way)

    # ---- what happens

    def step(self, chain: ChainSample, unix_seconds: float, requests: int, unserved: int) -> None:
        """A chain as it is now; so many requests came, and so many of them were not served, since
        it was last looked at.
        """
        seen = self._begin(chain.name, troubles_of(chain), unix_seconds)
        is_claimed = False
        for key, incident in list(self._open.items()):
            if incident.chain != chain.name:
                continue
            is_claimed = True
            incident.requests += requests
            incident.unserved += unserved
            if key not in seen:
                self._close(incident, unix_seconds - _well_for(chain, incident))
        self._spans.setdefault(chain.name, deque(maxlen=_SPANS_KEPT)).append(
            _Span(unix_seconds, requests, unserved)
        )
        for key, left in list(self._left.items()):
            if key[0] == chain.name and _is_known(chain, left.incident):
                self._end_left(key)
        self._settle_start(chain, unix_seconds, 0 if is_claimed else unserved)

    def step_process(self, troubles: Iterable[Trouble], unix_seconds: float) -> None:
        """What is wrong with the whole process now; its incidents have no chain."""
        seen = self._begin("", troubles, unix_seconds)
        for key, incident in list(self._open.items()):
            if not incident.chain and key not in seen:
                self._close(incident, unix_seconds)
        for key in [key for key in self._left if not key[0]]:
            self._end_left(key)

    def note_errors(self, chain: str, cause: str, unix_seconds: float, unserved: int) -> None:
        """Requests were not served, and whatever it was is over."""
        if self.has_open(chain):
            return
        fresh = Incident(
            chain=chain,
            subject="",
            kind=IncidentKind.ERRORS,
            cause=cause[:LONGEST_CAUSE],
            started_unix=unix_seconds,
            ended_unix=unix_seconds,
            unserved=unserved,
        )
        last = next((each for each in reversed(self._over) if each.key == fresh.key), None)
        if last is not None and _is_again(last, fresh):
            last.unserved += unserved
            last.ended_unix = unix_seconds
            last.times += 1
        else:
            self._over.append(fresh)

    def end_chains_but(self, names: Collection[str], unix_seconds: float) -> None:
        """Chains that are not served any more."""
        every = {key[0] for key in (*self._open, *self._left)} | self._spans.keys()
        for name in every - {"", *names}:
            self.end_chain(name, unix_seconds)

    def end_chain(self, chain: str, unix_seconds: float) -> None:
        """A chain is not served any more."""
        self._spans.pop(chain, None)
        self._unsaid.pop(chain, None)
        for incident in [each for each in self._open.values() if each.chain == chain]:
            self._close(incident, unix_seconds)
        for key in [key for key in self._left if key[0] == chain]:
            self._end_left(key)

    # ---- through a restart

    def resume(self, known: Iterable[Incident], seen_unix: float) -> set[str]:
        """Take up what the process before this one knew, which was last heard of at ``seen_unix``.
        What was under way then goes on as soon as it is seen here, else it ended at that moment;
        what both saw is one incident, with what wallets noticed of each: of these it returns the
        ids that were given here.
        """
        given_up = set()
        for each in sorted(known, key=lambda each: each.started_unix):
            self._forget(each.id)
            mine = self._same_as(each)
            if mine is not None:
                given_up.add(mine.id)
                _merge(each, mine)
            elif each.ended_unix is None:
                if each.key in self._left:
                    self._end_left(each.key)
                self._left[each.key] = _Left(each, seen_unix)
            else:
                self._over.append(each)
        ended = sorted((*self._over, *self._brief), key=lambda each: each.ended_unix or 0.0)
        self._over = deque((each for each in ended if not each.is_brief), maxlen=KEPT)
        self._brief = deque((each for each in ended if each.is_brief), maxlen=BRIEF_KEPT)
        return given_up - {each.id for each in self.every()}

    def _forget(self, id: str) -> None:
        """An older copy of it."""
        for over in (self._over, self._brief):
            for each in [each for each in over if each.id == id]:
                over.remove(each)

    def _same_as(self, known: Incident) -> Incident | None:
        """What was seen here of the same trouble."""
        under_way = self._open.get(known.key)
        if under_way is not None:
            return under_way if _is_again(known, under_way) else None
        for mine in reversed((*self._over, *self._brief)):
            if mine.key == known.key and _is_again(known, mine) and _is_again(mine, known):
                return mine
        return None

    # ---- how one begins and ends

    def _begin(self, chain: str, troubles: Iterable[Trouble], unix_seconds: float) -> set[_Key]:
        return {self._open_for(chain, each, unix_seconds).key for each in troubles}

    def _open_for(self, chain: str, trouble: Trouble, unix_seconds: float) -> Incident:
        fresh = Incident(
            chain=chain,
            subject=trouble.subject,
            kind=trouble.kind,
            cause=trouble.cause[:LONGEST_CAUSE],
            started_unix=unix_seconds - trouble.since_seconds,
        )
        incident = self._open.get(fresh.key)
        if incident is None:
            left = self._left.pop(fresh.key, None)
            incident = self._again(fresh) or fresh if left is None else left.incident
            self._open[fresh.key] = incident
            self._claim(incident, fresh.started_unix if left is None else incident.started_unix)
        if _rank(trouble.kind) >= _rank(incident.kind):
            incident.kind = trouble.kind
            incident.cause = fresh.cause or incident.cause
        return incident

    def _again(self, fresh: Incident) -> Incident | None:
        for over in (self._over, self._brief):
            known = next((each for each in reversed(over) if each.key == fresh.key), None)
            if known is not None and _is_again(known, fresh):
                over.remove(known)
                known.ended_unix = None
                known.again_unix = fresh.started_unix
                known.times += 1
                return known
        return None

    def _claim(self, incident: Incident, since_unix: float) -> None:
        """What came after it began, and before it was known, belongs to it."""
        for span in self._spans.get(incident.chain, ()):
            if span.unix_seconds >= since_unix:
                incident.requests += span.requests
                incident.unserved += span.unserved
        self._unsaid.pop(incident.chain, None)

    def _settle_start(self, chain: ChainSample, unix_seconds: float, unserved: int) -> None:
        """What was not served while nobody was known belongs to what is found to be wrong; where
        nothing is, it is told all the same.
        """
        if is_starting(chain):
            self._unsaid[chain.name] = self._unsaid.get(chain.name, 0) + unserved
            return
        unsaid = self._unsaid.pop(chain.name, 0)
        if unsaid:
            self.note_errors(chain.name, STARTING, unix_seconds, unsaid)

    def _close(self, incident: Incident, ended_unix: float) -> None:
        del self._open[incident.key]
        ended_unix = max(ended_unix, incident.again_unix)
        is_ones = incident.kind in UPSTREAM_KINDS
        is_brief = is_ones and ended_unix - incident.again_unix < BRIEF_SECONDS
        is_first = incident.times == 1 or incident.is_brief
        incident.is_brief = is_brief and is_first and not incident.unserved
        incident.ended_unix = ended_unix
        (self._brief if incident.is_brief else self._over).append(incident)

    def _end_left(self, key: _Key) -> None:
        incident, seen_unix = self._left.pop(key)
        incident.ended_unix = max(seen_unix, incident.again_unix)
        self._over.append(incident)


def _is_again(known: Incident, fresh: Incident) -> bool:
    """Whether it began so soon after the end of one that is known that it is the same."""
    if known.ended_unix is None:
        return True
    return fresh.started_unix - known.ended_unix <= AGAIN_SECONDS


def _merge(known: Incident, mine: Incident) -> None:
    """Let ``mine`` be both: seen by the process before this one, and here."""
    is_one = known.ended_unix is None or mine.started_unix <= known.ended_unix
    mine.id = known.id
    mine.started_unix = min(known.started_unix, mine.started_unix)
    if is_one:
        mine.again_unix = min(known.again_unix, mine.again_unix)
    if _rank(known.kind) > _rank(mine.kind):
        mine.kind, mine.cause = known.kind, known.cause
    mine.requests += known.requests
    mine.unserved += known.unserved
    mine.times += known.times - is_one
    mine.is_brief = mine.is_brief and known.is_brief


def _is_known(chain: ChainSample, left: Incident) -> bool:
    """Whether it can be told that what was wrong is so no more."""
    if left.kind in UPSTREAM_KINDS:
        upstream = next((each for each in chain.upstreams if each.name == left.subject), None)
        return upstream is None or not is_new(upstream)
    return not is_starting(chain)


def _rank(kind: IncidentKind) -> int:
    return UPSTREAM_KINDS.index(kind) if kind in UPSTREAM_KINDS else 0


def _well_for(chain: ChainSample, incident: Incident) -> float:
    """For how long the subject of an incident has been well again, where that can be told."""
    for upstream in chain.upstreams:
        if upstream.name == incident.subject and upstream.state == UpstreamState.UP:
            return upstream.since_seconds
    return 0.0
