"""A search over a range that every upstream refuses as too wide: asked in parts, and joined.

What may be split, and how it is joined, say the ``searches`` of the chain's kind.

State: none beyond the call; ``rules.requests.split.Split`` holds that of one request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.errors import RangeRefusal, ReadRange
from rpcproxy.chains.parts.searches import Join, Searches
from rpcproxy.engine.attempts.executor import Settled
from rpcproxy.engine.tasks import start, stop
from rpcproxy.messages import Judgement, Verdict
from rpcproxy.rules.answers import replies
from rpcproxy.rules.answers.holding import Hold
from rpcproxy.rules.requests.split import MAX_JOINED_BYTES, Part, Split, first_width

Ask = Callable[[bytes], Awaitable[Settled]]

_TOO_LARGE = Verdict.RANGE_TOO_LARGE


class SplitSearch(msgspec.Struct, frozen=True, gc=False):
    """A search over the blocks from ``low`` to ``high``, which are two or more."""

    low: int
    high: int
    join: Join
    with_range: Callable[[bytes, int, int], bytes]
    read_range: ReadRange


def splittable(
    searches: Searches | None, read_range: ReadRange, method: Method, params: bytes
) -> SplitSearch | None:
    """The search as one of parts, ``None`` where the range has no two blocks in numbers, or the
    parts must not be joined.
    """
    asked = None if searches is None else searches.range_of(params)
    if searches is None or asked is None or asked[0] >= asked[1]:
        return None
    join = searches.join_of(method, params)
    return None if join is None else SplitSearch(*asked, join, searches.with_range, read_range)


async def split_and_join(
    search: SplitSearch,
    first: Settled | None,
    ask: Ask,
    seconds: float,
    *,
    hold: Hold | None = None,
    most_bytes: int = MAX_JOINED_BYTES,
) -> Judgement | None:
    """The results of a range in parts, joined in the order of the blocks.

    ``first`` is how the whole range settled; ``None`` where it was not asked, since everybody is
    known to refuse it. ``hold`` counts the parts that are kept. ``ask`` carries out the same method
    with other params. All of it may take ``seconds``, and hold ``most_bytes`` of results.

    ``None``: what ``first`` says stands, because it is no refusal of a range, a part cannot be had,
    or time, parts or size are out. Cancellation and ``None`` leave nothing behind. Raises what
    ``ask`` raises.
    """
    blocks = search.high - search.low + 1
    refusals: Sequence[RangeRefusal] = ()
    if first is not None:
        if first.judgement is None or first.judgement.verdict is not _TOO_LARGE:
            return None
        refusals = _refusals_of(first, blocks, search.read_range)
    split = Split(search.low, search.high, first_width(blocks, refusals), most_bytes)
    parts = await _ask_parts(split, search, ask, seconds, hold)
    if parts is None:
        return None
    return Judgement(Verdict.OK, msgspec.Raw(search.join.whole(parts)))


async def _ask_parts(
    split: Split, search: SplitSearch, ask: Ask, seconds: float, hold: Hold | None
) -> Sequence[bytes] | None:
    """Ask until the split is over; the results in order, ``None`` where one is missing."""

    async def ask_part(part: Part) -> Settled:
        return await ask(search.with_range(search.join.params, part.low, part.high))

    running: dict[asyncio.Task[Settled], Part] = {}
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            while not split.is_over:
                while (part := split.next_part()) is not None:
                    running[start(ask_part(part), f"blocks {part.low}-{part.high}")] = part
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    _take(split, running.pop(task), task.result(), search.read_range, hold)
    except TimeoutError:
        return None
    finally:
        await stop(*running)
        for task in running:
            if not task.cancelled() and task.exception() is None:
                task.result().close()
    return split.answers()


def _take(
    split: Split, part: Part, settled: Settled, read_range: ReadRange, hold: Hold | None
) -> None:
    """How one part ended. One that there is no room for is none."""
    judgement = settled.judgement
    if judgement is None or settled.exhausted:
        split.on_failure()
    elif judgement.verdict is _TOO_LARGE:
        split.on_refused(part, _read(judgement, part.blocks, read_range))
    elif judgement.verdict is not Verdict.OK:
        split.on_failure()
    elif judgement.result is not None:
        result = bytes(judgement.result)
        if hold is not None and not hold.add(len(result)):
            split.on_failure()
        else:
            split.on_answer(part, result)
    else:  # too large to hold
        settled.close()
        split.on_refused(part, RangeRefusal(of_width=False))


def _refusals_of(settled: Settled, blocks: int, read_range: ReadRange) -> Sequence[RangeRefusal]:
    """What each upstream that was asked said of the range."""
    refusals = [
        _read(judgement, blocks, read_range)
        for _, judgement in settled.failures
        if judgement.verdict is _TOO_LARGE
    ]
    if not refusals and settled.judgement is not None:
        refusals = [_read(settled.judgement, blocks, read_range)]
    return refusals


def _read(judgement: Judgement, blocks: int, read_range: ReadRange) -> RangeRefusal:
    if judgement.error is None:
        return read_range(judgement.detail.lower(), blocks)
    return read_range(replies.read_error(judgement.error).text, blocks)
