"""What operators are told of one chain: for the admin port's pages, and for Prometheus.

Reads what the chain's objects hold; nothing here changes them. No state.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.people.tx_view import entry_of_pool, entry_of_row
from rpcproxy.edges.disk.journal import JournalBroken
from rpcproxy.edges.logs import utc
from rpcproxy.edges.metrics.figures import (
    DISK,
    MEMORY,
    AuditFigures,
    ChainFigures,
    SendFigures,
    StoreFigures,
)
from rpcproxy.front.operators.admin import (
    BlockStatus,
    ChainStatus,
    OrderStatus,
    ReorgStatus,
    chain_state,
    halt_words,
)
from rpcproxy.front.operators.admin_transactions import (
    OPEN_SHOWN,
    ChainTransactions,
    TransactionEntry,
    TransactionsStatus,
)
from rpcproxy.messages import CLASS_NAMES, METHOD_CLASSES, Head, MethodClass
from rpcproxy.rules.heads.heads import Heads
from rpcproxy.rules.standing.orders import standing_order
from rpcproxy.rules.standing.standing import Standing
from rpcproxy.rules.telling.sample import ChainSample
from rpcproxy.rules.telling.snapshot import snapshot_of

# A disk that hangs must not keep a page waiting for ever.
FIND_SECONDS: Final = 5.0
_OPEN, _OFF, _OPENING = "open", "off", "being opened"


def chain_figures(runtime: ChainRuntime, now: float, unix_seconds: float) -> ChainFigures:
    """One chain at ``now`` (monotonic seconds)."""
    heads, audits = runtime.standings.heads, runtime.audits
    final, safe = heads.finality.named("finalized"), heads.finality.named("safe")
    reorg = heads.last_reorg
    since = runtime.standings.outage_since(MethodClass.LIGHT)
    return ChainFigures(
        served=heads.served if heads.served >= 0 else None,
        safe=None if safe is None else safe.number,
        finalized=None if final is None else final.number,
        head_age_seconds=_since(heads.moved_at, now),
        reorgs=heads.reorgs,
        last_reorg_depth=None if reorg is None or reorg.is_gap else reorg.depth,
        head_jumps=heads.turns - heads.reorgs,
        is_split=heads.is_split,
        halted_seconds=_since(heads.pace.halted_since, now) if heads.pace.is_halted else None,
        usable=len(runtime.standings.usable(MethodClass.LIGHT)),
        outage_seconds=None if since is None else max(0.0, now - since),
        is_panicking=runtime.standings.is_panicking,
        stores=_stores(runtime),
        audits=AuditFigures(
            asked=audits.asked,
            agreed=audits.agreed,
            differed=audits.differed,
            unanswered=audits.unanswered,
            voided=audits.voided,
            odd=audits.odd,
        ),
        feeds=runtime.feeds.are_live(),
        sends=send_figures(runtime, unix_seconds),
    )


def chain_status(
    runtime: ChainRuntime, now: float, unix_seconds: float, sample: ChainSample | None = None
) -> ChainStatus:
    """One chain at ``now`` (monotonic), which is ``unix_seconds`` of wall-clock time. ``sample``
    knows since when it is so, also where that was before this process.
    """
    chain, standings = runtime.chain, runtime.standings
    heads, figures = standings.heads, chain_figures(runtime, now, unix_seconds)
    usable = len(standings.usable(MethodClass.LIGHT))
    # What an operator drained is nobody's trouble.
    readers = sum(each.role != "sends" and not each.is_drained for each in standings)
    outage_seconds = figures.outage_seconds if sample is None else sample.outage_seconds
    since_seconds = {} if sample is None else {e.name: e.since_seconds for e in sample.upstreams}
    halted, head_age = figures.halted_seconds, figures.head_age_seconds
    return {
        "name": chain.name,
        "chain_id": chain.chain_id,
        "state": chain_state(usable, readers),
        "halted": None if halted is None else halt_words(heads.served, halted),
        "served_head": figures.served,
        "served_hash": None if heads.served_head is None else heads.served_head.hash,
        "head_age_seconds": None if head_age is None else round(head_age, 1),
        "safe": _block(heads.finality.named("safe")),
        "finalized": _block(heads.finality.named("finalized")),
        "reorgs": figures.reorgs,
        "last_reorg": _last_reorg(heads, now),
        "head_jumps": figures.head_jumps,
        "split": figures.is_split,
        "forked": {each.name: each.fork_reason for each in standings if each.is_forked},
        "cache": {place: asdict(store) for place, store in figures.stores.items()},
        "audits": {**asdict(figures.audits), "differences": runtime.audits.snapshot()},
        "feeds": figures.feeds,
        "transactions": transactions_status(runtime, unix_seconds),
        "usable": usable,
        "panic": 2 * usable < readers,
        "hedge_delay_seconds": {
            CLASS_NAMES[c]: round(standings.hedge_delay(c), 4) if chain.hedge != "off" else None
            for c in METHOD_CLASSES
            if c is not MethodClass.SEND
        },
        "outage_since": None if outage_seconds is None else utc(unix_seconds - outage_seconds),
        "upstreams": [
            {
                **told,
                "since_seconds": since_seconds.get(told["name"], told["since_seconds"]),
                "order": _order(standings[told["name"]]),
            }
            for told in snapshot_of(standings, now)
        ],
    }


def _order(standing: Standing) -> OrderStatus | None:
    note = standing_order(standing)
    if note is None:
        return None
    since = utc(note.since_unix) if note.since_unix else None
    return {"order": note.order, "since": since, "by": note.by}


def _stores(runtime: ChainRuntime) -> dict[str, StoreFigures]:
    memory = runtime.pipeline.sharing.cache
    stores = {
        MEMORY: StoreFigures(
            entries=len(memory),
            size_bytes=memory.size_bytes,
            hits=memory.hits,
            misses=memory.misses,
            evicted=memory.evicted,
            rejected=memory.rejected,
        )
    }
    disk = runtime.pipeline.sharing.disk
    if disk is not None:
        stores[DISK] = StoreFigures(
            entries=len(disk), hits=disk.hits, misses=disk.misses, rejected=disk.dropped
        )
    return stores


def _block(head: Head | None) -> BlockStatus | None:
    return None if head is None else {"number": head.number, "hash": head.hash}


def _last_reorg(heads: Heads, now: float) -> ReorgStatus | None:
    reorg = heads.last_reorg
    if reorg is None or reorg.is_gap:
        return None
    ago_seconds = round(max(0.0, now - heads.turned_at), 1)
    return {"depth": reorg.depth, "ancestor": reorg.ancestor, "ago_seconds": ago_seconds}


def _since(moment: float, now: float) -> float | None:
    """Seconds since ``moment``, ``None`` where that never was."""
    return max(0.0, now - moment) if math.isfinite(moment) else None


# --------------------------------------------------------------------------
# Transactions


def send_figures(runtime: ChainRuntime, unix_seconds: float) -> SendFigures:
    """One chain's transactions at ``unix_seconds`` of wall-clock time."""
    ledger = runtime.transactions.ledger
    oldest = ledger.pool.oldest_unix
    return SendFigures(
        pending=ledger.pool.count,
        oldest_pending_seconds=0.0 if oldest is None else max(0.0, unix_seconds - oldest),
        journal_bytes=None if ledger.journal is None else ledger.journal.size_bytes,
        is_journal_troubled=journal_words(runtime) not in (_OPEN, _OFF, _OPENING),
    )


def journal_words(runtime: ChainRuntime) -> str:
    """``open``, ``off``, or what is wrong."""
    transactions = runtime.transactions
    if transactions.path is None:
        return _OFF
    if transactions.ledger.trouble:
        return transactions.ledger.trouble
    return _OPENING if transactions.ledger.journal is None else _OPEN


def transactions_status(runtime: ChainRuntime, unix_seconds: float) -> TransactionsStatus:
    """One chain's transactions in short, at ``unix_seconds``."""
    figures = send_figures(runtime, unix_seconds)
    oldest = round(figures.oldest_pending_seconds, 1) if figures.pending else None
    return {
        "pending": figures.pending,
        "oldest_seconds": oldest,
        "journal": journal_words(runtime),
    }


def chain_transactions(runtime: ChainRuntime, unix_seconds: float) -> ChainTransactions:
    """One chain's transactions at ``unix_seconds``, with the newest of the open ones."""
    name, pool = runtime.chain.name, runtime.transactions.ledger.pool
    every = pool.all_open()
    newest = heapq.nlargest(OPEN_SHOWN, every, key=lambda entry: entry.created_unix)
    return {
        "name": name,
        **transactions_status(runtime, unix_seconds),
        "journal_bytes": send_figures(runtime, unix_seconds).journal_bytes,
        "open": [entry_of_pool(name, entry, unix_seconds) for entry in newest],
    }


async def find_transaction(
    runtimes: Iterable[ChainRuntime],
    hash: str,
    unix_seconds: float,
    find_seconds: float = FIND_SECONDS,
) -> tuple[TransactionEntry | None, dict[str, str]]:
    """The transaction of a hash, from memory or else from a journal, and by chain whose journal
    could not be asked: why. Of several chains that have it, the one where it came last. A journal
    has ``find_seconds``.
    """
    found: list[TransactionEntry] = []
    unasked: dict[str, str] = {}
    for runtime in runtimes:
        name, ledger = runtime.chain.name, runtime.transactions.ledger
        entry = ledger.pool.get(hash)
        if entry is not None:
            found.append(entry_of_pool(name, entry, unix_seconds))
        elif ledger.journal is None:
            if runtime.transactions.path is not None:
                unasked[name] = journal_words(runtime)
        else:
            try:
                async with asyncio.timeout(find_seconds):
                    row = await ledger.journal.find(hash)
            except JournalBroken as broken:
                unasked[name] = broken.reason
            except TimeoutError:
                unasked[name] = f"its disk did not answer within {find_seconds:g} s"
            else:
                found += [entry_of_row(name, row, unix_seconds)] if row is not None else []
    return max(found, key=lambda entry: entry["created"], default=None), unasked
