"""What the proxy answers itself: constants of the chain, the head that was told, whether it serves.

No state; the head is ``told``'s.
"""

from __future__ import annotations

import time
from typing import Final

from rpcproxy.engine.watch.told import ToldHead
from rpcproxy.messages import MethodClass
from rpcproxy.rules.answers.local_answers import LISTENING, constant_answers
from rpcproxy.rules.standing.standings import Standings

NUMBER: Final = "eth_blockNumber"


class LocalAnswers:
    """See the module's docstring. One per chain. ``constant``: JSON texts of results by method."""

    def __init__(self, chain_id: int, told: ToldHead, standings: Standings) -> None:
        self.constant = constant_answers(chain_id)
        self._told = told
        self._standings = standings

    def result(self, method: str) -> bytes | None:
        """The JSON text of a result that needs nobody else, ``None`` where it does."""
        if method in self.constant:
            return self.constant[method]
        if method == NUMBER:
            return self._told.fresh_number(time.monotonic())
        if method == LISTENING:
            is_usable = self._standings.has_usable(MethodClass.LIGHT, time.monotonic())
            return b"true" if is_usable else b"false"
        return None
