"""The order of all rows, and what is decided by an HTTP status or by a page.

A number alone means opposite things at different providers (−32005 is a limit at Infura, a block
gas limit at Besu, a conditional's cost at op-geth), so rows with fragments stand before rows that
go by code alone; a code that says "execution" (``execution``) and −32601 excepted, which mean one
thing. The rows of the last errors are remembered by their texts (``REMEMBERED`` of them at most).
Within each part the order is: what was run, range and size, mistakes, sender limit, quota,
rate limit, missing data, calls, sends, unsupported, key, params, the upstream's own trouble.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from rpcproxy.chains.evm.errors import codes, execution, gateways, read_errors, send_errors
from rpcproxy.chains.evm.errors.range_refusals import read_refusal
from rpcproxy.chains.parts.errors import Encoded, ErrorRow, ErrorTable, by_scope
from rpcproxy.messages import Verdict

V = Verdict

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


# What a node returned, and hashes.
_HEX: Final = re.compile(r"0x[0-9A-Fa-f]*")
_LONG_HEX: Final = re.compile(r"(?:0x)?[0-9A-Fa-f]{64,}")


def _without_long_hex(text: str) -> str:
    return _LONG_HEX.sub("0x", text)


EVM_ERRORS: Final = ErrorTable(
    rows=by_scope(ROWS),
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
    spoken=execution.SPOKEN_CODES,
    encoded=Encoded(_HEX, _without_long_hex),
    read_range=read_refusal,
)  # fmt: skip
