"""The order of all rows, and what is decided by an HTTP status or by a page.

A number alone means opposite things at different providers (−32005 is a limit at Infura, a block
gas limit at Besu, a conditional's cost at op-geth), so rows with fragments stand before rows that
go by code alone; a code that says "execution" (``execution``) and −32601 excepted, which mean one
thing. The rows of the last errors are remembered by their texts (``REMEMBERED`` of them at most).
Within each part the order is: what was run, range and size, mistakes, sender limit, quota,
rate limit, missing data, calls, sends, unsupported, key, params, the upstream's own trouble.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec

from rpcproxy.chains.evm.errors import codes, execution, gateways, read_errors, send_errors
from rpcproxy.chains.evm.errors.rows import CALLS, LOOKUPS, READS, SENDS, ErrorRow, own_words
from rpcproxy.messages import Verdict

V = Verdict

# What stands further behind in a text decides nothing: the work per error is bounded.
LONGEST_TEXT: Final = 1_200
REMEMBERED: Final = 256

ROWS: Final[tuple[ErrorRow, ...]] = (
    *send_errors.LIMITED,
    *execution.SPOKEN,
    *read_errors.RANGES,
    *read_errors.MISTAKES,
    *send_errors.LIMITED_IN_WORDS,
    *gateways.LIMITS,
    *gateways.NAMED,
    *read_errors.MISSING,
    *read_errors.CALLED,
    *send_errors.REFUSALS,
    *gateways.ADDRESSES,
    *gateways.METHODS,
    *gateways.KEYS,
    *read_errors.WORDED,
    *gateways.FAULTS,
    *codes.BY_CODE,
)


@dataclass(frozen=True, slots=True, eq=False)
class ErrorTable:
    """All that one kind of chain says of its errors.

    ``rows`` are by ``scope``. ``statuses`` decide whatever the body says, ``status_hints`` are
    the verdicts that the body may then still name instead. ``page_hints`` are looked for in
    bodies that are not JSON-RPC: narrow, since an error page says many things.
    ``batch_fragments`` say that a batch was refused as such, whatever the number beside them.
    """

    rows: Mapping[int, tuple[ErrorRow, ...]]
    statuses: Mapping[int, Verdict]
    status_hints: Mapping[int, frozenset[Verdict]]
    page_hints: tuple[tuple[str, Verdict], ...]
    batch_fragments: tuple[str, ...]
    batch_codes: frozenset[int]

    def verdict(
        self, code: int | None, text: str, on: int, params: bytes | msgspec.Raw | None = None
    ) -> Verdict:
        """What an error means for a method of this ``scope``; ``text`` is lower case. ``params``
        are those that the upstream was sent, where they are known.
        """
        row = self._row(code, text[:LONGEST_TEXT], on)
        if row is None:
            return Verdict.UNKNOWN
        if row.weigh is not None and params is not None:
            return row.weigh(bytes(params))
        return row.verdict

    @lru_cache(maxsize=REMEMBERED)  # noqa: B019 -- there is one table, and it stays
    def _row(self, code: int | None, text: str, on: int) -> ErrorRow | None:
        """The first row that matches."""
        own = own_words(text)
        return next((row for row in self.rows[on] if row.is_match(code, own)), None)

    @staticmethod
    def is_spoken(code: int | None, on: int) -> bool:
        """Whether the code says by itself that code was run: that is an answer, whatever status
        it came under.
        """
        return execution.is_spoken(code, on)


EVM_ERRORS: Final = ErrorTable(
    rows=MappingProxyType(
        {on: tuple(row for row in ROWS if row.on & on) for on in (SENDS, CALLS, LOOKUPS, READS)}
    ),
    statuses=MappingProxyType(
        {
            401: V.KEY_REFUSED,
            402: V.QUOTA,
            403: V.KEY_REFUSED,
            405: V.UNSUPPORTED,
            413: V.SIZE_REFUSED,
            415: V.UNSUPPORTED,
            429: V.RATE_LIMITED,
        }
    ),
    status_hints=MappingProxyType(
        {
            # A 403 is also what Cloudflare (1015), proxyd's whitelist and address lists answer.
            403: frozenset((V.RATE_LIMITED, V.QUOTA, V.UNSUPPORTED, V.SEND_POLICY)),
            413: frozenset((V.RANGE_TOO_LARGE,)),  # QuickNode −32614
            429: frozenset((V.QUOTA, V.SENDER_LIMITED)),
        }
    ),
    page_hints=(
        ("monthly capacity", V.QUOTA),
        ("daily request count", V.QUOTA),
        ("payment required", V.QUOTA),
        ("code: 1015", V.RATE_LIMITED),
        ("error 1015", V.RATE_LIMITED),
        ("too many requests", V.RATE_LIMITED),
        ("rate limit", V.RATE_LIMITED),
        ("method is not whitelisted", V.UNSUPPORTED),
    ),
    # Besu −32005, geth −32600, reth −32005 and −32010, dRPC 31, proxyd −32014
    batch_fragments=(
        "batch requests are not", "batched requests are not", "batching is not", "batch not",
        "batches are not", "batch too large", "batch size", "max batch", "batch limit",
        "batch of more than", "in batch request", "batch request was too large",
        "batch is not", "calls in batch", "items in batch", "requests in batch",
    ),
    batch_codes=frozenset((-32014,)),
)  # fmt: skip
