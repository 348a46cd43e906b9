"""Hashes that are not ours alone to compute: of a chain's own types of transactions, and of user
operations.

Several doors lead to one sequencer, and a client that had no answer sends once more: all say
"known" of what is out, and a wallet that gets that as an error never learns its hash (chainlink
12338 and 12600, Nethermind 4148, execution-apis 245, ithacaxyz/relay 452). In this order it is had
from what these very bytes were answered with before, from the words of the refusal, and from what
the bytes give where a look-up, or the part of it that the words show, confirms that.

State: at most ``MOST_TOLD`` results of sends that are not written down, by a digest of the request.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final

from rpcproxy.chains.method import Method, SendForm
from rpcproxy.chains.parts.inquiries import Question
from rpcproxy.chains.parts.transactions import ForeignHashes, Sends
from rpcproxy.engine.sends.copies import Copies
from rpcproxy.engine.sends.send_orders import SendOutcome
from rpcproxy.messages import Verdict

MOST_TOLD: Final = 10_000
LARGEST_TOLD_BYTES: Final = 68  # a hash as JSON
LOOK_SECONDS: Final = 2.0
_KNOWN: Final = Verdict.ALREADY_KNOWN


class OtherHashes:
    """See the module's docstring."""

    def __init__(self, copies: Copies, sends: Sends, identity: str) -> None:
        self._copies = copies
        self._transaction = sends.look_ups.transaction
        self._result_of = sends.result_of
        self._hash_told = sends.hash_told
        self._foreign = sends.foreign
        self._identity = identity
        self._told: OrderedDict[bytes, bytes] = OrderedDict()

    def adopt(self, old: OtherHashes) -> None:
        """A reload forgets nothing."""
        self._told = old._told

    async def of_transaction(self, outcome: SendOutcome, raw: bytes, *, is_private: bool) -> str:
        """The hash of a transaction of a chain's own type; empty where nothing proves it."""
        if outcome.result:
            return self._hash_told(outcome.result)
        foreign = self._foreign
        if foreign is None:
            return ""
        return await self._proved(
            foreign,
            outcome,
            lambda: foreign.candidates(raw),
            self._transaction,
            may_ask=not is_private,
        )

    async def of_operation(
        self, method: Method, params: bytes, outcome: SendOutcome, *, is_private: bool
    ) -> SendOutcome:
        """A send that is not written down, with the result that it had before, or has now. Of one
        that ``is_private`` nobody is asked: all would hear its hash.
        """
        digest = sha256(method.name.encode() + params).digest()
        if outcome.result:
            if len(outcome.result) <= LARGEST_TOLD_BYTES and self._hash_told(outcome.result):
                self._told[digest] = outcome.result
                if len(self._told) > MOST_TOLD:
                    self._told.popitem(last=False)
            return outcome
        if outcome.verdict is _KNOWN and digest in self._told:
            return SendOutcome(result=self._told[digest])
        foreign = self._foreign
        if foreign is None or method.send_form is not SendForm.OPERATION:
            return outcome

        def candidates() -> list[str]:
            hash = foreign.of_operation(params, self._identity)
            return [hash] if hash else []

        found = await self._proved(
            foreign, outcome, candidates, foreign.operation, may_ask=not is_private
        )
        return SendOutcome(result=self._result_of(found)) if found else outcome

    async def _proved(
        self,
        foreign: ForeignHashes,
        outcome: SendOutcome,
        hashes: Callable[[], Sequence[str]],
        ask_for: Callable[[str], Question[Any]],
        *,
        may_ask: bool,
    ) -> str:
        """``hashes`` computes what it may have: only where the words leave open that it is out."""
        if not outcome.error or not foreign.may_be_out(outcome.error):
            return ""
        candidates, named = hashes(), foreign.named_in(outcome.error)
        if outcome.verdict is _KNOWN:
            for candidate in candidates:
                if named.names(candidate):
                    return candidate
            if named.only:
                return named.only
            candidates = [*named.whole, *candidates]
        for candidate in candidates if may_ask else ():
            settled = await self._copies.look_up(ask_for(candidate), LOOK_SECONDS)
            judgement = settled.judgement
            if judgement is not None and judgement.verdict is Verdict.OK and judgement.result:
                return candidate
        return ""
