"""How many bytes may be held for whom: one budget for all, shared by what is still free.

A *hold* is something kept in memory across turns of the loop for a client, or from an upstream: a
body that is arriving, an answer that waits to be taken, the replies of a batch. It is made before
the bytes are kept, and given back with them.

Nobody has a fixed share. One may hold as much as is left free for others (dynamic thresholds of
shared buffers: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6, 1998): a client alone
gets half, each of three greedy ones a quarter, and some is always left for the next. So for
addresses within the whole, and for connections within their address.

State: the sums, in ``Holdings`` (one per process), and an ``Account`` for each address that holds
anything. Pure.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.messages import LIMIT_EXCEEDED, Answer, encode_error

DEFAULT_TOTAL_BYTES: Final = 256 * 1024 * 1024
DEFAULT_CLIENT_BYTES: Final = 128 * 1024 * 1024
# Less than this is not counted: a hold costs half a microsecond, which small answers never pay.
COUNTED_BYTES: Final = 16 * 1024


_CROWDED_OUT: Final = (
    "more bytes are waiting for this client than may be held for it at once: take the answers to "
    "its other requests first, or ask for less"
)


def crowded_out() -> Answer:
    """The answer where a client would hold more than there is room for."""
    error = encode_error(b"null", LIMIT_EXCEEDED, _CROWDED_OUT)
    return Answer(error, 429, retry_after_seconds=1)


class Holdings:
    """What is held in all. ``total_bytes`` for everybody, ``client_bytes`` for one address; both
    may be changed. ``refused`` counts holds that found no room.
    """

    def __init__(
        self, total_bytes: int = DEFAULT_TOTAL_BYTES, client_bytes: int = DEFAULT_CLIENT_BYTES
    ) -> None:
        self.total_bytes = total_bytes
        self.client_bytes = client_bytes
        self.used = 0
        self.most = 0  # that was ever used at once
        self.refused = 0
        self._accounts: dict[str, Account] = {}
        # What comes from upstreams and is nobody's yet: it never takes the half that clients have.
        self._incoming = Account(self, "")

    def purse(self, site: str) -> Purse:
        """For one connection from ``site``, an address."""
        account = self._accounts.get(site)
        if account is None:
            account = self._accounts[site] = Account(self, site)
        account.purses += 1
        return Purse(account)

    def incoming(self) -> Hold:
        """For one body that arrives from an upstream."""
        return Hold(Purse(self._incoming))

    @property
    def accounts(self) -> int:
        return len(self._accounts)

    def room_in(self, account: Account, held: int) -> int:
        """How much more a purse of ``account`` may hold that has ``held``: it leaves as much to
        the others of its account, and the account as much to other accounts.
        """
        if account is self._incoming:
            return (self.total_bytes // 2 - account.held - held) // 2
        free = self.total_bytes - self.used
        free_beside = min(free, self.client_bytes - account.held)
        return min(free_beside - held, free - account.held) // 2

    def forget(self, account: Account) -> None:
        # That of incoming bodies has a site's name and is none.
        if self._accounts.get(account.site) is account:
            del self._accounts[account.site]


class Account:
    """One address."""

    __slots__ = ("held", "holdings", "purses", "site")

    def __init__(self, holdings: Holdings, site: str) -> None:
        self.holdings = holdings
        self.site = site
        self.held = 0
        self.purses = 0

    def add(self, count: int) -> None:
        holdings = self.holdings
        self.held += count
        holdings.used += count
        holdings.most = max(holdings.most, holdings.used)
        if not self.held and not self.purses:
            holdings.forget(self)


class Purse:
    """What one connection holds. ``close`` it with the connection."""

    __slots__ = ("_account", "_is_open", "held")

    def __init__(self, account: Account) -> None:
        self._account = account
        self._is_open = True
        self.held = 0

    def hold(self) -> Hold:
        return Hold(self)

    def take(self, count: int) -> bool:
        """Hold ``count`` bytes more; ``False`` where there is no room, and then nothing changed."""
        account = self._account
        holdings = account.holdings
        if count > holdings.room_in(account, self.held):
            holdings.refused += 1
            return False
        self.held += count
        account.add(count)
        return True

    def give(self, count: int) -> None:
        self.held -= count
        self._account.add(-count)

    def close(self) -> None:
        """The connection is gone; its holds may end later. Idempotent."""
        if self._is_open:
            self._is_open = False
            account = self._account
            account.purses -= 1
            account.add(0)


class Hold:
    """One thing that is held; given back at the latest when nobody has the object any more."""

    __slots__ = ("_purse", "bytes")

    def __init__(self, purse: Purse) -> None:
        self._purse = purse
        self.bytes = 0

    def set(self, count: int) -> bool:
        """From now on it is ``count`` bytes; ``False`` where there is no room for more, and then
        nothing changed.
        """
        more = count - self.bytes
        if more > 0:
            if not self._purse.take(more):
                return False
        elif more < 0:
            self._purse.give(-more)
        self.bytes = count
        return True

    def add(self, count: int) -> bool:
        return self.set(self.bytes + count)

    def end(self) -> None:
        """Nothing is held any more; idempotent."""
        if self.bytes:
            self._purse.give(self.bytes)
            self.bytes = 0

    def __del__(self) -> None:
        self.end()
