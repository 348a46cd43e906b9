"""Under which terms a call is tried: how long, how often, and when a second copy goes out.

No state; what it goes by (paces, poison, profiles) belongs to others.
"""

from __future__ import annotations

import msgspec

from rpcproxy.chains.parts.asked_at import PENDING
from rpcproxy.clock import Clock
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.executor import Executor
from rpcproxy.engine.reads.profiles import Profile, Profiles, costly
from rpcproxy.messages import MethodClass
from rpcproxy.rules.requests.lateness import is_costly
from rpcproxy.rules.requests.steps import Policy


class Terms:
    """See the module's docstring. One per chain."""

    def __init__(self, executor: Executor, profiles: Profiles, clock: Clock) -> None:
        self._now = clock.monotonic
        self._executor = executor
        self._policies = profiles.policies

    def hedge_seconds(self, method_class: MethodClass) -> float:
        """After how long an attempt is looked at again."""
        policy = self._policies[method_class]
        if policy.hedge_seconds is None:
            return self._executor.standings.hedge_delay(method_class)
        return min(policy.hedge_seconds, policy.attempt_seconds)

    def policy_for(self, call: SingleCall, profile: Profile) -> Policy:
        """How long and how often this call may be tried."""
        policy, executor = profile.policy, self._executor
        if not policy.copies_need_doubt and is_costly(call.method, call.need.span):
            policy = costly(policy)
        name = call.method.name
        if executor.paces.knows(name):
            profile.is_watched = True
            policy = self._at_its_pace(policy, name, call.method.method_class)
        poison = executor.poison
        if poison and poison.is_poison(call.poison_key, self._now()):
            return msgspec.structs.replace(policy, single_attempt=True)
        if call.tag == PENDING and not policy.confirm_nulls:
            # Not every node has a pending block: where another has none either, that is the answer.
            return msgspec.structs.replace(policy, confirm_nulls=True)
        return policy

    def within(self, seconds: float, call: SingleCall, profile: Profile) -> Policy:
        """The same, in so many seconds."""
        return msgspec.structs.replace(self.policy_for(call, profile), deadline_seconds=seconds)

    def _at_its_pace(self, policy: Policy, method: str, method_class: MethodClass) -> Policy:
        """With the time that answers of a slow method take."""
        paces, hedge_seconds = self._executor.paces, policy.hedge_seconds
        if hedge_seconds is None:
            hedge_seconds = paces.hedge_seconds(
                method, self._executor.standings.hedge_delay(method_class)
            )
        seconds = paces.attempt_seconds(method, policy.attempt_seconds, policy.deadline_seconds)
        return msgspec.structs.replace(policy, attempt_seconds=seconds, hedge_seconds=hedge_seconds)
