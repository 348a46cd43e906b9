"""Providers that answer in time and well formed, and not the truth.

``LIARS`` holds one of each, as the acceptance tests use them: invented blocks, two histories
behind one URL, heads and state that contradict each other, and the old acquaintances of
``faults`` that mislead about the chain.
"""

from __future__ import annotations

from typing import Final, Literal

from rpcproxy.drills.scenarios.fault import Fault, Sometimes
from rpcproxy.drills.scenarios.faults import (
    FROZEN_HEAD,
    NULL_RESULTS,
    WRONG_CHAIN,
    flapping,
    forked,
    lagging,
)

# --- Blocks that do not exist


def ahead(blocks: int, *, is_linked: bool = True, name: str = "ahead") -> Fault:
    """``blocks`` above the chain, with hashes of its own making. What the chain reaches becomes
    true, so that at heights others have it agrees with them.
    """
    return Fault(
        name=name,
        description=f"claims {blocks} blocks that nobody has"
        + ("" if is_linked else ", without parents"),
        cost="balances and blocks that never were, and everybody else seemed late",
        invented_blocks=blocks,
        is_unlinked=not is_linked,
    )


FAR_AHEAD: Final = ahead(1000, name="far_ahead")
AHEAD_UNLINKED: Final = ahead(3, is_linked=False, name="ahead_unlinked")
FUTURE_TIMES: Final = Fault(
    name="future_times",
    description="dates its blocks an hour ahead",
    cost="deadlines of swaps and permits that seemed over",
    seconds_ahead=3600,
)

# --- More than one history, or a shorter one


def alternating(blocks: int) -> Fault:
    """One URL before machines at N and at N − ``blocks``: each request meets either."""
    return Fault(
        name="alternating",
        description=f"has machines behind one URL that are {blocks} blocks apart",
        cost="balances that jumped back and forth, receipts that vanished",
        sometimes=Sometimes(faults=(lagging(blocks),), share=0.5),
    )


def two_branches(depth: int) -> Fault:
    """One URL before machines on the chain and on a fork: each request meets either."""
    return Fault(
        name="two_branches",
        description=f"has machines behind one URL on two branches, {depth} blocks deep",
        cost="two histories mixed in one screen",
        sometimes=Sometimes(faults=(forked(depth),), share=0.5),
    )


def falling(blocks: int, period_seconds: float) -> Fault:
    """The head falls by ``blocks`` for a period, is back for a period, and so on."""
    return Fault(
        name="falling",
        description=f"falls back {blocks} blocks every other {period_seconds:g} s",
        cost="a chain that seemed to be taken back again and again",
        sometimes=flapping(period_seconds, lagging(blocks)).sometimes,
    )


def rolled_back(blocks: int) -> Fault:
    """Restored from a backup: ``blocks`` behind of a sudden, and it stays there."""
    return Fault(
        name="rolled_back",
        description=f"lost its last {blocks} blocks and gets no new ones",
        cost="transactions that were mined and are not any more",
        is_head_frozen=True,
        lag_blocks=blocks,
    )


# --- Heads without state, state without heads


def headless(answer: Literal["null", "error"]) -> Fault:
    """Never tells a head; state is served."""
    words = "null" if answer == "null" else "an error"
    return Fault(
        name=f"headless_{answer}",
        description=f"answers {words} when asked for the head or a block by number",
        cost="a wallet that could not tell whether anything was mined",
        hidden_heads=answer,
    )


STATE_FROZEN: Final = Fault(
    name="state_frozen",
    description="has new blocks, but its latest state stands still; newer state is refused",
    cost="transactions mined, and the balance as before",
    frozen_state="refuse",
)
STATE_FROZEN_LYING: Final = Fault(
    name="state_frozen_lying",
    description="has new blocks, but answers old state whatever block is asked for",
    cost="transactions mined, and the balance as before",
    frozen_state="lie",
)

# --- Not a lie: a provider that is told of blocks later than others


def late_news(seconds: float) -> Fault:
    """New blocks are there ``seconds`` after they were mined."""
    return Fault(
        name="late_news",
        description=f"has new blocks {seconds:g} s late",
        cost="now and then the block before the newest",
        news_seconds=seconds,
    )


# fmt: off
LIARS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        FAR_AHEAD, ahead(3), AHEAD_UNLINKED, FUTURE_TIMES, falling(10, 0.7),
        headless("null"), headless("error"), alternating(3), NULL_RESULTS, STATE_FROZEN,
        STATE_FROZEN_LYING, WRONG_CHAIN, forked(3), rolled_back(5), two_branches(3), lagging(5),
        FROZEN_HEAD,
    )
}
# fmt: on
