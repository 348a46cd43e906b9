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
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from rpcproxy.chains import evm
from rpcproxy.engine.sends.copies import Copies, SendOutcome
from rpcproxy.messages import Verdict

MOST_TOLD: Final = 10_000
LARGEST_TOLD_BYTES: Final = 68  # a hash as JSON
LOOK_SECONDS: Final = 2.0
OPERATION: Final = "eth_getUserOperationByHash"
_KNOWN: Final = Verdict.ALREADY_KNOWN


class OtherHashes:
    """See the module's docstring."""

    def __init__(self, copies: Copies, chain_id: int) -> None:
        self._copies = copies
        self._chain_id = chain_id
        self._told: OrderedDict[bytes, bytes] = OrderedDict()

    def adopt(self, old: OtherHashes) -> None:
        """A reload forgets nothing."""
        self._told = old._told

    async def of_transaction(self, outcome: SendOutcome, raw: bytes, *, is_private: bool) -> str:
        """The hash of a transaction of a chain's own type; empty where nothing proves it."""
        if outcome.result:
            try:
                return msgspec.json.decode(outcome.result, type=str).lower()
            except msgspec.MsgspecError:
                return ""

        def candidates() -> list[str]:
            return evm.candidate_hashes(raw)

        return await self._proved(
            outcome, candidates, evm.TRANSACTION_BY_HASH, may_ask=not is_private
        )

    async def of_operation(
        self, method: str, params: bytes, outcome: SendOutcome, *, is_private: bool
    ) -> SendOutcome:
        """A send that is not written down, with the result that it had before, or has now. Of one
        that ``is_private`` nobody is asked: all would hear its hash.
        """
        digest = sha256(method.encode() + params).digest()
        if outcome.result:
            if len(outcome.result) <= LARGEST_TOLD_BYTES and outcome.result.startswith(b'"0x'):
                self._told[digest] = outcome.result
                if len(self._told) > MOST_TOLD:
                    self._told.popitem(last=False)
            return outcome
        if outcome.verdict is _KNOWN and digest in self._told:
            return SendOutcome(result=self._told[digest])
        if method != "eth_sendUserOperation":
            return outcome

        def candidates() -> list[str]:
            hash = evm.user_operation_hash(params, self._chain_id)
            return [hash] if hash else []

        found = await self._proved(outcome, candidates, OPERATION, may_ask=not is_private)
        return SendOutcome(result=b'"%b"' % found.encode()) if found else outcome

    async def _proved(
        self, outcome: SendOutcome, hashes: Callable[[], list[str]], name: str, *, may_ask: bool
    ) -> str:
        """``hashes`` computes what it may have: only where the words leave open that it is out."""
        if not outcome.error or not evm.may_be_out(outcome.error):
            return ""
        candidates, named = hashes(), evm.hashes_in(outcome.error)
        if outcome.verdict is _KNOWN:
            for candidate in candidates:
                if named.names(candidate):
                    return candidate
            if named.only:
                return named.only
            candidates = [*named.whole, *candidates]
        for candidate in candidates if may_ask else ():
            settled = await self._copies.look_up(name, candidate, LOOK_SECONDS)
            judgement = settled.judgement
            if judgement is not None and judgement.verdict is Verdict.OK and judgement.result:
                return candidate
        return ""
