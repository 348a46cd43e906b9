"""What one process tells the next before it leaves: the heads that it serves, what of it the other
would not go on with, and what operators have ordered. No state.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rpcproxy.app.proxy import Proxy
from rpcproxy.app.resuming import standing_orders
from rpcproxy.app.storage.state_place import JOURNALS, SUFFIX, StatePlace
from rpcproxy.app.storage.transaction_journal import SendSettings
from rpcproxy.chains.known import told_identity
from rpcproxy.config.model import Config
from rpcproxy.edges.process.given_sockets import Broken
from rpcproxy.messages import MethodClass
from rpcproxy.rules.standing.orders import order_again
from rpcproxy.words import OrderName, OrderNote

ServedHeads = Mapping[str, int]
# By chain and upstream.
OrderNotes = Mapping[str, Mapping[str, list[OrderNote]]]

_INSTEAD: Final = "to change that, stop the old process and start this one without --takeover"


class HandoverPlan(msgspec.Struct, omit_defaults=True):
    """A chain as the successor will serve it; ``id`` is its identity, ``journal`` is the file,
    ``None`` without one. What is a number is told as one: older versions take nothing else.
    ``takes_journal``: whatever journal the other has in its own place is taken over from there.
    """

    id: int | str
    journal: str | None
    takes_journal: bool = False


Plans = Mapping[str, HandoverPlan]


def heads_of(proxy: Proxy) -> dict[str, int]:
    """The head of each chain that somebody can be asked for, as clients know it."""
    return {
        name: runtime.standings.heads.shown
        for name, runtime in proxy.chains.items()
        if runtime.standings.usable(MethodClass.LIGHT)
    }


def plans_of(config: Config) -> dict[str, HandoverPlan]:
    """What a process with this configuration will serve. Touches the disk."""
    plans, place = {}, StatePlace.of(config)
    for chain in config.chains:
        settings = SendSettings.of(chain, config.server, place)
        path = settings.path
        is_own = path is not None and settings.place is not None
        if is_own and place.base is not None:
            # An older version has its journals there, and wants to hear that they are ours.
            shared = place.base / JOURNALS / f"{chain.name}{SUFFIX}"
            path = shared if shared.is_file() else path
        plans[chain.name] = HandoverPlan(
            told_identity(chain.identity), None if path is None else str(path.resolve()), is_own
        )
    return plans


def journals_of(proxy: Proxy) -> dict[str, str]:
    """Those that a successor may take over: they are where the proxy's own state is."""
    return {
        name: str(runtime.transactions.path.resolve())
        for name, runtime in proxy.chains.items()
        if runtime.transactions.path is not None and runtime.transactions.is_in_own_place
    }


def expect_journals(proxy: Proxy, words: Mapping[str, Any]) -> None:
    """Take over those that the other process told. Raises ``Broken``."""
    try:
        told = msgspec.convert(words.get("journals"), dict[str, str] | None)
    except msgspec.ValidationError as error:
        raise Broken(f"its journals cannot be read: {error}") from None
    for name, runtime in proxy.chains.items():
        if told is None:  # an older version
            runtime.transactions.expect_journal(None)
        elif name in told:
            runtime.transactions.expect_journal(Path(told[name]))


def plans_in(words: Mapping[str, Any]) -> Plans:
    """Those that the successor told. Raises ``Broken``."""
    try:
        return msgspec.convert(words.get("chains", {}), dict[str, HandoverPlan])
    except msgspec.ValidationError as error:
        raise Broken(f"its chains cannot be read: {error}") from None


def lost_by(proxy: Proxy, plans: Plans) -> str:
    """What nobody would care for any more if ``plans`` were all that is served, and what to
    do; empty where nothing is lost.
    """
    lost = []
    for name, runtime in proxy.chains.items():
        plan, identity = plans.get(name), runtime.chain.identity
        if plan is None or plan.id != told_identity(identity):
            lost.append(f"chain {name} (id {identity}) is served here, and would not be there")
            continue
        transactions = runtime.transactions
        path, pending = transactions.path, transactions.ledger.pool.count
        if plan.takes_journal and transactions.is_in_own_place:
            continue
        if path is not None and pending and str(path.resolve()) != plan.journal:
            there = "no journal" if plan.journal is None else f"the journal {plan.journal}"
            lost.append(
                f"{pending} pending transactions of {name} are in the journal {path}, and there it "
                f"has {there}: nobody would send them again"
            )
    return "; ".join([*lost, _INSTEAD]) if lost else ""


def orders_of(proxy: Proxy) -> dict[str, dict[str, list[OrderName]]]:
    """What operators have ordered, and not taken back: as every version understands it."""
    return {
        chain: {upstream: [note.order for note in notes] for upstream, notes in of_chain.items()}
        for chain, of_chain in order_notes_of(proxy).items()
    }


def order_notes_of(proxy: Proxy) -> OrderNotes:
    """The same, with since when and by whom."""
    orders: dict[str, dict[str, list[OrderNote]]] = {}
    for place, note in standing_orders(proxy).items():
        orders.setdefault(place.chain, {}).setdefault(place.upstream, []).append(note)
    return orders


def follow_orders(proxy: Proxy, orders: OrderNotes) -> None:
    """Let every upstream be as the other process was told, and no other way."""
    now = proxy.clock.monotonic()
    for name, runtime in proxy.chains.items():
        for standing in runtime.standings:
            given = {note.order: note for note in orders.get(name, {}).get(standing.name, [])}
            for note in (
                given.get("drain") or OrderNote("undrain", 0.0, ""),
                given.get("cordon") or OrderNote("uncordon", 0.0, ""),
            ):
                runtime.executor.observe(order_again(standing.name, note), now)


def orders_in(words: Mapping[str, Any]) -> OrderNotes:
    """Those that the other process told; an older version tells neither since when nor by whom.
    Raises ``Broken``.
    """
    try:
        if "order_notes" in words:
            return msgspec.convert(words["order_notes"], dict[str, dict[str, list[OrderNote]]])
        named = msgspec.convert(words.get("orders", {}), dict[str, dict[str, list[OrderName]]])
    except msgspec.ValidationError as error:
        raise Broken(f"its orders cannot be read: {error}") from None
    return {
        chain: {
            upstream: [OrderNote(order, 0.0, "") for order in orders]
            for upstream, orders in of_chain.items()
        }
        for chain, of_chain in named.items()
    }
