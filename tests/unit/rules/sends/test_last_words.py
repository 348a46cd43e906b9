"""Speed-ups and cancels: what a wallet said last of a place goes out, everything before it rests.

The stories are MetaMask 7305, 8268 and 9927 (the first one was sent anew, and mined, after another
had taken its nonce), MyCrypto 2517 (one of March was mined in April), and blocknative/assist 316.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from rpcproxy.rules.sends.journaled import TransactionState
from rpcproxy.rules.sends.pool import EXPIRY_SECONDS, Pool
from rpcproxy.rules.sends.rebroadcasts import HELD_SECONDS
from tests.unit.rules.sends.test_pool import UNIX, Line, Tx, assert_empty, due, sent, state

PAY = Tx("0xpay", order=5)
CANCEL = Tx("0xcancel", order=5)
AGAIN = Tx("0xagain", order=5)
NEXT = Tx("0xnext", order=6)


def over_many_blocks(pool: Pool, *, after: int = 100, now: float = 0.0) -> set[str]:
    """All that goes out while no block has any of it."""
    return {
        hash
        for served in range(after + 1, after + 200)
        for hash in due(pool, served, now + 12.0 * (served - after))
    }


def say_yes(pool: Pool, *transactions: Tx, now: float = 1.0) -> None:
    for tx in transactions:
        pool.on_said(tx.hash, "a", "yes", now, is_yes=True)


def test_a_cancelled_payment_is_not_sent_again() -> None:
    pool = sent(PAY)
    assert due(pool, 101, 12.0) == [PAY.hash]
    pool.add(CANCEL, UNIX + 20, 20.0)
    say_yes(pool, CANCEL, now=20.0)
    assert [entry.hash for entry in pool.take_moved()] == [PAY.hash]
    assert over_many_blocks(pool) == {CANCEL.hash}
    # It is watched, and shown.
    assert state(pool, PAY.hash) is TransactionState.RESTING
    assert pool.pending(PAY.hash) is not None
    assert pool.next_order("0xs", 5) == 6


def test_one_that_nobody_took_overtakes_nothing() -> None:
    """Underpriced, refused by all: the first one goes on."""
    pool = sent(PAY)
    pool.add(CANCEL, UNIX, 1.0)
    pool.on_said(CANCEL.hash, "a", "underpriced", 1.0, is_yes=False)
    assert pool.refuse(CANCEL.hash)
    assert over_many_blocks(pool) == {PAY.hash}


def test_one_that_was_promised_counts_as_taken() -> None:
    pool = sent(PAY)
    pool.add(CANCEL, UNIX, 1.0)
    pool.keep(CANCEL.hash)
    assert over_many_blocks(pool) == {CANCEL.hash}


def test_one_whose_first_way_does_not_end_counts_as_taken_when_it_goes_out_again() -> None:
    pool = sent(PAY)
    pool.add(CANCEL, UNIX, 1.0)
    assert CANCEL.hash in due(pool, 101, 1.0 + HELD_SECONDS)
    assert PAY.hash not in over_many_blocks(pool, after=101, now=200.0)


def test_a_yes_to_the_first_one_that_comes_late_changes_nothing() -> None:
    pool = Pool()
    pool.add(PAY, UNIX, 0.0)
    first = pool.get(PAY.hash)
    assert first is not None
    pool.add(CANCEL, UNIX, 0.1)
    say_yes(pool, CANCEL)
    assert pool.is_overtaken(first)  # those on their first way stop too
    say_yes(pool, PAY)
    assert (state(pool, PAY.hash), state(pool, CANCEL.hash)) == (
        TransactionState.RESTING,
        TransactionState.SENT,
    )
    assert over_many_blocks(pool) == {CANCEL.hash}


def test_the_wallet_itself_may_want_the_first_one_after_all() -> None:
    pool = sent(PAY)
    pool.add(CANCEL, UNIX, 1.0)
    say_yes(pool, CANCEL)
    pool.take_moved()
    entry, is_new = pool.add(PAY, UNIX, 2.0)
    assert not is_new
    assert entry.state is TransactionState.SENT
    assert {entry.hash for entry in pool.take_moved()} == {PAY.hash, CANCEL.hash}
    assert due(pool, 100, 2.0) == [PAY.hash]  # at once
    assert over_many_blocks(pool) == {PAY.hash}
    pool.add(CANCEL, UNIX, 3000.0)
    assert over_many_blocks(pool, after=400, now=3000.0) == {CANCEL.hash}


def test_a_cancelled_speed_up_of_a_payment() -> None:
    pool = sent(PAY, AGAIN, CANCEL, NEXT)
    assert over_many_blocks(pool) == {CANCEL.hash, NEXT.hash}
    assert [state(pool, tx.hash) for tx in (PAY, AGAIN)] == [TransactionState.RESTING] * 2


def test_other_places_and_other_lanes_are_their_own() -> None:
    pool = sent(PAY, NEXT, Tx("0xother", "0xt", 5), Tx("0xu", "", -1), Tx("0xv", "", -1))
    assert len(over_many_blocks(pool)) == 5


@pytest.mark.parametrize("mined", [PAY, CANCEL])
def test_whichever_is_mined_closes_the_other(mined: Tx) -> None:
    pool = sent(PAY, CANCEL)
    assert [entry.hash for entry in pool.on_block(101, "0xb", [mined.hash])] == [mined.hash]
    (other,) = pool.on_final(mined.hash)
    assert other.state is TransactionState.REPLACED
    assert_empty(pool)


@pytest.mark.parametrize("mined", [PAY, CANCEL])
def test_after_a_reorg_the_last_word_goes_out(mined: Tx) -> None:
    pool = sent(PAY, CANCEL)
    pool.on_block(101, "0xb", [mined.hash])
    pool.on_turn(100, 5.0)
    assert state(pool, PAY.hash) is TransactionState.RESTING
    assert due(pool, 100, 5.0) == [CANCEL.hash]  # at once
    assert over_many_blocks(pool) == {CANCEL.hash}


def test_after_a_block_that_had_none_after_all() -> None:
    pool = sent(PAY, CANCEL)
    pool.on_block(101, "0xb", [PAY.hash])
    assert pool.on_missing(PAY.hash, 5.0)
    assert over_many_blocks(pool) == {CANCEL.hash}


def test_the_last_word_that_expired_is_still_the_last_word() -> None:
    pool = Pool()
    pool.restore([Line("0xcancel", "sent", order=5, created=UNIX - EXPIRY_SECONDS)], UNIX, 0.0)
    pool.restore([Line("0xpay", "resting", order=5)], UNIX, 0.0)
    assert [entry.hash for entry in pool.expire(700.0)] == [CANCEL.hash]
    assert state(pool, PAY.hash) is TransactionState.RESTING
    assert over_many_blocks(pool, now=700.0) == set()


@pytest.mark.parametrize(
    ("first", "second", "goes_out"),
    [
        ("sent", "sent", {CANCEL.hash}),
        ("resting", "sent", {CANCEL.hash}),
        ("sent", "resting", {PAY.hash}),  # its wallet had sent it once more
        ("sent", "journaled", {CANCEL.hash}),  # whether it was taken, nobody knows any more
        ("sent", "mined", set()),
        ("mined", "sent", {CANCEL.hash}),
        ("sent", "refused", {PAY.hash}),
        ("resting", "expired", set()),
    ],
)
def test_after_a_restart(first: str, second: str, goes_out: set[str]) -> None:
    pool = Pool()
    lines = [Line("0xpay", first, order=5, block=3), Line("0xcancel", second, order=5, block=3)]
    if second in ("refused", "expired"):
        lines[1] = replace(lines[1], lane="", order=-1)
    pool.restore(lines, UNIX, 0.0)
    assert over_many_blocks(pool) == goes_out


def test_what_came_before_the_journal_was_open_is_later_than_what_is_in_it() -> None:
    pool = sent(CANCEL)
    pool.restore([Line("0xpay", "sent", order=5)], UNIX, 0.0)
    assert over_many_blocks(pool) == {CANCEL.hash}


def test_after_a_restart_one_that_was_never_taken_and_is_refused_by_all() -> None:
    pool = Pool()
    pool.restore(
        [Line("0xpay", "sent", order=5), Line("0xcancel", "journaled", order=5)], UNIX, 0.0
    )
    assert due(pool, 100, 0.0) == [CANCEL.hash]
    pool.on_denied(CANCEL.hash)
    assert state(pool, PAY.hash) is TransactionState.SENT
    assert over_many_blocks(pool) == {PAY.hash, CANCEL.hash}
    say_yes(pool, CANCEL, now=9000.0)
    assert over_many_blocks(pool, after=400, now=9000.0) == {CANCEL.hash}


def test_a_word_that_went_another_way() -> None:
    """A private transaction that was cancelled at its relay, a replacement sent in a bundle."""
    pool = sent(PAY, NEXT)
    pool.on_taken_back(PAY.hash)
    assert over_many_blocks(pool) == {NEXT.hash}
    for other in (NEXT, Tx("0xother", "0xunknown", 6)):
        pool.on_word_elsewhere(other)
    assert over_many_blocks(pool, after=300, now=5000.0) == {NEXT.hash}
    pool.on_word_elsewhere(Tx("0xbundled", order=6))
    assert over_many_blocks(pool, after=400, now=9000.0) == set()
    pool.add(PAY, UNIX, 20_000.0)
    assert over_many_blocks(pool, after=900, now=20_000.0) == {PAY.hash}
