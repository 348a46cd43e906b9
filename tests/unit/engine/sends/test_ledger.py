"""What is known of sent transactions, and that it is on disk before anybody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rpcproxy.chains.evm.sending import EVM_SENDS
from rpcproxy.chains.evm.sends.signed import SignedTransaction, decode
from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.edges.disk.journal import DiskJournal, JournalBroken, JournalRow, read_rows
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.sends.denials import Denial, Unwritten
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.sends.journaled import TransactionState
from tests.kits.engine_kit import CHAIN_ID
from tests.kits.sends_kit import Signed, signed
from tests.sockets.scripted import on_both_loops


def decoded(tx: Signed) -> SignedTransaction:
    return decode(tx.raw, CHAIN_ID)


def made() -> Ledger:
    ledger = Ledger("test", str(CHAIN_ID), ChainCounters(), EVM_SENDS, clock=SYSTEM_CLOCK)
    ledger.needs_journal = True
    return ledger


@asynccontextmanager
async def journaled(path: Path) -> AsyncIterator[Ledger]:
    ledger = made()
    ledger.await_journal()
    journal = await DiskJournal.open(path, "evm:7")
    ledger.on_journal(journal)
    try:
        yield ledger
    finally:
        await journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.sqlite"


def states(path: Path) -> dict[str, str]:
    return {row.hash: row.state for row in read_rows(path)}


@on_both_loops
async def test_it_is_on_disk_when_begin_returns(path: Path) -> None:
    async with journaled(path) as ledger:
        tx = signed()
        entry = await ledger.begin(decoded(tx), is_private=False)
        assert entry.state is TransactionState.JOURNALED
        (row,) = read_rows(path)
        assert (row.hash, row.raw, row.lane) == (tx.hash, bytes.fromhex(tx.raw[2:]), tx.sender)
        assert (row.order, row.state, row.is_private) == (0, "journaled", False)


@on_both_loops
async def test_a_second_of_the_same_waits_for_the_disk_too(path: Path) -> None:
    async with journaled(path) as ledger:
        assert ledger.journal is not None
        tx = decoded(signed())
        first, second = await asyncio.gather(
            ledger.begin(tx, is_private=False), ledger.begin(tx, is_private=False)
        )
        assert first is second
        assert list(states(path)) == [tx.hash]


@on_both_loops
async def test_words_and_ends_are_written(path: Path) -> None:
    async with journaled(path) as ledger:
        sent, refused = signed(0), signed(1)
        for tx in (sent, refused):
            await ledger.begin(decoded(tx), is_private=False)
        ledger.on_said(sent.hash, "a", Judgement(Verdict.OK))
        entry = ledger.pool.get(refused.hash)
        assert entry is not None
        assert await ledger.refuse(entry) is Denial.FIRM
        assert ledger.pool.get(refused.hash) is None
    assert states(path) == {sent.hash: "sent", refused.hash: "refused"}
    assert read_rows(path, sent.hash)[0].said == {"a": "ok"}


@on_both_loops
async def test_after_a_restart_the_open_ones_are_there(path: Path) -> None:
    txs = [signed(nonce) for nonce in range(3)]
    async with journaled(path) as ledger:
        for tx in txs:
            await ledger.begin(decoded(tx), is_private=tx is txs[2])
        ledger.on_said(txs[1].hash, "a", Judgement(Verdict.OK))
        ledger.on_block(5, "0xb", [txs[0].hash])
    async with journaled(path) as again:
        found = {tx.nonce: again.pool.get(tx.hash) for tx in txs}
        assert [entry and entry.state for entry in found.values()] == [
            TransactionState.MINED,
            TransactionState.SENT,
            TransactionState.JOURNALED,
        ]
        assert again.is_private(txs[2].hash)
        assert not again.is_private(txs[1].hash)
        due = again.pool.due(10, 1e9, 10)
        assert [entry.order for entry in due] == [1, 2]
        # Nobody knows any more what the client was told: it cannot be taken back.
        assert found[2] is not None
        assert await again.refuse(found[2]) is Denial.TOO_LATE


class FullDisk:
    """A journal that cannot write."""

    trouble = "the disk is full"
    open_rows: tuple[JournalRow, ...] = ()
    secrets: tuple[tuple[str, bytes], ...] = ()

    async def add(self, _: JournalRow) -> None:
        await asyncio.sleep(0)  # others come meanwhile
        raise JournalBroken("the disk is full")

    def note(self, *_: object) -> None: ...

    async def settle(self, *_: object) -> None:
        raise JournalBroken("the disk is full")


@on_both_loops
async def test_what_cannot_be_written_is_refused_in_words_and_forgotten() -> None:
    ledger = made()
    ledger.on_journal(FullDisk())  # type: ignore[arg-type] - what is used of a journal
    with pytest.raises(Unwritten, match="the disk is full"):
        await ledger.begin(decoded(signed()), is_private=True)
    assert ledger.pool.get(signed().hash) is None
    assert not ledger.privacy.has_any
    assert ledger.trouble == "the disk is full"


@on_both_loops
async def test_it_is_passed_through_where_that_was_asked_for() -> None:
    ledger = made()
    ledger.needs_journal = False
    ledger.on_no_journal("it is a directory")
    entry = await ledger.begin(decoded(signed()), is_private=False)
    assert ledger.pool.get(signed().hash) is entry
    assert ledger.trouble == "it is a directory"


@on_both_loops
async def test_a_send_waits_for_a_journal_that_is_being_opened(path: Path) -> None:
    ledger = made()
    ledger.await_journal()
    beginning = asyncio.ensure_future(ledger.begin(decoded(signed()), is_private=False))
    await asyncio.sleep(0)
    assert not beginning.done()
    journal = await DiskJournal.open(path, "evm:7")
    ledger.on_journal(journal)
    await beginning
    assert list(states(path)) == [signed().hash]
    await journal.close()


@on_both_loops
async def test_a_yes_against_a_hard_no_is_counted() -> None:
    ledger = made()
    ledger.on_no_journal("")
    for nonce, words in enumerate(
        [(Verdict.OK, Verdict.SEND_REFUSED), (Verdict.SEND_REFUSED, Verdict.OK)]
    ):
        await ledger.begin(decoded(signed(nonce)), is_private=False)
        for upstream, verdict in zip("ab", words, strict=True):
            ledger.on_said(signed(nonce).hash, upstream, Judgement(verdict))
    entry = await ledger.begin(decoded(signed(2)), is_private=False)
    ledger.on_said(entry.hash, "a", Judgement(Verdict.SEND_POLICY))
    assert await ledger.refuse(entry) is Denial.FIRM
    assert ledger._counters.sends.contradictions == 2
    ledger.on_said(entry.hash, "b", Judgement(Verdict.OK))  # it said yes after all
    assert ledger._counters.sends.contradictions == 3


@on_both_loops
async def test_a_refusal_that_is_not_on_disk_is_no_promise() -> None:
    ledger = made()
    ledger.needs_journal = False
    ledger.on_journal(FullDisk())  # type: ignore[arg-type] - what is used of a journal
    entry = await ledger.begin(decoded(signed()), is_private=False)
    assert await ledger.refuse(entry) is Denial.UNWRITTEN


@on_both_loops
async def test_a_private_one_is_known_by_its_hash_and_its_bytes() -> None:
    ledger = made()
    ledger.on_no_journal("")
    tx = signed()
    entry = await ledger.begin(decoded(tx), is_private=True)
    raw, hash = tx.raw.encode(), tx.hash.encode()
    named = [b'["%b"]' % hash, b'["%b"]' % hash[2:], b'["%b"]' % hash.upper(), b'["%b",[]]' % raw]
    assert all(ledger.names_private(params) for params in named)
    assert not ledger.names_private(signed(1).params)
    # Refused, it may still be in a private pool.
    assert await ledger.refuse(entry) is Denial.FIRM
    assert all(ledger.names_private(params) for params in named)


@on_both_loops
async def test_who_waited_for_a_write_that_failed_does_not_go_on_without_it() -> None:
    ledger = made()
    ledger.on_journal(FullDisk())  # type: ignore[arg-type] - what is used of a journal
    tx = decoded(signed())
    ended = await asyncio.gather(
        *(ledger.begin(tx, is_private=False) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in ended] == [Unwritten] * 3
    assert len(ledger.pool) == 0
