"""What nodes say of a question: it is wrong, it wants too much, or they lack what it is about."""

from __future__ import annotations

import re
from typing import Final

from rpcproxy.chains.evm.errors.by_request import range_verdict, script_verdict
from rpcproxy.chains.parts.errors import (
    ANY,
    CALLS,
    LOOKUPS,
    NOT_SENDS,
    ErrorRow,
    pattern_row,
    text_row,
)
from rpcproxy.messages import Verdict

V = Verdict

# Before the fragments of other rows that they would be mistaken for.
RANGES: Final[tuple[ErrorRow, ...]] = (
    text_row(
        V.MISSING_DATA, NOT_SENDS, "geth 1.17.10 (−32602): a range above its head; feeHistory "
        "1.15–1.17 (−32000); Erigon 3",
        "beyond current head", "beyond the current head", "extends beyond",
        "request beyond head block",
    ),
    ErrorRow(
        V.INVALID_PARAMS,
        "geth 1.15.11 and 1.16.9 (−32000), Nitro (3666), Base (140): from above to, also after "
        "the head was put in; reth 1.8 (−32602), nanoreth (153); Erigon 3; Avalanche; trace_filter "
        "of Erigon and reth",
        fragments=(
            "invalid block range", "fromblock cannot be greater than toblock",
            "greater than end block", "later than to block", "greater than to block",
        ),
        pattern=re.compile(r"\bend \(\d{1,20}\) < begin \(\d{1,20}\)", re.ASCII),
        on=NOT_SENDS,
        weigh=range_verdict,
    ),
    pattern_row(
        V.MISSING_DATA, NOT_SENDS, "Erigon 3 (eth_receipts.go)",
        r"\bbegin \(\d{1,20}\) > latest \(",
    ),
    text_row(
        V.SIZE_REFUSED, ANY, "proxyd −32021, jsonrpsee −32007, nginx",
        "request body too large", "request entity too large", "payload too large",
        "request is too big", "content length too large", "request size exceeded",
    ),
    text_row(
        V.RANGE_TOO_LARGE, NOT_SENDS, "Infura, Alchemy, QuickNode, dRPC, Chainstack, Ankr, BSC, "
        "Avalanche, Besu, geth −32003, proxyd −32020, jsonrpsee −32008, eRPC −32012; geth 1.16.9 "
        "and 1.17.10 (1,001 addresses)",
        "block range", "blocks range", "query returned more than", "returned more than",
        "exceeds max results", "exceed max results", "limit the query to", "response too large",
        "response size", "response is too big", "response too big", "range too large",
        "range is too large", "range limit", "exceeds the range", "max range", "range exceeds",
        "ranges over", "allowed range", "query exceeds limit", "exceeds limit of",
        "getlogs is limited to", "logs is limited to", "too many blocks", "too many results",
        "too many logs", "too large, max is", "specify less number of address",
        "address count exceeds", "query timeout exceeded", "exceed max addresses",
        "exceeds maximum rpc range",
    ),
)  # fmt: skip

# Words that are long and a node's own: nothing below says the same and means something else.
MISTAKES: Final[tuple[ErrorRow, ...]] = (
    text_row(
        V.INVALID_PARAMS, NOT_SENDS, "geth 1.17.10 (eth/filters): asked of every geth alike",
        "pending logs are not supported", "invalid topic", "exceed max topics",
        "fromblock/toblock with blockhash", "cannot specify both blockhash and",
        "negative block number", "filter not found", "subscription not found",
    ),
    pattern_row(
        V.INVALID_PARAMS, NOT_SENDS, "Nethermind 1.38 (EthRpcModule.cs)",
        r"^filter with id\b.{0,80}\bdoes not exist",
    ),
    text_row(
        V.INVALID_PARAMS, NOT_SENDS, "geth 1.17.10 (internal/ethapi/transaction_args.go, "
        "override.go); reth 1.8 (rpc-eth-types/src/error); anvil 1.7.1",
        "both gasprice and", "are set and not equal", "maxfeepergas must be non-zero",
        "gasprice must be non-zero", "must be non-zero", "not valid before london",
        "contract creation without any data", "authorizationlist provided for contract",
        "chainid does not match node", "need at least 1 blob", "too many blobs in transaction",
        "in blob transaction", "blob proofs provided while", "blob commitments provided while",
        "number of blobs and", "blob hash verification failed", "without blobversionedhashes",
        "gas not specified", "nonce not specified", "missing gasprice or maxfeepergas",
        "is not supported for this rpc method", "has both ", "is not a precompile",
        "already been overridden", "is already overridden", "state override error",
        "evm override error", "can't be used together", "cannot be used simultaneously",
        "invalid bytecode",
        "conflicting fee fields",
    ),
    pattern_row(
        V.INVALID_PARAMS, NOT_SENDS, "geth 1.17.10 (transaction_args.go)",
        r"maxfeepergas \(\w{1,80}\) < maxpriorityfeepergas",
    ),
    text_row(
        V.INVALID_PARAMS, NOT_SENDS, "geth 1.17.10 (eth/gasprice), Erigon 3, reth 1.8, Besu 25; "
        "Nethermind 1.38; hardhat 2.29.1",
        "invalid reward percentile", "rewardpercentiles:", "blockcount:", "blockcount should be",
        "invalid block count", "reward percentile",
    ),
    text_row(
        V.INVALID_PARAMS, NOT_SENDS, "geth 1.17.10 (rpc/json.go, rpc/types.go, ethapi/api.go, "
        "eth/api_debug.go); Nethermind 1.38 (Position Index)",
        "non-array args", "too many arguments, want at most", "block number larger than int64",
        "blocknumber too high", "cannot specify both blockhash and blocknumber",
        "must specify either blockhash or blocknumber", "neither block nor hash specified",
        "expect hash and no special block", "storage key too long", "invalid hex in storage key",
        "unable to decode storage key", "too many storage keys", "empty input",
        "expected subscription name", "needs to come after start block",
        "must be less than end block height", "no transaction in genesis", "out of range for block",
        "block number or block hash must be specified", "position index is incorrect",
    ),
    text_row(
        V.INVALID_PARAMS, NOT_SENDS, "Lotus 1.33 (code 12): a height without a block",
        "was a null round",
    ),
    text_row(
        V.INVALID_PARAMS, NOT_SENDS, "geth 1.17.10 (eth/tracers), Erigon 3, reth 1.8, Besu 25",
        "genesis is not traceable", "tracing on top of pending", "in server-side tracer function",
        "trace object must expose", "tracer accessed out of bound", "tracer not found",
        "invalid tracer", "unsupported tracer", "unknown tracer", "js tracer is not enabled",
        "cannot use diffmode", "failed to bind bigint",
    ),
    ErrorRow(
        V.INVALID_PARAMS,
        "geth 1.17.10 and Erigon 3 (goja), reth 1.8 (boa): a tracer in JavaScript",
        pattern=re.compile(r"\b(?:reference|syntax|type|range|eval|uri)error:", re.ASCII),
        on=NOT_SENDS,
        weigh=script_verdict,
    ),
    # The tag or the override is refused, not the method: another request for it is served.
    pattern_row(
        V.INVALID_PARAMS, NOT_SENDS, "geth, anvil 1.7.1, Erigon, Nitro, op-geth: a part of the "
        "request",
        r"\b(?:overrides?|override \S{1,40}|tags?|pending|safe|finalized|earliest|pending block"
        r"|blockhash|block hash|eip-?1898|access lists?|blobs?|fee params .{0,80}|hardfork"
        r"|precompile|percentiles?)\b[^\n]{0,40}\b(?:not (?:yet )?supported|unsupported)\b"
        r"|\bunsupported (?:block )?(?:tag|override|parameter|param|field)"
        r"|\bsupported (?:by the current|before the \w{1,20}) hardfork",
    ),
)  # fmt: skip

MISSING: Final[tuple[ErrorRow, ...]] = (
    text_row(
        V.NULL, LOOKUPS, "anvil, Besu, Nethermind, proxies: not found as an error",
        "transaction not found", "receipt not found", "unknown transaction", "tx not found",
        "no transaction found", "could not find transaction", "transaction hash not found",
        "unable to find a block containing",
    ),
    text_row(
        V.MISSING_DATA, NOT_SENDS, "geth, Erigon, Nethermind, Besu, reth, anvil, ganache (−32700), "
        "hardhat (invalid block tag), Avalanche (unfinalized), op-geth (historical)",
        "header not found", "header for hash not found", "missing trie node", "unknown block",
        "block not found", "blocknotfound", "could not find block", "cannot find block",
        "block does not exist", "block hash not found", "no block found", "unknown header",
        "not currently canonical", "header range not found", "receipts not found",
        "state unavailable", "state is unavailable", "state not available",
        "state is not available", "historical state", "historical rpc", "history unavailable",
        "pruned", "missing state", "greater than latest", "blockoutofrange",
        "block is out of range", "block out of range", "block number is too high",
        "invalid block tag", "latest block number is", "unfinalized data", "after last accepted",
        "proof window", "initial sync", "still syncing", "is syncing", "not synced",
        "ancient block", "future block", "resource not found", "not yet available",
        "unknown ancestor", "indexing is in progress", "transaction not found",
        "unable to find a block containing",
        "block is not available", "no state available", "head block not available",
        "pending receipts is not available", "required data unavailable",
        "block body not found", "block body is missing", "could not find newest block",
        "range is out of bounds", "indexing is not yet complete", "no state found",
        "genesis state is missing", "current header is not available",
    ),
    pattern_row(
        V.MISSING_DATA, NOT_SENDS, "geth 1.17.10 (eth/tracers, eth/api_debug.go), Erigon 3, bor: "
        "“block #7 not found”, “header #7 not found”, “missing block 0x… 7”",
        r"\b(?:block|header|parent)s? (?:hash |number |header )?[#:]? ?(?:0x)?[0-9a-f]{0,64}"
        r"(?: ?\([#0-9a-fx]{1,70}\))? ?(?:is |was )?not found"
        r"|\bmissing (?:block|header) (?:0x|\d)",
    ),
)  # fmt: skip

# What is wrong with a call before its code runs; other words than a revert's, the same meaning.
CALLED: Final[tuple[ErrorRow, ...]] = (
    text_row(
        V.REVERTED, CALLS, "geth, Erigon, anvil (EVM error), hardhat, Besu, Nethermind, parity; "
        "hiero-json-rpc-relay (2091: −32005)",
        "out of gas", "outofgas", "out-of-gas", "invalid opcode", "bad instruction",
        "opcode not defined", "stack underflow", "stack limit reached", "stack overflow",
        "invalid jump", "bad jump", "gas required exceeds", "insufficient funds",
        "insufficientfunds", "insufficient balance", "enough funds", "outoffund",
        "exceeds account balance", "intrinsic gas", "gas too low", "less than block base fee",
        "below current base fee", "less than the block's", "write protection",
        "state modification in static", "max code size", "max initcode size", "initcode size",
        "nonce too", "nonce has max value", "exceeds block gas limit", "always failing",
        "execution failed", "due to an exception", "evm error", "revert",
        "return data out of bounds", "max call depth", "cannot estimate gas",
        "insufficient gas for floor", "requires gas floor", "gas limit too high",
        "gas limit is too high",
        "exceeds max gas per sec", "gas limit exceeds", "exceeds the gas cap", "exceeds gas cap",
        "exceeds allowance", "greater than the cap",
        "is greater than the block gas limit", "gas uint64 overflow",
        "not an eoa", "max priority fee per gas higher", "max fee per gas higher",
        "exceeds 256 bits", "invalid code: must not begin", "contract address collision",
        "blob gas fee", "out of memory", "is too low for the next block",
        "bigger than maxfeepergas", "invalid input:  greater than", "greater than tx-specified",
        "transaction type not supported", "rpc gas cap exhausted",
    ),
)  # fmt: skip

WORDED: Final[tuple[ErrorRow, ...]] = (
    text_row(
        V.INVALID_PARAMS, ANY, "geth, reth, Besu, Nethermind",
        "invalid argument", "invalid params", "invalid parameters", "missing value for",
        "cannot unmarshal", "param is required", "hex string", "empty request",
        "invalid address", "invalid addresses",
    ),
)  # fmt: skip
