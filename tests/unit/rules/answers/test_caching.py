"""The memory of answers: its budget, its end of life, reorgs, and who stays."""

from __future__ import annotations

import random
import tracemalloc
from bisect import bisect
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rpcproxy.rules.answers import caching
from rpcproxy.rules.answers.caching import LARGEST_SHARE, OVERHEAD_BYTES, AnswerCache
from tests.kits.effort import lines_run

FOREVER = -1
MIB = 1024 * 1024


def size_of(key: bytes, result: bytes) -> int:
    return len(key) + len(result) + OVERHEAD_BYTES


# --------------------------------------------------------------------------
# One answer


def test_an_answer_is_given_under_its_key_alone() -> None:
    cache = AnswerCache(MIB)
    assert cache.put(b"a", b'"0x1"', FOREVER, now=0)
    assert cache.get(b"a", 0) == b'"0x1"'
    assert cache.get(b"b", 0) is None
    assert (cache.hits, cache.misses, len(cache)) == (1, 1, 1)
    assert cache.size_bytes == size_of(b"a", b'"0x1"')


def test_a_later_answer_replaces_the_earlier() -> None:
    cache = AnswerCache(MIB)
    cache.put(b"a", b"1", 5, now=0, until=10)
    cache.put(b"a", b"22", 6, now=1, until=20)
    assert cache.get(b"a", 15) == b"22"
    assert len(cache) == 1
    assert cache.size_bytes == size_of(b"a", b"22")
    cache.evict_above(5)
    assert cache.get(b"a", 15) is None


def test_an_answer_is_given_before_its_time_is_up() -> None:
    cache = AnswerCache(MIB)
    cache.put(b"a", b"1", FOREVER, now=0, until=2.5)
    assert cache.get(b"a", 2.4) == b"1"
    assert cache.get(b"a", 2.5) is None
    assert (len(cache), cache.size_bytes, cache.evicted) == (0, 0, 0)


def test_what_is_over_already_is_not_kept_and_ends_what_was_there() -> None:
    cache = AnswerCache(MIB)
    cache.put(b"a", b"1", FOREVER, now=0)
    assert not cache.put(b"a", b"2", FOREVER, now=5, until=5)
    assert cache.get(b"a", 5) is None
    assert cache.rejected == 1


def test_an_answer_too_large_is_refused_and_ends_what_was_there() -> None:
    cache = AnswerCache(MIB)
    most = int(MIB * LARGEST_SHARE) - OVERHEAD_BYTES - 1
    assert cache.put(b"a", b"x" * most, FOREVER, now=0)
    assert not cache.put(b"a", b"x" * (most + 1), FOREVER, now=0)
    assert cache.get(b"a", 0) is None
    assert (cache.rejected, cache.size_bytes) == (1, 0)


@pytest.mark.parametrize("max_bytes", [0, -1, -MIB])
def test_without_a_budget_nothing_is_kept_and_all_works(max_bytes: int) -> None:
    cache = AnswerCache(max_bytes)
    assert not cache.put(b"a", b"1", 1, now=0)
    assert cache.get(b"a", 0) is None
    cache.clear()
    cache.evict_above(0)
    assert (len(cache), cache.size_bytes, cache.rejected, cache.evicted) == (0, 0, 0, 0)


def test_cleared() -> None:
    cache = AnswerCache(MIB)
    for n in range(10):
        cache.put(b"%d" % n, b"1", n, now=0, until=100)
    cache.get(b"1", 0)
    cache.clear()
    assert (len(cache), cache.size_bytes, cache.hits) == (0, 0, 1)
    assert all(cache.get(b"%d" % n, 0) is None for n in range(10))
    cache.evict_above(-1)
    assert cache.put(b"1", b"2", 3, now=0)
    assert cache.get(b"1", 0) == b"2"


# --------------------------------------------------------------------------
# Reorgs and time


def test_a_reorg_takes_what_depends_on_blocks_above() -> None:
    cache = AnswerCache(MIB)
    for block in (FOREVER, 8, 9, 10, 11):
        cache.put(b"%d" % block, b"1", block, now=0)
    cache.evict_above(9)
    cache.put(b"new 10", b"1", 10, now=0)
    assert [b for b in (FOREVER, 8, 9, 10, 11) if cache.get(b"%d" % b, 0)] == [FOREVER, 8, 9]
    assert cache.get(b"new 10", 0) == b"1"
    assert cache.evicted == 0
    assert (len(cache), cache.misses) == (4, 2)  # what is over goes when it is asked for


def test_the_deepest_reorg_since_counts() -> None:
    cache = AnswerCache(MIB)
    for number, above in enumerate((8, 5, 7, 9)):
        for block in range(12):
            cache.put(b"%d %d" % (number, block), b"1", block, now=0)
        cache.evict_above(above)
    kept = [
        max(block for block in range(12) if cache.get(b"%d %d" % (number, block), 0))
        for number in range(4)
    ]
    assert kept == [5, 5, 7, 9]
    assert [
        max(block for block in range(12) if cache.get(b"%d %d" % (number, block), 0))
        for number in range(4)
    ] == kept


def test_a_reorg_above_all_that_is_kept_changes_nothing() -> None:
    cache = AnswerCache(MIB)
    cache.put(b"a", b"1", 5, now=0)
    for _ in range(3 * caching.MOST_EPOCHS):
        cache.evict_above(5)
    assert not cache._cuts
    assert cache.get(b"a", 0) == b"1"


def test_after_very_many_reorgs_the_old_is_over_and_the_cuts_are_bounded() -> None:
    cache = AnswerCache(MIB)
    cache.put(b"old", b"1", FOREVER, now=0)
    cache.put(b"asked for", b"1", FOREVER, now=0)
    for _ in range(2 * caching.MOST_EPOCHS):
        cache.put(b"new", b"1", 10, now=0)
        cache.evict_above(9)
        assert cache.get(b"asked for", 0) == b"1"
    assert len(cache._cuts) <= caching.MOST_EPOCHS
    assert cache.get(b"old", 0) is None


def test_what_is_over_gets_no_second_chance() -> None:
    cache = AnswerCache(20 * size_of(b"00", b"1") * 32)
    for n in range(2000):
        key = b"%d" % n
        cache.put(key, b"1", n, now=n / 100, until=n / 100 + 1.5)
        cache.get(key, n / 100)
        if n % 10 == 0:
            cache.evict_above(n - 1)
        over = [
            entry
            for entry in cache._main.values()
            if entry.until <= n / 100 or (entry.block % 10 == 0 and entry.epoch < cache._epoch)
        ]
        assert len(over) <= len(cache)
    for n in range(1000):
        cache.put(b"fill %d" % n, b"1", FOREVER, now=100)
        cache.get(b"fill %d" % n, 100)
    assert all(entry.until > 100 for entry in cache._main.values())


# --------------------------------------------------------------------------
# For a while


def test_what_is_brief_lasts_half_a_minute_at_least_and_a_minute_at_most() -> None:
    cache = AnswerCache(MIB)
    for n in range(100):
        cache.put_brief(b"%d" % n, b"1", 5, now=float(n))
        for earlier in range(max(0, n - 29), n + 1):
            assert cache._younger.get(b"%d" % earlier) or cache._elder.get(b"%d" % earlier)
    assert len(cache) <= 60
    assert cache.get(b"30", 99) is None
    assert cache.get(b"95", 99) == b"1"


def test_without_new_ones_the_brief_come_to_an_end_as_well() -> None:
    cache = AnswerCache(MIB)
    cache.put_brief(b"a", b"1", 5, now=0)
    cache.put_brief(b"b", b"1", 5, now=31)
    assert cache.get(b"b", 32) == b"1"
    assert cache.get(b"c", 62) is None
    assert cache.get(b"c", 93) is None
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_what_is_asked_for_stays_for_longer() -> None:
    cache = AnswerCache(MIB)
    cache.put_brief(b"asked for", b"1", 5, now=0)
    for n in range(1, 300):
        cache.put_brief(b"%d" % n, b"1", 5, now=float(n))
        assert cache.get(b"asked for", float(n)) == b"1"


def test_a_reorg_takes_all_that_is_brief() -> None:
    cache = AnswerCache(MIB)
    cache.put_brief(b"a", b"1", 5, now=0)
    cache.put(b"b", b"1", 5, now=0)
    cache.evict_above(9)
    assert cache.get(b"a", 1) is None
    assert cache.get(b"b", 1) == b"1"
    assert cache.size_bytes == size_of(b"b", b"1")


def test_a_large_brief_one_takes_no_room_from_the_others() -> None:
    cache = AnswerCache(MIB)
    cache.put_brief(b"a", b"1", 5, now=0)
    large = b"x" * int(cache._brief_room * LARGEST_SHARE)
    cache.put_brief(b"large", large, 5, now=0)
    assert cache.get(b"large", 29) == large
    assert cache.get(b"large", 30) is None
    assert cache.get(b"a", 30) == b"1"


def test_the_brief_keep_to_their_room() -> None:
    cache = AnswerCache(MIB)
    for n in range(20_000):
        cache.put_brief(b"%d" % n, b"x" * 100, n, now=0)
        assert cache.size_bytes <= MIB
    assert cache.evicted > 15_000
    assert cache.get(b"19999", 0) is not None


# --------------------------------------------------------------------------
# Who stays


class Lru:
    """Plain least-recently-used, of the same number of entries."""

    def __init__(self, count: int) -> None:
        self._held: OrderedDict[bytes, None] = OrderedDict()
        self._count = count

    def ask(self, key: bytes) -> bool:
        if key in self._held:
            self._held.move_to_end(key)
            return True
        self._held[key] = None
        if len(self._held) > self._count:
            self._held.popitem(last=False)
        return False


class Ours:
    RESULT = b"x" * 100

    def __init__(self, count: int) -> None:
        self.cache = AnswerCache(count * size_of(b"s12345", self.RESULT))

    def ask(self, key: bytes) -> bool:
        if self.cache.get(key, 0.0) is not None:
            return True
        if key.startswith(b"b"):
            self.cache.put_brief(key, self.RESULT, 1, 0.0)
        else:
            self.cache.put(key, self.RESULT, FOREVER, 0.0)
        return False


def zipf(rng: random.Random, keys: int, exponent: float) -> Iterator[int]:
    weights = list(accumulate(1 / (n + 1) ** exponent for n in range(keys)))
    while True:
        yield bisect(weights, rng.random() * weights[-1])


def zipf_trace(rng: random.Random) -> Iterator[bytes]:
    ranks = zipf(rng, 50_000, 0.9)
    for _ in range(100_000):
        yield b"s%05d" % next(ranks)


def trace_with_scans(rng: random.Random) -> Iterator[bytes]:
    """Four in ten are asked once and never again, in runs."""
    ranks = zipf(rng, 50_000, 0.9)
    for scan in range(20):
        for _ in range(3000):
            yield b"s%05d" % next(ranks)
        for n in range(2000):
            yield b"o%05d" % (scan * 2000 + n)


def trace_at_heads(rng: random.Random) -> Iterator[bytes]:
    """Half is asked of the newest block, by many at once, and never again later."""
    ranks = zipf(rng, 50_000, 0.9)
    for block in range(75):
        for _ in range(1500):
            if rng.random() < 0.5:
                yield b"s%05d" % next(ranks)
            else:
                yield b"b%03d%02d" % (block, rng.randrange(100))


@pytest.mark.parametrize("trace", [zipf_trace, trace_with_scans, trace_at_heads])
def test_hit_ratio_beats_plain_lru(trace: object) -> None:
    ratios = {}
    for policy in (Lru, Ours):
        asked = hits = 0
        it = policy(4000)
        for key in trace(random.Random(2)):  # type: ignore[operator]
            asked += 1
            hits += it.ask(key)
        ratios[policy.__name__] = hits / asked
    print(trace.__name__, {name: f"{ratio:.1%}" for name, ratio in ratios.items()})
    assert ratios["Ours"] > ratios["Lru"] + 0.005


def test_a_scan_of_a_hundred_times_its_room_leaves_the_hot_ones() -> None:
    cache = AnswerCache(MIB)
    hot = [b"hot%d" % n for n in range(500)]
    for _ in range(2):
        for key in hot:
            if cache.get(key, 0) is None:
                cache.put(key, b"1", FOREVER, 0)
    put = cache.put
    for n in range(250_000):
        put(b"%d" % n, b"1", FOREVER, 0)
    kept = sum(cache.get(key, 0) is not None for key in hot)
    assert cache.evicted > 245_000
    assert kept == len(hot)


def test_what_comes_back_soon_after_it_left_stays() -> None:
    cache = AnswerCache(MIB)
    cache.put(b"again", b"1", FOREVER, 0)
    n = 0
    while b"again" in cache._small:
        n += 1
        cache.put(b"%d" % n, b"1", FOREVER, 0)
    assert b"again" not in cache._main
    cache.put(b"again", b"1", FOREVER, 0)
    assert b"again" in cache._main
    cache.put(b"again", b"2", FOREVER, 0)  # a new answer keeps its place
    assert b"again" in cache._main


def test_the_hot_ones_give_way_when_others_are_hotter() -> None:
    cache = AnswerCache(MIB)
    rng = random.Random(1)
    for era in range(3):
        keys = [b"%d %d" % (era, n) for n in range(1500)]
        for _ in range(12):
            for key in rng.choices(keys, k=len(keys)):
                if cache.get(key, 0) is None:
                    cache.put(key, b"1", FOREVER, 0)
        kept = sum(cache.get(key, 0) is not None for key in keys)
        assert kept > 1300


def test_a_put_passes_over_a_bounded_number_of_entries() -> None:
    """Everything is hot: without a bound, one put would go through all of it three times."""
    cache = AnswerCache(4 * MIB)
    for n in range(14_000):
        cache.put(b"%d" % n, b"1", FOREVER, 0)
        cache.get(b"%d" % n, 0)
    for _ in range(caching.MOST_USES):
        for key in list(cache._main):
            cache.get(key, 0)
    uses = sum(entry.uses for entry in cache._main.values())
    assert uses == caching.MOST_USES * len(cache._main) > 10_000
    cache._small_room = inf  # so that main is what gives way
    evicted = cache.evicted
    cache.put(b"new", b"1", FOREVER, 0)
    passed_over = uses - sum(entry.uses for entry in cache._main.values())
    assert cache.evicted == evicted + 1
    assert passed_over == caching._SECOND_CHANCES + caching.MOST_USES


# --------------------------------------------------------------------------
# What it costs


@pytest.mark.parametrize("count", [11_000, 22_500])
def test_the_budget_counts_what_an_entry_really_takes(count: int) -> None:
    """At the counts where the dictionaries have just grown; every index in use."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cache = AnswerCache(64 * MIB)
        for n in range(count):
            key, result = b"key %040d" % n, b"result %060d" % n
            cache.put(key, result, n // 50 + 300, now=n / 100, until=n / 100 + 1e6)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cache) == count
    real = after - before - 8 * len(cache._ghosts)
    print(f"{(real - cache.size_bytes) / count + OVERHEAD_BYTES:.0f} bytes beside key and answer")
    assert real <= cache.size_bytes


def test_it_is_lean() -> None:
    """However much is kept, a look-up is a few lines, and so is a reorg."""

    def costs(count: int) -> tuple[int, int, int]:
        cache = AnswerCache(16 * MIB)
        keys = [b'eth_getBalance:["0x%040x"]' % n for n in range(count)]
        for key in keys:
            cache.put(key, b'"0x1"', 7, 0.0)
        hit = lines_run(lambda: cache.get(keys[count // 2], 1.0))
        miss = lines_run(lambda: cache.get(b"x", 1.0))
        eviction = lines_run(lambda: cache.evict_above(6))
        assert (cache.hits, cache.misses) == (1, 1)
        assert not any(cache.get(key, 1.0) for key in keys)
        return hit, miss, eviction

    assert costs(10_000) == costs(10)
    assert max(costs(10)) < 30


# --------------------------------------------------------------------------
# Against a model

KEYS = st.integers(0, 40).map(lambda n: b"k%d" % n)
BLOCKS = st.integers(-1, 12)


class CacheAndModel(RuleBasedStateMachine):
    """The model is a dictionary that forgets nothing for lack of room: the cache may give less
    than it, never anything else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.max_bytes = 24 * (OVERHEAD_BYTES + 40) * 32 // 16
        self.cache = AnswerCache(self.max_bytes)
        self.model: dict[bytes, tuple[bytes, int, float]] = {}
        self.now = 0.0
        self.count = 0

    @rule(key=KEYS, block=BLOCKS, size=st.integers(0, 800), lasts=st.sampled_from([0, 0.5, 3, inf]))
    def put(self, key: bytes, block: int, size: int, lasts: float) -> None:
        self.count += 1
        result = b"%d:" % self.count + b"x" * size
        is_kept = self.cache.put(key, result, block, self.now, self.now + lasts)
        assert is_kept == (size_of(key, result) <= self.max_bytes // 32 and lasts > 0)
        self.model.pop(key, None)
        if is_kept:
            self.model[key] = (result, block, self.now + lasts)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        hits, misses = self.cache.hits, self.cache.misses
        given = self.cache.get(key, self.now)
        assert (self.cache.hits, self.cache.misses) == (
            (hits + 1, misses) if given is not None else (hits, misses + 1)
        )
        if given is not None:
            result, _, until = self.model[key]
            assert given == result
            assert self.now < until

    @rule(seconds=st.sampled_from([0.1, 0.4, 1, 5]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(number=BLOCKS)
    def reorg(self, number: int) -> None:
        self.cache.evict_above(number)
        self.model = {k: v for k, v in self.model.items() if v[1] <= number}

    @precondition(lambda self: self.count > 30)
    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.model.clear()
        self.count = 0

    @invariant()
    def is_in_order(self) -> None:
        cache = self.cache
        entries = [*cache._small.items(), *cache._main.items()]
        assert cache.size_bytes == sum(size_of(key, entry.result) for key, entry in entries)
        assert cache.size_bytes + 8 * len(cache._ghosts) <= self.max_bytes
        assert len(cache) == len(entries) == len(dict(entries))
        assert cache._small_bytes == sum(size_of(k, e.result) for k, e in cache._small.items())
        for key, entry in entries:
            known = self.model.get(key)
            assert known in (None, (entry.result, entry.block, entry.until))
            if known is None:
                assert entry.epoch < cache._epoch
                assert entry.block > cache._cuts[entry.epoch - cache._epoch + len(cache._cuts)]


CacheAndModel.TestCase.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
TestAgainstModel = CacheAndModel.TestCase


@given(
    max_bytes=st.integers(-100, 200_000),
    sizes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5000)), max_size=200),
)
@settings(max_examples=60, deadline=None)
def test_the_budget_holds_whatever_its_size(max_bytes: int, sizes: list[tuple[int, int]]) -> None:
    cache = AnswerCache(max_bytes)
    for n, (key_size, result_size) in enumerate(sizes):
        key = b"%d" % n + b"k" * key_size
        is_kept = cache.put(key, b"r" * result_size, n, now=0)
        assert cache.size_bytes <= max(0, max_bytes)
        if is_kept:
            assert len(cache) > 0
