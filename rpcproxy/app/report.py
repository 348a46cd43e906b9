"""What operators are told of one chain: for the status page, and for Prometheus.

Reads what the chain's objects hold; nothing here changes them. No state.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.edges.figures import DISK, MEMORY, AuditFigures, ChainFigures, StoreFigures
from rpcproxy.edges.logs import utc
from rpcproxy.front.admin import (
    BlockStatus,
    ChainStatus,
    ReorgStatus,
    chain_state,
    halt_words,
)
from rpcproxy.messages import CLASS_NAMES, METHOD_CLASSES, Head, MethodClass
from rpcproxy.rules.heads import Heads


def chain_figures(runtime: ChainRuntime, now: float) -> ChainFigures:
    """One chain at ``now`` (monotonic seconds)."""
    heads, audits = runtime.standings.heads, runtime.audits
    final, safe = heads.finality.finalized, heads.finality.safe
    reorg = heads.last_reorg
    return ChainFigures(
        served=heads.served if heads.served >= 0 else None,
        safe=None if safe is None else safe.number,
        finalized=None if final is None else final.number,
        head_age_seconds=_since(heads.moved_at, now),
        reorgs=heads.reorgs,
        last_reorg_depth=None if reorg is None or reorg.is_gap else reorg.depth,
        head_jumps=heads.turns - heads.reorgs,
        is_split=heads.is_split,
        halted_seconds=_since(heads.halted_since, now) if heads.is_halted else None,
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
    )


def chain_status(runtime: ChainRuntime, now: float, unix_seconds: float) -> ChainStatus:
    """One chain at ``now`` (monotonic), which is ``unix_seconds`` of wall-clock time."""
    chain, standings = runtime.chain, runtime.standings
    heads, figures = standings.heads, chain_figures(runtime, now)
    usable = len(standings.usable(MethodClass.LIGHT))
    readers = sum(upstream.role != "sends" for upstream in chain.upstreams)
    since = standings.outage_since(MethodClass.LIGHT)
    halted, head_age = figures.halted_seconds, figures.head_age_seconds
    return {
        "name": chain.name,
        "chain_id": chain.chain_id,
        "state": chain_state(usable, readers),
        "halted": None if halted is None else halt_words(heads.served, halted),
        "served_head": figures.served,
        "served_hash": None if heads.served_head is None else heads.served_head.hash,
        "head_age_seconds": None if head_age is None else round(head_age, 1),
        "safe": _block(heads.finality.safe),
        "finalized": _block(heads.finality.finalized),
        "reorgs": figures.reorgs,
        "last_reorg": _last_reorg(heads, now),
        "head_jumps": figures.head_jumps,
        "split": figures.is_split,
        "forked": {each.name: each.fork_reason for each in standings if each.is_forked},
        "cache": {place: asdict(store) for place, store in figures.stores.items()},
        "audits": {**asdict(figures.audits), "differences": runtime.audits.snapshot()},
        "feeds": figures.feeds,
        "usable": usable,
        "panic": 2 * usable < readers,
        "hedge_delay_seconds": {
            CLASS_NAMES[c]: round(standings.hedge_delay(c), 4) if chain.hedge != "off" else None
            for c in METHOD_CLASSES
            if c is not MethodClass.SEND
        },
        "outage_since": None if since is None else utc(unix_seconds - (now - since)),
        "upstreams": standings.snapshot(now),
    }


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
