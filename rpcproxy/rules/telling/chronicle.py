"""What samples tell over time: the last day in strips, incidents, and the last minute's traffic.
Pure.

State: ``Chronicle``, one per process: a strip for each chain and upstream that is configured
(under 4 kB each), at most ``incidents.KEPT`` incidents that are over, the samples of one minute.
Written by ``add`` and ``on_change`` alone.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from rpcproxy.rules.telling.failing import counted
from rpcproxy.rules.telling.incidents import Incident, Incidents
from rpcproxy.rules.telling.sample import ChainSample, Sample, UpstreamSample, grown
from rpcproxy.rules.telling.strips import Strip, level_of
from rpcproxy.rules.telling.troubles import is_new, troubles_of_process
from rpcproxy.states import CHANGES, OF_STATES, ChangeKind, IncidentKind, Level

RECENT_SECONDS: Final = 60.0
# For who can be reached now: what was heard before an outage is none of it.
LATEST_SECONDS: Final = 8.0
# Of a time between two samples that is longer (the machine slept), so much is told of.
LONGEST_STEP_SECONDS: Final = 30.0
_RECENT_SAMPLES: Final = 64  # whatever their distance is
_CHANGES_KEPT: Final = 4


class Traffic(msgspec.Struct, frozen=True):
    """One upstream's part of the last minute: ``failures`` of the ``attempts`` for wallets, and
    ``failed_probes`` of our own ``probes``, as ``rules.telling.failing`` counts them. ``share`` of
    its chain's attempts, 0 to 1, ``None`` where nobody was asked. ``heard``: verdicts of the last
    seconds, probes among them.
    """

    attempts: int = 0
    failures: int = 0
    probes: int = 0
    failed_probes: int = 0
    share: float | None = None
    heard: frozenset[str] = frozenset()


class LastMinute(msgspec.Struct, frozen=True):
    """One chain's last ``seconds``: requests of wallets, those not served, traffic by upstream."""

    seconds: float = 0.0
    requests: int = 0
    unserved: int = 0
    traffic: Mapping[str, Traffic] = {}


class Packed(msgspec.Struct):
    """A chronicle as plain values: strips by chain, and by chain and upstream; the incidents that
    are over, the latest last.
    """

    chains: dict[str, tuple[int, bytes]]
    upstreams: list[tuple[str, str, tuple[int, bytes]]]
    incidents: list[Incident]

    def of_chains(self, names: Collection[str]) -> Packed:
        """What of it is about these."""
        return Packed(
            {name: strip for name, strip in self.chains.items() if name in names},
            [each for each in self.upstreams if each[0] in names],
            [each for each in self.incidents if each.chain in names],
        )


class _Spelled(msgspec.Struct):
    """The same, each incident as it is written."""

    chains: dict[str, tuple[int, bytes]]
    upstreams: list[tuple[str, str, tuple[int, bytes]]]
    incidents: list[msgspec.Raw]


def read_packed(text: bytes) -> Packed:
    """A chronicle from JSON. An incident that this version cannot read (a newer one wrote it, of a
    kind that is not known here) is left out. Raises ``msgspec.MsgspecError`` where it is none.
    """
    spelled = msgspec.json.decode(text, type=_Spelled)
    incidents: list[Incident] = []
    for each in spelled.incidents:
        with contextlib.suppress(msgspec.ValidationError):
            incidents.append(msgspec.json.decode(each, type=Incident))
    return Packed(spelled.chains, spelled.upstreams, incidents)


class Chronicle:
    """Strips, incidents and the last minute of all chains, fed by samples and changes."""

    def __init__(self) -> None:
        self._chains: dict[str, Strip] = {}
        self._upstreams: dict[tuple[str, str], Strip] = {}
        self._incidents = Incidents()
        self._samples: deque[Sample] = deque(maxlen=_RECENT_SAMPLES)
        self._turns: dict[str, deque[str]] = {}  # by chain, since the last sample

    # ---- what is told

    def add(self, sample: Sample) -> None:
        """A sample, later than the last one."""
        before = self._samples[-1] if self._samples else None
        seconds = 0.0
        if before is not None:
            seconds = min(LONGEST_STEP_SECONDS, max(0.0, sample.seconds - before.seconds))
        last = {} if before is None else {chain.name: chain for chain in before.chains}
        for chain in sample.chains:
            self._add_chain(chain, last.get(chain.name), sample.unix_seconds, seconds)
        self._incidents.step_process(troubles_of_process(sample), sample.unix_seconds)
        names = {chain.name for chain in sample.chains}
        self._incidents.end_chains_but(names, sample.unix_seconds)
        self._forget(sample)
        self._turns.clear()
        self._samples.append(sample)
        # The first that is kept is the last one before the minute began.
        while (
            len(self._samples) > 1 and sample.seconds - self._samples[1].seconds >= RECENT_SECONDS
        ):
            self._samples.popleft()

    def on_change(self, chain: str, upstream: str, kind: ChangeKind, reason: str) -> None:
        """A standing changed. Samples tell of what lasts; this, of what is over before the next."""
        if CHANGES[kind].costs:
            words = f"{upstream} {kind}: {reason}" if reason else f"{upstream} {kind}"
            self._turns.setdefault(chain, deque(maxlen=_CHANGES_KEPT)).append(words)

    def _add_chain(
        self, chain: ChainSample, before: ChainSample | None, unix_seconds: float, seconds: float
    ) -> None:
        # At the first look all of it came since the start.
        requests = sum(grown(chain.requests, before.requests if before else {}).values())
        unserved = sum(grown(_unserved(chain), _unserved(before) if before else {}).values())
        self._incidents.step(chain, unix_seconds, requests, unserved)
        turns = self._turns.get(chain.name, ())
        if unserved and turns:
            self._incidents.note_errors(chain.name, "; ".join(turns), unix_seconds, unserved)
        is_noticed = unserved > 0 and (bool(turns) or self._incidents.has_open(chain.name))
        strip = self._chains.setdefault(chain.name, Strip())
        strip.add(unix_seconds, _level_of_chain(chain, is_noticed=is_noticed), seconds)
        for upstream in chain.upstreams:
            known = self._upstreams.setdefault((chain.name, upstream.name), Strip())
            known.add(unix_seconds, level_of(upstream.state), seconds)

    def _forget(self, sample: Sample) -> None:
        """Strips of what is not configured any more."""
        chains = {chain.name: {each.name for each in chain.upstreams} for chain in sample.chains}
        for name in self._chains.keys() - chains.keys():
            del self._chains[name]
        for chain, upstream in list(self._upstreams):
            if upstream not in chains.get(chain, ()):
                del self._upstreams[chain, upstream]

    # ---- what is asked

    def incidents(self) -> list[Incident]:
        """Those under way, then the others, the latest first."""
        return self._incidents.latest_first()

    def every_incident(self) -> list[Incident]:
        """What is not told on pages, too, in no order."""
        return self._incidents.every()

    def resume(self, known: Iterable[Incident], seen_unix: float) -> set[str]:
        """Incidents of the process before this one (``Incidents.resume``)."""
        return self._incidents.resume(known, seen_unix)

    def with_since(self, chain: ChainSample, unix_seconds: float) -> ChainSample:
        """The chain with since when its outage lasts, and the troubles of its upstreams, also where
        that was before this process.
        """
        seconds = chain.outage_seconds
        if seconds is not None:
            seconds = self._longer(seconds, chain.name, "", IncidentKind.OUTAGE, unix_seconds)
        upstreams = []
        for each in chain.upstreams:
            kind = OF_STATES.get(each.state)
            if kind is not None and not is_new(each):
                since = self._longer(each.since_seconds, chain.name, each.name, kind, unix_seconds)
                upstreams.append(replace(each, since_seconds=since))
            else:
                upstreams.append(each)
        return replace(chain, outage_seconds=seconds, upstreams=tuple(upstreams))

    def _longer(
        self, seconds: float, chain: str, subject: str, kind: IncidentKind, unix_seconds: float
    ) -> float:
        began = self._incidents.under_way_since(chain, subject, kind)
        return seconds if began is None else max(seconds, unix_seconds - began)

    def chain_strip(self, chain: str) -> Strip:
        """An empty one where nothing is known."""
        return self._chains.get(chain) or Strip()

    def upstream_strip(self, chain: str, upstream: str) -> Strip:
        return self._upstreams.get((chain, upstream)) or Strip()

    def recent(self, chain: ChainSample, seconds: float) -> LastMinute:
        """The last minute up to ``chain``, which was taken at ``seconds`` (monotonic)."""
        known = [
            (seconds - sample.seconds, before)
            for sample in self._samples
            for before in sample.chains
            if before.name == chain.name and before.identity == chain.identity
        ]
        if not known:
            return LastMinute()
        age_seconds, before = known[0]
        latest = next((each for age, each in reversed(known) if age >= LATEST_SECONDS), before)
        return _between(before, latest, chain, age_seconds)

    # ---- through a restart

    def packed(self) -> Packed:
        """What ``unpack`` takes. Incidents under way are left out: whether they go on, the next
        process sees for itself.
        """
        over = [each for each in self._incidents.latest_first() if each.ended_unix is not None]
        return Packed(
            chains={name: strip.packed() for name, strip in self._chains.items()},
            upstreams=[
                (chain, name, strip.packed()) for (chain, name), strip in self._upstreams.items()
            ],
            incidents=[msgspec.structs.replace(each) for each in reversed(over)],
        )

    @classmethod
    def unpack(cls, packed: Packed) -> Chronicle:
        """Raises ``ValueError`` where that is none."""
        chronicle = cls()
        for name, cells in packed.chains.items():
            chronicle._chains[name] = Strip.unpack(*cells)
        for chain, name, cells in packed.upstreams:
            chronicle._upstreams[chain, name] = Strip.unpack(*cells)
        chronicle._incidents = Incidents(packed.incidents)
        return chronicle


def _unserved(chain: ChainSample) -> Mapping[str, int]:
    return {"": chain.unserved}


def _level_of_chain(chain: ChainSample, *, is_noticed: bool) -> Level:
    if chain.upstreams and all(level_of(each.state) is Level.UNKNOWN for each in chain.upstreams):
        return Level.UNKNOWN
    if chain.outage_seconds is not None or is_noticed:
        return Level.DOWN
    is_troubled = chain.halted_seconds is not None or chain.is_split or chain.is_panicking
    is_troubled |= bool(chain.refusals)
    return Level.TROUBLED if is_troubled else Level.WELL


def _between(
    before: ChainSample, latest: ChainSample, chain: ChainSample, seconds: float
) -> LastMinute:
    known = {each.name: each for each in before.upstreams}
    lately = {each.name: each for each in latest.upstreams}
    grew = {each.name: _attempts(each, known.get(each.name)) for each in chain.upstreams}
    total = sum(counted(counts).asked for counts in grew.values())
    traffic = {}
    for each in chain.upstreams:
        attempts = counted(grew[each.name])
        probes = counted(_probes(each, known.get(each.name)))
        now = lately.get(each.name)
        traffic[each.name] = Traffic(
            attempts=attempts.asked,
            failures=attempts.failed,
            probes=probes.asked,
            failed_probes=probes.failed,
            share=attempts.asked / total if total else None,
            heard=frozenset((*_attempts(each, now), *_probes(each, now))),
        )
    return LastMinute(
        seconds=max(0.0, seconds),
        requests=sum(grown(chain.requests, before.requests).values()),
        unserved=sum(grown(_unserved(chain), _unserved(before)).values()),
        traffic=traffic,
    )


def _attempts(upstream: UpstreamSample, before: UpstreamSample | None) -> Mapping[str, int]:
    return grown(upstream.attempts, {} if before is None else before.attempts)


def _probes(upstream: UpstreamSample, before: UpstreamSample | None) -> Mapping[str, int]:
    return grown(upstream.probes, {} if before is None else before.probes)
