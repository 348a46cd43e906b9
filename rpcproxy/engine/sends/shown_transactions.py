"""What is shown of transactions that wait for their block, though no node may show it.

Pools forget, and a private transaction is in none that may be asked: who looks such a one up is
answered from the bytes that were sent.

No state of its own: the pool and what is private belong to the ledger.
"""

from __future__ import annotations

from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.inquiries import JsonText
from rpcproxy.chains.parts.transactions import BadTransaction, DecodedTransaction, Said, Sends
from rpcproxy.engine.sends.privacy import Privacy
from rpcproxy.rules.sends.journaled import PoolEntry
from rpcproxy.rules.sends.pool import Pool


class ShownTransactions:
    """See the module's docstring. One per ledger, its ``shown``.

    ``sends`` is ``None`` where the chain's kind has none: nothing is ever shown then.
    """

    def __init__(self, pool: Pool, privacy: Privacy, sends: Sends | None, identity: str) -> None:
        """``identity``: of the chain that transactions are to be of."""
        self._pool = pool
        self._privacy = privacy
        self._sends = sends
        self._identity = identity

    def decoded(self, params: bytes) -> DecodedTransaction | None:
        """The transaction in the params of a send, ``None`` where there is none to read. Raises
        ``BadTransaction``.
        """
        raw = None if self._sends is None else self._sends.raw_of(params)
        if self._sends is None or raw is None:
            return None
        return self._sends.decode(raw, self._identity)

    def looked_up(self, method: Method, params: JsonText) -> str:
        """The hash of the transaction that a request looks up, empty where it is none that does."""
        return "" if self._sends is None else self._sends.waiting.looked_up(method, params)

    def said(self, method: Method, params: JsonText) -> Said:
        """What a node says to such a look-up while the transaction is in no block."""
        if self._sends is None:
            return Said()
        waiting = self._sends.waiting
        return waiting.said(method, self._waiting(waiting.looked_up(method, params)))

    def _waiting(self, hash: str) -> DecodedTransaction | None:
        """A transaction while it waits for its block; ``None`` for one that was given up."""
        entry = self._pool.pending(hash)
        raw = self._privacy.bytes_of(hash) if entry is None else entry.raw
        if self._sends is None or not raw:
            return None
        try:
            return self._sends.decode(self._sends.text_of(raw), self._identity)
        except BadTransaction:  # of another chain, say
            return None

    def object_of(self, entry: PoolEntry) -> bytes:
        """The JSON text of a transaction as it is while it waits, empty where it is of a chain's
        own type.
        """
        sends = self._sends
        if sends is None:
            return b""
        return sends.waiting.object_of(sends.decode(sends.text_of(entry.raw), self._identity))

    def object_in(self, params: bytes) -> bytes:
        """``object_of`` the hash in the params, where nobody else can say more; empty where it is
        not open here.
        """
        hash = "" if self._sends is None else self._sends.names.hash_in(params)
        entry = self._pool.get(hash)
        return b"" if entry is None else self.object_of(entry)
