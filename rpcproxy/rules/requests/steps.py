"""The values that plans work with: steps, what a class of requests may take, what a chain's share.

Pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rpcproxy.messages import Judgement
from rpcproxy.rules.requests.refusals import Unanimous
from rpcproxy.rules.standing.limits import HedgeAllowance, RetryBudget
from rpcproxy.rules.standing.standings import Standing

MAX_ATTEMPTS: Final = 6  # of one round; every upstream is asked at most once in a round
PROGRESS_SECONDS: Final = 1.0  # whose reply is arriving gets so much longer
YOUNG_OUTAGE_SECONDS: Final = 15.0  # younger outages are waited out until the deadline


class Send(msgspec.Struct, gc=False, frozen=True):
    """Make an attempt. ``reason`` is ``first``, ``hedge``, or the verdict that made us retry."""

    standing: Standing
    reason: str


class Wait(msgspec.Struct, gc=False, frozen=True):
    """Nothing to do before ``until``, unless something happens. ``for_recovery``: nobody can be
    asked, so an upstream's recovery is worth waking for.
    """

    until: float
    for_recovery: bool = False


class Finish(msgspec.Struct, gc=False, frozen=True):
    """``judgement`` is the answer; ``exhausted`` says that nobody could give one, and
    ``judgement`` is then the best of the failures, if any attempt came back.
    """

    judgement: Judgement | None
    standing: Standing | None = None
    exhausted: bool = False


Step = Send | Wait | Finish


class Policy(msgspec.Struct, gc=False, frozen=True):
    """What a class of requests may take. All in seconds; ``hedge_seconds``: ``None`` is never."""

    deadline_seconds: float
    attempt_seconds: float
    can_hedge: bool = True
    hedge_seconds: float | None = None  # a fixed delay in place of the learned one
    confirm_nulls: bool = False
    single_attempt: bool = False  # it lately failed everywhere
    copies_need_doubt: bool = False  # heavy work: no second copy while the first upstream is well


class Budgets(msgspec.Struct, gc=False):
    """What all requests of a chain share."""

    retries: RetryBudget
    hedges: HedgeAllowance
    resorted_at: dict[str, float] = {}  # when each upstream was last a last resort
    unanimous: Unanimous = msgspec.field(default_factory=Unanimous)
