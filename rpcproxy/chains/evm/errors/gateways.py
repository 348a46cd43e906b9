"""What providers and gateways say of themselves and of the asker: limits, keys, methods, faults."""

from __future__ import annotations

import re
from typing import Final

from rpcproxy.chains.evm.errors.by_request import search_verdict
from rpcproxy.chains.parts.errors import (
    ANY,
    LOOKUPS,
    NOT_SENDS,
    SENDS,
    ErrorRow,
    code_row,
    pattern_row,
    text_row,
)
from rpcproxy.messages import Verdict

V = Verdict

LIMITS: Final[tuple[ErrorRow, ...]] = (
    # Quota, after the plans that lack a method
    text_row(
        V.UNSUPPORTED, ANY, "QuickNode −32612, Alchemy, dRPC: a method outside the plan",
        "included in your current plan", "available on your current plan", "in your plan",
        "method is not available on free", "available on freetier", "supported on freetier",
        "available on the free tier",
    ),
    text_row(
        V.QUOTA, ANY, "Infura 402 and daily, Alchemy monthly, Ankr, GetBlock, eRPC's tables",
        "monthly capacity", "monthly quota", "monthly limit", "monthly request",
        "daily request count", "daily quota", "daily limit", "daily request", "requests per day",
        "reached the free tier", "current plan", "payment required", "out of credits",
        "insufficient credits", "not enough credits", "credits exhausted", "billing",
        "subscription expired", "subscription has expired",
    ),
    text_row(
        V.RATE_LIMITED, ANY, "Infura, Alchemy, QuickNode, Tenderly, Chainstack, proxyd, dRPC, "
        "LlamaNodes behind Cloudflare (1015)",
        "rate limit", "ratelimit", "rate-limit", "rate exceeded", "request rate",
        "too many requests", "enhance_your_calm", "request limit reached", "requests limited to",
        "exceeded the quota", "reached the quota", "quota exceeded", "code: 1015", "error 1015",
        "over capacity", "under too much load", "compute units", "requests per second",
        "throttl", "slow down", "capacity exceeded", "exceeded its throughput", "try again in",
        "timeout on the free tier",
    ),
    # The upstream's own limits, before execution errors that contain the same words
    text_row(
        V.SERVER_ERROR, ANY, "geth −32002 and call timeout; proxyd −32010 to −32018",
        "request timed out", "execution timeout", "execution aborted", "evm timeout",
        "gateway timeout", "no backends available", "backend offline", "backend is currently not",
        "backend returned an", "context deadline exceeded", "bad gateway", "service unavailable",
    ),
)  # fmt: skip

# A method that is named and not found, before the receipt in its name is taken for one.
NAMED: Final[tuple[ErrorRow, ...]] = (
    code_row(V.UNSUPPORTED, ANY, "JSON-RPC", -32601),
    text_row(V.UNSUPPORTED, LOOKUPS, "gateways under −32000", "method eth_", "method debug_"),
)

ADDRESSES: Final[tuple[ErrorRow, ...]] = (
    text_row(
        V.KEY_REFUSED, ANY, "providers with lists of addresses and origins",
        "ip not whitelisted", "ip is not whitelisted", "ip address", "origin not", "origin is not",
    ),
)  # fmt: skip

METHODS: Final[tuple[ErrorRow, ...]] = (
    ErrorRow(
        V.UNSUPPORTED, "hardhat 2.29.1 (−32004), of a filter that it cannot read; gateways",
        pattern=re.compile(r"(?m)^method eth_getlogs is not supported$"),
        on=NOT_SENDS, weigh=search_verdict,
    ),
    # hardhat says so of params that it cannot read; these methods no node lacks.
    pattern_row(
        V.INVALID_PARAMS, NOT_SENDS, "hardhat 2.29.1 (−32004): an odd tag, a number without 0x",
        r"(?m)^method eth_(?:call|estimategas|get(?:balance|code|storageat|transactioncount"
        r"|blockby(?:number|hash)|transactionbyhash|transactionreceipt)) is not supported$",
    ),
    text_row(
        V.UNSUPPORTED, ANY, "geth, hardhat (−32004), ganache, proxyd (whitelist), providers",
        "method not found", "does not exist/is not available", "method does not exist",
        "unsupported method", "not whitelisted", "notifications not supported",
        "method not allowed", "method is not allowed", "method is not available",
        "method not available", "method is disabled", "method disabled", "not implemented",
        "unknown method", "method is unavailable", "unrecognized method", "module not",
        "method not enabled",
    ),
    # Only what names a method takes the method from an upstream; a part of a request does not.
    pattern_row(
        V.UNSUPPORTED, ANY, "hardhat 2.29.1, Besu, Nethermind, gateways: what is lacking is said",
        r"\b(?:methods?|apis?|rpc|modules?|namespaces?|endpoints?|functions?|operations?|requests?"
        r"|tracing|debug|archive|filters?|subscriptions?|logs|proofs?)\b[^\n]{0,80}"
        r"\bnot (?:yet )?supported"
        r"|\b(?:eth|debug|trace|net|web3|txpool|zks|arb|arbtrace|ots|erigon|bor|alchemy|qn|parity"
        r"|linea|optimism|klay|kaia|mev|timeboost|tenderly)_[a-z0-9_]{1,60}[^\n]{0,40}"
        r"\bnot (?:yet )?supported"
        r"|\b(?:eth|debug|trace|txpool)_[a-z0-9]{1,60} (?:is|has been|was) (?:\w{1,12} )?disabled"
        r"|^\W*(?:this |it )?(?:is )?(?:not supported|unsupported)\W*$",
    ),
    text_row(V.INVALID_PARAMS, NOT_SENDS, "anything else that is in the request", "not supported"),
    text_row(V.SEND_POLICY, SENDS, "anything else that is in the transaction", "not supported"),
)  # fmt: skip

KEYS: Final[tuple[ErrorRow, ...]] = (
    text_row(
        V.KEY_REFUSED, ANY, "Alchemy (−32600), Infura, Ankr, dRPC, Tenderly",
        "must be authenticated", "invalid api key", "invalid apikey", "api key is", "apikey",
        "api key not", "missing api key", "invalid project id", "project id not",
        "project id is", "access key", "access token", "unauthorized", "unauthorised",
        "authentication", "not authenticated", "forbidden", "app is inactive", "app not found",
        "key is disabled", "not allowed to access", "access denied", "permission denied",
    ),
)  # fmt: skip

FAULTS: Final[tuple[ErrorRow, ...]] = (
    text_row(
        V.SERVER_ERROR, ANY, "gateways of every kind",
        "timed out", "timeout", "internal error", "internal server error", "overloaded",
        "temporarily unavailable", "connection refused", "not healthy", "upstream",
    ),
)  # fmt: skip
