"""Transactions on the admin port: the pages, and what they are told of chains at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.people import chain_report
from rpcproxy.app.proxy import Proxy
from rpcproxy.chains import registry
from rpcproxy.clock import SYSTEM_CLOCK, Clock
from rpcproxy.config.model import Address, Chain, Config, Journal, Server, Upstream
from rpcproxy.edges.disk.journal import JournalBroken, JournalRow
from rpcproxy.edges.logs import Redactor
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.front.operators.admin import make_admin_app
from rpcproxy.front.operators.admin_transactions import (
    OPEN_SHOWN,
    ChainTransactions,
    TransactionEntry,
)
from rpcproxy.rules.sends.journaled import TransactionState
from tests.kits.waiting import until
from tests.unit.front.operators.test_admin import View as OtherPages

NOW = 1_800_000_000.0
SENDER = "0x" + "5e" * 20


def hash_of(number: int) -> str:
    return f"0x{number:064x}"


def entry_of(number: int) -> TransactionEntry:
    return {
        "hash": hash_of(number),
        "chain": "ethereum",
        "state": "sent",
        "created": "2027-01-15T08:00:00.000Z",
        "age_seconds": 12.5,
        "updated": None,
        "sender": SENDER,
        "nonce": number,
        "block": None,
        "private": False,
        "size_bytes": 112,
        "upstreams": {"infura": "ok"},
    }


# --------------------------------------------------------------------------
# The pages


class View(OtherPages):
    """What a running proxy would tell."""

    def __init__(self) -> None:
        super().__init__()
        self.known = {hash_of(1): entry_of(1)}
        self.unasked: dict[str, str] = {}

    def transactions(self) -> Sequence[ChainTransactions]:
        return [
            {
                "name": "ethereum",
                "pending": 1,
                "oldest_seconds": 12.5,
                "journal": "open",
                "journal_bytes": 4096,
                "open": list(self.known.values()),
            }
        ]

    hash_words = registry.HASH_WORDS

    def hash_of(self, text: str) -> str | None:
        return registry.hash_of(text)

    async def transaction(self, hash: str) -> tuple[TransactionEntry | None, Mapping[str, str]]:
        return self.known.get(hash), self.unasked


@pytest.fixture
def view() -> View:
    return View()


@pytest.fixture
async def admin(view: View) -> AsyncIterator[TestClient[Any, Any]]:
    app = make_admin_app(view, Redactor(["topsecret"]))
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield client


async def test_all_chains_on_one_page(admin: TestClient[Any, Any], view: View) -> None:
    reply = await admin.get("/transactions")
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    assert await reply.json() == {"chains": view.transactions()}


async def test_one_by_its_hash_however_it_is_written(admin: TestClient[Any, Any]) -> None:
    for hash in (hash_of(1), hash_of(1).upper()):
        reply = await admin.get(f"/transactions/{hash}")
        assert reply.status == 200
        assert await reply.json() == entry_of(1)


async def test_one_that_nobody_knows_is_404_in_words(admin: TestClient[Any, Any]) -> None:
    reply = await admin.get(f"/transactions/{hash_of(2)}")
    assert reply.status == 404
    assert await reply.json() == {"error": f"no transaction {hash_of(2)} is known here"}


async def test_one_that_an_unreadable_journal_may_have_is_503(
    admin: TestClient[Any, Any], view: View
) -> None:
    view.unasked["base"] = "the disk fails (topsecret)"
    reply = await admin.get(f"/transactions/{hash_of(2)}")
    assert reply.status == 503
    told = await reply.json()
    assert "not every journal can be asked" in told["error"]
    assert told["journals"] == {"base": "the disk fails ([secret])"}
    assert (await admin.get(f"/transactions/{hash_of(1)}")).status == 200


@pytest.mark.parametrize("text", ["abc", "0x12", "0x" + "g" * 64, "%00", "a" * 500])
async def test_a_malformed_hash_is_400_in_words(text: str, admin: TestClient[Any, Any]) -> None:
    reply = await admin.get(f"/transactions/{text}")
    assert reply.status == 400
    error = (await reply.json())["error"]
    assert "is no hash of a transaction; expected 0x and 64 hexadecimal digits" in error
    assert len(error) < 200


# --------------------------------------------------------------------------
# What they are told


def a_chain(journal: Path | None, name: str = "ethereum", on_failure: str = "refuse") -> Chain:
    upstreams = tuple(
        Upstream(name=each, provider=each, url=f"http://127.0.0.1:9/{each}") for each in "ab"
    )
    where = Journal(is_on=False) if journal is None else Journal(path=str(journal))
    return Chain(name=name, chain_id=7, upstreams=upstreams, journal=where)


@asynccontextmanager
async def at_work(
    chain: Chain, *, is_waiting: bool = True, clock: Clock = SYSTEM_CLOCK
) -> AsyncIterator[ChainRuntime]:
    """A chain whose journal is open, or cannot be; no upstream is asked."""
    runtime = ChainRuntime(chain, Server(), ChainCounters(), clock=clock)
    runtime.transactions.start()
    try:
        if is_waiting:
            await until(lambda: chain_report.journal_words(runtime) != "being opened")
        yield runtime
    finally:
        await runtime.close()


async def begin(runtime: ChainRuntime, number: int, *, is_private: bool = False) -> None:
    row = JournalRow(hash_of(number), b"\x02raw", SENDER, number, 0.0, "journaled")
    await runtime.transactions.ledger.begin(row, is_private=is_private)


async def test_a_chain_tells_its_open_transactions(tmp_path: Path) -> None:
    async with at_work(a_chain(tmp_path)) as runtime:
        ledger = runtime.transactions.ledger
        for number in (1, 2, 3):
            await begin(runtime, number, is_private=number == 3)
            entry = ledger.pool.get(hash_of(number))
            assert entry is not None
            entry.created_unix = NOW - 100 + 10 * number
        ledger.pool.on_said(hash_of(2), "a", "ok", 0.0, is_yes=True)
        ledger.pool.on_mined(hash_of(2), 50, "0xb")
        told = chain_report.chain_transactions(runtime, NOW)
        assert (told["name"], told["pending"], told["journal"]) == ("ethereum", 2, "open")
        assert told["journal_bytes"] is not None
        assert told["journal_bytes"] > 0
        assert [(e["nonce"], e["state"], e["block"]) for e in told["open"]] == [
            (3, "journaled", None),
            (2, "mined", 50),
            (1, "journaled", None),
        ]
        assert [e["private"] for e in told["open"]] == [True, False, False]
        assert told["open"][1]["upstreams"] == {"a": "ok"}
        assert told["open"][1]["age_seconds"] == 80.0
        await ledger.on_final(hash_of(2))
        left = chain_report.chain_transactions(runtime, NOW)["open"]
        assert [entry["nonce"] for entry in left] == [3, 1]


async def test_the_newest_hundred_are_told(tmp_path: Path) -> None:
    async with at_work(a_chain(tmp_path)) as runtime:
        await asyncio.gather(*(begin(runtime, number) for number in range(OPEN_SHOWN + 5)))
        for number in range(OPEN_SHOWN + 5):
            entry = runtime.transactions.ledger.pool.get(hash_of(number))
            assert entry is not None
            entry.created_unix = NOW + number
        told = chain_report.chain_transactions(runtime, NOW)
        assert told["pending"] == OPEN_SHOWN + 5
        expected = list(range(OPEN_SHOWN + 4, 4, -1))
        assert [entry["nonce"] for entry in told["open"]] == expected


async def test_the_age_of_the_oldest(tmp_path: Path) -> None:
    clock = Clock(time.monotonic, lambda: NOW)
    async with at_work(a_chain(tmp_path), clock=clock) as runtime:
        none = {"pending": 0, "oldest_seconds": None, "journal": "open"}
        assert chain_report.transactions_status(runtime, NOW) == none
        await begin(runtime, 1)
        status = chain_report.transactions_status(runtime, NOW + 12.34)
        assert status == {"pending": 1, "oldest_seconds": 12.3, "journal": "open"}
        figures = chain_report.send_figures(runtime, NOW + 12.5)
        assert (figures.pending, figures.oldest_pending_seconds) == (1, 12.5)
        assert not figures.is_journal_troubled
        # A clock that was set back.
        assert chain_report.send_figures(runtime, NOW - 60).oldest_pending_seconds == 0.0


async def test_the_status_of_a_chain_tells_them_in_short(tmp_path: Path) -> None:
    async with at_work(a_chain(tmp_path)) as runtime:
        await begin(runtime, 1)
        told = chain_report.chain_status(runtime, 1.0, NOW)
        assert set(told["transactions"]) == {"pending", "oldest_seconds", "journal"}
        assert told["transactions"]["pending"] == 1
        assert chain_report.chain_figures(runtime, 1.0, NOW).sends.pending == 1


async def test_a_journal_that_is_off() -> None:
    async with at_work(a_chain(None)) as runtime:
        await begin(runtime, 1)
        told = chain_report.chain_transactions(runtime, NOW)
        assert (told["journal"], told["journal_bytes"], told["pending"]) == ("off", None, 1)
        assert not chain_report.send_figures(runtime, NOW).is_journal_troubled
        entry, _ = await chain_report.find_transaction([runtime], hash_of(1), NOW)
        assert entry is not None
        assert entry["state"] == "journaled"
        assert await chain_report.find_transaction([runtime], hash_of(2), NOW) == (None, {})


async def test_a_journal_that_is_refused_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "ethereum.sqlite").mkdir()
    async with at_work(a_chain(tmp_path)) as runtime:
        told = chain_report.chain_transactions(runtime, NOW)
        assert told["journal"].startswith("the journal cannot be used: ")
        assert told["journal_bytes"] is None
        assert chain_report.send_figures(runtime, NOW).is_journal_troubled
        entry, unasked = await chain_report.find_transaction([runtime], hash_of(1), NOW)
        assert entry is None
        assert unasked == {"ethereum": told["journal"]}


async def test_a_journal_that_is_being_opened(tmp_path: Path) -> None:
    async with at_work(a_chain(tmp_path), is_waiting=False) as runtime:
        assert chain_report.transactions_status(runtime, NOW)["journal"] == "being opened"
        assert not chain_report.send_figures(runtime, NOW).is_journal_troubled
        _, unasked = await chain_report.find_transaction([runtime], hash_of(1), NOW)
        assert unasked == {"ethereum": "being opened"}


async def test_a_closed_one_is_found_on_disk(tmp_path: Path) -> None:
    async with at_work(a_chain(tmp_path)) as runtime:
        await begin(runtime, 1)
        ledger = runtime.transactions.ledger
        ledger.pool.on_mined(hash_of(1), 50, "0xb")
        await ledger.on_final(hash_of(1))
        assert ledger.pool.get(hash_of(1)) is None
        entry, unasked = await chain_report.find_transaction([runtime], hash_of(1), NOW)
        assert entry is not None
        assert (entry["state"], entry["block"], entry["chain"]) == ("final", 50, "ethereum")
        assert entry["updated"] is not None
        assert unasked == {}
        assert await chain_report.find_transaction([runtime], hash_of(9), NOW) == (None, {})


async def test_of_two_chains_the_later_one_is_told(tmp_path: Path) -> None:
    async with (
        at_work(a_chain(tmp_path)) as ethereum,
        at_work(a_chain(tmp_path, "base")) as base,
    ):
        for runtime, age_seconds in ((ethereum, 10.0), (base, 20.0)):
            await begin(runtime, 1)
            entry = runtime.transactions.ledger.pool.get(hash_of(1))
            assert entry is not None
            entry.created_unix = NOW - age_seconds
        entry, _ = await chain_report.find_transaction([base, ethereum], hash_of(1), NOW)
        assert entry is not None
        assert entry["chain"] == "ethereum"


async def test_a_disk_that_fails_or_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_work(a_chain(tmp_path)) as runtime:
        journal = runtime.transactions.ledger.journal
        assert journal is not None

        async def fail(_hash: str) -> JournalRow | None:
            raise JournalBroken("the disk fails")

        async def hang(_hash: str) -> JournalRow | None:
            await asyncio.Event().wait()
            return None

        monkeypatch.setattr(journal, "find", fail)
        found = await chain_report.find_transaction([runtime], hash_of(1), NOW)
        assert found == (None, {"ethereum": "the disk fails"})
        monkeypatch.setattr(journal, "find", hang)
        found = await chain_report.find_transaction([runtime], hash_of(1), NOW, find_seconds=0.01)
        assert found == (None, {"ethereum": "its disk did not answer within 0.01 s"})
        journal.trouble = "the disk is full"
        assert chain_report.transactions_status(runtime, NOW)["journal"] == "the disk is full"
        assert chain_report.send_figures(runtime, NOW).is_journal_troubled


async def test_the_proxy_tells_of_all_its_chains(tmp_path: Path) -> None:
    chains = (a_chain(tmp_path), a_chain(None, "base"))
    nowhere = Address(host="127.0.0.1", port=0)
    proxy = Proxy(Config(server=Server(listen=nowhere, admin=None), chains=chains))
    await proxy.start()
    try:
        assert [each["name"] for each in proxy.view.transactions()] == ["ethereum", "base"]
        base = proxy.chains["base"]
        await begin(base, 1)
        entry = base.transactions.ledger.pool.get(hash_of(1))
        assert entry is not None
        assert entry.state is TransactionState.JOURNALED
        found, _ = await proxy.view.transaction(hash_of(1))
        assert found is not None
        assert found["chain"] == "base"
    finally:
        await proxy.stop(drain_seconds=0)
