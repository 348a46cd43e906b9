"""What the proxy answers itself: constants of the chain, the head that was told, whether it serves,
and why it refuses what it refuses.

No state; the head is ``told``'s.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.chains.kind import OwnWords
from rpcproxy.chains.method import Method
from rpcproxy.clock import Clock
from rpcproxy.engine.watch.told import ToldHead
from rpcproxy.messages import MethodClass
from rpcproxy.rules.standing.standings import Standings

# Where the chain's kind has no words for it.
NOT_SERVED: Final = "it is not served here"


class LocalAnswers:
    """See the module's docstring. One per chain. ``constant``: JSON texts of results by method."""

    def __init__(
        self,
        identity: str,
        told: ToldHead,
        standings: Standings,
        words: OwnWords,
        *,
        clock: Clock,
    ) -> None:
        self.constant = words.constants(identity)
        self._head = words.head
        self._listening = words.listening
        self._flag_text = words.flag_text
        self._refused = words.refused
        self._refusal = words.refusal
        self._now = clock.monotonic
        self._told = told
        self._standings = standings

    def why_refused(self, method: Method) -> str:
        """Why a method is not served, in words for the developer of a client."""
        return self._refused.get(method.kind, NOT_SERVED)

    def refusal(self, method: Method) -> str:
        """The message that refuses a method."""
        return self._refusal(method.name, self.why_refused(method))

    def result(self, method: str) -> bytes | None:
        """The JSON text of a result that needs nobody else, ``None`` where it does."""
        if method in self.constant:
            return self.constant[method]
        if method == self._head:
            return self._told.fresh_number(self._now())
        if method == self._listening:
            return self._flag_text(self._standings.has_usable(MethodClass.LIGHT, self._now()))
        return None
