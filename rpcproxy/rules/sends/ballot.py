"""When a transaction counts as taken, and when as refused.

A pure count of what the asked upstreams said (Chainlink's MultiNode, too, waits for 70 % of its
nodes): one acceptance beats any rejection; a rejection is given only after 70 % of the asked
upstreams spoke, or 2 s after the first answer. A node's own policy is no rejection while others
can be asked.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rpcproxy.messages import Judgement, Verdict

REJECTION_SHARE: Final = 0.7
REJECTION_SECONDS: Final = 2.0

# Which rejection says most about the transaction itself, best first.
_WEIGHTS: Final = {
    Verdict.SENDER_LIMITED: 6,
    Verdict.SEND_REFUSED: 5,
    Verdict.INVALID_PARAMS: 4,
    Verdict.INSUFFICIENT_FUNDS: 3,
    Verdict.NONCE_TOO_LOW: 2,
    Verdict.REVERTED: 2,
    Verdict.SEND_POLICY: 1,
}
REJECTIONS: Final = frozenset(_WEIGHTS)
# The protocol's rules, and what code that was run says: others will say the same.
_ALIKE: Final = (Verdict.SEND_REFUSED, Verdict.INVALID_PARAMS, Verdict.REVERTED)
# Words that we do not know: a rejection once all have spoken, since asking again brings the same.
_OWN_WORDS: Final = (Verdict.UNKNOWN, Verdict.SERVER_ERROR)
_LASTING: Final = (Verdict.KEY_REFUSED, Verdict.UNSUPPORTED)
ACCEPTED: Final = (Verdict.OK, Verdict.ALREADY_KNOWN)


class SendTally(msgspec.Struct):
    """State of one broadcast. ``rejection`` is the weightiest so far; ``weak`` is one from an
    upstream behind the served head, or in words that we do not know: it counts where nobody else
    is left to ask. ``accepted_alone``: a yes of somebody who takes transactions and shows none,
    or that does not say what was taken.
    """

    asked: int = 0
    settled: int = 0
    accepted: Judgement | None = None
    accepted_alone: Judgement | None = None
    alone_since: float = 0.0
    rejection: Judgement | None = None
    weak: Judgement | None = None
    rejections: int = 0
    first_answer_at: float | None = None
    failures: list[tuple[str, Judgement]] = []

    def on_asked(self) -> None:
        self.asked += 1

    def on_judgement(
        self,
        upstream: str,
        judgement: Judgement,
        now: float,
        *,
        is_at_head: bool,
        is_believed: bool = True,
    ) -> None:
        """One upstream spoke, or failed. ``is_at_head``: it is not behind the served head, so
        that what it says of an account's funds counts. ``is_believed``: its yes counts by itself.
        """
        self.settled += 1
        verdict = judgement.verdict
        if verdict in ACCEPTED:
            if is_believed:
                self.accepted = self.accepted or judgement
            elif self.accepted_alone is None:
                self.accepted_alone = judgement
                self.alone_since = now
            elif self.accepted_alone.result is None and judgement.result is not None:
                self.accepted_alone = judgement
            return
        if verdict not in _WEIGHTS:
            self.failures.append((upstream, judgement))
            if judgement.error is not None and verdict in _OWN_WORDS:
                self.weak = self.weak or judgement
            return
        if self.first_answer_at is None:
            self.first_answer_at = now
        if verdict is Verdict.INSUFFICIENT_FUNDS and not is_at_head:
            self.failures.append((upstream, judgement))
            self.weak = self.weak or judgement
            return
        self.rejections += 1
        best = self.rejection
        if best is None or _WEIGHTS[verdict] > _WEIGHTS[best.verdict]:
            self.rejection = judgement

    @property
    def lasting(self) -> Judgement | None:
        """The first word of those that have no such method, or refuse a key, where all that failed
        did: asking again brings the same. An account or a bundler may have said it, in any code.
        """
        for _, failed in self.failures:
            if failed.verdict not in _LASTING or failed.error is None:
                return None
        return self.failures[0][1] if self.failures else None

    def is_final_refusal(self) -> bool:
        """The sequencer's own word; asking others is pointless."""
        return self.rejection is not None and self.rejection.verdict is Verdict.SENDER_LIMITED

    def is_over(self, now: float, *, can_ask_more: bool) -> bool:
        """Whether no more words are waited for."""
        if self.accepted_alone is not None and self.accepted is None:
            is_late = now - self.alone_since > REJECTION_SECONDS
            return is_late or (self.settled == self.asked and not can_ask_more)
        return self.accepted is not None or self.is_rejected(now, can_ask_more=can_ask_more)

    def is_rejected(self, now: float, *, can_ask_more: bool) -> bool:
        """Whether the rejection may be given now."""
        if self.accepted is not None or self.accepted_alone is not None:
            return False
        if self.rejection is None:
            if self.weak is None and self.lasting is None:
                return False
            return self.settled == self.asked and not can_ask_more
        if self.is_final_refusal():
            return True
        if self.settled == self.asked and not can_ask_more:
            return True
        if self.rejection.verdict is Verdict.SEND_POLICY and can_ask_more:
            return False
        is_protocol = self.rejection.verdict in _ALIKE
        if is_protocol and self.rejections >= REJECTION_SHARE * self.asked and self.asked > 1:
            return True
        return self.first_answer_at is not None and now - self.first_answer_at > REJECTION_SECONDS
