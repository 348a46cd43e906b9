"""What people and machines may know of the proxy: status, readiness, transactions, metrics.

Reads what is in force; nothing here changes it. State: when the process began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from rpcproxy import __version__
from rpcproxy.app.people.chain_report import (
    chain_figures,
    chain_status,
    chain_transactions,
    find_transaction,
)
from rpcproxy.app.people.own_refusals import sends_refused_seconds, sends_words
from rpcproxy.app.people.timeline_view import change_told
from rpcproxy.app.serving import InForce
from rpcproxy.chains.registry import HASH_WORDS, hash_of, kind_of
from rpcproxy.edges.metrics.exposition import Exposition, ProxyCollector, Sources
from rpcproxy.edges.metrics.figures import ChainFigures
from rpcproxy.front.operators.admin import (
    ChainPage,
    ChainStatus,
    ReloadStatus,
    Status,
    readiness,
    told_plainly,
)
from rpcproxy.front.operators.admin_changes import ChangesPage
from rpcproxy.front.operators.admin_transactions import ChainTransactions, TransactionEntry
from rpcproxy.front.pages.outlook import ChainOutlook
from rpcproxy.rules.telling.snapshot import snapshot_of

TIMELINE_SHOWN: Final = 50


class ProxyView:
    """``front.operators.admin.AdminView`` of a proxy."""

    def __init__(self, proxy: InForce) -> None:
        self._proxy = proxy
        self._clock = proxy.clock
        self._started = self._clock.monotonic()
        self._exposition = Exposition(
            ProxyCollector(
                proxy.counters,
                Sources(
                    standings=self._snapshots,
                    front=self._front_figures,
                    chains=self._figures,
                    connections=self._connections,
                ),
            )
        )

    def status(self) -> Status:
        now, unix_seconds = self._clock.monotonic(), self._clock.unix()
        runtimes = self._proxy.chains
        outlook, chain_outlooks = self._proxy.recorder.outlook(runtimes, now, unix_seconds)
        statuses = zip(self._chain_statuses(now, unix_seconds), chain_outlooks, strict=True)
        chains: list[ChainPage] = [{**status, **outlook} for status, outlook in statuses]
        reloads: ReloadStatus = {
            "path": self._proxy.config_path,
            "accepted": self._proxy.counters.reloads["accepted"],
            "refused": self._proxy.counters.reloads["refused"],
            "last_result": self._proxy.last_reload["last_result"],
            "last_time": self._proxy.last_reload["last_time"],
        }
        return {
            "version": __version__,
            "uptime_seconds": round(now - self._started, 1),
            **outlook,
            "chains": chains,
            "changes": self._proxy.changes.latest_first(),
            "timeline": self.changes(TIMELINE_SHOWN)["changes"],
            "timeline_kept": self._proxy.timeline.kept,
            "config": reloads,
        }

    def changes(
        self, limit: int, since_unix: float = 0.0, chain: str = "", upstream: str = ""
    ) -> ChangesPage:
        """The timeline, the newest first."""
        timeline, unix_seconds = self._proxy.timeline, self._clock.unix()
        found = timeline.latest_first(limit, since_unix, chain, upstream)
        told = [change_told(each, unix_seconds) for each in found]
        return {"changes": told, "kept": timeline.kept}

    def unix_now(self) -> float:
        return self._clock.unix()

    def _chain_statuses(self, now: float, unix_seconds: float) -> list[ChainStatus]:
        sample_of = self._proxy.recorder.sample_of
        return [
            chain_status(runtime, now, unix_seconds, sample_of(runtime, now, unix_seconds))
            for runtime in self._proxy.chains.values()
        ]

    def outlooks(self) -> dict[str, ChainOutlook]:
        """How each chain stands, for pages that show no more."""
        runtimes = self._proxy.chains
        now, unix_seconds = self._clock.monotonic(), self._clock.unix()
        _, told = self._proxy.recorder.outlook(runtimes, now, unix_seconds)
        return dict(zip(runtimes, told, strict=True))

    def ready(self, *, is_public: bool = False) -> tuple[bool, dict[str, Any]]:
        """``is_public``: without reasons, which are for operators."""
        statuses = self._chain_statuses(self._clock.monotonic(), self._clock.unix())
        is_ready, told = readiness(statuses, is_public=is_public)
        told["sends"] = self._sends()
        return is_ready, told_plainly(told, self._proxy.redactor)

    def _sends(self) -> dict[str, str]:
        """By chain, whether transactions of wallets are taken or, in words, why not."""
        now = self._clock.monotonic()
        return {
            name: sends_words(self._proxy.refusals.of_chain(runtime, now))
            for name, runtime in self._proxy.chains.items()
        }

    def describe(self) -> list[dict[str, Any]]:
        """The chains, for the page in the browser: best path first."""
        return [
            {
                "name": chain.name,
                "kind": chain.kind,
                "identity": chain.identity,
                "chain_id": chain.chain_id,
                "asks": kind_of(chain).own_words.head,
                "paths": [
                    path
                    for path, door in self._proxy.doors.items()
                    if door is self._proxy.chains[chain.name].pipeline
                ],
            }
            for chain in self._proxy.config.chains
        ]

    def transactions(self) -> list[ChainTransactions]:
        unix_seconds = self._clock.unix()
        return [
            chain_transactions(runtime, unix_seconds) for runtime in self._proxy.chains.values()
        ]

    @property
    def hash_words(self) -> str:
        """What a hash of a transaction looks like."""
        return HASH_WORDS

    @staticmethod
    def hash_of(text: str) -> str | None:
        """A transaction's hash as it is kept, ``None`` where the text is none."""
        return hash_of(text)

    async def transaction(self, hash: str) -> tuple[TransactionEntry | None, dict[str, str]]:
        runtimes = list(self._proxy.chains.values())
        return await find_transaction(runtimes, hash, self._clock.unix())

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        return await self._exposition.scrape(accept)

    def _snapshots(self) -> Mapping[str, Sequence[Any]]:
        now = self._clock.monotonic()
        return {
            name: snapshot_of(runtime.standings, now)
            for name, runtime in self._proxy.chains.items()
        }

    def _front_figures(self) -> Mapping[str, float]:
        listener = self._proxy.listener
        if listener is None:
            return {}
        refused = self._proxy.refusals.of_process(self._clock.monotonic())
        return {
            **{f"refusing_{refusal.what}": 1.0 for refusal in refused},
            "timeline_trouble": float(self._proxy.timeline.is_troubled),
            "client_connections": listener.open_connections,
            "client_connections_refused": listener.counters.refused_connections,
            "held_bytes": self._proxy.holdings.used,
            "client_requests_crowded_out": listener.counters.crowded_out,
        }

    def _figures(self) -> Mapping[str, ChainFigures]:
        now, unix_seconds = self._clock.monotonic(), self._clock.unix()
        refusals = self._proxy.refusals
        return {
            name: replace(
                chain_figures(runtime, now, unix_seconds),
                sends_refused_seconds=sends_refused_seconds(refusals.of_chain(runtime, now)),
            )
            for name, runtime in self._proxy.chains.items()
        }

    def _connections(self) -> Mapping[str, Mapping[str, tuple[int, int]]]:
        return {
            name: {
                upstream: (wire.open_connections, wire.idle_connections)
                for upstream, wire in runtime.wires.items()
            }
            for name, runtime in self._proxy.chains.items()
        }
