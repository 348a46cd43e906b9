"""app.storage.transaction_journal: a journal that cannot be opened is tried again, whatever failed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from rpcproxy.app.storage.transaction_journal import SendSettings, Transactions
from rpcproxy.chains.registry import EVM
from rpcproxy.config.model import Chain
from rpcproxy.edges.disk.journal import DiskJournal, JournalRefused
from rpcproxy.edges.metrics.metrics import ChainCounters
from tests.kits.jumping import on_a_jumping_loop
from tests.kits.waiting import until

PATH = Path("nowhere") / "test.sqlite"


class Opened:
    """A journal that is open, and empty."""

    open_rows = ()
    secrets = ()
    trouble = ""
    set_aside = None
    taken = ()

    async def close(self) -> None:
        pass


class Openings:
    """In place of ``DiskJournal.open``: fails as it is told, then opens."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self, *_: Any, **__: Any) -> Opened:
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return Opened()


def transactions() -> Transactions:
    settings = SendSettings(PATH, True, False, 0.0)
    loop = asyncio.get_running_loop()
    return Transactions(
        Chain(name="test", chain_id=7, upstreams=()),
        settings,
        ChainCounters(),
        EVM.sends,
        clock=loop.clock,
    )


async def wait_for(held: Transactions) -> None:
    await until(lambda: held.ledger.journal is not None)


@on_a_jumping_loop
async def test_a_fault_of_our_own_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bug = ZeroDivisionError("ours")
    monkeypatch.setattr(DiskJournal, "open", Openings(JournalRefused("in use"), bug, bug))
    held = transactions()
    with caplog.at_level(logging.WARNING, logger="rpcproxy.journal"):
        await held.open()
        assert held.ledger.trouble == "the journal cannot be used: in use"
        await wait_for(held)
    told = [(each.levelname, each.fields["reason"], each.exc_info) for each in caplog.records]
    assert told[0] == ("ERROR", "in use", None)
    assert told[1][:2] == ("ERROR", "by a fault of our own: ZeroDivisionError('ours')")
    assert told[1][2]
    assert len(told) == 2, "each once"
    assert held.ledger.trouble == ""
    await held.close()


@on_a_jumping_loop
async def test_sends_do_not_wait_for_what_failed_by_a_fault_of_our_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DiskJournal, "open", Openings(ZeroDivisionError("ours")))
    held = transactions()
    held.start()
    assert await held.ledger.wait_for_journal(0.5), "it is known not to be open"
    assert held.ledger.trouble == "the journal cannot be used: by a fault of our own", "for wallets"
    await wait_for(held)
    await held.close()
