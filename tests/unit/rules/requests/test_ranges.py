import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.chains.parts.errors import RangeRefusal
from rpcproxy.chains.registry import EVM
from rpcproxy.engine.attempts.executor import Settled
from rpcproxy.engine.reads.split_searches import SplitSearch, split_and_join, splittable
from rpcproxy.messages import Judgement, Reply, Verdict
from rpcproxy.rules.requests.split import (
    MAX_AT_ONCE,
    MAX_JOINED_BYTES,
    MAX_PARTS,
    Part,
    Split,
    first_width,
)
from tests.kits import waiting

GET_LOGS = EVM.methods.describe("eth_getLogs")
OF_WIDTH = RangeRefusal(of_width=True)
OF_CONTENT = RangeRefusal(of_width=False)

# ---- the first parts


def test_the_largest_limit_makes_the_first_parts() -> None:
    assert first_width(10_000, []) == 5000
    assert first_width(9, [OF_WIDTH]) == 5
    told = [RangeRefusal(of_width=True, limit=limit) for limit in (200, 1000, 500)]
    assert first_width(10_000, told) == 1000
    assert first_width(10_000, [RangeRefusal(of_width=False, suggested=400)]) == 400


def test_limits_that_make_too_many_parts_count_only_where_they_are_all_there_is() -> None:
    ten = RangeRefusal(of_width=True, limit=10)
    assert first_width(10_000, [ten]) == 10  # and so it is given up at once
    assert first_width(10_000, [ten, OF_CONTENT]) == 5000
    assert first_width(10_000, [RangeRefusal(of_width=False, suggested=10)]) == 5000
    assert Split(0, 9999, 10).is_over


# ---- parts


@given(low=st.integers(0, 2**40), blocks=st.integers(1, 5000), width=st.integers(1, 6000))
def test_a_cut_covers_the_part(low: int, blocks: int, width: int) -> None:
    part = Part(low, low + blocks - 1)
    pieces = part.cut(width)
    assert [n for piece in pieces for n in range(piece.low, piece.high + 1)] == [
        *range(part.low, part.high + 1)
    ]
    widths = [piece.blocks for piece in pieces]
    assert max(widths) <= width
    assert max(widths) - min(widths) <= 1
    assert len(pieces) == -(-blocks // width)


class Provider:
    """Refuses by width, and by how much a range holds."""

    def __init__(self, limit: int, dense: frozenset[int], *, tells: bool) -> None:
        self.limit = limit
        self.dense = dense
        self.tells = tells

    def refuses(self, part: Part) -> RangeRefusal | None:
        if part.blocks > self.limit:
            return RangeRefusal(of_width=True, limit=self.limit if self.tells else 0)
        if part.blocks > 1 and len(self.dense.intersection(range(part.low, part.high + 1))) > 1:
            return OF_CONTENT
        return None


@given(
    data=st.data(),
    low=st.integers(0, 10**9),
    blocks=st.integers(2, 400),
    limit=st.integers(1, 400),
    width=st.integers(0, 400),
    tells=st.booleans(),
)
def test_a_split_is_in_order_whole_and_within_bounds(
    data: st.DataObject, low: int, blocks: int, limit: int, width: int, tells: bool
) -> None:
    """Whatever is refused, and in whatever order parts come back."""
    dense = data.draw(st.frozensets(st.integers(low, low + blocks - 1), max_size=6))
    failing = data.draw(st.none() | st.integers(low, low + blocks - 1))
    provider = Provider(limit, dense, tells=tells)
    split = Split(low, low + blocks - 1, width)
    flying: list[Part] = []
    asked = 0
    while not split.is_over:
        while (part := split.next_part()) is not None:
            asked += 1
            flying.append(part)
        assert 0 < len(flying) <= MAX_AT_ONCE
        assert all(a.high < b.low or b.high < a.low for a in flying for b in flying if a is not b)
        part = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
        refusal = provider.refuses(part)
        if failing is not None and part.low <= failing <= part.high and refusal is None:
            split.on_failure()
        elif refusal is not None:
            split.on_refused(part, refusal)
        else:
            split.on_answer(part, b"%d-%d" % (part.low, part.high))
    assert asked <= MAX_PARTS
    answers = split.answers()
    if answers is None:
        if failing is None:  # only bounds give it up: no more parts than allowed would have done
            assert blocks > limit or dense or width < blocks
        return
    assert failing is None
    assert split.next_part() is None
    covered = [tuple(map(int, answer.split(b"-"))) for answer in answers]
    assert [n for first, last in covered for n in range(first, last + 1)] == [
        *range(low, low + blocks)
    ]


@given(blocks=st.integers(2, 2000), limit=st.integers(1, 2000), tells=st.booleans())
def test_a_split_is_had_where_the_bounds_allow(blocks: int, limit: int, tells: bool) -> None:
    """A limit on width alone is met as long as it takes at most half of the parts allowed; when
    it is told, all of them.
    """
    provider = Provider(limit, frozenset(), tells=tells)
    split = Split(0, blocks - 1, (blocks + 1) // 2)
    flying: list[Part] = []
    while not split.is_over:
        while (part := split.next_part()) is not None:
            flying.append(part)
        part = flying.pop(0)
        refusal = provider.refuses(part)
        if refusal is not None:
            split.on_refused(part, refusal)
        else:
            split.on_answer(part, b"[]")
    needed = -(-blocks // limit)
    if needed <= MAX_PARTS // 4:
        assert split.answers() is not None
    if needed > MAX_PARTS:
        assert split.answers() is None


def test_the_first_refusals_width_holds_for_the_parts_not_yet_asked() -> None:
    split = Split(0, 799, 100)
    asked = [split.next_part() for _ in range(MAX_AT_ONCE)]
    assert split.next_part() is None
    assert asked == [Part(low, low + 99) for low in (0, 100, 200, 300)]
    split.on_refused(Part(0, 99), RangeRefusal(of_width=True, limit=50))
    for part in (Part(100, 199), Part(200, 299), Part(300, 399)):
        split.on_answer(part, b"[]")
    parts = [split.next_part() for _ in range(MAX_AT_ONCE)]
    assert parts == [Part(0, 49), Part(50, 99), Part(400, 449), Part(450, 499)]


def test_a_dense_part_is_halved_alone() -> None:
    split = Split(0, 799, 400)
    first, second = split.next_part(), split.next_part()
    assert first is not None
    assert second is not None
    split.on_refused(first, OF_CONTENT)
    assert [split.next_part(), split.next_part()] == [Part(0, 199), Part(200, 399)]
    split.on_refused(second, OF_CONTENT)
    assert [split.next_part(), split.next_part()] == [Part(400, 599), Part(600, 799)]


def test_one_block_cannot_be_split() -> None:
    split = Split(7, 8, 1)
    part = split.next_part()
    assert part == Part(7, 7)
    split.on_refused(part, OF_CONTENT)
    assert split.is_over
    assert split.answers() is None


def test_the_whole_has_a_bound_in_bytes() -> None:
    split = Split(0, 1, 1)
    one, two = split.next_part(), split.next_part()
    assert one is not None
    assert two is not None
    half = bytes(MAX_JOINED_BYTES // 2)
    split.on_answer(two, half)
    assert not split.is_over
    assert split.answers() is None
    split.on_answer(one, half + b" ")
    assert split.is_over
    assert split.answers() is None


# ---- asked and joined


def params(low: int, high: int) -> bytes:
    return msgspec.json.encode(
        [{"address": "0xab", "fromBlock": hex(low), "toBlock": hex(high), "topics": []}]
    )


def asked_range(text: bytes) -> tuple[int, int]:
    query = msgspec.json.decode(text)[0]
    assert query["address"] == "0xab"
    return int(query["fromBlock"], 16), int(query["toBlock"], 16)


def refused(message: str, *others: str) -> Settled:
    said = [
        Judgement(
            Verdict.RANGE_TOO_LARGE,
            error=msgspec.Raw(msgspec.json.encode({"code": -32005, "message": each})),
        )
        for each in (message, *others)
    ]
    return Settled(said[0], failures=[(f"u{i}", each) for i, each in enumerate(said)])


def logs(low: int, high: int) -> Settled:
    return Settled(Judgement(Verdict.OK, msgspec.Raw(msgspec.json.encode([*range(low, high + 1)]))))


class Upstreams:
    """Stands in for the executor: ``answer`` says how a range settles. Parts that come later may
    end earlier.
    """

    def __init__(self, answer: Callable[[int, int], Settled]) -> None:
        self.answer = answer
        self.asked: list[tuple[int, int]] = []
        self.in_flight = 0
        self.most = 0
        self.cancelled = 0

    async def __call__(self, text: bytes) -> Settled:
        low, high = asked_range(text)
        self.asked.append((low, high))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            for _ in range(7 - len(self.asked) % 7):
                await asyncio.sleep(0)
            return self.answer(low, high)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1


def limited(limit: int, message: str = "block range is too wide") -> Upstreams:
    return Upstreams(lambda low, high: logs(low, high) if high - low < limit else refused(message))


LONG_SECONDS = 30.0


def search(low: int, high: int) -> SplitSearch:
    found = splittable(EVM.searches, EVM.errors.read_range, GET_LOGS, params(low, high))
    assert found is not None
    return found


async def joined(
    low: int, high: int, first: Settled | None, ask: Upstreams, **given: int
) -> Sequence[int] | None:
    settled = await split_and_join(search(low, high), first, ask, LONG_SECONDS, **given)
    assert ask.in_flight == 0
    if settled is None:
        return None
    assert settled.verdict is Verdict.OK
    assert settled.result is not None
    return msgspec.json.decode(settled.result, type=list[int])


async def test_a_range_refused_everywhere_is_had_in_parts() -> None:
    ask = limited(1000)
    assert await joined(5, 8004, refused("block range is too wide"), ask) == [*range(5, 8005)]
    assert ask.most == MAX_AT_ONCE


async def test_the_limit_that_was_told_makes_the_parts() -> None:
    ask = limited(1000)
    first = refused("max block range 200", "max block range 1000", "too many results")
    assert await joined(0, 3999, first, ask) == [*range(4000)]
    assert sorted(ask.asked) == [(0, 999), (1000, 1999), (2000, 2999), (3000, 3999)]


async def test_what_was_learned_makes_the_parts_without_a_first_attempt() -> None:
    ask = limited(1000)
    assert await joined(0, 1999, None, ask) == [*range(2000)]
    assert sorted(ask.asked) == [(0, 999), (1000, 1999)]


async def test_a_refusal_without_words_is_halved() -> None:
    ask = limited(600)
    first = Settled(Judgement(Verdict.RANGE_TOO_LARGE, detail="decompressed body too large"))
    assert await joined(0, 999, first, ask) == [*range(1000)]
    assert sorted(ask.asked) == [(0, 499), (500, 999)]


async def test_parts_too_large_to_hold_are_halved_and_their_streams_closed() -> None:
    closed = []

    class Rest:
        async def read(self) -> bytes:
            return b""

        def close(self) -> None:
            closed.append(self)

    def answer(low: int, high: int) -> Settled:
        if high - low < 100:
            return logs(low, high)
        return Settled(Judgement(Verdict.OK), Reply(200, b"[", rest=Rest()))

    ask = Upstreams(answer)
    assert await joined(0, 399, refused("too many results"), ask) == [*range(400)]
    assert len(closed) == 2


@pytest.mark.parametrize(
    "text",
    [
        b'[{"fromBlock":"0x1","toBlock":"latest"}]',
        b'[{"blockHash":"0x%b"}]' % (b"a" * 64),
        b'[{"fromBlock":"0x5","toBlock":"0x5"}]',
        b'[{"fromBlock":"0x6","toBlock":"0x5"}]',
        b"[]",
    ],
)
def test_what_is_no_range_in_numbers_is_not_split(text: bytes) -> None:
    assert splittable(EVM.searches, EVM.errors.read_range, GET_LOGS, text) is None


def test_where_a_kind_has_no_searches_nothing_is_split() -> None:
    assert splittable(None, EVM.errors.read_range, GET_LOGS, params(0, 100)) is None


def test_what_may_not_be_joined_is_not_split() -> None:
    latest_logs = EVM.methods.describe("erigon_getLatestLogs")
    assert splittable(EVM.searches, EVM.errors.read_range, latest_logs, params(0, 100)) is None


@pytest.mark.parametrize(
    "first", [Settled(None), Settled(Judgement(Verdict.MISSING_DATA)), logs(0, 1)]
)
async def test_only_refusals_of_a_range_are_split(first: Settled) -> None:
    ask = limited(10)
    assert await joined(0, 100, first, ask) is None
    assert ask.asked == []


@pytest.mark.parametrize(
    "failed",
    [
        Settled(None, exhausted=True),
        Settled(Judgement(Verdict.TIMEOUT), exhausted=True),
        Settled(Judgement(Verdict.MISSING_DATA)),
        Settled(Judgement(Verdict.SERVER_ERROR)),
    ],
)
async def test_without_every_part_nothing_is_given(failed: Settled) -> None:
    ask = Upstreams(lambda low, high: failed if low <= 300 <= high else logs(low, high))
    assert await joined(0, 999, refused("max block range 100"), ask) is None
    assert len(ask.asked) <= 3 + MAX_AT_ONCE


async def test_more_parts_than_allowed_are_not_even_begun() -> None:
    ask = limited(10)
    assert await joined(0, 10 * MAX_PARTS - 1, refused("max block range 10"), ask) is not None
    assert len(ask.asked) == MAX_PARTS
    ask = limited(10)
    assert await joined(0, 10 * MAX_PARTS, refused("max block range 10"), ask) is None
    assert ask.asked == []


async def test_joined_results_have_a_bound() -> None:
    assert await joined(0, 99, refused("max block range 50"), limited(50), most_bytes=1000)
    assert (
        await joined(1000, 1999, refused("max block range 500"), limited(500), most_bytes=1000)
        is None
    )


async def hang(text: bytes) -> Settled:
    await asyncio.Event().wait()
    raise AssertionError(text)


def living() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_it_ends_by_the_deadline() -> None:
    first = refused("max block range 50")
    async with waiting.limited():
        assert await split_and_join(search(0, 999), first, hang, 0.05) is None
    assert not living()
    assert await split_and_join(search(0, 999), first, hang, -1.0) is None
    assert not living()


async def test_a_cancelled_one_leaves_nothing_behind() -> None:
    begun = asyncio.Event()
    ended = []

    async def ask(text: bytes) -> Settled:
        begun.set()
        try:
            return await hang(text)
        finally:
            ended.append(text)

    coroutine = split_and_join(search(0, 999), refused("max block range 50"), ask, LONG_SECONDS)
    task = asyncio.ensure_future(coroutine)
    await begun.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(ended) == MAX_AT_ONCE
    assert not living()


async def test_answers_that_come_when_it_is_over_are_closed() -> None:
    closed = []

    class Rest:
        async def read(self) -> bytes:
            return b""

        def close(self) -> None:
            closed.append(self)

    gate = asyncio.Event()

    async def ask(text: bytes) -> Settled:
        low, _ = asked_range(text)
        if low:
            try:
                await gate.wait()
            except asyncio.CancelledError:  # its answer was there just as it was given up
                return Settled(Judgement(Verdict.OK), Reply(200, b"[", rest=Rest()))
        return Settled(Judgement(Verdict.SERVER_ERROR))

    first = refused("range limit")
    assert await split_and_join(search(0, 99), first, ask, LONG_SECONDS) is None
    assert len(closed) == 1
    assert not living()


async def test_a_bug_in_asking_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(text: bytes) -> Settled:
        raise ZeroDivisionError(text)

    with pytest.raises(ZeroDivisionError):
        await split_and_join(search(0, 99), refused("range limit"), ask, LONG_SECONDS)
    assert not living()
    assert "failed" in caplog.text
