"""What happened, as one value each: to upstreams, chains, journals, the process, by whose hand.

A timeline is made of these. An incident is one, too: it lasts, and tells what wallets noticed.
Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from rpcproxy.rules.telling.incidents import UPSTREAM_KINDS, Incident
from rpcproxy.states import INCIDENTS, IncidentKind


class HandKind(enum.StrEnum):
    """What operators did, and what became of the process and of its files."""

    DRAINED = "drained"
    UNDRAINED = "undrained"
    CORDONED = "cordoned"
    UNCORDONED = "uncordoned"
    LOG_LEVEL = "log_level"
    CONFIG_RELOAD = "config_reload"
    CONFIG_REFUSED = "config_refused"
    STARTED = "started"
    STOPPED = "stopped"
    TAKEN_OVER = "taken_over"  # another process serves from then on
    DIED = "died"  # it ended without a word; told by the next one
    RESUMED = "resumed"  # pending transactions were found in a journal at the start
    REORG = "reorg"
    HEAD_JUMPED = "head_jumped"


class HappeningMeaning(NamedTuple):
    """In words while it lasts, and afterwards; ``lasts``: it has an end."""

    present: str
    past: str
    lasts: bool = False
    by_hand: bool = False  # somebody did it: ``Happening.by`` says who


_H = HandKind
HAPPENINGS: Final[Mapping[str, HappeningMeaning]] = {
    **{
        kind: HappeningMeaning(meaning.present, meaning.past, lasts=kind is not IncidentKind.ERRORS)
        for kind, meaning in INCIDENTS.items()
    },
    _H.DRAINED: HappeningMeaning("is drained", "was drained", by_hand=True),
    _H.UNDRAINED: HappeningMeaning("is put back", "was put back", by_hand=True),
    _H.CORDONED: HappeningMeaning("is cordoned", "was cordoned", by_hand=True),
    _H.UNCORDONED: HappeningMeaning("is uncordoned", "was uncordoned", by_hand=True),
    _H.LOG_LEVEL: HappeningMeaning("The log level is set", "The log level was set", by_hand=True),
    _H.CONFIG_RELOAD: HappeningMeaning(
        "A new configuration is in force", "A new configuration was taken over", by_hand=True
    ),
    _H.CONFIG_REFUSED: HappeningMeaning(
        "A new configuration is refused", "A new configuration was refused", by_hand=True
    ),
    _H.STARTED: HappeningMeaning("The proxy starts", "The proxy started"),
    _H.STOPPED: HappeningMeaning("The proxy stops", "The proxy stopped"),
    _H.TAKEN_OVER: HappeningMeaning("Another process takes over", "Another process took over"),
    _H.DIED: HappeningMeaning("The proxy is gone", "The proxy ended without a word"),
    _H.RESUMED: HappeningMeaning(
        "Pending transactions are resumed", "Pending transactions were resumed"
    ),
    _H.REORG: HappeningMeaning("A reorg", "A reorg"),
    _H.HEAD_JUMPED: HappeningMeaning("The head jumps", "The head jumped"),
}


class Happening(msgspec.Struct, kw_only=True):
    """One entry of the timeline.

    ``id`` is its own for ever: an entry that comes again under it replaces the one before.
    ``kind`` is a key of ``HAPPENINGS``. ``chain`` is empty for what concerns the process,
    ``subject`` (an upstream or a fault domain) for what concerns the chain. ``words`` say why or
    what; ``by`` who did it, empty where nobody did. Times are wall-clock seconds; ``ended_unix``
    is ``None`` while it lasts, and equals the start for what has no end. ``unserved`` of the
    ``requests`` that came meanwhile had an error: what wallets noticed. ``times``: how often it
    came back. ``is_brief``: of an incident, that it was over at once each time.
    """

    id: str
    kind: str
    started_unix: float
    ended_unix: float | None
    chain: str = ""
    subject: str = ""
    words: str = ""
    by: str = ""
    requests: int = 0
    unserved: int = 0
    times: int = 1
    is_brief: bool = False

    @property
    def group(self) -> str:
        """Whose it is, and what: many of one group push out their own only."""
        kind = "state" if self.kind in UPSTREAM_KINDS else self.kind
        return f"{self.chain}/{self.subject}/{kind}"

    @property
    def last_unix(self) -> float:
        """When something was heard of it last, as far as that is known here."""
        return self.started_unix if self.ended_unix is None else self.ended_unix


def sentence_of(happening: Happening) -> str:
    """It in words: of what, what, by whom, why, and what wallets noticed."""
    meaning = HAPPENINGS.get(happening.kind) or HappeningMeaning(happening.kind, happening.kind)
    is_under_way = meaning.lasts and happening.ended_unix is None
    words = meaning.present if is_under_way else meaning.past
    if happening.subject:
        words = f"{happening.subject} {words[:1].lower()}{words[1:]}"
    if happening.chain:
        words = f"{happening.chain}: {words}"
    if happening.by:
        words += f" by {happening.by}"
    if happening.words:
        words += f": {happening.words}"
    if happening.times > 1:
        words += f" ({happening.times} times)"
    return words + _noticed(happening)


def _noticed(happening: Happening) -> str:
    if happening.kind not in INCIDENTS:
        return ""
    if not happening.unserved:
        return "; no wallet noticed"
    of = f" of {happening.requests}" if happening.requests >= happening.unserved else ""
    are = "request was" if happening.unserved == 1 and not of else "requests were"
    return f"; {happening.unserved}{of} {are} not served"


def of_incident(incident: Incident, redact: Callable[[str], str]) -> Happening:
    """An incident as the timeline tells it."""
    return Happening(
        id=incident.id,
        kind=incident.kind,
        started_unix=incident.started_unix,
        ended_unix=incident.ended_unix,
        chain=incident.chain,
        subject=incident.subject,
        words=redact(incident.cause),
        requests=incident.requests,
        unserved=incident.unserved,
        times=incident.times,
        is_brief=incident.is_brief,
    )


def is_told(known: Happening, incident: Incident) -> bool:
    """Whether an incident is over, and all of it is in ``known``: there are hundreds, and to make
    an entry of each at every look would take milliseconds.
    """
    told = known.ended_unix, known.times, known.requests, known.unserved, known.is_brief
    return incident.ended_unix is not None and told == (
        incident.ended_unix,
        incident.times,
        incident.requests,
        incident.unserved,
        incident.is_brief,
    )


def incident_of(happening: Happening) -> Incident | None:
    """The incident that it is; ``None`` where it is none, or of a kind that is not known here."""
    if happening.kind not in INCIDENTS:
        return None
    return Incident(
        id=happening.id,
        kind=IncidentKind(happening.kind),
        started_unix=happening.started_unix,
        ended_unix=happening.ended_unix,
        chain=happening.chain,
        subject=happening.subject,
        cause=happening.words,
        requests=happening.requests,
        unserved=happening.unserved,
        times=happening.times,
        is_brief=happening.is_brief,
    )
