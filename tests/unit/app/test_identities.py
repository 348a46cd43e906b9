"""Chains that are told apart by a text: what is kept for one is not another's."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from rpcproxy.app.proxy import Proxy
from rpcproxy.app.storage.disk import DiskPlace
from rpcproxy.app.storage.transaction_journal import SendSettings, Transactions
from rpcproxy.app.takeover.handover import lost_by, plans_in, plans_of
from rpcproxy.chains.registry import EVM
from rpcproxy.config.model import Address, Cache, Chain, Config, Journal, Server, Upstream
from rpcproxy.edges.disk.journal import DiskJournal
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.messages import Head, MethodClass, Verdict
from rpcproxy.words import Observation
from tests.kits.waiting import until
from tests.kits.word_kind import WORD_KIND, WordChain

UPSTREAM = Upstream(name="a", provider="a", url="http://127.0.0.1:9/a")
SERVER = Server(listen=Address(host="127.0.0.1", port=0), admin=None, journal=Journal(is_on=False))


def toy(word: str) -> Chain:
    return WordChain(name="toy", chain_id=7, word=word, upstreams=(UPSTREAM,))


def evm(chain_id: int) -> Chain:
    return Chain(name="toy", chain_id=chain_id, upstreams=(UPSTREAM,))


def config(chain: Chain) -> Config:
    return Config(server=SERVER, chains=(chain,))


@pytest.fixture(autouse=True)
def word_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("app.chain", "app.view"):
        monkeypatch.setattr(
            f"rpcproxy.{module}.kind_of",
            lambda chain: WORD_KIND if isinstance(chain, WordChain) else EVM,
        )


# ---- reloads


@pytest.mark.parametrize(
    ("before", "after", "head"),
    [
        (toy("toy-1"), toy("toy-1"), 100),
        (toy("toy-1"), toy("toy-2"), -1),
        (toy("7"), evm(7), 100),
        (evm(7), evm(7), 100),
        (evm(7), evm(8), -1),
    ],
)
async def test_what_was_learned_is_kept_for_the_same_chain(
    before: Chain, after: Chain, head: int
) -> None:
    proxy = Proxy(config(before))
    proxy._build(proxy.config)  # no sockets, no probes
    try:
        assert proxy.doors[f"/{before.identity}"] is proxy.chains["toy"].pipeline
        standings = proxy.chains["toy"].standings
        for told in ({"is_identity": True}, {"head": Head(100)}):
            standings.observe(
                Observation("a", MethodClass.LIGHT, Verdict.OK, is_probe=True, **told),
                time.monotonic(),
            )
        assert standings.heads.served == 100
        proxy.reload(config(after))
        assert proxy.chains["toy"].standings.heads.served == head
        assert proxy.doors[f"/{after.identity}"] is proxy.chains["toy"].pipeline
    finally:
        await proxy.stop(drain_seconds=0)


# ---- files


async def opened(path: Path, chain: Chain) -> str:
    """What is wrong with the journal, empty where it is open."""
    settings = SendSettings(path, True, False, 0.0)
    held = Transactions(chain, settings, ChainCounters(), EVM.sends)
    await held.open()
    await until(lambda: held.ledger.journal is not None or held.ledger.trouble != "")
    await held.close()
    return held.ledger.trouble


async def test_a_journal_is_of_one_identity(tmp_path: Path) -> None:
    path = tmp_path / "toy.sqlite"
    assert await opened(path, toy("toy-1")) == ""
    assert await opened(path, toy("toy-1")) == ""
    refused = await opened(path, toy("toy-2"))
    assert "is the journal of evm:toy-1, not of evm:toy-2" in refused


async def test_files_of_the_versions_before_are_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "toy.sqlite"
    await (await DiskJournal.open(path, "evm:7")).close()
    assert await opened(path, evm(7)) == ""
    place = DiskPlace.of(evm(7), Cache(path=str(tmp_path), disk_bytes=1))
    assert place is not None
    assert place.identity == "evm:7:toy"


# ---- a takeover


async def test_a_successor_says_which_chains_it_serves() -> None:
    proxy = Proxy(config(toy("toy-1")))
    proxy._build(proxy.config)
    try:
        assert lost_by(proxy, plans_of(config(toy("toy-1")))) == ""
        lost = lost_by(proxy, plans_of(config(toy("toy-2"))))
        assert lost.startswith("chain toy (id toy-1) is served here, and would not be there")
    finally:
        await proxy.stop(drain_seconds=0)


def test_versions_before_read_a_number_and_tell_one() -> None:
    plans = plans_of(config(evm(7)))
    assert msgspec.to_builtins(plans) == {"toy": {"id": 7, "journal": None}}
    assert plans_in({"chains": {"toy": {"id": 7, "journal": None}}}) == plans
