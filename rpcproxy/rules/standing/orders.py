"""What an operator may order of an upstream: to be spared, or to come after all others.

A *drained* upstream gets no new requests; those in flight finish, and probes go on. A *cordoned*
one comes after all others, backups included. Orders live until they are taken back; a reload keeps
them, a takeover and a restart.

State: two flags of the standing and a note of each, written here through ``Standings.observe``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rpcproxy.messages import CLASS_NAMES, METHOD_CLASSES, MethodClass
from rpcproxy.rules.standing.standing import CORDONED, DRAINED, Standing
from rpcproxy.states import Change, ChangeKind
from rpcproxy.words import OperatorOrder, OrderName, OrderNote


def obey(standing: Standing, order: OperatorOrder) -> list[Change]:
    """Carry out an order; nothing turns where it was so already, nor does who ordered it first."""
    is_on = order.order in ("drain", "cordon")
    name, is_drain = standing.name, order.order in ("drain", "undrain")
    if (standing.is_drained if is_drain else standing.is_cordoned) == is_on:
        return []
    if is_on:
        note = OrderNote(order.order, order.unix_seconds, order.by)
        standing.order_notes[order.order] = note
    else:
        standing.order_notes.pop("drain" if is_drain else "cordon", None)
    if is_drain:
        standing.is_drained = is_on
        if is_on:
            return [Change(name, ChangeKind.DRAINED, f"{DRAINED}: no new requests go there")]
        return [Change(name, ChangeKind.UNDRAINED, "an operator lets it take requests again")]
    standing.is_cordoned = is_on
    if is_on:
        return [
            Change(name, ChangeKind.CORDONED, f"{CORDONED}: asked only where nobody else can be")
        ]
    return [Change(name, ChangeKind.UNCORDONED, "an operator lets it take its share again")]


def standing_order(standing: Standing) -> OrderNote | None:
    """What an operator ordered, and nobody took back: what spares it more, where it is both."""
    return note_of(standing, "drain") or note_of(standing, "cordon")


def note_of(standing: Standing, order: OrderName) -> OrderNote | None:
    """Since when it is drained, or cordoned, and by whom; ``None`` where it is not."""
    if not (standing.is_drained if order == "drain" else standing.is_cordoned):
        return None
    return standing.order_notes.get(order) or OrderNote(order, 0.0, "")


def order_again(upstream: str, note: OrderNote) -> OperatorOrder:
    """An order that another process was given."""
    return OperatorOrder(upstream, note.order, by=note.by, unix_seconds=note.since_unix)


def why_needed(
    standing: Standing,
    every: Iterable[Standing],
    usable: Callable[[MethodClass], Sequence[Standing]],
) -> str:
    """For what nobody would be left if it were drained, in words; empty where somebody is."""
    others = [other for other in every if other is not standing and not other.is_drained]
    needed: list[str] = []
    for method_class in METHOD_CLASSES:
        if not standing.has_role(method_class) or standing.is_drained:
            continue
        now = usable(method_class)
        is_last = standing in now and len(now) == 1
        if is_last or not any(other.has_role(method_class) for other in others):
            needed.append(CLASS_NAMES[method_class])
    if not needed:
        return ""
    return (
        f"{standing.name} is the last upstream that can be asked for {', '.join(needed)} requests"
    )
