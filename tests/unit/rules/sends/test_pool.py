"""The pool of pending transactions: what becomes of each, and when it is due again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from rpcproxy.rules.sends.journaled import EntryQueue, PoolEntry, Shelves, TransactionState
from rpcproxy.rules.sends.pool import (
    ALREADY_KNOWN,
    EXPIRY_SECONDS,
    GRACE_SECONDS,
    MOST_ENDS,
    Pool,
)
from rpcproxy.rules.sends.rebroadcasts import (
    HELD_SECONDS,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    STILL_SECONDS,
    UNANSWERED_SECONDS,
)
from tests.kits.effort import lines_run

UNIX = 1_800_000_000.0


@dataclass(frozen=True)
class Tx:
    hash: str
    lane: str = "0xs"
    order: int = 0
    raw: bytes = b"\x02raw"


@dataclass(frozen=True)
class Line:
    hash: str
    state: str
    lane: str = "0xs"
    order: int = 0
    raw: bytes = b"\x02raw"
    created: float = UNIX
    block: int = -1
    is_private: bool = False
    said: dict[str, str] = field(default_factory=dict)


def entry(hash: str, created: float = UNIX) -> PoolEntry:
    return PoolEntry(hash, "0xs", 0, b"", created)


def sent(*transactions: Tx, served: int = 100, now: float = 0.0) -> Pool:
    """A pool in which these were sent at ``now``, a second of age between them."""
    pool = Pool()
    pool.due(served, now, 0)
    for i, tx in enumerate(transactions):
        pool.add(tx, UNIX + i, now)
        pool.on_said(tx.hash, "a", "yes", now, is_yes=True)
    return pool


def mined(*transactions: Tx, block: int = 101) -> Pool:
    pool = sent(*transactions)
    assert len(pool.on_block(block, f"0xb{block}", [tx.hash for tx in transactions]))
    return pool


def due(pool: Pool, served: int, now: float, limit: int = 1000) -> list[str]:
    """Whose turn it is; each is carried out."""
    hashes = [entry.hash for entry in pool.due(served, now, limit)]
    for hash in hashes:
        pool.on_rebroadcast(hash, now)
    return hashes


def state(pool: Pool, hash: str) -> TransactionState:
    found = pool.get(hash)
    assert found is not None
    return found.state


def assert_empty(pool: Pool) -> None:
    assert len(pool) == pool.count == 0
    assert pool.oldest_unix is None
    for kept in (pool._entries, pool._lanes, pool._doubted, pool._mined, pool._mined._shelves):
        assert len(kept) == 0
    rebroadcasts = pool._rebroadcasts
    assert rebroadcasts.is_empty
    queues = (pool._pending, pool._expiring, rebroadcasts._ready, rebroadcasts._by_block)
    for queue in (*queues, rebroadcasts._by_time):
        assert queue._heap == []
        assert queue._places == {}


# ---- states


def test_the_words_of_the_journal() -> None:
    words = ["journaled", "sent", "resting", "mined", "final", "replaced", "refused", "expired"]
    assert [state.value for state in TransactionState] == words
    assert [state.value for state in TransactionState if state.is_closed] == words[4:]
    assert [state.value for state in TransactionState if state.is_pending] == words[:3]
    assert [state.value for state in TransactionState if state.is_sent_again] == words[:2]


def test_a_new_one_is_journaled() -> None:
    pool = Pool()
    added, is_new = pool.add(Tx("0x1", order=7), UNIX, 5.0, is_private=True)
    assert is_new
    assert (added.hash, added.lane, added.order, added.raw) == ("0x1", "0xs", 7, b"\x02raw")
    assert (added.state, added.block, added.block_hash) == (TransactionState.JOURNALED, -1, "")
    assert (added.created_unix, added.is_private, added.said) == (UNIX, True, {})
    assert pool.get("0x1") is pool.pending("0x1") is added
    assert (len(pool), pool.count, pool.oldest_unix) == (1, 1, UNIX)
    assert pool.get("0x2") is pool.pending("0x2") is None
    assert pool.end_of("0x1") is None


def test_resubmitting_gives_the_same_entry() -> None:
    pool = Pool()
    first, _ = pool.add(Tx("0x1"), UNIX, 0.0)
    again, is_new = pool.add(Tx("0x1"), UNIX + 5, 5.0, is_private=True)
    assert again is first
    assert not is_new
    assert len(pool) == 1
    assert (first.created_unix, first.is_private) == (UNIX, False)


def test_without_a_hash_it_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="without a hash"):
        Pool().add(Tx(""), UNIX, 0.0)


def test_without_a_lane_it_has_no_order() -> None:
    pool = sent(Tx("0x1", "", -1), Tx("0x2", "", -1))
    assert pool.next_order("", -1) == -1
    assert due(pool, 101, 1.0) == ["0x1", "0x2"]
    assert pool.on_final("0x1") == []
    assert state(pool, "0x2") is TransactionState.SENT
    pool.on_final("0x2")
    assert_empty(pool)


# ---- what was said


def test_the_first_yes_makes_it_sent() -> None:
    pool = Pool()
    added, _ = pool.add(Tx("0x1"), UNIX, 0.0)
    assert not pool.on_said("0x1", "a", "rate limited", 1.0, is_yes=False)
    assert state(pool, "0x1") is TransactionState.JOURNALED
    assert pool.on_said("0x1", "b", "yes", 1.0, is_yes=True)
    assert state(pool, "0x1") is TransactionState.SENT
    assert not pool.on_said("0x1", "a", ALREADY_KNOWN, 1.0, is_yes=True)
    assert added.said == {"a": ALREADY_KNOWN, "b": "yes"}
    assert not pool.on_said("0x2", "a", "yes", 1.0, is_yes=True)


def test_what_was_said_late_changes_no_mined_one() -> None:
    pool = Pool()
    pool.add(Tx("0x1"), UNIX, 0.0)
    pool.on_block(5, "0xb5", ["0x1"])
    assert not pool.on_said("0x1", "a", "yes", 1.0, is_yes=True)
    assert state(pool, "0x1") is TransactionState.MINED


def test_refused() -> None:
    pool = Pool()
    pool.add(Tx("0x1"), UNIX, 0.0)
    pool.on_said("0x1", "a", "underpriced", 1.0, is_yes=False)
    assert pool.refuse("0x1")
    assert pool.end_of("0x1") is TransactionState.REFUSED
    assert pool.refuse("0x1")
    assert pool.refuse("0xunknown")
    assert_empty(pool)


def test_after_a_yes_it_is_not_refused() -> None:
    pool = sent(Tx("0x1"))
    assert not pool.refuse("0x1")
    assert state(pool, "0x1") is TransactionState.SENT
    pool.on_final("0x1")
    assert not pool.refuse("0x1")


def test_what_was_promised_is_not_refused() -> None:
    pool = Pool()
    pool.add(Tx("0x1"), UNIX, 0.0)
    pool.keep("0x1")
    pool.keep("0xunknown")
    assert not pool.refuse("0x1")
    assert due(pool, -1, 0.0) == ["0x1"]


def test_a_refused_one_may_be_sent_once_more() -> None:
    pool = Pool()
    pool.add(Tx("0x1"), UNIX, 0.0)
    pool.refuse("0x1")
    again, is_new = pool.add(Tx("0x1"), UNIX + 9, 9.0)
    assert is_new
    assert again.state is TransactionState.JOURNALED
    assert pool.end_of("0x1") is None


def test_a_final_one_makes_no_new_row() -> None:
    pool = mined(Tx("0x1"))
    pool.on_final("0x1")
    again, is_new = pool.add(Tx("0x1"), UNIX + 9, 9.0)
    assert not is_new
    assert again.state is TransactionState.FINAL
    assert pool.get("0x1") is None
    assert_empty(pool)


def test_ends_are_bounded() -> None:
    pool = Pool()
    for i in range(MOST_ENDS + 1):
        pool.add(Tx(f"0x{i}", order=i), UNIX, 0.0)
        pool.on_final(f"0x{i}")
    assert len(pool._ends) == MOST_ENDS
    assert pool.end_of("0x0") is None
    assert pool.end_of("0x1") is TransactionState.FINAL


# ---- orders


@pytest.mark.parametrize(
    ("orders", "base", "expected"),
    [
        ([], 3, 3),
        ([3, 4, 5], 3, 6),
        ([3, 5], 3, 4),
        ([4, 5], 3, 3),
        ([1, 2, 3], 3, 4),
        ([3, 3, 4], 3, 5),
        ([5, 4, 3], 4, 6),
    ],
)
def test_next_order(orders: list[int], base: int, expected: int) -> None:
    pool = Pool()
    for i, order in enumerate(orders):
        pool.add(Tx(f"0x{i}", order=order), UNIX, 0.0)
    assert pool.next_order("0xs", base) == expected
    assert pool.next_order("0xother", base) == base


def test_mined_ones_count_for_an_upstream_that_is_behind() -> None:
    pool = sent(Tx("0x1", order=3), Tx("0x2", order=4))
    pool.on_block(101, "0xb", ["0x1"])
    assert pool.next_order("0xs", 3) == pool.next_order("0xs", 4) == 5


def test_refused_ones_do_not_count() -> None:
    pool = Pool()
    pool.add(Tx("0x1", order=3), UNIX, 0.0)
    pool.add(Tx("0x2", order=3), UNIX, 0.0)
    pool.refuse("0x1")
    assert pool.next_order("0xs", 3) == 4
    pool.refuse("0x2")
    assert pool.next_order("0xs", 3) == 3


# ---- blocks


def test_mined() -> None:
    pool = sent(Tx("0x1"), Tx("0x2", order=1))
    found = pool.on_block(101, "0xb", ["0xother", "0x2"])
    assert [(e.hash, e.state, e.block, e.block_hash) for e in found] == [
        ("0x2", TransactionState.MINED, 101, "0xb")
    ]
    assert pool.pending("0x2") is None
    assert pool.get("0x2") is found[0]
    assert (len(pool), pool.count) == (2, 1)
    assert [e.hash for e in pool.all_pending()] == ["0x1"]
    assert pool.on_block(101, "0xb", ["0x2"]) == []
    assert due(pool, 101, 1.0) == ["0x1"]


def test_mined_in_another_block() -> None:
    pool = mined(Tx("0x1"), block=101)
    assert pool.on_mined("0x1", 102, "0xb102")
    assert not pool.on_mined("0xunknown", 102, "0xb102")
    assert pool.to_confirm(101) == []
    assert [e.hash for e in pool.to_confirm(102)] == ["0x1"]


def test_a_reorg_sends_again() -> None:
    pool = sent(Tx("0x1"), Tx("0x2", order=1), Tx("0x3", order=2))
    for i in (1, 2, 3):
        pool.on_block(100 + i, f"0xb{i}", [f"0x{i}"])
    fallen = pool.on_turn(101, 50.0)
    assert [(e.hash, e.state, e.block, e.block_hash) for e in fallen] == [
        ("0x2", TransactionState.SENT, -1, ""),
        ("0x3", TransactionState.SENT, -1, ""),
    ]
    assert state(pool, "0x1") is TransactionState.MINED
    assert due(pool, 101, 50.0) == ["0x2", "0x3"]  # at once, then at three blocks
    assert due(pool, 101, 51.0) == []
    assert [len(due(pool, served, 52.0)) for served in (102, 103, 104, 105)] == [2, 2, 2, 0]
    assert pool.on_turn(101, 60.0) == []


def test_a_reorg_forgets_who_had_it() -> None:
    pool = sent(Tx("0x1"))
    pool.on_said("0x1", "a", ALREADY_KNOWN, 0.0, is_yes=True)
    pool.on_block(101, "0xb", ["0x1"])
    (fallen,) = pool.on_turn(100, 1.0)
    assert pool.targets(fallen, ["a", "b"]) == ["a", "b"]


def test_what_falls_out_is_not_expired_at_once() -> None:
    pool = mined(Tx("0x1"))
    assert pool.expire(EXPIRY_SECONDS * 2) == []
    pool.on_turn(100, EXPIRY_SECONDS * 2)
    assert pool.expire(EXPIRY_SECONDS * 2 + GRACE_SECONDS - 1) == []
    assert [e.hash for e in pool.expire(EXPIRY_SECONDS * 2 + GRACE_SECONDS)] == ["0x1"]


def test_final() -> None:
    pool = mined(Tx("0x1"))
    assert pool.to_confirm(100) == []
    assert [e.hash for e in pool.to_confirm(101)] == ["0x1"]
    assert [e.hash for e in pool.to_confirm(101)] == ["0x1"]
    assert pool.on_final("0x1") == []
    assert pool.to_confirm(101) == pool.on_final("0x1") == []
    assert pool.end_of("0x1") is TransactionState.FINAL
    assert_empty(pool)


def test_without_a_receipt_it_is_sent_again() -> None:
    pool = mined(Tx("0x1"))
    assert pool.on_missing("0x1", 9.0)
    assert not pool.on_missing("0x1", 9.0)
    assert not pool.on_missing("0xunknown", 9.0)
    assert pool.to_confirm(101) == []
    assert due(pool, 101, 9.0) == ["0x1"]


def test_a_final_one_replaces_those_of_its_place() -> None:
    pool = sent(Tx("0x1"), Tx("0x2"), Tx("0x3"), Tx("0x4", order=1), Tx("0x5", "0xt"))
    pool.on_block(101, "0xb", ["0x2"])
    assert state(pool, "0x1") is TransactionState.RESTING
    assert [(e.hash, e.state) for e in pool.on_final("0x2")] == [
        ("0x1", TransactionState.REPLACED),
        ("0x3", TransactionState.REPLACED),
    ]
    assert [hash for hash in ("0x4", "0x5") if pool.pending(hash)] == ["0x4", "0x5"]
    again, is_new = pool.add(Tx("0x1"), UNIX, 0.0)
    assert (again.state, is_new) == (TransactionState.REPLACED, False)


def test_another_transaction_took_the_place() -> None:
    pool = sent(*(Tx(f"0x{i}", order=i) for i in range(5)))
    pool.on_block(101, "0xb", ["0x1"])
    closed = pool.on_replaced("0x0")
    assert closed is not None
    assert (closed.hash, closed.state) == ("0x0", TransactionState.REPLACED)
    assert pool.on_replaced("0x0") is None
    assert pool.on_mined("0x2", 100, "0xb100")


# ---- restart


def test_after_a_restart_all_are_due() -> None:
    pool = Pool()
    lines = [
        Line("0x2", "sent", order=1, created=UNIX + 1, said={"a": "yes"}, is_private=True),
        Line("0x1", "journaled"),
        Line("0x1", "sent"),
        Line("0x3", "final", order=2),
    ]
    pool.restore(lines, UNIX + 60, 0.0)
    assert (len(pool), pool.count, pool.oldest_unix) == (2, 2, UNIX)
    assert not pool.refuse("0x1")  # its client may have been told its hash
    assert due(pool, -1, 0.0) == ["0x1", "0x2"]
    two = pool.get("0x2")
    assert two is not None
    assert (two.said, two.is_private, two.state) == ({"a": "yes"}, True, TransactionState.SENT)
    assert two.said is not lines[0].said
    assert pool.end_of("0x3") is TransactionState.FINAL
    assert due(pool, 100, 1.0) == []  # the first head is no new block
    assert [len(due(pool, served, 2.0)) for served in (101, 102, 103, 104)] == [2, 2, 2, 0]


def test_after_a_restart_mined_ones_await_a_receipt() -> None:
    pool = Pool()
    pool.restore([Line(f"0x{i}", "mined", order=i, block=100 + i) for i in range(4)], UNIX, 0.0)
    assert (len(pool), pool.count) == (4, 0)
    assert due(pool, 110, 1.0) == []
    assert [e.hash for e in pool.to_confirm(101)] == ["0x0", "0x1", "0x2", "0x3"]
    assert pool.on_mined("0x3", 103, "0xb103")
    assert pool.on_block(102, "0xb102", ["0x2"])
    pool.on_final("0x0")
    pool.on_missing("0x1", 1.0)
    assert pool.to_confirm(101) == []
    assert due(pool, 110, 2.0) == ["0x1"]


def test_a_state_of_no_journal() -> None:
    with pytest.raises(ValueError, match="lost"):
        Pool().restore([Line("0x1", "lost")], UNIX, 0.0)


# ---- when it is due


def test_while_it_is_broadcast_first_it_is_not_due() -> None:
    pool = Pool()
    pool.due(100, 0.0, 0)
    added, _ = pool.add(Tx("0x1"), UNIX, 0.0)
    assert pool.due(110, HELD_SECONDS - 1, 10) == []
    assert not added.is_promised
    assert pool.due(110, HELD_SECONDS, 10) == [added]
    assert not pool.refuse("0x1")  # it may be out by now


def test_three_blocks_then_growing_intervals() -> None:
    pool = sent(Tx("0x1"), served=100)
    turns = [served for served in range(100, 200) if due(pool, served, (served - 100) * 12.0)]
    assert turns == [101, 102, 103, 105, 109, 117, 133, 165]


def test_fast_blocks() -> None:
    pool = sent(Tx("0x1"), served=0)
    turns = [i * 0.25 for i in range(200) if due(pool, i, i * 0.25)]
    assert turns == [0.25, 0.5, 0.75, 2.75, 4.75, 6.75, 10.75, 18.75, 34.75]
    assert min(b - a for a, b in pairwise(turns[2:])) == SHORTEST_SECONDS


def test_at_most_ten_minutes_apart() -> None:
    pool = sent(Tx("0x1"), served=0)
    turns = [float(at) for at in range(12, 20_000, 12) if due(pool, at // 12, float(at))]
    pauses = [b - a for a, b in pairwise(turns)]
    assert max(pauses) == LONGEST_SECONDS
    assert pauses == sorted(pauses)


def test_while_the_chain_stands_still() -> None:
    pool = sent(Tx("0x1"), served=100)
    turns = [at for at in range(2000) if due(pool, 100, float(at))]
    assert turns == [30, 90, 210, 450, 930, 1530]
    # The first three blocks are still to come.
    assert [len(due(pool, served, 2000.0)) for served in (101, 102, 103, 104)] == [1, 1, 1, 0]


def test_a_head_that_falls_delays_nothing() -> None:
    pool = sent(Tx("0x1"), served=1000)
    assert due(pool, 3, 1.0) == []
    assert due(pool, -1, 1.0) == []
    assert [len(due(pool, served, 2.0)) for served in (4, 5, 6, 7)] == [1, 1, 1, 0]


def test_a_first_yes_begins_anew() -> None:
    pool = Pool()
    pool.restore([Line("0x1", "journaled")], UNIX, 0.0)
    for served in range(100):
        due(pool, served, served * 12.0)
    (handed,) = pool.due(100, 5000.0, 10)
    pool.on_said("0x1", "a", "yes", 5000.0, is_yes=True)
    pool.on_rebroadcast("0x1", 5000.0)
    assert handed.turns == 0
    assert [len(due(pool, served, 5001.0)) for served in (101, 102, 103, 104)] == [1, 1, 1, 0]


def test_handed_out_once() -> None:
    pool = sent(Tx("0x1"), served=100)
    assert len(pool.due(101, 0.0, 10)) == 1
    assert pool.due(102, 1.0, 10) == []
    pool.on_rebroadcast("0x1", 2.0)
    assert len(pool.due(102, 2.0, 10)) == 1  # a block came meanwhile
    pool.on_rebroadcast("0x1", 2.0)
    pool.on_rebroadcast("0x1", 2.0)  # of no effect
    pool.on_rebroadcast("0xunknown", 2.0)
    assert len(pool.due(103, 2.0, 10)) == 1
    assert pool.due(104, 2.0 + UNANSWERED_SECONDS - 1, 10) == []
    assert len(pool.due(104, 2.0 + UNANSWERED_SECONDS, 10)) == 1


def test_a_block_brings_no_second_turn_for_what_time_asked() -> None:
    pool = sent(Tx("0x1"), served=100)
    assert len(pool.due(100, STILL_SECONDS, 10)) == 1
    assert pool.due(101, STILL_SECONDS + 1, 10) == []
    pool.on_rebroadcast("0x1", STILL_SECONDS + 1)
    assert due(pool, 101, STILL_SECONDS + 1) == ["0x1"]  # the block's own


def test_mined_while_it_is_broadcast() -> None:
    pool = sent(Tx("0x1"), served=100)
    pool.due(101, 0.0, 10)
    pool.on_block(101, "0xb", ["0x1"])
    pool.on_rebroadcast("0x1", 1.0)
    assert pool.due(110, 5000.0, 10) == []


def test_oldest_lanes_first_each_in_order() -> None:
    transactions = [
        Tx("0xb2", "0xb", 2), Tx("0xa9", "0xa", 9), Tx("0xa1", "0xa", 1), Tx("0xb0", "0xb", 0),
        Tx("0xc0", "0xc", 0),
    ]  # fmt: skip
    pool = sent(*transactions)
    assert [e.hash for e in pool.due(101, 1.0, 3)] == ["0xb0", "0xb2", "0xa1"]
    assert [e.hash for e in pool.due(101, 1.0, 3)] == ["0xa9", "0xc0"]
    assert pool.due(101, 1.0, 3) == []


def test_what_is_closed_while_it_is_ready_is_not_due() -> None:
    pool = sent(Tx("0x1"), Tx("0x2", order=1), Tx("0x3", "0xt"))
    assert pool.due(101, 1.0, 0) == []
    for hash in ("0x1", "0x3"):
        pool.on_replaced(hash)
    assert due(pool, 101, 1.0) == ["0x2"]


# ---- to whom


def test_who_has_it_is_spared_for_three_blocks() -> None:
    pool = sent(Tx("0x1"), served=100)
    asked = []
    for served in range(101, 110):
        for handed in pool.due(served, served * 12.0, 10):
            targets = pool.targets(handed, ["a", "b", "c"])
            asked.append("".join(targets))
            for upstream in targets:
                word = ALREADY_KNOWN if upstream != "c" else "yes"
                pool.on_said("0x1", upstream, word, served * 12.0, is_yes=True)
            pool.on_rebroadcast("0x1", served * 12.0)
    assert asked == ["abc", "c", "c", "abc", "abc"]


def test_while_the_chain_stands_still_all_are_asked() -> None:
    pool = sent(Tx("0x1"), served=100)
    pool.on_said("0x1", "a", ALREADY_KNOWN, 0.0, is_yes=True)
    (handed,) = pool.due(100, STILL_SECONDS, 10)
    assert pool.targets(handed, ["a", "b"]) == ["a", "b"]


def test_who_takes_it_afresh_did_not_have_it() -> None:
    pool = sent(Tx("0x1"))
    found = pool.get("0x1")
    assert found is not None
    for word, targets in ((ALREADY_KNOWN, ["b"]), ("yes", ["a", "b"])):
        pool.on_said("0x1", "a", word, 0.0, is_yes=True)
        assert pool.targets(found, ["a", "b"]) == targets


# ---- age


def test_expired() -> None:
    pool = sent(Tx("0x1"), Tx("0x2", order=1))
    pool.on_block(101, "0xb", ["0x2"])
    assert pool.expire(EXPIRY_SECONDS - 1) == []
    assert [(e.hash, e.state) for e in pool.expire(EXPIRY_SECONDS)] == [
        ("0x1", TransactionState.EXPIRED)
    ]
    assert pool.expire(EXPIRY_SECONDS * 9) == []
    assert pool.end_of("0x1") is TransactionState.EXPIRED
    assert len(pool) == 1
    assert pool.add(Tx("0x1"), UNIX, EXPIRY_SECONDS)[1]


def test_age_goes_on_over_a_restart() -> None:
    pool = Pool(3600.0)
    pool.restore([Line("0x1", "sent", created=UNIX - 2000)], UNIX, 0.0)
    assert pool.expire(1599.0) == []
    assert len(pool.expire(1600.0)) == 1


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_jumps_expires_nothing_at_once(years: int) -> None:
    pool = Pool()
    pool.restore([Line("0x1", "sent")], UNIX + years * 31_557_600, 0.0)
    assert pool.expire(GRACE_SECONDS - 1) == []
    # If the clock went back, it is as old as if it had come now.
    expected = GRACE_SECONDS if years > 0 else EXPIRY_SECONDS
    assert pool.expire(expected - 1) == []
    assert len(pool.expire(expected)) == 1


# ---- orders


def test_a_queue_keeps_no_more_than_it_holds() -> None:
    queue = EntryQueue()
    entries = [entry(f"0x{i}") for i in range(100)]
    for round in range(50):
        for item in entries:
            queue.put(item, round)
    assert len(queue) == 100
    assert len(queue._heap) <= 264
    for item in entries[:99]:
        queue.drop(item)
    queue.drop(entries[0])
    assert len(queue._heap) <= 66
    assert queue.first() == (49, entries[99])
    assert list(queue.take(48)) == []
    assert list(queue.take(49)) == [entries[99]]
    assert queue._heap == []
    assert queue.first() is None


def test_a_queue_that_is_left_early() -> None:
    queue = EntryQueue()
    item = entry("0x1")
    queue.put(item, 1)
    queue.put(item, 0)  # what is stale now is not kept for the last one taken
    assert next(queue.take(5)) is item
    assert queue._heap == []


def test_a_queue_in_order() -> None:
    queue = EntryQueue()
    rng = random.Random(3)
    keys = [rng.randrange(50) for _ in range(500)]
    for i, key in enumerate(keys):
        queue.put(entry(f"0x{i}"), key)
    assert [int(e.hash[2:]) for e in queue.take(50)] == sorted(range(500), key=keys.__getitem__)


def test_shelves() -> None:
    shelves = Shelves()
    entries = {n: entry(f"0x{n}") for n in (5, 3, 9)}
    for number, item in entries.items():
        shelves.put(item, number)
    twin = entry("0xtwin")
    shelves.put(twin, 3)
    assert shelves.at(3) == [entries[3], twin]
    assert shelves.at(4) == []
    assert shelves.below(5) == [entries[3], twin]
    assert shelves.above(5) == [entries[9]]
    shelves.drop(entries[3], 3)
    assert 3 in shelves
    shelves.drop(twin, 3)
    assert 3 not in shelves
    assert len(shelves) == 2


# ---- many


def live_through(count: int) -> None:
    """From the first submission to the last block, for so many; fifty for each lane."""
    lanes = count // 50
    pool = Pool()
    pool.due(0, 0.0, 100)
    for i in range(count):
        pool.add(Tx(f"0x{i}", f"0xs{i % lanes}", i // lanes), UNIX + i, 0.0)
        pool.on_said(f"0x{i}", "a", "yes", 0.0, is_yes=True)
    for i in range(count):
        assert pool.next_order(f"0xs{i % lanes}", 49) == 50
        assert pool.pending(f"0x{i}") is not None
        pool.due(0, 1.0, 100)
        pool.expire(1.0)
    handed = 0
    while turns := due(pool, 1, 2.0, 100):
        handed += len(turns)
    assert handed == count
    for number in range(count // 100):
        block = [f"0x{i}" for i in range(number * 100, number * 100 + 100)]
        assert len(pool.on_block(number, f"0xb{number}", block)) == 100
        pool.on_turn(number, 3.0)
        for found in pool.to_confirm(number - 10):
            pool.on_final(found.hash)
    for found in pool.to_confirm(count // 100):
        pool.on_final(found.hash)
    assert_empty(pool)


def test_thousands() -> None:
    """No event looks at all of them: a scan in any of these would be four times as much for each
    of four times as many.
    """
    few = lines_run(lambda: live_through(500))
    assert lines_run(lambda: live_through(2000)) < 1.25 * 4 * few
