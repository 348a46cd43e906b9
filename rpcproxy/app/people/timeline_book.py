"""The timeline in memory: what happened, the newest first, and orders of operators in it. Pure.

State: ``TimelineBook``, entries by id, written by ``app.people.timeline``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from rpcproxy.rules.telling.happenings import HandKind, Happening
from rpcproxy.rules.telling.incidents import Incident
from rpcproxy.words import OrderName, OrderNote

# As ``front.operators.recent``: many of one group push out their own only.
_SLACK: Final = 1.1

ORDER_KINDS: Final[Mapping[OrderName, HandKind]] = {
    "drain": HandKind.DRAINED,
    "undrain": HandKind.UNDRAINED,
    "cordon": HandKind.CORDONED,
    "uncordon": HandKind.UNCORDONED,
}
_ORDERS: Final[Mapping[str, OrderName]] = {kind: order for order, kind in ORDER_KINDS.items()}


class TimelineBook:
    """At most about ``most`` entries, beside those that last or are ``held``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: dict[str, Happening] = {}
        self.held: set[str] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Happening]:
        return iter(self._entries.values())

    def get(self, id: str) -> Happening | None:
        return self._entries.get(id)

    def put(self, happening: Happening) -> None:
        """It comes in the place of the one before of its id."""
        self._entries[happening.id] = happening
        if len(self._entries) > self._most * _SLACK:
            self._prune()

    def drop(self, id: str) -> None:
        """One that became another."""
        self._entries.pop(id, None)

    def _prune(self) -> None:
        loose = [
            each
            for each in self._entries.values()
            if each.ended_unix is not None and each.id not in self.held
        ]
        counts = Counter(each.group for each in loose)
        oldest_first = sorted(loose, key=lambda each: each.last_unix)
        for _ in range(len(loose) - self._most):
            fullest = max(counts, key=lambda group: counts[group])
            gone = next(each for each in oldest_first if each.group == fullest)
            oldest_first.remove(gone)
            counts[fullest] -= 1
            del self._entries[gone.id]


def latest_first(
    entries: Iterable[Happening],
    *,
    most: int,
    since_unix: float = 0.0,
    chain: str = "",
    subject: str = "",
) -> list[Happening]:
    """Those that began last come first. Of one ``chain`` and one upstream or domain, where they are
    named; none that was over before ``since_unix``.
    """
    found = [
        each
        for each in entries
        if (not chain or each.chain == chain)
        and (not subject or each.subject == subject)
        and (each.ended_unix is None or each.ended_unix >= since_unix)
    ]
    found.reverse()  # of one moment, what came last is the first
    found.sort(key=lambda each: -each.started_unix)
    return found[:most]


class OrderPlace(NamedTuple):
    """What may be ordered of an upstream: ``drain`` or ``cordon``."""

    chain: str
    upstream: str
    order: OrderName


def order_place(happening: Happening) -> OrderPlace | None:
    """What an entry orders, or takes back; ``None`` where it is about something else."""
    order = _ORDERS.get(happening.kind)
    if order is None:
        return None
    base: OrderName = "drain" if order in ("drain", "undrain") else "cordon"
    return OrderPlace(happening.chain, happening.subject, base)


def note_in(happening: Happening) -> OrderNote:
    """The order of an entry that ``order_place`` has a place for."""
    return OrderNote(_ORDERS[happening.kind], happening.started_unix, happening.by)


class Resuming(Protocol):
    """The proxy, as far as it takes up what another process left."""

    def resume(self, known: Iterable[Incident], seen_unix: float) -> set[str]:
        """Incidents; the ids that are given up, since what had them is one of those now."""
        ...

    def standing_orders(self) -> Mapping[OrderPlace, OrderNote]: ...

    def follow(self, place: OrderPlace, note: OrderNote) -> bool:
        """Be as an operator ordered it; whether there is such an upstream."""
        ...

    def on_died(self, words: str) -> None:
        """The process before this one ended without a word."""
        ...
