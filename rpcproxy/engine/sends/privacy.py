"""Which transactions are for private upstreams alone, and whether a request names one.

A private one is known by its hash, where that stands for itself in a request, and by its first
bytes, where a text begins with them, until it is seen in a block, or goes to everybody after
``private_fallback``. Of one that was given up (refused, expired, replaced) copies may still be in
private pools, so that it stays private; for an hour blocks are looked through for it.

One that was sent to private upstreams by another method (a bundle, a relay's own) is not in the
pool, and is remembered with its bytes.

State: at most ``MOST_PRIVATE`` hashes, each with the first bytes of its transaction; the bytes of
those that the pool does not have, ``MOST_BYTES`` at most.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from rpcproxy.chains.parts.transactions import TransactionNames
from rpcproxy.rules.sends.journaled import PoolEntry, TransactionState
from rpcproxy.rules.sends.pool import Pool

MOST_PRIVATE: Final = 20_000
MOST_BYTES: Final = 8 * 1024 * 1024
GIVEN_UP_SECONDS: Final = 3600.0
# Letters and digits may be spelled by their numbers in JSON.
_ESCAPED: Final = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
MOST_ESCAPES: Final = 1000


class Privacy:
    """See the module's docstring. ``has_any`` is looked at for every read: plain. ``is_unsure``:
    what a process before this one left is not read yet, and any transaction may be a private one
    (where ``is_guarding``: there are private upstreams).
    ``fallback_seconds``: when a private transaction goes to everybody, 0 for never. ``now`` is in
    monotonic seconds.
    """

    def __init__(self, pool: Pool, names: TransactionNames | None) -> None:
        """``names`` is ``None`` where no transaction is ever sent."""
        self._pool = pool
        self._names = names
        self._starts: dict[str, bytes] = {}  # how each begins, by hash
        self._hashes: dict[bytes, str] = {}  # the other way round
        self._whole: OrderedDict[str, bytes] = OrderedDict()  # of those that the pool lacks
        self._whole_bytes = 0
        self._given_up: OrderedDict[str, float] = OrderedDict()  # until when to look for it
        self.is_guarding = self.is_unsure = self.has_any = False
        self.fallback_seconds = 0.0

    def remember(self, hash: str, raw: bytes) -> None:
        """It is private, whatever becomes of it."""
        if self._names is None:
            return
        start = self._names.start_of(raw)
        self._starts[hash] = start
        self._hashes[start] = hash
        self._renew()
        if len(self._starts) > MOST_PRIVATE:
            # One that waits for its block goes last: clients can make up any number of others.
            self.forget(next(iter(self._given_up), next(iter(self._starts))))

    def watch(self, hash: str, raw: bytes, now: float) -> None:
        """It goes to private upstreams, by a way that is not written down."""
        self.remember(hash, raw)
        self._given_up[hash] = now + GIVEN_UP_SECONDS
        self._whole_bytes += len(raw) - len(self._whole.pop(hash, b""))
        self._whole[hash] = raw
        while self._whole_bytes > MOST_BYTES:
            _, oldest = self._whole.popitem(last=False)
            self._whole_bytes -= len(oldest)

    def restore(self, hash: str, start: bytes, now: float) -> None:
        """A process before this one gave it up, and may not have looked for it all its time."""
        self.remember(hash, start)
        self._given_up[hash] = now + GIVEN_UP_SECONDS

    def bytes_of(self, hash: str) -> bytes:
        """Of one that the pool lacks; empty where they are not known."""
        return self._whole.get(hash, b"")

    def forget(self, hash: str) -> None:
        """It is not private any more: everybody has it, or nobody."""
        self._given_up.pop(hash, None)
        self._whole_bytes -= len(self._whole.pop(hash, b""))
        self._hashes.pop(self._starts.pop(hash, b""), None)
        self._renew()

    def await_journal(self, *, is_awaited: bool) -> None:
        """Whether one is being opened."""
        self.is_unsure = is_awaited and self.is_guarding
        self._renew()

    def _renew(self) -> None:
        self.has_any = self.is_unsure or bool(self._starts)

    def on_closed(self, entry: PoolEntry, now: float) -> None:
        """Nothing more is done for it."""
        if entry.state is TransactionState.FINAL:
            self.forget(entry.hash)
        elif entry.hash in self._starts and entry.state is not TransactionState.REPLACED:
            self._given_up[entry.hash] = now + GIVEN_UP_SECONDS

    def on_block(self, hashes: Iterable[str]) -> None:
        """What was given up, and is in a block of our chain after all."""
        if self._given_up:
            for hash in hashes:
                if hash in self._given_up:
                    self.forget(hash)

    def is_looking(self, now: float) -> bool:
        """Whether blocks are to be looked through for what was given up."""
        while self._given_up:
            hash, until = next(iter(self._given_up.items()))
            if until > now:
                return True
            del self._given_up[hash]
        return False

    def is_private(self, hash: str, now: float) -> bool:
        """Whether nobody but private upstreams may hear of it now."""
        if hash not in self._starts:
            return False
        entry = self._pool.get(hash)
        return entry is None or self.is_entry_private(entry, now)

    def is_entry_private(self, entry: PoolEntry, now: float) -> bool:
        """The same of one that is in the pool."""
        if not entry.is_private or entry.state is TransactionState.MINED:
            return False
        if entry.state is TransactionState.RESTING:
            return True  # it is sent to nobody any more, by no way
        fallback = self.fallback_seconds
        return not fallback or self._pool.age_seconds(entry, now) < fallback

    def is_named(self, params: bytes, now: float) -> bool:
        """Whether something in the params is for private upstreams alone."""
        names = self._names
        if names is None:
            return False
        if b"\\u00" in params:
            if params.count(b"\\u00") > MOST_ESCAPES:
                return True  # nobody spells like that who does not hide something
            params = _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), params)
        return any(self.is_private(hash, now) for hash in names.hashes_in(params)) or any(
            self.is_private(self._hashes.get(start, ""), now) for start in names.starts_in(params)
        )
