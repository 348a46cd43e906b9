"""What the errors of EVM nodes and providers mean: one ordered table, the first match wins.

A row matches when the code is among its codes (any, where it names none) and a fragment is in
the text (any, where it names none), for the kinds of method it is meant for. Fragments are lower
case and looked for in ``message`` and in the strings of ``data``.

A number alone means opposite things at different providers (−32005 is a limit at Infura, a block
gas limit at Besu, a conditional's cost at op-geth), so rows with fragments stand before rows that
go by code alone; 3 and −32601 excepted, which mean one thing. Within each part the order is:
revert, range and size, sender limit, quota, rate limit, missing data, execution, sends,
unsupported, key, invalid params, the upstream's own trouble.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from rpcproxy.chains.methods import Kind, Method
from rpcproxy.messages import Verdict

# Kinds of method that a row is meant for.
SENDS: Final = 1
CALLS: Final = 2  # methods that run code
LOOKUPS: Final = 4
READS: Final = 8
NOT_SENDS: Final = CALLS | LOOKUPS | READS
ANY: Final = SENDS | NOT_SENDS


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``source`` says who speaks like that."""

    verdict: Verdict
    source: str
    fragments: tuple[str, ...] = ()
    codes: frozenset[int] = frozenset()
    on: int = ANY

    def is_match(self, code: int | None, text: str) -> bool:
        """``text`` is lower case."""
        if self.codes and code not in self.codes:
            return False
        return not self.fragments or any(fragment in text for fragment in self.fragments)


def scope(method: Method) -> int:
    """Which rows are meant for this method."""
    if method.kind is Kind.SEND:
        return SENDS
    if method.is_execution:
        return CALLS
    return LOOKUPS if method.kind is Kind.LOOKUP else READS


def _text(verdict: Verdict, on: int, source: str, *fragments: str) -> Row:
    return Row(verdict, source, fragments=fragments, on=on)


def _code(verdict: Verdict, on: int, source: str, *codes: int) -> Row:
    return Row(verdict, source, codes=frozenset(codes), on=on)


V = Verdict

_BY_TEXT: Final[tuple[Row, ...]] = (
    # A revert's reason is the contract's own text: it may say "rate limit", so it comes first.
    _code(V.REVERTED, NOT_SENDS, "geth, reth, anvil: 3 is a revert; zkSync sends use 3 too", 3),
    _text(
        V.REVERTED, ANY, "geth, Erigon, Besu; hardhat (−32603), ganache and parity (−32015)",
        "execution reverted", "transaction reverted", "vm exception while processing",
        "vm execution error", "reverted with reason", "transaction: revert",
    ),
    # Range and size. Before the fragments they would be mistaken for:
    _text(
        V.MISSING_DATA, NOT_SENDS, "geth −32602: a range above its head",
        "beyond current head", "beyond the current head", "extends beyond",
    ),
    _text(V.INVALID_PARAMS, NOT_SENDS, "geth: from above to", "invalid block range"),
    _text(
        V.SIZE_REFUSED, ANY, "proxyd −32021, jsonrpsee −32007, nginx",
        "request body too large", "request entity too large", "payload too large",
        "request is too big", "content length too large", "request size exceeded",
    ),
    _text(
        V.RANGE_TOO_LARGE, NOT_SENDS, "Infura, Alchemy, QuickNode, dRPC, Chainstack, Ankr, BSC, "
        "Avalanche, Besu, geth −32003, proxyd −32020, jsonrpsee −32008, eRPC −32012",
        "block range", "blocks range", "query returned more than", "returned more than",
        "exceeds max results", "exceed max results", "limit the query to", "response too large",
        "response size", "response is too big", "response too big", "range too large",
        "range is too large", "range limit", "exceeds the range", "max range", "range exceeds",
        "ranges over", "allowed range", "query exceeds limit", "exceeds limit of",
        "getlogs is limited to", "logs is limited to", "too many blocks", "too many results",
        "too many logs", "too large, max is", "specify less number of address",
        "address count exceeds", "query timeout exceeded",
    ),
    _text(V.SENDER_LIMITED, SENDS, "proxyd: the sequencer's word", "sender is over rate limit"),
    # Quota, after the plans that lack a method
    _text(
        V.UNSUPPORTED, ANY, "QuickNode −32612, Alchemy, dRPC: a method outside the plan",
        "included in your current plan", "available on your current plan", "in your plan",
        "method is not available on free", "available on freetier", "supported on freetier",
        "available on the free tier",
    ),
    _text(
        V.QUOTA, ANY, "Infura 402 and daily, Alchemy monthly, Ankr, GetBlock, eRPC's tables",
        "monthly capacity", "monthly quota", "monthly limit", "monthly request",
        "daily request count", "daily quota", "daily limit", "daily request", "requests per day",
        "reached the free tier", "current plan", "payment required", "out of credits",
        "insufficient credits", "not enough credits", "credits exhausted", "billing",
        "subscription expired", "subscription has expired",
    ),
    _text(
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
    _text(
        V.SERVER_ERROR, ANY, "geth −32002 and call timeout; proxyd −32010 to −32018",
        "request timed out", "execution timeout", "execution aborted", "evm timeout",
        "gateway timeout", "no backends available", "backend offline", "backend is currently not",
        "backend returned an", "context deadline exceeded", "bad gateway", "service unavailable",
    ),
    # A method that is named and not found, before the receipt in its name is taken for one
    _code(V.UNSUPPORTED, ANY, "JSON-RPC", -32601),
    _text(V.UNSUPPORTED, LOOKUPS, "gateways under −32000", "method eth_", "method debug_"),
    # Missing data or lag
    _text(
        V.NULL, LOOKUPS, "anvil, Besu, Nethermind, proxies: not found as an error",
        "transaction not found", "receipt not found", "unknown transaction", "tx not found",
        "no transaction found", "could not find transaction", "transaction hash not found",
    ),
    _text(
        V.MISSING_DATA, NOT_SENDS, "geth, Erigon, Nethermind, Besu, reth, anvil, ganache (−32700), "
        "hardhat (invalid block tag), Avalanche (unfinalized), op-geth (historical)",
        "header not found", "header for hash not found", "missing trie node", "unknown block",
        "block not found", "blocknotfound", "could not find block", "cannot find block",
        "block does not exist", "block hash not found", "no block found", "unknown header",
        "not currently canonical",
        "state unavailable", "state is unavailable", "state not available",
        "state is not available", "historical state", "historical rpc", "history unavailable",
        "pruned", "missing state", "greater than latest", "blockoutofrange",
        "block is out of range", "block out of range", "block number is too high",
        "invalid block tag", "latest block number is", "unfinalized data", "after last accepted",
        "proof window", "initial sync", "still syncing", "is syncing", "not synced",
        "ancient block", "future block", "resource not found", "not yet available",
        "unknown ancestor", "indexing is in progress", "transaction not found",
        "block is not available", "no state available",
    ),
    _text(V.INVALID_PARAMS, NOT_SENDS, "geth", "genesis is not traceable"),
    _text(V.INVALID_PARAMS, NOT_SENDS, "Lotus 12: a height without a block", "was a null round"),
    _text(
        V.REVERTED, CALLS, "geth, Erigon, anvil (EVM error), hardhat, Besu, Nethermind, parity",
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
    ),
    # Sends. "unknown transaction type" contains "known transaction".
    _text(
        V.SEND_POLICY, SENDS, "geth, Besu, Nethermind: a fork this node does not have",
        "transaction type", "tx of type", "type not supported",
    ),
    _text(
        V.ALREADY_KNOWN, SENDS, "geth, Erigon, Besu, hardhat (Known transaction), Nethermind, "
        "anvil (already imported), parity, zkSync (in the system), Tendermint, Moonbeam, Harmony",
        "already known", "known transaction", "alreadyknown", "already imported",
        "alreadyimported", "already exists in cache", "already in the system",
        "already in mempool", "already in the mempool", "already in the pool",
        "tx already exists", "transaction already exists", "already been mined",
        "already mined", "already finalized", "already in block chain",
    ),
    _text(
        V.NONCE_TOO_LOW, SENDS, "geth, Besu, hardhat, Arbitrum; Nethermind's OwnNonceAlreadyUsed "
        "may be another transaction, to be looked up; Moonbeam (Stale)",
        "nonce too low", "nonce is too low", "oldnonce", "ownnoncealreadyused",
        "invalid transaction nonce", "nonce already used", "pool(stale)", "incorrect nonce",
    ),
    _text(
        V.SEND_REFUSED, SENDS, "op-geth, Nitro: a conditional that does not hold",
        "conditional cost", "conditional max", "conditional check", "conditional expired",
        "failed header check", "failed state check", "condition not met",
    ),
    _text(
        V.INSUFFICIENT_FUNDS, SENDS, "geth, hardhat, Besu, Nethermind, Arbitrum, parity",
        "insufficient funds", "insufficientfunds", "insufficient balance", "enough funds",
        "upfront cost exceeds", "exceeds account balance", "overdraft", "insufficient eth",
    ),
    _text(
        V.SEND_POLICY, SENDS, "geth, Besu, Nethermind, anvil, Nitro, Klaytn, Metis: this node's "
        "own fee floor, nonce window, pool or list",
        "nonce too high", "nonce is too high", "noncegap", "nonce gap", "gapped-nonce",
        "nonce too distant", "is too distant", "future nonce", "lower nonce exists",
        "configured cap", "fee cap exceeded", "feetoolow", "below configured minimum",
        "gas price too low", "gas price is too low", "underpriced", "below current",
        "less than block base fee", "unacceptable gas price", "same nonce",
        "pool is full", "txpool full", "pool full", "queue full", "queue is full",
        "in the queue", "too many transactions", "banned", "blacklisted", "sanctioned",
        "not authorized to send", "account limit", "limit reached for", "already reserved",
        "replace pending", "oversized data", "replay-protected", "future transaction",
        "marked the transaction as invalid", "min gas price", "tip too low",
        "in-flight",
    ),
    _text(
        V.SEND_REFUSED, SENDS, "geth, Besu, Nethermind, anvil, hardhat (−32602 invalid chainId): "
        "the protocol's own rules",
        "invalid signature", "invalid sender", "invalid chain id", "invalid chainid",
        "chain id", "chainid", "intrinsic gas", "at least 21000", "gas limit", "gas too low",
        "negative value", "rlp", "transaction v, r, s", "higher than max fee", "exceeds max fee",
        "initcode size", "sender not an eoa", "kzg", "blob", "invalid transaction",
        "authorization list", "decode signed", "could not decode", "transaction gas cap",
    ),
    _text(
        V.KEY_REFUSED, ANY, "providers with lists of addresses and origins",
        "ip not whitelisted", "ip is not whitelisted", "ip address", "origin not", "origin is not",
    ),
    _text(
        V.UNSUPPORTED, ANY, "geth, hardhat (−32004), ganache, proxyd (whitelist), providers",
        "method not found", "does not exist/is not available", "method does not exist",
        "not supported", "unsupported method", "not whitelisted",
        "method not allowed", "method is not allowed", "method is not available",
        "method not available", "method is disabled", "method disabled", "not implemented",
        "unknown method", "method is unavailable", "unrecognized method", "module not",
    ),
    _text(
        V.KEY_REFUSED, ANY, "Alchemy (−32600), Infura, Ankr, dRPC, Tenderly",
        "must be authenticated", "invalid api key", "invalid apikey", "api key is", "apikey",
        "api key not", "missing api key", "invalid project id", "project id not",
        "project id is", "access key", "access token", "unauthorized", "unauthorised",
        "authentication", "not authenticated", "forbidden", "app is inactive", "app not found",
        "key is disabled", "not allowed to access", "access denied", "permission denied",
    ),
    _text(
        V.INVALID_PARAMS, ANY, "geth, reth, Besu, Nethermind",
        "invalid argument", "invalid params", "invalid parameters", "missing value for",
        "cannot unmarshal", "param is required", "hex string", "empty request",
    ),
    _text(
        V.SERVER_ERROR, ANY, "gateways of every kind",
        "timed out", "timeout", "internal error", "internal server error", "overloaded",
        "temporarily unavailable", "connection refused", "not healthy", "upstream",
    ),
)  # fmt: skip

_BY_CODE: Final[tuple[Row, ...]] = (
    _code(V.ALREADY_KNOWN, SENDS, "EIP-7966: 4 timeout, 5 not ready; the transaction is out", 4, 5),
    _code(V.RANGE_TOO_LARGE, NOT_SENDS, "QuickNode −32614, eRPC −32012", -32614, -32012),
    _code(V.QUOTA, ANY, "Infura", 402),
    # Besu numbers its rejections −32001 to −32010, Nethermind's are all −32010.
    _code(
        V.SEND_POLICY, SENDS, "Besu, Nethermind; EIP-1474's −32003: rejected, no reason we know",
        -32001, -32002, -32003, -32006, -32008, -32010,
    ),
    _code(
        V.RATE_LIMITED, ANY, "Infura, Alchemy, QuickNode, Chainstack, Tenderly, proxyd, dRPC",
        429, -32005, -32007, -32009, -32016, -32024, -32029, -32012, 15, 30,
    ),
    _code(
        V.MISSING_DATA, NOT_SENDS, "EIP-1474 −32001, geth 4444 (pruned history), −39001, proxyd",
        -32001, 4444, -39001, -32019,
    ),
    _code(V.REVERTED, CALLS, "parity and geth: VM error; eth_simulateV1's −380xx", -32015,
          *range(-38029, -38009)),
    _code(V.SEND_REFUSED, SENDS, "zkSync: 3 is a refused transaction", 3),
    _code(
        V.UNSUPPORTED, ANY, "EIP-1474, QuickNode (not in plan)", -32004, -32612, -32613,
    ),
    _code(V.KEY_REFUSED, ANY, "gateways; Besu −40100", 401, 403, -40100),
    _code(V.INVALID_PARAMS, ANY, "JSON-RPC", -32602, -32600),
    _code(
        V.SERVER_ERROR, ANY, "JSON-RPC −32603, geth's own limits −32002 and −32003, proxyd",
        -32603, -32002, -32003, -32010, -32011, -32013, -32015, -32018, -32020, 500, 502, 503, 504,
    ),
)  # fmt: skip

# The sequencer's own limit for one sender, whatever it says beside the number.
_BEFORE_TEXT: Final[tuple[Row, ...]] = (_code(V.SENDER_LIMITED, SENDS, "proxyd", -32017),)
ROWS: Final = _BEFORE_TEXT + _BY_TEXT + _BY_CODE


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """All that one kind of chain says of its errors.

    ``rows`` are by ``scope``. ``statuses`` decide whatever the body says, ``status_hints`` are
    the verdicts that the body may then still name instead. ``page_hints`` are looked for in
    bodies that are not JSON-RPC: narrow, since an error page says many things.
    ``batch_fragments`` say that a batch was refused as such, whatever the number beside them.
    """

    rows: Mapping[int, tuple[Row, ...]]
    statuses: Mapping[int, Verdict]
    status_hints: Mapping[int, frozenset[Verdict]]
    page_hints: tuple[tuple[str, Verdict], ...]
    batch_fragments: tuple[str, ...]
    batch_codes: frozenset[int]

    def verdict(self, code: int | None, text: str, on: int) -> Verdict:
        """What an error means for a method of this ``scope``; ``text`` is lower case."""
        for row in self.rows[on]:
            if row.is_match(code, text):
                return row.verdict
        return Verdict.UNKNOWN


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
