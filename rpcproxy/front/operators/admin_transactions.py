"""The transactions on the admin port: ``/transactions``, and ``/transactions/HASH`` for one.

Upstreams are shown by name, and of a transaction's bytes only how many they are: those of a
private one are nobody else's. No state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypedDict

from aiohttp import web

# Open entries of one chain on one page, the newest.
OPEN_SHOWN: Final = 100


class TransactionEntry(TypedDict):
    """What is known of one transaction. Times are UTC, ISO 8601. ``sender`` and ``nonce``
    are its lane and its order in there; they and ``block`` are ``None`` where they are unknown,
    ``updated`` where it is not on disk.
    ``upstreams``: what each said last.
    """

    hash: str
    chain: str
    state: str
    created: str
    age_seconds: float
    updated: str | None
    sender: str | None
    nonce: int | None
    block: int | None
    private: bool
    size_bytes: int
    upstreams: Mapping[str, str]


class TransactionsStatus(TypedDict):
    """One chain's transactions in short. ``oldest_seconds`` is ``None`` while none is pending;
    ``journal`` is ``open``, ``off``, or what is wrong with it, in words.
    """

    pending: int
    oldest_seconds: float | None
    journal: str


class ChainTransactions(TransactionsStatus):
    """One chain's transactions. ``journal_bytes`` is ``None`` while no journal is open; ``open``
    holds at most ``OPEN_SHOWN`` that are not closed, the newest first.
    """

    name: str
    journal_bytes: int | None
    open: Sequence[TransactionEntry]


class TransactionsView(Protocol):
    """What the admin port may know of transactions. ``hash_words`` says what a hash looks like."""

    @property
    def hash_words(self) -> str: ...

    def hash_of(self, text: str) -> str | None:
        """A transaction's hash as it is kept, ``None`` where the text is none."""
        ...

    def transactions(self) -> Sequence[ChainTransactions]: ...

    async def transaction(self, hash: str) -> tuple[TransactionEntry | None, Mapping[str, str]]:
        """The one of a hash, and by chain whose journal could not be asked: why."""
        ...


def no_hash(text: str, words: str) -> str:
    """What is wrong with a text that is no hash; ``words`` say what is expected."""
    return f"{text[:80]!r} is no hash of a transaction; expected {words}"


class JsonPage(Protocol):
    """Makes a page of JSON."""

    def __call__(self, content: object, status: int = 200) -> web.Response: ...


def transaction_routes(view: TransactionsView, page: JsonPage) -> list[web.RouteDef]:
    """``page`` is how the other pages of the port are made."""

    async def every(_request: web.Request) -> web.Response:
        """Transactions that wait for their block."""
        return page({"chains": view.transactions()})

    async def one(request: web.Request) -> web.Response:
        """What is known of one transaction."""
        text = request.match_info["hash"]
        hash = view.hash_of(text)
        if hash is None:
            return page({"error": no_hash(text, view.hash_words)}, status=400)
        entry, unasked = await view.transaction(hash)
        if entry is not None:
            return page(entry)
        if unasked:
            words = f"{hash} is none of the open ones, and not every journal can be asked"
            return page({"error": words, "journals": unasked}, status=503)
        return page({"error": f"no transaction {hash} is known here"}, status=404)

    return [web.get("/transactions", every), web.get("/transactions/{hash}", one)]
