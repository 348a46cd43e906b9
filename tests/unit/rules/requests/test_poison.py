"""The memory of requests that lately failed everywhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.rules.requests.poison import MAX_REMEMBERED, POISON_SECONDS, PoisonMemory

KEY = b'debug_traceTransaction ["0x1"]'


def test_nothing_is_poison_at_first() -> None:
    assert not PoisonMemory().is_poison(KEY, 0.0)
    assert len(PoisonMemory()) == 0


def test_it_is_remembered_for_a_while_and_then_forgotten() -> None:
    memory = PoisonMemory()
    memory.remember(KEY, 100.0)
    assert memory.is_poison(KEY, 100.0)
    assert memory.is_poison(KEY, 100.0 + POISON_SECONDS - 0.01)
    assert not memory.is_poison(KEY, 100.0 + POISON_SECONDS)
    assert len(memory) == 0
    assert not memory.is_poison(KEY, 100.0)


def test_others_are_not_meant() -> None:
    memory = PoisonMemory()
    memory.remember(KEY, 100.0)
    assert not memory.is_poison(KEY + b" ", 100.0)
    assert not memory.is_poison(b"", 100.0)


def test_failing_again_renews_the_memory() -> None:
    memory = PoisonMemory()
    memory.remember(KEY, 100.0)
    memory.remember(KEY, 120.0)
    assert len(memory) == 1
    assert memory.is_poison(KEY, 120.0 + POISON_SECONDS - 0.01)


def test_it_is_bounded_and_forgets_the_oldest_first() -> None:
    memory = PoisonMemory()
    for number in range(MAX_REMEMBERED):
        memory.remember(b"%d" % number, 100.0)
    memory.remember(b"0", 101.0)  # not the oldest any more
    memory.remember(KEY, 101.0)
    assert len(memory) == MAX_REMEMBERED
    assert memory.is_poison(b"0", 101.0)
    assert memory.is_poison(KEY, 101.0)
    assert not memory.is_poison(b"1", 101.0)
    assert memory.is_poison(b"2", 101.0)


def test_what_is_kept_does_not_grow_with_the_request() -> None:
    memory = PoisonMemory()
    memory.remember(b"x" * 1_000_000, 100.0)
    assert [len(key) for key in memory._until] == [16]


@given(st.lists(st.tuples(st.binary(max_size=3), st.floats(0, 60)), max_size=40), st.binary())
def test_only_what_was_remembered_is_poison(
    remembered: list[tuple[bytes, float]], key: bytes
) -> None:
    memory = PoisonMemory()
    latest = {}
    for known, after in sorted(remembered, key=lambda item: item[1]):
        memory.remember(known, after)
        latest[known] = after
    is_fresh = key in latest and latest[key] + POISON_SECONDS > 60.0
    assert memory.is_poison(key, 60.0) is is_fresh
