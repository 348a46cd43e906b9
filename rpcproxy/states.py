"""States and changes of upstreams and chains, and what each of them means: one table for each.

The members are the words of pages, metrics, logs and webhooks, and equal their strings. A table
says everything that follows from a member; who needs a set or an order takes it from there.
``Change`` is what is told to people when something turned.

Pure: no clock, no randomness, no IO, no state.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from rpcproxy.messages import MethodClass

# --------------------------------------------------------------------------
# How well it is


class Level(enum.StrEnum):
    """How well it is with an upstream, with a chain, or with all of them."""

    WELL = "well"
    TROUBLED = "troubled"
    DOWN = "down"
    UNKNOWN = "unknown"


class LevelMeaning(NamedTuple):
    """``rank``: what is worst comes first among several. ``letter`` and ``mark``: of one cell of a
    day, and before a line.
    """

    rank: int
    letter: str
    mark: str
    word: str


LEVELS: Final[Mapping[Level, LevelMeaning]] = {
    Level.WELL: LevelMeaning(0, "w", "●", "Well"),
    Level.TROUBLED: LevelMeaning(2, "t", "▲", "Troubled"),
    Level.DOWN: LevelMeaning(3, "d", "■", "Down"),
    Level.UNKNOWN: LevelMeaning(1, ".", "○", "Unknown"),
}


class ChainState(enum.StrEnum):
    """A chain in one word: all of its upstreams can be asked, some, or none."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


# --------------------------------------------------------------------------
# States of an upstream


class UpstreamState(enum.StrEnum):
    """The state of an upstream, in the order in which metrics show them."""

    UP = "up"
    CORDONED = "cordoned"
    LAGGING = "lagging"
    UNKNOWN = "unknown"
    COOLING = "cooling"
    EJECTED = "ejected"
    FORKED = "forked"
    QUARANTINED = "quarantined"
    DRAINED = "drained"


class Serving(enum.StrEnum):
    """What a state means for those who want to be served; empty: nobody knows."""

    UP = "up"
    BEHIND = "behind"
    LIMITED = "limited"
    DOWN = "down"
    UNKNOWN = ""


class StateMeaning(NamedTuple):
    """``one`` and ``several`` are what one, and what several in this state do, in a sentence;
    ``word`` is the state for people. ``is_well``: nothing is the matter with it. ``serves``: it
    counts among those that can serve. ``by_order``: an operator wants it so.
    """

    level: Level
    service: Serving
    word: str
    one: str = "fails"
    several: str = "fail"
    is_well: bool = False
    serves: bool = False
    by_order: bool = False


UPSTREAM_STATES: Final[Mapping[UpstreamState, StateMeaning]] = {
    UpstreamState.UP: StateMeaning(Level.WELL, Serving.UP, "up", is_well=True, serves=True),
    UpstreamState.CORDONED: StateMeaning(
        Level.UNKNOWN, Serving.UNKNOWN, "cordoned", is_well=True, serves=True, by_order=True
    ),
    UpstreamState.LAGGING: StateMeaning(
        Level.TROUBLED, Serving.BEHIND, "lagging", "is behind", "are behind", serves=True
    ),
    UpstreamState.UNKNOWN: StateMeaning(
        Level.UNKNOWN, Serving.UNKNOWN, "unknown", "is not verified yet", "are not verified yet"
    ),
    UpstreamState.COOLING: StateMeaning(
        Level.TROUBLED, Serving.LIMITED, "rate-limited", "is rate-limited", "are rate-limited"
    ),
    UpstreamState.EJECTED: StateMeaning(Level.DOWN, Serving.DOWN, "failing"),
    UpstreamState.FORKED: StateMeaning(
        Level.DOWN, Serving.DOWN, "forked", "is on another fork", "are on another fork"
    ),
    UpstreamState.QUARANTINED: StateMeaning(
        Level.DOWN, Serving.DOWN, "locked out", "is locked out", "are locked out"
    ),
    UpstreamState.DRAINED: StateMeaning(
        Level.UNKNOWN, Serving.UNKNOWN, "drained", "is drained by an operator", by_order=True
    ),
}


class BreakerState(enum.StrEnum):
    """Whether the breaker of a method class keeps requests away."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# --------------------------------------------------------------------------
# Changes


class Severity(enum.StrEnum):
    """How much a change matters to those who are woken for it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class ChangeKind(enum.StrEnum):
    """The kinds of change, in the order in which documents and schema list them."""

    EJECTED = "ejected"
    RECOVERED = "recovered"
    QUARANTINED = "quarantined"
    READMITTED = "readmitted"
    COOLING = "cooling"
    COOLED = "cooled"
    LAGGING = "lagging"
    STALLED_HEAD = "stalled_head"
    CAUGHT_UP = "caught_up"
    FORKED = "forked"
    JOINED = "joined"
    DRAINED = "drained"
    UNDRAINED = "undrained"
    CORDONED = "cordoned"
    UNCORDONED = "uncordoned"
    SUSPECT = "suspect"
    UNSUSPECT = "unsuspect"
    PANIC = "panic"
    PANIC_OVER = "panic_over"
    SPLIT = "split"
    REORG = "reorg"
    HEAD_JUMPED = "head_jumped"
    CHAIN_HALTED = "chain_halted"
    CHAIN_RESUMED = "chain_resumed"
    OUTAGE = "outage"
    OUTAGE_OVER = "outage_over"
    CONFIG_RELOAD = "config_reload"
    CONFIG_REFUSED = "config_refused"
    SENDS_REFUSED = "sends_refused"
    SENDS_TAKEN = "sends_taken"
    DIED = "died"
    METHOD_UNSUPPORTED = "method_unsupported"
    FEED_FLOODED = "feed_flooded"


class ChangeMeaning(NamedTuple):
    """``sentence`` is what a webhook is told; a kind without one is not told to any.

    ``ends`` is the kind whose end this is, ``like`` the one that it begins under another name.
    ``severity`` is that of a beginning; an end has its beginning's. ``is_passing``: told of once,
    with no end of its own. ``is_harmless``: no trouble, though it ends none. ``of_domain``: its
    subject is a fault domain. ``costs``: requests may have failed by it. ``brief``: for the demo.
    """

    sentence: str
    severity: Severity = Severity.INFO
    ends: ChangeKind | None = None
    like: ChangeKind | None = None
    is_passing: bool = False
    is_harmless: bool = False
    of_domain: bool = False
    costs: bool = False
    brief: str = ""


_K = ChangeKind
CHANGES: Final[Mapping[ChangeKind, ChangeMeaning]] = {
    _K.EJECTED: ChangeMeaning("is left out", Severity.WARNING, costs=True, brief="is left out"),
    _K.RECOVERED: ChangeMeaning("is well again", ends=_K.EJECTED, brief="is back"),
    _K.QUARANTINED: ChangeMeaning(
        "is set apart", Severity.WARNING, costs=True, brief="is quarantined"
    ),
    _K.READMITTED: ChangeMeaning("is admitted again", ends=_K.QUARANTINED, brief="is in"),
    _K.COOLING: ChangeMeaning("is left alone for a while", costs=True, brief="is left alone"),
    _K.COOLED: ChangeMeaning("is asked again", ends=_K.COOLING, brief="is asked again"),
    _K.LAGGING: ChangeMeaning("is not on the served head", brief="lags"),
    _K.STALLED_HEAD: ChangeMeaning(
        "stands still", like=_K.LAGGING, costs=True, brief="stands still"
    ),
    _K.CAUGHT_UP: ChangeMeaning("has caught up", ends=_K.LAGGING, brief="has caught up"),
    _K.FORKED: ChangeMeaning("is on another chain than the others", Severity.WARNING, costs=True),
    _K.JOINED: ChangeMeaning("is on the others' chain again", ends=_K.FORKED),
    _K.DRAINED: ChangeMeaning("was taken out by an operator"),
    _K.UNDRAINED: ChangeMeaning("was put back by an operator", ends=_K.DRAINED),
    _K.CORDONED: ChangeMeaning("is asked last, by an operator's word"),
    _K.UNCORDONED: ChangeMeaning("is asked as before, by an operator's word", ends=_K.CORDONED),
    _K.SUSPECT: ChangeMeaning(
        "is distrusted", Severity.WARNING, of_domain=True, brief="is distrusted"
    ),
    _K.UNSUSPECT: ChangeMeaning(
        "is trusted again", ends=_K.SUSPECT, of_domain=True, brief="is trusted again"
    ),
    _K.PANIC: ChangeMeaning(
        "fewer than half of the upstreams are usable",
        Severity.WARNING,
        brief="few providers are left",
    ),
    _K.PANIC_OVER: ChangeMeaning(
        "half of the upstreams are usable again", ends=_K.PANIC, brief="enough providers are back"
    ),
    _K.SPLIT: ChangeMeaning(
        "the upstreams do not agree on one chain", Severity.CRITICAL, is_passing=True
    ),
    _K.REORG: ChangeMeaning("a reorg", is_passing=True),
    _K.HEAD_JUMPED: ChangeMeaning("the head jumped", is_passing=True),
    _K.CHAIN_HALTED: ChangeMeaning(
        "the chain stands still, whichever provider is asked",
        Severity.CRITICAL,
        brief="the chain stands still",
    ),
    _K.CHAIN_RESUMED: ChangeMeaning(
        "the chain moves again", ends=_K.CHAIN_HALTED, brief="the chain moves again"
    ),
    _K.OUTAGE: ChangeMeaning("nobody can serve it", Severity.CRITICAL),
    _K.OUTAGE_OVER: ChangeMeaning("somebody can serve it again", ends=_K.OUTAGE),
    _K.CONFIG_RELOAD: ChangeMeaning("configuration", is_passing=True),
    _K.CONFIG_REFUSED: ChangeMeaning("a new configuration", Severity.WARNING, is_passing=True),
    _K.SENDS_REFUSED: ChangeMeaning("transactions are refused", Severity.CRITICAL),
    _K.SENDS_TAKEN: ChangeMeaning("transactions are taken again", ends=_K.SENDS_REFUSED),
    _K.DIED: ChangeMeaning(
        "the proxy ended without a word, and was started again", Severity.WARNING, is_passing=True
    ),
    _K.METHOD_UNSUPPORTED: ChangeMeaning("", is_harmless=True, brief="lacks a method"),
    _K.FEED_FLOODED: ChangeMeaning("", brief="pushes too much"),
}


def condition_of(kind: ChangeKind) -> ChangeKind:
    """What begins or ends with it, by the kind that begins it."""
    meaning = CHANGES[kind]
    return meaning.ends or meaning.like or kind


def severity_of(kind: ChangeKind) -> Severity:
    """How much it matters: an end as much as its beginning."""
    return CHANGES[condition_of(kind)].severity


# What a webhook can be told of: changes of upstreams, fault domains and chains (docs/metrics.md),
# and outages, in which nobody could serve a chain's reads. And what it is told of by default.
EVENTS: Final = tuple(kind for kind, meaning in CHANGES.items() if meaning.sentence)
URGENT: Final = tuple(kind for kind in EVENTS if severity_of(kind) is not Severity.INFO)
# Good news, or no trouble; anything else is worth a look.
BETTER: Final = frozenset(
    kind for kind, meaning in CHANGES.items() if meaning.ends is not None or meaning.is_harmless
)
# What is asked of it goes to others from then on; and where it may be asked again.
LEAVING: Final = frozenset({ChangeKind.EJECTED, ChangeKind.QUARANTINED})
RETURNING: Final = frozenset(
    {ChangeKind.RECOVERED, ChangeKind.READMITTED, ChangeKind.COOLED, ChangeKind.UNDRAINED}
)


@dataclass(frozen=True, slots=True)
class Change:
    """Something turned. ``upstream`` is the domain's name for suspicion, and empty for what
    concerns the chain; ``method_class`` is ``None`` where all of an upstream is meant. ``until``
    in monotonic seconds, where an end is known.
    """

    upstream: str
    kind: ChangeKind
    reason: str
    method_class: MethodClass | None = None
    until: float | None = None


# --------------------------------------------------------------------------
# Incidents


class IncidentKind(enum.StrEnum):
    """The kinds of incident. Those of one upstream are its states, the worst last."""

    LAGGING = "lagging"
    COOLING = "cooling"
    UNKNOWN = "unknown"
    FORKED = "forked"
    EJECTED = "ejected"
    QUARANTINED = "quarantined"
    SUSPECT = "suspect"
    OUTAGE = "outage"
    HALTED = "halted"
    SPLIT = "split"
    ERRORS = "errors"
    PANIC = "panic"
    DISK_TROUBLE = "disk_trouble"
    SENDS_REFUSED = "sends_refused"
    RECORDS_REFUSED = "records_refused"
    CLIENTS_REFUSED = "clients_refused"
    ATTEMPTS_REFUSED = "attempts_refused"


class IncidentMeaning(NamedTuple):
    """In words while it lasts, and when it is over; ``state``: of the upstream that has it."""

    present: str
    past: str
    state: UpstreamState | None = None


_I, _S = IncidentKind, UpstreamState
INCIDENTS: Final[Mapping[IncidentKind, IncidentMeaning]] = {
    _I.LAGGING: IncidentMeaning("is behind", "was behind", _S.LAGGING),
    _I.COOLING: IncidentMeaning("is rate-limited", "was rate-limited", _S.COOLING),
    _I.UNKNOWN: IncidentMeaning("cannot be verified", "could not be verified", _S.UNKNOWN),
    _I.FORKED: IncidentMeaning("is on another fork", "was on another fork", _S.FORKED),
    _I.EJECTED: IncidentMeaning("fails", "failed", _S.EJECTED),
    _I.QUARANTINED: IncidentMeaning("is locked out", "was locked out", _S.QUARANTINED),
    _I.SUSPECT: IncidentMeaning("is in trouble", "was in trouble"),
    _I.OUTAGE: IncidentMeaning("Nobody can serve it", "Nobody could serve it"),
    _I.HALTED: IncidentMeaning("The chain stands still", "The chain stood still"),
    _I.SPLIT: IncidentMeaning("The chain is split", "The chain was split"),
    _I.ERRORS: IncidentMeaning("Requests fail", "Requests failed"),
    _I.PANIC: IncidentMeaning(
        "Fewer than half of the providers are usable",
        "Fewer than half of the providers were usable",
    ),
    _I.DISK_TROUBLE: IncidentMeaning("cannot be written", "could not be written"),
    _I.SENDS_REFUSED: IncidentMeaning("Transactions are refused", "Transactions were refused"),
    _I.RECORDS_REFUSED: IncidentMeaning(
        "Transactions are not written down", "Transactions were not written down"
    ),
    _I.CLIENTS_REFUSED: IncidentMeaning("Clients are turned away", "Clients were turned away"),
    _I.ATTEMPTS_REFUSED: IncidentMeaning(
        "This machine lacks what serving takes", "This machine lacked what serving takes"
    ),
}
# What goes wrong with one upstream, by its state, the worst last.
OF_STATES: Final[Mapping[UpstreamState, IncidentKind]] = {
    meaning.state: kind for kind, meaning in INCIDENTS.items() if meaning.state is not None
}


# --------------------------------------------------------------------------
# Requests


class RequestOutcome(enum.StrEnum):
    """How a client's request ended, as metrics count it."""

    OK = "ok"
    RPC_ERROR = "rpc_error"  # an upstream's error, passed on
    OWN_ERROR = "own_error"  # an error of the proxy's own: what a wallet noticed
    LOCAL = "local"  # answered by the proxy itself
    KEPT = "kept"  # from what was kept, or with another's answer
