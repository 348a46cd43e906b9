"""No journaled transaction is lost: the pool under random histories.

Wallets send, resend and replace; upstreams say yes and keep nothing, know it already, or refuse;
blocks come, some of them unseen; reorgs take them back; the proxy is restarted from its rows. Of
those that ask for one place, what their wallet sent last goes out, once it was taken.
``POOL_EXAMPLES`` sets how many histories are played.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rpcproxy.rules.sends.journaled import PoolEntry, TransactionState
from rpcproxy.rules.sends.pool import ALREADY_KNOWN, EXPIRY_SECONDS, GRACE_SECONDS, Pool
from rpcproxy.rules.sends.rebroadcasts import HELD_SECONDS, LONGEST_SECONDS, UNANSWERED_SECONDS

EXAMPLES = int(os.environ.get("POOL_EXAMPLES", "60"))
UNIX = 1_800_000_000.0
LANES = ("0xa", "0xb", "0xc")
UPSTREAMS = ("u", "v", "w")
ORDERS = range(6)


@dataclass
class Tx:
    """A wallet's transaction, and what its client was told."""

    hash: str
    lane: str
    order: int
    raw: bytes = b""
    added: float = 0.0  # last
    word: int = 0  # the wishes of wallets, counted
    can_be_refused: bool = True
    refused: bool = False


@dataclass
class Row:
    hash: str
    lane: str
    order: int
    raw: bytes
    created: float
    state: str
    block: int
    is_private: bool
    said: dict[str, str] = field(default_factory=dict)


def row_of(entry: PoolEntry) -> Row:
    return Row(
        entry.hash, entry.lane, entry.order, entry.raw, entry.created_unix, entry.state.value,
        entry.block, entry.is_private, dict(entry.said),
    )  # fmt: skip


class Histories(RuleBasedStateMachine):
    """One chain, one pool, and what is true beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool()
        self.now = 1000.0
        self.all: list[Tx] = []
        self.chain: list[dict[tuple[str, int], str]] = [{}]  # hashes by lane and order
        self.floor = 0
        self.branch = 0
        self.words = 0
        self.counted: dict[tuple[str, int], tuple[int, set[str]]] = {}
        self.handed: dict[str, float] = {}  # when; of turns that are still open
        self.pool.due(0, self.now, 0)

    # ---- the truth

    @property
    def unix(self) -> float:
        return UNIX + self.now

    def order_at(self, lane: str, height: int) -> int:
        return sum(1 for block in self.chain[: height + 1] for owner, _ in block if owner == lane)

    def block_of(self, tx: Tx) -> int:
        """−1 where it is in none."""
        for number, block in enumerate(self.chain):
            if block.get((tx.lane, tx.order)) == tx.hash:
                return number
        return -1

    def speak(self, tx: Tx) -> None:
        self.words += 1
        tx.word = self.words

    def told(self, number: int) -> None:
        """Our pool sees a block."""
        name = f"0x{self.branch}.{number}"
        block = set(self.chain[number].values())
        for entry in self.pool.on_block(number, name, block):
            assert entry.hash in block
            assert (entry.state, entry.block, entry.block_hash) == (
                TransactionState.MINED,
                number,
                name,
            )

    # ---- what happens

    @rule(lane=st.sampled_from(LANES), order=st.sampled_from(ORDERS), is_private=st.booleans())
    def send(self, lane: str, order: int, is_private: bool) -> None:
        tx = Tx(f"0x{len(self.all)}", lane, order, added=self.now)
        self.all.append(tx)
        self.speak(tx)
        entry, is_new = self.pool.add(tx, self.unix, self.now, is_private=is_private)
        assert is_new
        assert entry.state is TransactionState.JOURNALED

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        tx = data.draw(st.sampled_from(self.all))
        before, end = self.pool.get(tx.hash), self.pool.end_of(tx.hash)
        entry, is_new = self.pool.add(tx, self.unix, self.now)
        if before is not None:
            assert entry is before
            assert not is_new
            assert entry.state is not TransactionState.RESTING
            self.speak(tx)
        elif end in (TransactionState.FINAL, TransactionState.REPLACED):
            assert entry.state is end
            assert not is_new
            assert self.pool.get(tx.hash) is None
        else:
            assert end in (TransactionState.REFUSED, TransactionState.EXPIRED)
            assert is_new
            self.speak(tx)
            tx.added, tx.refused, tx.can_be_refused = self.now, False, True
            self.handed.pop(tx.hash, None)

    @precondition(lambda self: self.all)
    @rule(data=st.data(), upstream=st.sampled_from(UPSTREAMS))
    def answer(self, data: st.DataObject, upstream: str) -> None:
        tx = data.draw(st.sampled_from(self.all[-6:]))
        word = data.draw(st.sampled_from(("yes", "yes", ALREADY_KNOWN, "underpriced")))
        before = self.pool.get(tx.hash)
        was = None if before is None else before.state
        is_yes = word != "underpriced"
        is_first = self.pool.on_said(tx.hash, upstream, word, self.now, is_yes=is_yes)
        assert is_first == (is_yes and was is TransactionState.JOURNALED)
        if is_first:
            self.handed.pop(tx.hash, None)
        if before is not None:
            assert before.said[upstream] == word
            tx.can_be_refused &= not is_yes

    @precondition(lambda self: self.all)
    @rule(data=st.data(), is_kept=st.booleans())
    def conclude(self, data: st.DataObject, is_kept: bool) -> None:
        """The first broadcast is over without a yes: the client is told no, or its hash."""
        tx = data.draw(st.sampled_from(self.all[-6:]))
        before = self.pool.get(tx.hash)
        if is_kept:
            self.pool.keep(tx.hash)
            tx.can_be_refused &= before is None
            self.handed.pop(tx.hash, None)
        elif before is not None:
            can = tx.can_be_refused and before.state is TransactionState.JOURNALED
            tx.refused = self.pool.refuse(tx.hash)
            assert tx.refused == can

    @rule(data=st.data(), is_seen=st.integers(0, 4).map(bool))
    def mine(self, data: st.DataObject, is_seen: bool) -> None:
        block: dict[tuple[str, int], str] = {}
        height = len(self.chain) - 1
        for lane in LANES:
            order = self.order_at(lane, height)
            for _ in range(data.draw(st.integers(0, 2))):
                out = [tx for tx in self.all if (tx.lane, tx.order) == (lane, order)]
                # Or one that was sent elsewhere, or was refused and is out nevertheless.
                block[lane, order] = data.draw(
                    st.sampled_from([*(tx.hash for tx in out), f"0xforeign{height}"])
                )
                order += 1
        self.chain.append(block)
        if is_seen:
            self.told(height + 1)

    @precondition(lambda self: len(self.chain) - 1 > self.floor)
    @rule(data=st.data())
    def reorg(self, data: st.DataObject) -> None:
        ancestor = data.draw(st.integers(self.floor, len(self.chain) - 2))
        lost = {hash for block in self.chain[ancestor + 1 :] for hash in block.values()}
        del self.chain[ancestor + 1 :]
        self.branch += 1
        for entry in self.pool.on_turn(ancestor, self.now):
            assert entry.hash in lost
            assert entry.state in (TransactionState.SENT, TransactionState.RESTING)
            self.handed.pop(entry.hash, None)
        assert all(entry.block <= ancestor for entry in self.pool._entries.values())

    @rule(depth=st.integers(0, 3))
    def finalize(self, depth: int) -> None:
        self.floor = max(self.floor, len(self.chain) - 1 - depth)
        by_hash = {tx.hash: tx for tx in self.all}
        for entry in self.pool.to_confirm(self.floor):
            if entry.state.is_closed:
                continue  # replaced by one before it
            number = self.block_of(by_hash[entry.hash])
            if number < 0:
                assert self.pool.on_missing(entry.hash, self.now)
                self.handed.pop(entry.hash, None)
            elif number > self.floor:
                self.pool.on_mined(entry.hash, number, f"0x{self.branch}.{number}")
            else:
                for other in self.pool.on_final(entry.hash):
                    assert (other.lane, other.order) == (entry.lane, entry.order)
                    assert other.state is TransactionState.REPLACED
        assert all(e.block > self.floor for e in self.pool.to_confirm(self.floor))

    @rule(lane=st.sampled_from(LANES))
    def count_final_order(self, lane: str) -> None:
        order = self.order_at(lane, self.floor)
        for tx in self.all:
            entry = self.pool.get(tx.hash)
            if entry is None or not entry.state.is_pending:
                continue
            if entry.lane != lane or entry.order >= order:
                continue
            number = self.block_of(tx)
            if number < 0:
                assert self.pool.on_replaced(entry.hash) is entry
            else:
                assert self.pool.on_mined(entry.hash, number, f"0x{self.branch}.{number}")

    @rule(pause=st.sampled_from((0.0, 1.0, 3.0, 12.0, 40.0, 700.0, 50_000.0)))
    def wait(self, pause: float) -> None:
        self.now += pause
        for entry in self.pool.expire(self.now):
            assert entry.state is TransactionState.EXPIRED

    @rule(data=st.data(), limit=st.integers(0, 5))
    def rebroadcast(self, data: st.DataObject, limit: int) -> None:
        handed = self.pool.due(len(self.chain) - 1, self.now, limit)
        assert len(handed) <= limit
        by_hash = {tx.hash: tx for tx in self.all}
        for entry in handed:
            assert entry.state.is_sent_again
            assert self.pool.get(entry.hash) is entry
            by_hash[entry.hash].can_be_refused = False
            assert self.now - self.handed.get(entry.hash, -1000.0) >= UNANSWERED_SECONDS
            self.handed[entry.hash] = self.now
        owners = [entry.lane for entry in handed]
        for lane in set(owners):
            orders = [entry.order for entry in handed if entry.lane == lane]
            assert orders == sorted(orders)
            first = owners.index(lane)
            assert owners[first : first + len(orders)] == [lane] * len(orders)
        for entry in handed:
            for upstream in self.pool.targets(entry, UPSTREAMS):
                word = data.draw(st.sampled_from(("yes", ALREADY_KNOWN, "")))
                if word:
                    if self.pool.on_said(entry.hash, upstream, word, self.now, is_yes=True):
                        self.handed.pop(entry.hash, None)
                    assert (upstream in entry.knowing) == (word == ALREADY_KNOWN)
            if data.draw(st.integers(0, 4)):
                self.pool.on_rebroadcast(entry.hash, self.now)
                self.handed.pop(entry.hash, None)

    @rule(pause=st.sampled_from((0.0, 60.0, 90_000.0, 1e9, -1e9)))
    def restart(self, pause: float) -> None:
        """The wall clock may be anywhere afterwards; monotonic time begins anew."""
        rows = [row_of(entry) for entry in self.pool._entries.values()]
        ends = [
            Row(hash, "", -1, b"", 0.0, end.value, -1, False)
            for hash, end in self.pool._ends.items()
        ]
        self.pool = Pool()
        self.handed.clear()
        self.pool.due(len(self.chain) - 1, self.now, 0)
        self.pool.restore([*ends, *rows], self.unix + pause, self.now)
        for tx in self.all:
            tx.can_be_refused &= self.pool.get(tx.hash) is None
        by_hash = {tx.hash: tx for tx in self.all}
        for row in sorted(rows, key=lambda row: row.state != TransactionState.RESTING.value):
            self.speak(by_hash[row.hash])  # from now on the order of the rows is all that is known
        entries = self.pool._entries
        pending = {hash for hash, entry in entries.items() if entry.state.is_sent_again}
        assert {row.hash for row in rows if row.state == TransactionState.RESTING.value}.isdisjoint(
            pending
        )
        assert self.pool.expire(self.now + GRACE_SECONDS - 1) == []
        assert {e.hash for e in self.pool.due(len(self.chain) - 1, self.now, 1000)} == pending
        for hash in pending:
            self.pool.on_rebroadcast(hash, self.now)

    # ---- what always holds

    @invariant()
    def each_is_open_or_ended_with_a_reason(self) -> None:
        for tx in self.all:
            entry, end = self.pool.get(tx.hash), self.pool.end_of(tx.hash)
            assert (entry is None) != (end is None)
            if entry is not None:
                assert entry.hash == tx.hash
                assert not entry.state.is_closed
            elif end is TransactionState.FINAL:
                assert 0 <= self.block_of(tx) <= self.floor
            elif end is TransactionState.REPLACED:
                assert self.block_of(tx) < 0
                assert tx.order < self.order_at(tx.lane, self.floor)
            elif end is TransactionState.REFUSED:
                assert tx.refused
            else:
                assert end is TransactionState.EXPIRED
                assert self.now - tx.added >= GRACE_SECONDS

    @invariant()
    def each_is_kept_where_it_belongs(self) -> None:
        pool = self.pool
        entries = pool._entries.values()
        pending = {e.hash for e in entries if e.state.is_pending}
        assert set(pool._pending._places) == set(pool._expiring._places) == pending
        assert (len(pool), pool.count) == (len(entries), len(pending))
        oldest = min((e.created_unix for e in entries if e.state.is_pending), default=None)
        assert pool.oldest_unix == oldest
        assert {e.hash for e in pool._mined.above(-2)} == {e.hash for e in entries} - pending
        assert sum(len(n.above(-2)) for n in pool._lanes._lanes.values()) == len(entries)
        turns = pool._rebroadcasts
        ready = set(turns._ready._places)
        lines = {hash for line in turns._ready_of.values() for hash in line._places}
        waiting = set(turns._by_time._places)  # each that waits has a time
        assert ready == lines
        assert not ready & waiting
        assert ready | waiting == {e.hash for e in entries if e.state.is_sent_again}
        assert set(turns._by_block._places) <= waiting

    @invariant()
    def next_orders_have_no_gap_and_fall_with_a_reason(self) -> None:
        entries = self.pool._entries.values()
        for lane in LANES:
            known = {entry.order for entry in entries if entry.lane == lane}
            hashes = {entry.hash for entry in entries if entry.lane == lane}
            for base in ORDERS:
                order = self.pool.next_order(lane, base)
                assert known >= set(range(base, order))
                assert order not in known
                before, then = self.counted.get((lane, base), (base, set()))
                assert order >= before or then - hashes  # one of them was closed
                self.counted[lane, base] = order, hashes

    @invariant()
    def the_last_word_that_was_taken_goes_out_alone(self) -> None:
        by_hash = {tx.hash: tx for tx in self.all}
        taken = [entry for entry in self.pool._entries.values() if entry.is_promised]
        for entry in taken:
            tx = by_hash[entry.hash]
            beside = [e for e in taken if e.place == entry.place and e is not entry]
            later = [e for e in beside if by_hash[e.hash].word > tx.word]
            if entry.state is TransactionState.RESTING:
                assert any(
                    other.word > tx.word
                    for other in self.all
                    if (other.lane, other.order) == (tx.lane, tx.order)
                )
            elif entry.state.is_sent_again:
                assert not later
        assert not any(
            e.state is TransactionState.RESTING
            for e in self.pool._entries.values()
            if e not in taken
        )

    # ---- in the end

    def teardown(self) -> None:
        self.all_that_are_pending_get_their_turn()
        self.at_last_the_pool_is_empty()

    def all_that_are_pending_get_their_turn(self) -> None:
        """Even if no block comes any more."""
        sent = {e.hash for e in self.pool._entries.values() if e.state.is_sent_again}
        handed: set[str] = set()
        until = self.now + max(LONGEST_SECONDS, HELD_SECONDS) + UNANSWERED_SECONDS
        while self.now < until:
            self.now += 10
            handed |= {e.hash for e in self.pool.due(len(self.chain) - 1, self.now, 2)}
        while more := self.pool.due(len(self.chain) - 1, self.now, 2):
            handed |= {e.hash for e in more}
        # What was on its first way may have come to rest for what was handed out meanwhile.
        after = {e.hash for e in self.pool._entries.values() if e.state.is_sent_again}
        assert after <= handed <= sent

    def at_last_the_pool_is_empty(self) -> None:
        self.finalize(0)
        for lane in LANES:
            self.count_final_order(lane)
        self.finalize(0)
        self.each_is_open_or_ended_with_a_reason()
        self.now += EXPIRY_SECONDS + GRACE_SECONDS
        self.pool.expire(self.now)
        self.each_is_open_or_ended_with_a_reason()
        pool, turns = self.pool, self.pool._rebroadcasts
        assert len(pool) == pool.count == 0
        for kept in (pool._entries, pool._lanes, pool._doubted, pool._mined._shelves):
            assert len(kept) == 0
        assert turns.is_empty
        for queue in (pool._pending, pool._expiring, turns._ready, turns._by_block, turns._by_time):
            assert queue._heap == []


def test_histories() -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
