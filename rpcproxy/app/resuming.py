"""What another process left, taken up by the proxy: operators' orders and incidents. No state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from rpcproxy.app.people.timeline import Timeline
from rpcproxy.app.people.timeline_book import OrderPlace
from rpcproxy.app.people.timeline_disk import timeline_place
from rpcproxy.app.serving import InForce
from rpcproxy.app.storage.state_place import StatePlace
from rpcproxy.edges.logs import event
from rpcproxy.rules.standing.orders import note_of, order_again
from rpcproxy.rules.telling.happenings import HandKind
from rpcproxy.rules.telling.incidents import Incident
from rpcproxy.words import OrderNote

_log = logging.getLogger("rpcproxy.app")


def standing_orders(proxy: InForce) -> dict[OrderPlace, OrderNote]:
    """What operators have ordered, and not taken back."""
    return {
        OrderPlace(name, standing.name, note.order): note
        for name, runtime in proxy.chains.items()
        for standing in runtime.standings
        for note in (note_of(standing, "drain"), note_of(standing, "cordon"))
        if note is not None
    }


class TakingUp:
    """``app.people.timeline.Resuming`` of a proxy. ``tell_died`` is told of a process that ended
    without a word.
    """

    def __init__(self, proxy: InForce, tell_died: Callable[[str], None]) -> None:
        self._proxy = proxy
        self._tell_died = tell_died

    def resume(self, known: Iterable[Incident], seen_unix: float) -> set[str]:
        return self._proxy.recorder.chronicle.resume(known, seen_unix)

    def standing_orders(self) -> Mapping[OrderPlace, OrderNote]:
        return standing_orders(self._proxy)

    def follow(self, place: OrderPlace, note: OrderNote) -> bool:
        runtime = self._proxy.chains.get(place.chain)
        if runtime is None or place.upstream not in {each.name for each in runtime.standings}:
            return False
        order = order_again(place.upstream, note)
        runtime.executor.observe(order, self._proxy.clock.monotonic())
        return True

    def on_died(self, words: str) -> None:
        message = "the process before this one ended without a word"
        event(_log, logging.WARNING, HandKind.DIED, message, reason=words)
        self._tell_died(words)


def timeline_of(proxy: InForce, place: StatePlace, tell_died: Callable[[str], None]) -> Timeline:
    """The timeline of a proxy, where its configuration keeps it; its traces are kept there, too."""
    path, why_none = timeline_place(proxy.config, place)
    taking_up = TakingUp(proxy, tell_died)
    timeline = Timeline(path, why_none, proxy.redactor, taking_up, proxy.clock)
    timeline.disk.share(proxy.records.keep_in, proxy.records.leave)
    return timeline
