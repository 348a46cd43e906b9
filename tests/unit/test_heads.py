from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.messages import Head
from rpcproxy.rules.heads import Heads, HeadTrack


@dataclass
class Claimant:
    provider: str
    track: HeadTrack = field(default_factory=HeadTrack)


class Chain:
    def __init__(self, count: int, block_time: float = 12.0, expected: int | None = None) -> None:
        self.claimants = [Claimant(f"p{i}") for i in range(count)]
        self.heads = Heads(block_time)
        self.expected = count if expected is None else expected

    def tell(self, now: float, *numbers: int | None) -> int:
        for claimant, number in zip(self.claimants, numbers, strict=False):
            if number is not None:
                claimant.track.report(Head(number, f"0x{number:x}"), now)
        self.heads.settle(self.claimants, self.expected, now)
        return self.heads.served


# ---- one upstream's reports


def test_growing_heads_are_relied_on_at_once() -> None:
    track = HeadTrack()
    assert (track.number, track.low_water, track.head) == (-1, -1, None)
    for number in (100, 101, 101, 105):
        track.report(Head(number), float(number))
    assert (track.number, track.low_water) == (105, 105)
    assert track.moved_at == 105.0


def test_several_machines_behind_one_url_lower_the_mark() -> None:
    track = HeadTrack()
    for now, number in enumerate([100, 97, 101, 100]):
        track.report(Head(number), float(now))
    assert (track.number, track.low_water) == (101, 98)
    for now in range(4, 12):
        track.report(Head(101), float(now))
    assert track.low_water == 100  # the fall by three left the last ten reports
    track.report(Head(101), 12.0)
    assert track.low_water == 101


def test_a_head_that_is_gone_from_the_last_ten_reports_is_forgotten() -> None:
    track = HeadTrack()
    track.report(Head(1100), 0.0)
    for now in range(1, 11):
        track.report(Head(100), float(now))
    assert (track.number, track.low_water, track.moved_at) == (100, 100, 10.0)
    assert track.number_since(9.0) == -1
    assert track.number_since(10.0) == 100


def test_the_latest_of_two_hashes_is_kept() -> None:
    track = HeadTrack()
    track.report(Head(5, "0xa"), 0.0)
    assert not track.report(Head(5, "0xb"), 1.0)
    assert track.head == Head(5, "0xb")
    assert not track.report(Head(-1), 2.0)
    assert track.still_seconds() == 1.0
    assert track.copy().head == track.head
    assert HeadTrack().still_seconds() == 0.0


# ---- the served head


def test_a_majority_moves_it() -> None:
    chain = Chain(4)
    assert chain.tell(0.0, 100, 100) == -1
    assert chain.tell(0.1, None, None, 100) == 100
    assert chain.tell(1.0, 101, 101) == 100
    assert chain.tell(1.1, None, None, 101) == 101
    assert chain.heads.served_head == Head(101, "0x65")
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
    others[0].track.report(Head(100), 11.0)
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


def test_lag_is_not_counted_from_a_liar_heard_first() -> None:
    chain = Chain(4)
    liar, others = chain.claimants[0], chain.claimants[1:]
    liar.track.report(Head(1100), 0.0)
    chain.heads.settle([liar], 4, 0.0)
    chain.heads.settle([liar], 4, 2.0)
    assert chain.heads.served == 1100
    for other in others:
        other.track.report(Head(100), 3.0)
    chain.heads.settle(chain.claimants, 4, 3.0)
    assert (chain.heads.served, chain.heads.reference) == (1100, 100)
    assert chain.heads.highest_plausible(3.0) < 1100


def test_nobody_usable_changes_nothing() -> None:
    heads = Heads(12.0)
    assert not heads.settle([], 4, 0.0)
    assert not heads.settle([Claimant("p")], 1, 0.0)
    assert heads.highest_plausible(0.0) > 2**60
    assert not heads.settle_halt([])


def test_a_chain_that_stands_is_halted_and_resumes() -> None:
    chain = Chain(3, block_time=2.0)
    for second in range(21):
        chain.tell(float(second), 100, 100, 100)
        changed = chain.heads.settle_halt(chain.claimants)
        assert changed == (second == 20)
    assert chain.heads.is_halted
    chain.tell(21.0, 101, 100, 100)
    assert chain.heads.settle_halt(chain.claimants)
    assert not chain.heads.is_halted


def test_upstreams_that_do_not_report_are_no_halt() -> None:
    chain = Chain(2, block_time=2.0)
    chain.tell(0.0, 100, 100)
    chain.tell(500.0)
    assert not chain.heads.settle_halt(chain.claimants)


def test_the_block_time_is_learned() -> None:
    chain = Chain(3, block_time=12.0)
    assert (chain.heads.hold_seconds, chain.heads.stall_seconds) == (2.0, 36.0)
    for block in range(2000):
        chain.tell(block * 2.0, *[100 + block] * 3)
    assert chain.heads.block_time_seconds == pytest.approx(2.0, rel=0.1)
    assert chain.heads.hold_seconds == pytest.approx(1.0, rel=0.1)
    assert chain.heads.halt_seconds == 20.0


def test_a_reload_goes_on_from_what_was_served() -> None:
    chain = Chain(3)
    chain.tell(0.0, 100, 100, 100)
    new = Heads(6.0)
    new.adopt(chain.heads)
    assert (new.served, new.reference, new.block_time_seconds) == (100, 100, 6.0)


@given(
    st.integers(1, 6),
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 2000), st.floats(0, 5), st.integers(0, 63)),
        max_size=80,
    ),
)
def test_the_served_head_never_decreases_and_somebody_told_it(
    count: int, steps: list[tuple[int, int, float, int]]
) -> None:
    chain = Chain(count)
    now, before, told = 0.0, -1, {-1}
    for index, number, gap, mask in steps:
        now += gap
        told.add(number)
        chain.claimants[index % count].track.report(Head(number), now)
        usable = [c for i, c in enumerate(chain.claimants) if mask & (1 << i)]
        chain.heads.settle(usable, count, now)
        assert chain.heads.served >= before
        assert chain.heads.served in told
        before = chain.heads.served
        for claimant in chain.claimants:
            assert claimant.track.low_water <= claimant.track.number
