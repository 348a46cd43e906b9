"""The methods of EVM chains as a table, and what is assumed of a name that is not in it.

Sources: the execution-apis specification, the namespaces documented by geth, Erigon, Nethermind,
Besu, Reth, Bor, Nitro, the OP stack, zkSync and Linea. Weights follow the compute units that
metered providers publish, roughly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from rpcproxy.chains.evm.answers import BLOCKS, LISTS, NAMING_BLOCK
from rpcproxy.chains.evm.blocks import RANGED
from rpcproxy.chains.evm.entries import INDEXED, INDEXED_UNCLES, OF_CONTENTS
from rpcproxy.chains.evm.shapes import shape_of
from rpcproxy.chains.kind import Methods
from rpcproxy.chains.method import (
    LIST,
    OBJECT,
    Data,
    Keep,
    Method,
    MethodKind,
    SendForm,
    Subject,
)
from rpcproxy.messages import MethodClass

# How results begin; see ``chains.method``.
DATA: Final = re.compile(rb'"0x')
QUANTITY: Final = re.compile(rb'"0x[0-9a-fA-F]{1,64}"\Z')

LIGHT: Final = MethodClass.LIGHT
HEAVY: Final = MethodClass.HEAVY

# The longest real name has some 50 characters; what is longer is an attack on our tables.
LONGEST_NAME: Final = 80
TOO_LONG: Final = "(too long)"
# How one asks for a transaction.
TRANSACTION_BY_HASH: Final = "eth_getTransactionByHash"

_LOCAL = Method("", MethodKind.LOCAL, LIGHT, can_hedge=False, criticality=0)
_HEAD = Method("", MethodKind.HEAD_READ, LIGHT)
_HEAD_HEAVY = Method("", MethodKind.HEAD_READ, HEAVY, weight=10, criticality=4)
_QUANTITY = replace(_HEAD, null_is_data=False, shape=QUANTITY)
_STATE = Method(
    "", MethodKind.BLOCK_READ, LIGHT, block_param=1, null_is_data=False, weight=2, keep=Keep.BLOCK
)
_CALL = replace(_STATE, is_execution=True, weight=3)
_BLOCK = Method(
    "",
    MethodKind.BLOCK_READ,
    LIGHT,
    block_param=0,
    null_is_data=False,
    null_is_lag=True,
    weight=2,
    keep=Keep.BLOCK,
)
_TRACE_BLOCK = replace(_BLOCK, method_class=HEAVY, weight=20, criticality=4)
_TRACE_CALL = replace(_CALL, method_class=HEAVY, weight=20, criticality=4)
_LOGS = Method(
    "",
    MethodKind.BLOCK_READ,
    HEAVY,
    block_param=0,
    null_is_data=False,
    weight=8,
    criticality=3,
    shape=LIST,
    keep=Keep.BLOCK,
)
_LOOKUP = Method("", MethodKind.LOOKUP, LIGHT, confirm_null=True, weight=2)
_MINED = replace(_LOOKUP, keep=Keep.MINED)
_BY_HASH = replace(_LOOKUP, keep=Keep.FOREVER)
_TRACE_TX = replace(_MINED, method_class=HEAVY, weight=20, criticality=4)
_IMMUTABLE = Method("", MethodKind.IMMUTABLE, LIGHT, keep=Keep.FOREVER)
_SEND = Method("", MethodKind.SEND, MethodClass.SEND, can_hedge=False, weight=5, criticality=0)
_STATEFUL = Method("", MethodKind.STATEFUL, LIGHT, can_hedge=False)
_REFUSED = Method("", MethodKind.REFUSED, LIGHT, can_hedge=False)

_GROUPS: Final[tuple[tuple[Method, str], ...]] = (
    (
        _LOCAL,
        "eth_chainId net_version web3_clientVersion net_listening eth_syncing eth_accounts",
    ),
    (_IMMUTABLE, "web3_sha3 zks_L1ChainId zks_getMainContract zks_getBridgehubContract"),
    (_IMMUTABLE, "zks_getBridgeContracts zks_getBaseTokenL1Address zks_getTestnetPaymaster"),
    # The head and the fees
    (replace(_QUANTITY, criticality=0), "eth_blockNumber"),
    (
        replace(_QUANTITY, keep=Keep.HEAD),
        "eth_gasPrice eth_maxPriorityFeePerGas eth_blobBaseFee eth_baseFee",
    ),
    (replace(_STATE, null_is_data=False, shape=OBJECT), "eth_feeHistory"),
    (_HEAD, "eth_config eth_capabilities eth_protocolVersion eth_coinbase eth_mining"),
    (_HEAD, "eth_hashrate net_peerCount rpc_modules txpool_status optimism_syncStatus"),
    (_HEAD, "optimism_rollupConfig optimism_version rollup_gasPrices zks_L1BatchNumber"),
    (_HEAD, "zks_getFeeParams zks_getL1GasPrice zks_getProtocolVersion zks_getBatchFeeInput"),
    (_HEAD, "bor_getCurrentProposer bor_getCurrentValidators eth_getFinalizedHeader"),
    (_HEAD, "eth_getFinalizedBlock parity_pendingTransactions arb_getMinRequiredL1Fee"),
    (_HEAD, "erigon_blockNumber erigon_forks eth_pendingTransactions ots_getApiLevel"),
    (_HEAD_HEAVY, "txpool_content txpool_contentFrom txpool_inspect"),
    (replace(_HEAD_HEAVY, is_execution=True), "testing_buildBlockV1"),
    # State at a block
    (replace(_STATE, shape=QUANTITY), "eth_getBalance"),
    (replace(_STATE, shape=QUANTITY, criticality=1), "eth_getTransactionCount"),
    (replace(_STATE, shape=DATA), "eth_getCode"),
    (replace(_STATE, shape=DATA, block_param=2), "eth_getStorageAt"),
    (replace(_STATE, shape=OBJECT, weight=5), "eth_getStorageValues eth_getAccount"),
    (
        replace(_STATE, shape=OBJECT, method_class=HEAVY, weight=10, block_param=2, criticality=3),
        "eth_getProof linea_getProof",
    ),
    (replace(_STATE, null_is_data=True), "eth_getAccountInfo ots_hasCode"),
    (_HEAD, "ots_getContractCreator"),
    # Execution
    (replace(_CALL, shape=DATA), "eth_call"),
    (replace(_CALL, shape=QUANTITY), "eth_estimateGas"),
    (replace(_CALL, method_class=HEAVY, weight=5, shape=OBJECT), "eth_createAccessList"),
    (replace(_CALL, method_class=HEAVY, weight=20, shape=LIST), "eth_simulateV1"),
    (
        replace(_CALL, block_param=None, keep=Keep.NEVER),
        "linea_estimateGas zks_estimateFee zks_estimateGasL1ToL2 eth_estimateUserOperationGas",
    ),
    (replace(_CALL, block_param=None, keep=Keep.NEVER, shape=OBJECT), "eth_fillTransaction"),
    (
        replace(_TRACE_CALL, block_param=None, keep=Keep.NEVER),
        "eth_callMany eth_callBundle eth_simulateBundle debug_traceCallMany trace_rawTransaction",
    ),
    (_TRACE_CALL, "debug_traceCall trace_callMany eth_multicallV1"),
    # Alchemy's takes a tag alone, and never a number (its reference)
    (replace(_TRACE_CALL, block_param=None, keep=Keep.NEVER), "alchemy_simulateExecution"),
    (replace(_TRACE_CALL, keep=Keep.NEVER), "tenderly_simulateTransaction"),
    (replace(_TRACE_CALL, block_param=2), "trace_call"),
    # Blocks by number
    (replace(_BLOCK, criticality=1), "eth_getBlockByNumber"),
    (_BLOCK, "eth_getHeaderByNumber eth_getBlockTransactionCountByNumber"),
    (_BLOCK, "eth_getUncleCountByBlockNumber erigon_getHeaderByNumber bor_getAuthor"),
    (_BLOCK, "bor_getSnapshot bor_getSigners ots_getBlockDetails zks_getRawBlockTransactions"),
    # These tell of the L1 as well, or of a second block
    (replace(_BLOCK, keep=Keep.NEVER), "optimism_outputAtBlock zks_getBlockDetails"),
    (replace(_TRACE_BLOCK, keep=Keep.NEVER), "debug_getModifiedAccountsByNumber"),
    (
        replace(_BLOCK, null_is_data=True, null_is_lag=False, confirm_null=True),
        "eth_getTransactionByBlockNumberAndIndex eth_getRawTransactionByBlockNumberAndIndex",
    ),
    (
        replace(_BLOCK, null_is_data=True, null_is_lag=False),
        "eth_getUncleByBlockNumberAndIndex ots_getBlockTransactions",
    ),
    (
        replace(_BLOCK, method_class=HEAVY, weight=10, criticality=3),
        "eth_getBlockReceipts parity_getBlockReceipts erigon_getBlockReceiptsByBlockHash",
    ),
    (_TRACE_BLOCK, "debug_traceBlockByNumber debug_getRawBlock debug_getRawHeader"),
    (_TRACE_BLOCK, "debug_getRawReceipts debug_dumpBlock debug_accountRange debug_printBlock"),
    (_TRACE_BLOCK, "debug_intermediateRoots trace_block"),
    (_TRACE_BLOCK, "trace_replayBlockTransactions debug_executionWitness arbtrace_block"),
    (_TRACE_BLOCK, "arbtrace_replayBlockTransactions debug_getBlockRlp"),
    # Logs and searches over ranges
    (_LOGS, "eth_getLogs erigon_getLogs erigon_getLatestLogs"),
    (replace(_LOGS, weight=30, criticality=4), "trace_filter arbtrace_filter"),
    (_HEAD_HEAVY, "bor_getRootHash ots_searchTransactionsBefore ots_searchTransactionsAfter"),
    (_HEAD_HEAVY, "alchemy_getAssetTransfers alchemy_getTokenBalances qn_getTransactionsByAddress"),
    # By hash
    (replace(_MINED, criticality=1), "eth_getTransactionReceipt eth_getTransactionByHash"),
    (replace(_BY_HASH, criticality=1), "eth_getBlockByHash"),
    (_BY_HASH, "eth_getHeaderByHash eth_getBlockTransactionCountByHash erigon_getHeaderByHash"),
    (_BY_HASH, "eth_getUncleCountByBlockHash"),
    (replace(_BY_HASH, confirm_null=False), "eth_getUncleByBlockHashAndIndex"),
    (_MINED, "eth_getRawTransactionByHash eth_getTransactionByBlockHashAndIndex"),
    (_MINED, "eth_getRawTransactionByBlockHashAndIndex eth_getTransactionBySenderAndNonce"),
    (_LOOKUP, "ots_getTransactionBySenderAndNonce eth_getTransactionStatus"),
    (_LOOKUP, "zks_getTransactionDetails zks_getL2ToL1LogProof zks_getL2ToL1MsgProof"),
    (_LOOKUP, "eth_getUserOperationReceipt eth_getUserOperationByHash"),
    (_LOOKUP, "eth_getPrivateTransactionByHash bor_getTransactionReceiptsByBlock"),
    (_TRACE_TX, "trace_transaction trace_get trace_replayTransaction arbtrace_transaction"),
    (_TRACE_TX, "debug_getRawTransaction ots_traceTransaction ots_getTransactionError"),
    (_TRACE_TX, "ots_getInternalOperations"),
    (
        replace(_TRACE_TX, keep=Keep.FOREVER),
        "debug_storageRangeAt debug_traceBlockByHash debug_getModifiedAccountsByHash",
    ),
    (replace(_TRACE_TX, keep=Keep.NEVER), "linea_getTransactionExclusionStatusV1"),
    (
        replace(_TRACE_TX, null_is_data=False, confirm_null=False, null_is_lag=True),
        "debug_traceTransaction",
    ),
    # Sends: signed by the client, so no key of ours is needed
    (
        replace(_SEND, shape=DATA, null_is_data=False, send_form=SendForm.OURS),
        "eth_sendRawTransaction",
    ),
    (replace(_SEND, send_form=SendForm.SYNC), "eth_sendRawTransactionSync"),
    (replace(_SEND, send_form=SendForm.OPERATION), "eth_sendUserOperation"),
    (_SEND, "eth_sendRawTransactionConditional timeboost_sendExpressLaneTransaction"),
    (_SEND, "eth_sendPrivateTransaction eth_sendPrivateRawTransaction eth_sendBundle"),
    (_SEND, "mev_sendBundle eth_cancelPrivateTransaction eth_cancelBundle"),
    # Filters and subscriptions
    (_STATEFUL, "eth_newFilter eth_newBlockFilter eth_newPendingTransactionFilter"),
    (_STATEFUL, "eth_getFilterChanges eth_getFilterLogs eth_uninstallFilter"),
    (_STATEFUL, "eth_subscribe eth_unsubscribe parity_subscribe parity_unsubscribe"),
    # Keys, mining, and what changes a node
    (_REFUSED, "eth_sign eth_signTransaction eth_signTypedData eth_sendTransaction"),
    (_REFUSED, "eth_getWork eth_submitWork eth_submitHashrate debug_setHead debug_gcStats"),
    (_REFUSED, "debug_startCPUProfile debug_stopCPUProfile debug_cpuProfile debug_memStats"),
    (_REFUSED, "debug_startGoTrace debug_stopGoTrace debug_goTrace debug_freeOSMemory"),
    (_REFUSED, "debug_chaindbCompact debug_chaindbProperty debug_dbGet debug_verbosity"),
    (_REFUSED, "debug_vmodule debug_backtraceAt debug_stacks debug_blockProfile"),
    (_REFUSED, "debug_writeBlockProfile debug_writeMemProfile debug_writeMutexProfile"),
    (_REFUSED, "debug_mutexProfile debug_setBlockProfileRate debug_setGCPercent"),
    (_REFUSED, "debug_setMutexProfileFraction debug_setTrieFlushInterval"),
    (_REFUSED, "debug_standardTraceBlockToFile debug_standardTraceBadBlockToFile"),
    (_REFUSED, "debug_traceBlockFromFile debug_seedHash debug_sync"),
)

# evm_, anvil_, hardhat_, ganache_ change a development node: replicas would drift apart.
_REFUSED_PREFIXES: Final = (
    *("personal_", "admin_", "miner_", "engine_", "eth_sign", "clique_", "les_"),
    *("evm_", "anvil_", "hardhat_", "ganache_"),
)
# Nonces do not fall.
_TELLING_NONCE: Final = frozenset(("eth_getTransactionCount", "eth_fillTransaction"))
# Null says that there is no such block or transaction, at geth, reth and anvil (their sources and
# answers). For all others nodes have an error, in words of their own, for a block to come as for
# an unknown hash: debug_traceBlockByNumber, debug_getRawBlock, state, traces of a block.
_NULL_FOR_NONE: Final = frozenset(
    (
        *("eth_getBlockByNumber", "eth_getHeaderByNumber", "eth_getBlockReceipts"),
        *("eth_getBlockTransactionCountByNumber", "eth_getUncleCountByBlockNumber"),
        *("eth_getTransactionByBlockNumberAndIndex", "eth_getUncleByBlockNumberAndIndex"),
        *("eth_getRawTransactionByBlockNumberAndIndex", "zks_getBlockDetails"),
        *("eth_getBlockByHash", "eth_getHeaderByHash", "eth_getBlockTransactionCountByHash"),
        *("eth_getUncleCountByBlockHash", "eth_getUncleByBlockHashAndIndex"),
        *("eth_getTransactionByBlockHashAndIndex", "eth_getRawTransactionByBlockHashAndIndex"),
        *("eth_getTransactionByHash", "eth_getTransactionReceipt", "eth_getRawTransactionByHash"),
        *("eth_getTransactionBySenderAndNonce", "ots_getTransactionBySenderAndNonce"),
        *("eth_getUserOperationReceipt", "eth_getUserOperationByHash"),
        *("eth_getPrivateTransactionByHash", "eth_getTransactionStatus"),
        *("zks_getTransactionDetails", "zks_getL2ToL1LogProof", "zks_getL2ToL1MsgProof"),
        *("trace_transaction", "trace_get", "arbtrace_transaction"),
    )
)
_HEAVY_PREFIXES: Final = ("debug_", "trace_", "arbtrace_", "ots_trace", "txpool_")


# Methods whose first parameter is a block's hash.
_BY_BLOCK_HASH: Final = ("ByBlockHash", "ByBlockHashAndIndex", "BlockTransactionCountByHash")
_BY_HASH_OF_BLOCK: Final = frozenset(
    (
        *("eth_getBlockByHash", "eth_getHeaderByHash", "erigon_getHeaderByHash"),
        *("eth_getUncleCountByBlockHash", "debug_traceBlockByHash"),
    )
)
# What EIP-1898 lets be asked by a block's hash.
_TAKING_HASH: Final = frozenset(
    ("eth_getBalance", "eth_getStorageAt", "eth_getTransactionCount", "eth_getCode", "eth_call",
     "eth_getProof")
)  # fmt: skip
# What no node lacks: "no such method", said of one of these, speaks of something asked of it.
_EVERYWHERE: Final = frozenset(
    f"eth_{name}"
    for name in (
        *("call", "estimateGas", "getBalance", "getCode", "getStorageAt", "getTransactionCount"),
        *("getBlockByHash", "getBlockByNumber", "getTransactionByHash", "getTransactionReceipt"),
    )
)
_SUBJECTS: Final[Mapping[str, Subject]] = MappingProxyType(
    {
        **dict.fromkeys(LISTS, Subject.PART),
        **dict.fromkeys((*INDEXED, *INDEXED_UNCLES), Subject.PART),
        **dict.fromkeys(BLOCKS, Subject.BLOCK),
        **dict.fromkeys(RANGED, Subject.SEARCH),
        "eth_blockNumber": Subject.HEAD,
        "eth_getTransactionReceipt": Subject.RECEIPT,
        TRANSACTION_BY_HASH: Subject.TRANSACTION,
        "eth_getTransactionCount": Subject.COUNTER,
        "eth_fillTransaction": Subject.FILLED,
    }
)


# What executes blocks again, but for what nodes have stored.
_TRACING: Final = ("debug_", "trace_", "arbtrace_", "ots_trace")
_STORED: Final = ("debug_getRaw", "debug_getBlockRlp", "debug_printBlock")
# Takes its block after a count, and reads headers alone.
_FEE_HISTORY: Final = "eth_feeHistory"


def _data_of(like: Method, name: str) -> Data:
    if name.startswith(_TRACING) and not name.startswith(_STORED):
        return Data.TRACES
    if like.block_param == 0 or name == _FEE_HISTORY:
        return Data.HISTORY
    return Data.STATE


def _rows() -> Iterator[tuple[str, Method]]:
    for like, names in _GROUPS:
        for name in names.split():
            names_block = name in NAMING_BLOCK
            yield (
                name,
                replace(
                    like,
                    name=name,
                    names_block=names_block,
                    is_null_for_none=name in _NULL_FOR_NONE,
                    is_state=not names_block and like.keep is not Keep.FOREVER,
                    is_of_contents=name in OF_CONTENTS,
                    is_indexed=name in INDEXED or name in INDEXED_UNCLES,
                    is_bare=not names_block
                    and name not in (*RANGED, *_TELLING_NONCE, *OF_CONTENTS),
                    subject=_SUBJECTS.get(name, Subject.OTHER),
                    is_by_block_hash=like.block_param is None
                    and (name.endswith(_BY_BLOCK_HASH) or name in _BY_HASH_OF_BLOCK),
                    takes_hash=name in _TAKING_HASH,
                    is_known=True,
                    is_everywhere=name in _EVERYWHERE,
                    data=_data_of(like, name),
                ),
            )


METHODS: Final[Mapping[str, Method]] = MappingProxyType(dict(_rows()))


@lru_cache(maxsize=1024)
def _presumed(name: str) -> Method:
    """What an unknown name is taken for: forwarded, unless it asks for keys or for the node."""
    like = _like(name)
    is_read = like.kind is MethodKind.HEAD_READ
    return replace(
        like,
        name=name,
        is_by_block_hash=is_read and name.endswith(_BY_BLOCK_HASH),
        data=_data_of(like, name),
    )


def _like(name: str) -> Method:
    if name.startswith(_REFUSED_PREFIXES):
        return _REFUSED
    if "subscribe" in name.lower():
        return _STATEFUL
    if "send" in name.lower() or "submit" in name.lower():
        return _SEND
    return replace(_HEAD_HEAVY, weight=20) if name.startswith(_HEAVY_PREFIXES) else _HEAD


def describe(name: str) -> Method:
    """What is known, or presumed, of the method of that name. Never raises.

    Names are case-sensitive, as they are for every node. A name of absurd length is refused
    under a name of ours, so that it reaches no table and no label.
    """
    method = METHODS.get(name)
    if method is not None:
        return method
    if len(name) > LONGEST_NAME:
        return replace(_REFUSED, name=TOO_LONG)
    return _presumed(name)


EVM_METHODS: Final = Methods(describe, shape_of)
