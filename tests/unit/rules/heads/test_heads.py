from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.messages import Head
from rpcproxy.rules.heads.chain_pace import LONGEST_HOLD_SECONDS
from rpcproxy.rules.heads.head_track import HeadTrack
from rpcproxy.rules.heads.heads import (
    FALLEN_BLOCKS,
    LONE_JUMP_SECONDS,
    UNLINKED_SECONDS,
    Heads,
    Reorg,
    WantedHeader,
)


@dataclass
class Claimant:
    provider: str
    track: HeadTrack = field(default_factory=HeadTrack)
    name: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or self.provider


def block(number: int, branch: str = "", since: int = 0) -> Head:
    """A block of a branch that left the main one after ``since``."""

    def name(at: int) -> str:
        return f"0x{branch if at > since else ''}{at:x}"

    return Head(number, name(number), name(number - 1), 1_000_000 + 12 * number)


class Chain:
    def __init__(self, count: int, block_time: float = 12.0, expected: int | None = None) -> None:
        self.claimants = [Claimant(f"p{i}") for i in range(count)]
        self.heads = Heads(block_time, depth=0)
        self.expected = count if expected is None else expected

    def tell(self, now: float, *told: Head | int | None) -> int:
        for claimant, head in zip(self.claimants, told, strict=False):
            if head is not None:
                self.report(claimant, block(head) if isinstance(head, int) else head, now)
        self.heads.settle(self.claimants, self.expected, now)
        return self.heads.served

    def report(self, claimant: Claimant, head: Head, now: float) -> None:
        self.heads.learn(head, claimant.name)
        claimant.track.report(head, now)

    def fetch(self, now: float, branch: str = "", since: int = 0) -> int:
        """Answer what is wanted until nothing is; how many headers that took."""
        count = 0
        while self.heads.wanted and count < 100:
            for upstream, hash, number in self.heads.wanted:
                header = block(number, branch, since)
                if header.hash != hash:
                    header = block(number)
                assert header.hash == hash
                self.heads.learn(header, upstream)
                count += 1
            self.heads.settle(self.claimants, self.expected, now)
        return count


# ---- the served head


def test_a_majority_moves_it() -> None:
    chain = Chain(4)
    assert chain.tell(0.0, 100, 100) == -1
    assert chain.tell(0.1, None, None, 100) == 100
    assert chain.tell(1.0, 101, 101) == 100
    assert chain.tell(1.1, None, None, 101) == 101
    assert chain.heads.served_head == block(101)
    assert chain.heads.moved_at == 1.1


def test_two_providers_move_it_after_the_hold_time() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    assert chain.tell(5.0, 101, 101) == 100
    assert chain.tell(6.9) == 100
    assert chain.tell(7.0) == 101  # 2 s: half a block time would be six


def test_two_upstreams_of_one_provider_are_one_voice() -> None:
    chain = Chain(4)
    chain.claimants[1].provider = "p0"
    chain.tell(0.0, 100, 100, 100, 100)
    assert chain.tell(5.0, 101, 101) == 100
    assert chain.tell(60.0) == 100
    assert chain.tell(60.0, None, None, 101) == 101


def test_the_second_voice_is_found_behind_the_first_providers_other_upstreams() -> None:
    chain = Chain(5)
    for index, provider in enumerate(["x", "x", "y", "y", "z"]):
        chain.claimants[index].provider = provider
    chain.tell(0.0, 100, 100, 100, 100, 100)
    chain.tell(1.0, 102, 103, 101, None, None)
    chain.fetch(1.0)
    assert chain.tell(4.0) == 101


def test_a_lone_claim_far_above_moves_nothing() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    for second in range(1, 60):
        assert chain.tell(float(second), 1100) == 100
    assert chain.claimants[0].track.number > chain.heads.highest_plausible(60.0)


def test_who_is_above_is_contradicted_by_those_who_report_later() -> None:
    chain = Chain(4)
    first, *others = chain.claimants
    chain.tell(0.0, 100, 100, 100, 100)
    chain.tell(10.0, 120)
    is_lone = chain.heads.is_lone_claim
    assert not is_lone(first, chain.claimants, 10.0)  # nobody has spoken since
    others[0].track.report(block(100), 11.0)
    others[1].track.report(Head(100), 10.9)  # may have been on its way
    assert not is_lone(first, chain.claimants, 10.0)
    others[1].track.report(Head(100), 11.1)
    assert is_lone(first, chain.claimants, 10.0)
    others[2].track.report(Head(119), 11.2)
    assert not is_lone(first, chain.claimants, 10.0)
    assert not is_lone(first, [first], 10.0)
    assert not is_lone(first, [first, Claimant("p9")], 10.0)


@pytest.mark.parametrize("count", [1, 2])
def test_with_few_upstreams_one_is_enough_within_what_time_allows(count: int) -> None:
    chain = Chain(count)
    chain.tell(0.0, *[100] * count)
    chain.tell(12.0, 101)
    assert chain.tell(14.0) == 101
    assert chain.tell(15.0, 1101) == 101
    assert chain.tell(19.9) == 101


def test_a_lone_upstream_that_keeps_saying_so_is_believed() -> None:
    chain = Chain(1)
    chain.tell(0.0, 100)
    chain.tell(1.0, 5000)  # a laptop slept
    assert chain.tell(5.9, 5000) == 100
    assert chain.tell(6.0, 5000) == 5000


def test_at_start_up_the_first_voice_waits_for_others() -> None:
    chain = Chain(1, expected=4)
    assert chain.tell(0.0, 1100) == -1
    assert chain.tell(1.9, 1100) == -1
    assert chain.tell(2.0, 1100) == 1100


def test_a_liar_heard_first_and_alone_is_corrected() -> None:
    chain = Chain(4)
    liar, others = chain.claimants[0], chain.claimants[1:]
    chain.report(liar, block(1100, "bad"), 0.0)
    chain.heads.settle([liar], 4, 0.0)
    chain.heads.settle([liar], 4, 2.0)
    assert chain.heads.served == 1100
    for other in others:
        chain.report(other, block(100), 3.0)
    chain.heads.settle(chain.claimants, 4, 3.0)
    assert chain.heads.served == 100
    assert chain.heads.last_reorg == Reorg(-1, 1101, is_gap=True)
    assert chain.heads.reorgs == 0
    assert chain.heads.highest_plausible(3.0) < 1100


def test_nobody_usable_changes_nothing() -> None:
    heads = Heads(12.0)
    assert not heads.settle([], 4, 0.0)
    assert not heads.settle([Claimant("p")], 1, 0.0)
    assert heads.highest_plausible(0.0) > 2**60
    assert not heads.pace.settle_halt([])


def test_a_reload_goes_on_from_what_was_served() -> None:
    chain = Chain(3)
    chain.tell(0.0, 100, 100, 100)
    new = Heads(6.0)
    new.adopt(chain.heads)
    assert (new.served, new.hash_at(100), new.pace.block_time_seconds) == (100, "0x64", 6.0)


def test_a_reload_takes_nothing_back_that_was_shown_above_the_head() -> None:
    chain = Chain(3)
    chain.tell(0.0, 100, 100, 100)
    old, new = Heads(0.4, shows_ahead=True), Heads(0.4, shows_ahead=True)
    old.adopt(chain.heads)
    assert old.show(101, None, "p0", chain.claimants, 1.0)
    new.adopt(old)
    assert not new.ahead.has_lapsed(101, chain.claimants, 0.4, 1.1)
    assert new.shown == 101
    hidden = Heads(0.4)
    hidden.adopt(old)
    assert hidden.shown == 100


# ---- links


def test_two_may_move_it_only_where_links_lead_to_it() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    chain.tell(5.0, 103, 103)
    assert chain.heads.wanted == (WantedHeader("p0", "0x66", 102),)
    assert chain.tell(7.5) == 100  # the way from 103 back to 100 is not known
    assert chain.fetch(7.5) == 2
    assert chain.tell(7.6) == 103
    assert chain.heads.wanted == ()
    assert [chain.heads.hash_at(n) for n in (100, 101, 102, 103)] == [
        "0x64",
        "0x65",
        "0x66",
        "0x67",
    ]


def test_a_majority_waits_a_moment_for_links() -> None:
    chain = Chain(3)
    chain.tell(0.0, 100, 100, 100)
    assert chain.tell(60.0, 105, 105, 105) == 100
    assert chain.tell(60.9) == 100
    assert chain.tell(61.0) == 105
    assert chain.heads.last_reorg == Reorg(-1, 101, is_gap=True)
    assert (chain.heads.turns, chain.heads.reorgs) == (1, 0)


def test_a_majority_far_above_is_believed_at_once() -> None:
    chain = Chain(3)
    chain.tell(0.0, 100, 100, 100)
    assert chain.tell(60.0, 500, 500, 500) == 500
    assert chain.heads.wanted == ()


def test_a_head_that_nothing_links_is_isolated() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    chain.tell(1.0, block(103, "bad", 0))
    assert chain.heads.forked == {}
    chain.tell(1.0 + UNLINKED_SECONDS)
    assert chain.heads.forked == {"p0": "nothing links its head to the others' chain"}
    assert chain.heads.served == 100


def test_invented_blocks_that_link_move_nothing_and_are_found_out() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    chain.tell(1.0, block(103, "bad", 100))
    chain.fetch(1.0, "bad", 100)
    assert chain.tell(60.0) == 100
    assert chain.tell(60.0, None, 101, 101, 101) == 101
    assert chain.heads.forked == {"p0": "its block 101 is not the others'"}


def test_a_parent_that_one_invents_for_a_true_block_does_not_count() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    lie = Head(101, "0x65", "0xbad")
    assert chain.tell(1.0, lie, 101, 101, 101) == 101
    assert chain.heads.hash_at(100) == "0x64"


def test_timestamps_from_the_future_do_not_move_it() -> None:
    chain = Chain(2)
    chain.tell(0.0, 100, 100)
    late = Head(101, "0x65", "0x64", 1_000_000 + 12 * 101 + 3600)
    assert chain.tell(12.0, late) == 100
    assert chain.tell(60.0) == 100
    assert chain.tell(61.0, None, late) == 101  # both say so


def test_the_only_upstream_sets_the_clock() -> None:
    """``evm_increaseTime`` of a development node; GoQuorum's Raft counts nanoseconds."""
    chain = Chain(1, 1.0)
    chain.tell(0.0, 100)
    for at in range(1, 9):
        head = Head(100 + at, f"0x{100 + at:x}", f"0x{99 + at:x}", 1_001_200 + at * 10**9)
        assert chain.tell(float(at), head) == 100 + at


def test_whoever_is_alone_for_now_sets_it_after_a_while() -> None:
    chain = Chain(1, expected=3)
    chain.tell(0.0, 100)
    chain.tell(LONGEST_HOLD_SECONDS)
    late = Head(101, "0x65", "0x64", 1_000_000 + 12 * 101 + 3600)
    assert chain.tell(12.0, late) == 100
    assert chain.tell(12.1 + LONE_JUMP_SECONDS) == 101


def test_those_that_are_late_are_told_from_those_that_left() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 95)
    assert chain.heads.forked == {}
    assert chain.fetch(0.0) == 4
    assert chain.heads.hash_at(95) == "0x5f"
    chain.tell(1.0, None, None, None, block(95, "bad", 90))
    assert chain.heads.forked == {"p3": "its block 95 is not the others'"}
    chain.tell(2.0, None, None, None, 96)
    assert chain.heads.forked == {}


# ---- forks


def test_the_minority_of_a_fork_is_isolated() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    chain.tell(1.0, 101, 101, 101, block(101, "b", 100))
    assert chain.heads.served == 101
    assert chain.heads.forked == {"p3": "its block 101 is not the others'"}
    chain.tell(2.0, 102, 102, 102, block(102, "b", 100))
    assert list(chain.heads.forked) == ["p3"]
    assert not chain.heads.is_split
    assert chain.heads.reorgs == 0


def test_two_against_two_the_side_that_links_is_followed() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    chain.tell(1.0, 101, 101, 101, 101)
    fork = block(102, "b", 100)
    chain.tell(2.0, 102, 102, fork, fork)
    chain.fetch(2.0, "b", 100)
    assert sorted(chain.heads.forked) == ["p2", "p3"]
    assert chain.heads.is_split
    assert chain.tell(4.1) == 102
    assert chain.heads.hash_at(102) == "0x66"


def test_a_majority_that_disagrees_keeps_the_served_head() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    chain.tell(1.0, block(100, "a", 98), block(100, "b", 98), block(100, "c", 98), 100)
    assert chain.heads.served_head == block(100)
    assert chain.heads.is_split
    assert chain.heads.forked == {}


@pytest.mark.parametrize("depth", [1, 2, 3, 20])
def test_a_reorg_of_the_majority_is_followed_from_the_common_ancestor(depth: int) -> None:
    chain = Chain(4)
    for number in range(80, 101):
        chain.tell(float(number), number, number, number, number)
    new = block(101, "b", 100 - depth)
    chain.tell(101.0, new)
    chain.fetch(101.0, "b", 100 - depth)
    assert list(chain.heads.forked) == ["p0"]
    assert chain.tell(101.1, None, new) == 100
    assert chain.heads.is_split
    assert chain.tell(101.2, None, None, new) == 101
    assert chain.heads.last_reorg == Reorg(100 - depth, depth, is_gap=False)
    assert chain.heads.reorgs == 1
    assert chain.heads.hash_at(100) == "0xb64"
    assert chain.heads.hash_at(100 - depth) == f"0x{100 - depth:x}"
    assert list(chain.heads.forked) == ["p3"]
    chain.tell(101.3, None, None, None, new)
    assert chain.heads.forked == {}


def test_a_reorg_may_lower_the_head() -> None:
    chain = Chain(3)
    for number in range(95, 101):
        chain.tell(float(number), number, number, number)
    new = block(98, "b", 96)
    chain.tell(101.0, new, new, new)
    chain.fetch(101.0, "b", 96)
    assert chain.heads.served == 98
    assert chain.heads.last_reorg == Reorg(96, 4, is_gap=False)


def test_a_reorg_whose_way_back_stays_unknown_is_followed_after_a_moment() -> None:
    chain = Chain(3)
    chain.tell(0.0, 100, 100, 100)
    new = block(100, "b", 40)
    assert chain.tell(1.0, new, new, new) == 100
    assert chain.heads.hash_at(100) == "0x64"
    chain.tell(2.0)
    assert chain.heads.hash_at(100) == "0xb64"
    assert chain.heads.last_reorg == Reorg(-1, 101, is_gap=True)


def test_heads_that_fall_move_nothing() -> None:
    chain = Chain(3)
    for number in range(90, 101):
        chain.tell(float(number), number, number, number)
    for second in range(101, 110):
        assert chain.tell(float(second), 95, 95, 95) == 100
    assert chain.heads.reorgs == 0
    assert chain.tell(120.0, 96, 96, 96) == 100


def test_what_nobody_has_for_long_is_given_up_for_what_a_majority_has() -> None:
    chain = Chain(3)
    for number in range(90, 101):
        chain.tell(float(number), number, number, number)
    patience = FALLEN_BLOCKS * chain.heads.pace.block_time_seconds
    for second in range(101, 111):  # ten reports
        assert chain.tell(float(second), 95, 95, 95) == 100
    assert chain.tell(109.9 + patience) == 100
    assert chain.tell(110.1 + patience) == 95
    assert chain.heads.last_reorg == Reorg(95, 5, is_gap=False)
    assert chain.heads.hash_at(94) == "0x5e"
    assert chain.tell(140.0, 96, 96, 96) == 96


def test_while_one_has_it_nothing_is_given_up() -> None:
    chain = Chain(3)
    for number in range(90, 101):
        chain.tell(float(number), number, number, number)
    for second in range(101, 200):
        assert chain.tell(float(second), 95, 95, 100) == 100


def test_a_lone_liar_that_was_believed_is_forgotten_once_it_is_honest() -> None:
    chain = Chain(1, block_time=2.0)
    for number in range(90, 101):
        chain.tell(float(number), number)
    invented = block(1100, "x", 1100)
    for second in range(101, 110):
        chain.tell(float(second), invented)
    assert chain.heads.served == 1100
    for second in range(110, 123):
        assert chain.tell(float(second), second - 5) == 1100
    assert chain.tell(125.0, 120) == 120
    assert chain.tell(126.0, 121) == 121


def test_no_patience_gives_up_what_is_final() -> None:
    chain = Chain(3)
    for number in range(90, 101):
        chain.tell(float(number), number, number, number)
    finalize(chain, block(99), block(99), block(99))
    chain.tell(101.0)
    for second in range(102, 200):
        assert chain.tell(float(second), 95, 95, 95) == 100


# ---- final blocks


def finalize(chain: Chain, *heads: Head | None) -> None:
    for claimant, head in zip(chain.claimants, heads, strict=False):
        claimant.track.report_anchors((head,))


def test_what_a_majority_finalized_is_final_and_never_falls() -> None:
    chain = Chain(4)
    for number in range(90, 101):
        chain.tell(float(number), number, number, number, number)
    finalize(chain, block(99), block(95), block(94), None)
    chain.tell(101.0)
    assert chain.heads.finality.final == block(95)
    assert chain.heads.finality.named("final") == block(95)
    finalize(chain, block(91), block(91), block(91), block(91))
    chain.tell(102.0)
    assert chain.heads.finality.floor == 95


def test_a_lone_word_about_final_blocks_is_none() -> None:
    chain = Chain(4)
    chain.tell(0.0, 100, 100, 100, 100)
    finalize(chain, block(100))
    chain.tell(1.0)
    assert chain.heads.finality.final is None
    finalize(chain, block(2000), block(2000), block(2000))
    chain.tell(2.0)
    assert chain.heads.finality.final is None  # above the head


def test_who_contradicts_a_final_block_is_isolated_even_as_a_majority() -> None:
    chain = Chain(3)
    for number in range(90, 101):
        chain.tell(float(number), number, number, number)
    finalize(chain, *[block(98)] * 3)
    chain.tell(101.0)
    for claimant in chain.claimants[:2]:
        for number in range(95, 102):
            chain.heads.learn(block(number, "b", 94), claimant.name)
    chain.tell(102.0, block(98, "b", 94), block(101, "b", 94))
    assert chain.heads.served_head == block(100)
    assert chain.heads.reorgs == 0
    assert chain.heads.forked["p0"] == "its block 98 is not the finalized one"


def test_a_majority_that_contradicts_a_final_block_is_not_followed_for_want_of_headers() -> None:
    chain = Chain(3)
    for number in range(90, 101):
        chain.tell(float(number), number, number, number)
    finalize(chain, *[block(98)] * 3)
    chain.tell(101.0)
    for claimant in chain.claimants[:2]:
        for number in (98, 99, 100, 101):  # what comes before nobody tells
            chain.heads.learn(block(number, "b", 94), claimant.name)
    for second in (102.0, 104.0, 106.0):
        chain.tell(second, block(101, "b", 94), block(101, "b", 94))
        assert chain.heads.served_head == block(100)
    assert chain.heads.turns == 0


def test_a_head_that_falls_below_a_final_block() -> None:
    chain = Chain(3)
    for number in range(90, 101):
        chain.tell(float(number), number, number, number)
    finalize(chain, *[block(98)] * 3)
    chain.tell(101.0, None, None, 97)
    assert chain.heads.forked == {}
    chain.tell(102.0, None, None, 97)
    assert chain.heads.forked == {"p2": "its head fell to 97, below the finalized block 98"}


# ---- what clients were shown, and fast chains


def test_a_block_that_an_answer_names_is_served_where_two_have_it() -> None:
    chain = Chain(5)
    chain.tell(0.0, *[100] * 5)
    chain.tell(5.0, 101)
    heads = chain.heads
    assert not heads.raise_to(101, "0x65", chain.claimants, 5.0)
    chain.tell(5.1, None, 101)
    assert not heads.raise_to(101, "0xbad", chain.claimants, 5.1)
    assert not heads.raise_to(102, "0x66", chain.claimants, 5.1)
    assert heads.raise_to(101, "0x65", chain.claimants, 5.1)
    assert heads.served == 101


def test_on_fast_chains_it_moves_about_once_a_second() -> None:
    chain = Chain(3, block_time=0.25)
    moves = []
    for step in range(80):
        now = step * 0.05
        number = 100 + int(now / 0.25)
        before = chain.heads.served
        if chain.tell(now, number, number, number) != before:
            moves.append(now)
    assert len(moves) == 5
    assert chain.heads.served >= 112


def test_headers_told_without_hashes_are_linked_by_number() -> None:
    chain = Chain(4)
    chain.tell(0.0, *[Head(100)] * 4)
    assert chain.tell(12.0, *[Head(101)] * 3) == 101
    assert chain.heads.hash_at(101) == ""
    assert chain.tell(13.0, None, None, None, Head(90)) == 101
    assert chain.heads.forked == {}


@given(
    st.integers(1, 6),
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 2000), st.floats(0, 5), st.integers(0, 63)),
        max_size=80,
    ),
)
def test_without_forks_it_decreases_only_to_correct_a_lone_voice(
    count: int, steps: list[tuple[int, int, float, int]]
) -> None:
    chain = Chain(count)
    now, before, told = 0.0, -1, {-1}
    for index, number, gap, mask in steps:
        now += gap
        told |= {number, number - 1}
        chain.report(chain.claimants[index % count], block(number), now)
        usable = [c for i, c in enumerate(chain.claimants) if mask & (1 << i)]
        was_backed = chain.heads.is_backed
        chain.heads.settle(usable, count, now)
        assert chain.heads.served >= before or not was_backed
        assert chain.heads.served in told
        assert chain.heads.reorgs == 0
        before = chain.heads.served
        for claimant in chain.claimants:
            assert claimant.track.low_water <= claimant.track.number
