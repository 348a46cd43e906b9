from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.method import Data
from rpcproxy.messages import MethodClass
from rpcproxy.rules.standing.exclusions import RANGE_SECONDS, Exclusions
from rpcproxy.rules.standing.need import Need, of_old
from rpcproxy.rules.standing.reach import (
    FORGET_SECONDS,
    LONGEST_FORGET_SECONDS,
    NEAR_BLOCKS,
    Reach,
)

STATE, HISTORY, TRACES = Data
HEAD = 1_000_000


def pruned(depth: int = 128) -> Reach:
    reach = Reach()
    reach.on_missed(HEAD - depth, HEAD, STATE, 0.0)
    return reach


# ---- learning


def test_who_missed_nothing_may_have_everything() -> None:
    reach = Reach()
    assert reach.may_have(0, HEAD, STATE, 0.0)
    assert reach.doubt(0, HEAD, STATE, 0.0) == 1
    assert reach.missed_depth(STATE, 0.0) is None


def test_what_was_missed_is_missing_from_there_on_down() -> None:
    reach = pruned(128)
    assert not reach.may_have(HEAD - 128, HEAD, STATE, 1.0)
    assert not reach.may_have(0, HEAD, STATE, 1.0)
    assert reach.may_have(HEAD - 127, HEAD, STATE, 1.0)
    assert reach.may_have(0, HEAD, HISTORY, 1.0)
    assert reach.may_have(0, HEAD, TRACES, 1.0)
    assert reach.missed_depth(STATE, 1.0) == 128


def test_what_a_pruned_node_keeps_moves_with_its_head() -> None:
    reach = pruned(128)
    later = HEAD + 500
    assert not reach.may_have(later - 128, later, STATE, 1.0)
    assert reach.may_have(later - 127, later, STATE, 1.0)


def test_misses_near_the_head_and_without_a_head_teach_nothing() -> None:
    reach = Reach()
    reach.on_missed(HEAD - NEAR_BLOCKS + 1, HEAD, STATE, 0.0)
    reach.on_missed(HEAD + 5, HEAD, STATE, 0.0)
    reach.on_missed(5, -1, STATE, 0.0)
    reach.on_missed(-1, HEAD, STATE, 0.0)
    assert reach.missed_depth(STATE, 0.0) is None
    assert reach.may_have(5, -1, STATE, 0.0)


def test_the_nearest_miss_counts() -> None:
    reach = Reach()
    reach.on_missed(HEAD - 200, HEAD, STATE, 0.0)
    reach.on_missed(HEAD - 100, HEAD, STATE, 1.0)
    reach.on_missed(HEAD - 300, HEAD, STATE, 2.0)
    assert reach.missed_depth(STATE, 3.0) == 100


def test_a_success_that_deep_corrects_a_miss() -> None:
    reach = pruned(128)
    reach.on_served(HEAD - 100, HEAD, STATE)
    assert reach.missed_depth(STATE, 1.0) == 128
    reach.on_served(HEAD - 500, HEAD, STATE)
    assert reach.may_have(HEAD - 500, HEAD, STATE, 1.0)
    assert not reach.may_have(HEAD - 501, HEAD, STATE, 1.0)
    reach.on_served(-1, HEAD, STATE)
    reach.on_served(HEAD - 400, HEAD, STATE)
    assert reach.missed_depth(STATE, 1.0) == 501


def test_a_miss_corrects_a_success() -> None:
    reach = Reach()
    reach.on_served(0, HEAD, STATE)
    assert reach.doubt(0, HEAD, STATE, 0.0) == 0
    reach.on_missed(HEAD - 5000, HEAD, STATE, 0.0)
    assert reach.doubt(HEAD - 5000, HEAD, STATE, 0.0) > 1
    assert reach.doubt(HEAD - 4999, HEAD, STATE, 0.0) == 0


def test_misses_are_forgotten_later_each_time() -> None:
    reach, now, waits = Reach(), 0.0, []
    for _ in range(8):
        reach.on_missed(0, HEAD, STATE, now)
        start = now
        while not reach.may_have(0, HEAD, STATE, now):
            now += 60.0
        waits.append(now - start)
    assert waits[:3] == [FORGET_SECONDS, 2 * FORGET_SECONDS, 4 * FORGET_SECONDS]
    assert waits[-1] == LONGEST_FORGET_SECONDS
    assert reach.missed_depth(STATE, now) is None
    reach.on_served(0, HEAD, STATE)  # it was an archive after all
    reach.on_missed(0, HEAD, STATE, now + 1e6)
    assert reach.missed_depth(STATE, now + 1e6 + FORGET_SECONDS - 1.0) == HEAD
    assert reach.missed_depth(STATE, now + 1e6 + FORGET_SECONDS) is None


def test_doubt_orders_by_what_is_known() -> None:
    proven, unknown, shallow, deep = Reach(), Reach(), pruned(100), pruned(50_000)
    proven.on_served(0, HEAD, STATE)
    doubts = [reach.doubt(1000, HEAD, STATE, 1.0) for reach in (proven, unknown, deep, shallow)]
    assert doubts[:2] == [0, 1]
    assert doubts == sorted(set(doubts))
    assert pruned().doubt(HEAD - 3, HEAD, STATE, 1.0) == 0


def test_a_copy_is_its_own() -> None:
    reach = pruned(128)
    reach.on_served(HEAD - 50, HEAD, HISTORY)
    twin = reach.copy()
    reach.on_served(0, HEAD, STATE)
    assert twin.missed_depth(STATE, 1.0) == 128
    assert twin.doubt(HEAD - 50, HEAD, HISTORY, 1.0) == 0
    twin.on_missed(HEAD - 70, HEAD, STATE, 1.0)
    assert twin.missed_depth(STATE, 1.0) == 70
    assert reach.missed_depth(STATE, 1.0) == HEAD + 1


steps = st.lists(st.tuples(st.integers(0, 3 * NEAR_BLOCKS), st.integers(0, 2), st.integers(0, 900)))


@given(steps=steps, kept=st.integers(NEAR_BLOCKS, 3 * NEAR_BLOCKS))
def test_a_pruned_node_is_never_wronged(steps: list[tuple[int, int, int]], kept: int) -> None:
    """It is asked at growing heads, and serves the last ``kept`` blocks: what it has is never
    taken for missing, and what it missed is not asked twice before that is forgotten.
    """
    reach, head, now = Reach(), HEAD, 0.0
    for depth, moved, seconds in steps:
        head, now = head + moved, now + seconds
        block = head - depth
        if depth < kept:
            assert reach.may_have(block, head, STATE, now)
            reach.on_served(block, head, STATE)
        else:
            reach.on_missed(block, head, STATE, now)
            assert not reach.may_have(block, head, STATE, now)
            assert not reach.may_have(block, head, STATE, now + FORGET_SECONDS - 1.0)


# ---- needs


def test_a_need_gets_its_depth_only_where_it_is_worth_a_look() -> None:
    need = Need(MethodClass.LIGHT, block=HEAD)
    assert of_old(need, HEAD, HEAD, HEAD) is need
    assert of_old(need, HEAD - NEAR_BLOCKS + 1, HEAD - NEAR_BLOCKS + 1, HEAD) is need
    assert of_old(need, 5, 5, -1) is need
    assert need.lowest == -1
    deep = of_old(need, 5, 5, HEAD)
    assert (deep.lowest, deep.span, deep.block) == (5, 1, HEAD)
    wide = of_old(need, HEAD - 9, HEAD, HEAD)
    assert (wide.lowest, wide.span) == (HEAD - 9, 10)


# ---- ranges that are refused


def test_ranges_as_wide_as_a_refused_one_are_refused() -> None:
    exclusions = Exclusions()
    assert exclusions.widest_range(0.0) is None
    exclusions.on_range_taken(500)
    exclusions.on_range_refused(5000, 0, 0.0)
    assert exclusions.refuses_range(5000, 1.0)
    assert not exclusions.refuses_range(4999, 1.0)
    assert exclusions.widest_range(1.0) == 4999
    exclusions.on_range_refused(2000, 0, 1.0)
    exclusions.on_range_refused(9000, 0, 2.0)
    assert exclusions.widest_range(3.0) == 1999
    assert not exclusions  # other requests need no care for it


def test_its_own_word_on_the_limit_counts() -> None:
    exclusions = Exclusions()
    exclusions.on_range_refused(5000, 1000, 0.0)
    assert exclusions.widest_range(1.0) == 1000
    exclusions.on_range_refused(300, 1000, 0.0)  # refused below its own limit all the same
    assert exclusions.widest_range(1.0) == 299
    exclusions.on_range_refused(1, 0, 0.0)  # no range at all
    assert exclusions.widest_range(1.0) == 299


def test_a_range_that_it_took_corrects_a_refusal() -> None:
    exclusions = Exclusions()
    exclusions.on_range_refused(1000, 0, 0.0)
    exclusions.on_range_taken(999)
    assert exclusions.refuses_range(1000, 1.0)
    exclusions.on_range_taken(1000)
    assert not exclusions.refuses_range(10**6, 1.0)
    exclusions.on_range_refused(1000, 0, 2.0)
    assert exclusions.took_blocks == 999


def test_refused_ranges_are_forgotten_and_copied() -> None:
    exclusions = Exclusions()
    exclusions.on_range_refused(1000, 0, 0.0)
    twin = exclusions.copy()
    assert not exclusions.refuses_range(1000, RANGE_SECONDS)
    assert exclusions.widest_range(RANGE_SECONDS) is None
    exclusions.forget_expired(RANGE_SECONDS)
    assert exclusions.refused_blocks == 0
    assert twin.refuses_range(1000, RANGE_SECONDS - 1.0)
