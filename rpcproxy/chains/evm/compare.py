"""Which results of EVM nodes can be compared, and what in them is one value in two spellings.

Nodes write quantities with and without leading zeros, in either case, some as numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from rpcproxy.chains.parts.comparison import Comparison, Form

# Hex of which every digit counts. All other hex is a number, and 0x00 is 0x0.
_DATA: Final = frozenset(
    {
        *("hash", "parentHash", "blockHash", "transactionHash", "mixHash", "root", "sha3Uncles"),
        *("stateRoot", "transactionsRoot", "receiptsRoot", "withdrawalsRoot", "requestsHash"),
        *("parentBeaconBlockRoot", "from", "to", "address", "contractAddress", "transactions"),
        *("uncles", "topics", "storageKeys", "blobVersionedHashes", "input", "data", "extraData"),
    }
)

# Where providers that serve the same chain are known to differ.
_IGNORED: Final = frozenset(
    {
        # Total difficulty ended with proof of work: real, zero or left out. Sizes are counted
        # with and without what later forks added.
        *("totalDifficulty", "size"),
        # Zero, or the signer found from the seal (clique, Bor).
        *("miner", "author", "sealFields"),
        # The price paid, or the cap, of one and the same transaction; parities in two notations.
        *("gasPrice", "v", "standardV"),
        # Follows from the logs; some leave it empty.
        "logsBloom",
        # New in logs, and zero in some releases.
        "blockTimestamp",
        # Counted from the upstream's own head.
        "confirmations",
        # What a rollup paid for: decimal or hex, by release.
        *("l1Fee", "l1GasPrice", "l1GasUsed", "l1FeeScalar", "l1BaseFeeScalar"),
        *("l1BlobBaseFee", "l1BlobBaseFeeScalar", "l1BatchNumber", "l1BatchTxIndex"),
    }
)

_BLOCK: Final = ("hash", "number", "parentHash", "stateRoot", "transactionsRoot")
_TRANSACTION: Final = (
    *("hash", "blockHash", "blockNumber", "transactionIndex"),
    *("from", "to", "nonce", "value", "input"),
)
_RECEIPT: Final = ("transactionHash", "blockHash", "blockNumber", "status", "logs")
_LOG: Final = ("address", "topics", "data", "blockHash", "transactionHash", "logIndex")
# Members that hold objects with a core of their own.
_WITHIN: Final = MappingProxyType({"transactions": _TRANSACTION, "logs": _LOG})
# A rollup's deposits come from no account: their nonce is told in several ways, or not at all.
_DEPOSIT_TYPE: Final = "0x7e"


_ROWS: Final[tuple[tuple[Form, str], ...]] = (
    # State: what wallets show, and a value is right or wrong.
    (Form("number"), "eth_getBalance"),
    # A wrong nonce makes wallets call a transaction dropped.
    (Form("number"), "eth_getTransactionCount"),
    # A word: with all of its zeros, or without.
    (Form("number"), "eth_getStorageAt"),
    # Execution and code: bytes in, bytes out.
    (Form("data"), "eth_call eth_getCode"),
    # Blocks: the hashes commit to everything else.
    (Form("number", _BLOCK), "eth_getBlockByNumber eth_getBlockByHash"),
    (Form("number", _BLOCK), "eth_getHeaderByNumber eth_getHeaderByHash"),
    (Form("number"), "eth_getBlockTransactionCountByNumber eth_getBlockTransactionCountByHash"),
    # What happened: a false status or a missing log costs people money.
    (Form("number", _RECEIPT, "blockHash"), "eth_getTransactionReceipt eth_getBlockReceipts"),
    (
        Form("number", _TRANSACTION, "blockHash"),
        "eth_getTransactionByHash eth_getTransactionByBlockHashAndIndex",
    ),
    (Form("number", _TRANSACTION, "blockHash"), "eth_getTransactionByBlockNumberAndIndex"),
    # The one answer that is often cut short in silence; the order is the chain's.
    (Form("number", _LOG, "blockHash"), "eth_getLogs"),
)
# Left out, since honest answers differ:
# - eth_estimateGas, eth_createAccessList: a search with a tolerance and a cap of the node's own
# - eth_gasPrice, eth_maxPriorityFeePerGas, eth_blobBaseFee: an opinion of the node
# - eth_feeHistory: rewards are rounded differently, and ranges are cut
# - eth_getProof, eth_getAccount: order and spelling of what is proven; a proof proves itself
# - eth_simulateV1, eth_callMany: made-up blocks with fields of the node's own choice
# - debug_, trace_, ots_, txpool_: every client writes its own
# - eth_blockNumber and whatever else follows the head: it moved in between
_FORMS: Final[Mapping[str, Form]] = MappingProxyType(
    {name: form for form, names in _ROWS for name in names.split()}
)


def _spelled(value: str | int, member: str) -> object:
    if isinstance(value, int):
        return "0x" + f"{value:x}".lstrip("0")
    if value[:2] not in ("0x", "0X"):
        return value
    digits = value[2:].lower()
    return "0x" + (digits if member in _DATA else digits.lstrip("0"))


def _is_waived(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if name == "status":  # before Byzantium a receipt had a state root in its place
        are_both = "status" in one and "status" in other
        return not are_both and ("root" in one or "root" in other)
    return name == "nonce" and one.get("type") == other.get("type") == _DEPOSIT_TYPE


EVM_COMPARISON: Final = Comparison(
    forms=_FORMS, spell=_spelled, ignored=_IGNORED, within=_WITHIN, is_waived=_is_waived
)
