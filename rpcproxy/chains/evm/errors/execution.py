"""What contracts, accounts and bundlers say through a node: their own words, which may be any.

A revert's reason may say "rate limit" or "unauthorized", so these rows come first, and of them
those that go by a code which says "execution": nobody else's words come with such a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rpcproxy.chains.parts.errors import (
    ANY,
    CALLS,
    NOT_SENDS,
    SCOPES,
    SENDS,
    ErrorRow,
    code_row,
    pattern_row,
    start_row,
    text_row,
)
from rpcproxy.messages import Verdict

V = Verdict

# ERC-4337, ERC-7769 (Pimlico, Alchemy, Candide, Rundler): an account, a paymaster or the entry
# point refused the operation; and this bundler's own view of who may pay and is in good repute.
_OPERATION: Final = (-32500, -32501, -32502, -32503, -32506, -32507, -32521)
_REPUTE: Final = (-32504, -32505, -32508)
# eth_simulateV1's (execution-apis).
_SIMULATED: Final = range(-38029, -38009)
# geth's name for it is "VM error"; proxyd's only text under that number stands before it.
_VM_ERROR: Final = -32015
_REFUSED: Final = frozenset((3,))

_ZKSYNC: Final = "zkSync Era 24–28 (api_server/tx_sender/result.rs), under 3"
SPOKEN: Final[tuple[ErrorRow, ...]] = (
    code_row(V.REVERTED, NOT_SENDS, "geth, reth, anvil, Erigon, Nethermind: 3 is a revert", 3),
    start_row(
        V.ALREADY_KNOWN, SENDS, _ZKSYNC, "known transaction. transaction with hash", codes=_REFUSED
    ),
    start_row(V.NONCE_TOO_LOW, SENDS, _ZKSYNC, "nonce too low. allowed nonce", codes=_REFUSED),
    start_row(
        V.INSUFFICIENT_FUNDS, SENDS, _ZKSYNC, "insufficient funds for gas + value", codes=_REFUSED
    ),
    start_row(
        V.SEND_POLICY, SENDS, _ZKSYNC, "nonce too high. allowed nonce",
        "insertion of another transaction with the same nonce",
        "max fee per gas less than block base fee", codes=_REFUSED,
    ),
    start_row(V.SERVER_ERROR, SENDS, _ZKSYNC, "server shutting down", codes=_REFUSED),
    start_row(V.REVERTED, SENDS, "zkSync; geth's sync send", "execution reverted", codes=_REFUSED),
    code_row(V.SEND_REFUSED, SENDS, "zkSync: the account's or paymaster's words (442)", 3),
    code_row(V.SEND_REFUSED, SENDS, "ERC-7769: the account, paymaster or entry point", *_OPERATION),
    code_row(V.SEND_POLICY, SENDS, "ERC-7769: stake and repute at this bundler", *_REPUTE),
    code_row(V.REVERTED, NOT_SENDS, "ERC-7769: estimates of operations", *_OPERATION, *_REPUTE),
    start_row(
        V.SERVER_ERROR, ANY, "proxyd 4 (rpc.go)", "gateway timeout", codes=frozenset((_VM_ERROR,))
    ),
    code_row(
        V.REVERTED, CALLS | SENDS, "OpenEthereum, Nethermind (1.14–1.30), Rootstock, Conflux",
        _VM_ERROR,
    ),
    code_row(V.REVERTED, CALLS, "geth 1.17.10 (internal/ethapi/errors.go)", *_SIMULATED),
    text_row(
        V.REVERTED, ANY, "geth, Erigon, Besu; hardhat 2.29.1 and Moonbeam (−32603), ganache and "
        "parity (−32015), Tron 4.8, Filecoin (11: lotus, forest), Hedera",
        "execution reverted", "transaction reverted", "vm exception while processing",
        "vm execution error", "reverted with reason", "reverted with the following reason",
        "transaction: revert", "revert opcode executed", "message execution failed",
        "contract_revert_executed", "reverted with custom error", "reverted with panic",
        "reverted without a reason", "reverted during simulation", "reverted during execution",
        "call reverted",
    ),
    start_row(
        V.SEND_REFUSED, SENDS, "zkSync Era (tx_sender/result.rs) through gateways, in any code",
        "failed to validate the transaction. reason:",
    ),
    start_row(
        V.REVERTED, NOT_SENDS, "zkSync Era (tx_sender/result.rs) through gateways, in any code",
        "failed to validate the transaction. reason:",
    ),
    pattern_row(
        V.SEND_REFUSED, SENDS, "EntryPoint 0.6–0.8 (AAxx) through bundlers of any code",
        r"(?<![0-9a-z])aa[1-9]\d\b|\bfailedop\b|\buser ?op(?:eration)? reverted",
    ),
    pattern_row(
        V.REVERTED, NOT_SENDS, "EntryPoint 0.6–0.8 (AAxx) through bundlers of any code",
        r"(?<![0-9a-z])aa[1-9]\d\b|\bfailedop\b|\buser ?op(?:eration)? reverted",
    ),
)  # fmt: skip

# Whatever the HTTP status and the text beside them: by scope.
_EVERYWHERE: Final = frozenset((3, *_OPERATION, *_REPUTE))
SPOKEN_CODES: Final[Mapping[int, frozenset[int]]] = MappingProxyType(
    {on: _EVERYWHERE | frozenset(_SIMULATED if on == CALLS else ()) for on in SCOPES}
)
