"""What is shown of transactions that wait, without a node."""

from __future__ import annotations

import pytest

from rpcproxy.chains.parts.transactions import BadTransaction, Said
from rpcproxy.chains.registry import EVM
from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.rules.answers.replies import NULL
from tests.kits.engine_kit import CHAIN_ID
from tests.kits.sends_kit import Signed, signed
from tests.sockets.scripted import on_both_loops
from tests.unit.engine.sends.test_ledger import decoded, made

LOOK_UP = EVM.methods.describe("eth_getTransactionByHash")
BALANCE = EVM.methods.describe("eth_getBalance")


def asked(tx: Signed) -> bytes:
    return b'["%b"]' % tx.hash.encode()


@on_both_loops
@pytest.mark.parametrize("is_private", [False, True])
async def test_one_that_waits_is_shown_until_it_is_given_up(is_private: bool) -> None:
    ledger, tx = made(), signed()
    ledger.on_no_journal("")
    entry = await ledger.begin(decoded(tx), is_private=is_private)
    shown = ledger.shown.object_in(asked(tx))
    assert tx.hash.encode() in shown
    assert ledger.shown.object_of(entry) == shown
    assert ledger.shown.said(LOOK_UP, asked(tx)).result == shown
    await ledger.refuse(entry)
    assert ledger.shown.object_in(asked(tx)) == b""
    assert ledger.shown.said(LOOK_UP, asked(tx)).result == bytes(NULL)


def test_a_look_up_is_told_from_other_reads() -> None:
    shown, tx = made().shown, signed()
    assert shown.looked_up(LOOK_UP, asked(tx)) == tx.hash
    assert shown.looked_up(BALANCE, asked(tx)) == ""


def test_a_send_is_read() -> None:
    shown, tx = made().shown, signed()
    found = shown.decoded(tx.params)
    assert found is not None
    assert found.hash == tx.hash
    assert shown.decoded(b"[7]") is None
    with pytest.raises(BadTransaction):
        shown.decoded(b'["0x02c0"]')


def test_where_nothing_is_sent_nothing_is_shown() -> None:
    ledger = Ledger("test", str(CHAIN_ID), ChainCounters(), None, clock=SYSTEM_CLOCK)
    assert ledger.shown.decoded(signed().params) is None
    assert ledger.shown.looked_up(LOOK_UP, asked(signed())) == ""
    assert ledger.shown.said(LOOK_UP, asked(signed())) == Said()
    assert ledger.shown.object_in(asked(signed())) == b""
