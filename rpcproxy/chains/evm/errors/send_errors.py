"""What nodes say of a transaction that they do not take, or have taken before."""

from __future__ import annotations

from typing import Final

from rpcproxy.chains.parts.errors import SENDS, ErrorRow, code_row, pattern_row, text_row
from rpcproxy.messages import Verdict

V = Verdict

# The sequencer's own limit for one sender, whatever it says beside the number.
LIMITED: Final[tuple[ErrorRow, ...]] = (code_row(V.SENDER_LIMITED, SENDS, "proxyd", -32017),)
LIMITED_IN_WORDS: Final[tuple[ErrorRow, ...]] = (
    text_row(V.SENDER_LIMITED, SENDS, "proxyd: the sequencer's word", "sender is over rate limit"),
)

REFUSALS: Final[tuple[ErrorRow, ...]] = (
    # "unknown transaction type" contains "known transaction".
    text_row(
        V.SEND_POLICY, SENDS, "geth, Besu, Nethermind, anvil 1.7.1: a fork this node does not have",
        "transaction type", "tx of type", "type not supported", "current hardfork",
        "cancun hardfork", "prague hardfork", "berlin hardfork",
    ),
    text_row(
        V.ALREADY_KNOWN, SENDS, "geth, Erigon, Besu, hardhat (Known transaction), Nethermind, "
        "anvil (already imported), parity, zkSync (in the system), Tendermint, Moonbeam, Harmony",
        "already known", "known transaction", "alreadyknown", "already imported",
        "alreadyimported", "already exists in cache", "already in the system",
        "already in mempool", "already in the mempool", "already in the pool",
        "tx already exists", "transaction already exists", "already been mined",
        "already mined", "already finalized", "already in block chain",
    ),
    text_row(
        V.NONCE_TOO_LOW, SENDS, "geth, Besu, hardhat, Arbitrum; Nethermind's OwnNonceAlreadyUsed "
        "may be another transaction, to be looked up; Moonbeam (Stale)",
        "nonce too low", "nonce is too low", "oldnonce", "ownnoncealreadyused",
        "invalid transaction nonce", "nonce already used", "pool(stale)", "incorrect nonce",
    ),
    text_row(
        V.SEND_REFUSED, SENDS, "op-geth, Nitro: a conditional that does not hold",
        "conditional cost", "conditional max", "conditional check", "conditional expired",
        "failed header check", "failed state check", "condition not met",
    ),
    text_row(
        V.INSUFFICIENT_FUNDS, SENDS, "geth, hardhat, Besu, Nethermind, Arbitrum, parity",
        "insufficient funds", "insufficientfunds", "insufficient balance", "enough funds",
        "upfront cost exceeds", "exceeds account balance", "overdraft", "insufficient eth",
        "not enough balance",
    ),
    text_row(
        V.SEND_POLICY, SENDS, "geth, Besu, Nethermind, anvil, Nitro, Klaytn, Metis: this node's "
        "own fee floor, nonce window, pool or list; hardhat 2.29.1 (next block); Stackup (25)",
        "nonce too high", "nonce is too high", "noncegap", "nonce gap", "gapped-nonce",
        "nonce too distant", "is too distant", "future nonce", "lower nonce exists",
        "configured cap", "fee cap exceeded", "feetoolow", "below configured minimum",
        "gas price too low", "gas price is too low", "underpriced", "below current",
        "less than block base fee", "less than block blob", "unacceptable gas price", "same nonce",
        "pool is full", "txpool full", "pool full", "queue full", "queue is full",
        "in the queue", "too many transactions", "banned", "blacklisted", "sanctioned",
        "not authorized to send", "account limit", "limit reached for", "already reserved",
        "replace pending", "oversized data", "replay-protected", "future transaction",
        "marked the transaction as", "min gas price", "tip too low", "in-flight",
        "gas price below minimum", "out of capacity", "fee below minimum", "too low for the next",
        "to replace existing", "replacement op must", "conversion queue", "no active journal",
        "greater than tx-specified",
    ),
    text_row(
        V.SEND_REFUSED, SENDS, "geth 1.17.10, Besu, Nethermind, anvil 1.7.1, hardhat 2.29.1 "
        "(−32602 invalid chainId), reth 1.8: the protocol's own rules",
        "invalid signature", "invalid transaction signature", "invalid sender", "invalid chain id",
        "invalid chainid", "chain id", "chainid", "intrinsic gas", "at least 21000", "gas limit",
        "gas too low", "floor data gas", "gas floor", "negative value", "rlp",
        "transaction v, r, s",
        "higher than max fee", "higher than 2^256", "exceeds max fee", "initcode size", "eoa",
        "kzg", "blob", "invalid transaction", "authorization list", "auth list", "decode signed",
        "decode transaction", "could not decode", "transaction gas cap", "gas cap",
        "typed transaction too short", "transaction data", "bigger than maxfeepergas",
        "nonce has max value", "eip-155", "eip-7702", "set code tx",
        "sidecar", "yparity", "overflow", "non-account", "priority fee", "signed for another chain",
    ),
    pattern_row(
        V.SEND_POLICY, SENDS, "nodes without a feature of the transaction",
        r"\b(?:access lists?|transactions?|fee params|fees?|eip-?\d{3,5})\b"
        r"[^\n]{0,60}not supported",
    ),
)  # fmt: skip
