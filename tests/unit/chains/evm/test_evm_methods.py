import pytest

from rpcproxy.chains.evm.methods import LONGEST_NAME, METHODS, TOO_LONG, describe
from rpcproxy.chains.method import Data, Keep, MethodKind
from rpcproxy.messages import MethodClass

LIGHT, HEAVY, SEND = MethodClass.LIGHT, MethodClass.HEAVY, MethodClass.SEND


@pytest.mark.parametrize(
    ("name", "kind", "method_class", "block_param", "criticality"),
    [
        ("eth_chainId", MethodKind.LOCAL, LIGHT, None, 0),
        ("net_version", MethodKind.LOCAL, LIGHT, None, 0),
        ("web3_clientVersion", MethodKind.LOCAL, LIGHT, None, 0),
        ("net_listening", MethodKind.LOCAL, LIGHT, None, 0),
        ("eth_syncing", MethodKind.LOCAL, LIGHT, None, 0),
        ("eth_accounts", MethodKind.LOCAL, LIGHT, None, 0),
        ("eth_blockNumber", MethodKind.HEAD_READ, LIGHT, None, 0),
        ("eth_getTransactionCount", MethodKind.BLOCK_READ, LIGHT, 1, 1),
        ("eth_call", MethodKind.BLOCK_READ, LIGHT, 1, 2),
        ("eth_estimateGas", MethodKind.BLOCK_READ, LIGHT, 1, 2),
        ("eth_getStorageAt", MethodKind.BLOCK_READ, LIGHT, 2, 2),
        ("eth_getProof", MethodKind.BLOCK_READ, HEAVY, 2, 3),
        ("eth_feeHistory", MethodKind.BLOCK_READ, LIGHT, 1, 2),
        ("eth_getLogs", MethodKind.BLOCK_READ, HEAVY, 0, 3),
        ("eth_getBlockReceipts", MethodKind.BLOCK_READ, HEAVY, 0, 3),
        ("eth_createAccessList", MethodKind.BLOCK_READ, HEAVY, 1, 2),
        ("eth_simulateV1", MethodKind.BLOCK_READ, HEAVY, 1, 2),
        ("eth_getBlockByNumber", MethodKind.BLOCK_READ, LIGHT, 0, 1),
        ("eth_getTransactionReceipt", MethodKind.LOOKUP, LIGHT, None, 1),
        ("debug_traceTransaction", MethodKind.LOOKUP, HEAVY, None, 4),
        ("trace_filter", MethodKind.BLOCK_READ, HEAVY, 0, 4),
        ("trace_call", MethodKind.BLOCK_READ, HEAVY, 2, 4),
        ("web3_sha3", MethodKind.IMMUTABLE, LIGHT, None, 2),
        ("eth_sendRawTransaction", MethodKind.SEND, SEND, None, 0),
        ("eth_sendRawTransactionSync", MethodKind.SEND, SEND, None, 0),
        ("eth_sendRawTransactionConditional", MethodKind.SEND, SEND, None, 0),
        ("eth_sendPrivateTransaction", MethodKind.SEND, SEND, None, 0),
        ("eth_sendBundle", MethodKind.SEND, SEND, None, 0),
        ("eth_newFilter", MethodKind.STATEFUL, LIGHT, None, 2),
        ("eth_subscribe", MethodKind.STATEFUL, LIGHT, None, 2),
        ("eth_sendTransaction", MethodKind.REFUSED, LIGHT, None, 2),
        ("eth_sign", MethodKind.REFUSED, LIGHT, None, 2),
        ("debug_setHead", MethodKind.REFUSED, LIGHT, None, 2),
        # Names that are in no table
        ("debug_whatever", MethodKind.HEAD_READ, HEAVY, None, 4),
        ("trace_whatever", MethodKind.HEAD_READ, HEAVY, None, 4),
        ("foo_bar", MethodKind.HEAD_READ, LIGHT, None, 2),
        ("", MethodKind.HEAD_READ, LIGHT, None, 2),
        ("personal_sign", MethodKind.REFUSED, LIGHT, None, 2),
        ("admin_addPeer", MethodKind.REFUSED, LIGHT, None, 2),
        ("miner_start", MethodKind.REFUSED, LIGHT, None, 2),
        ("engine_newPayloadV4", MethodKind.REFUSED, LIGHT, None, 2),
        ("eth_signTypedData_v4", MethodKind.REFUSED, LIGHT, None, 2),
        ("anvil_setBalance", MethodKind.REFUSED, LIGHT, None, 2),
        ("foo_sendSigned", MethodKind.SEND, SEND, None, 0),
        ("foo_subscribe", MethodKind.STATEFUL, LIGHT, None, 2),
    ],
)
def test_what_a_method_is(name, kind, method_class, block_param, criticality):
    method = describe(name)
    assert method.name == name
    assert (method.kind, method.method_class) == (kind, method_class)
    assert (method.block_param, method.criticality) == (block_param, criticality)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (Data.STATE, "eth_getBalance eth_call eth_getStorageAt eth_getProof eth_estimateGas"),
        (Data.STATE, "eth_getCode foo_bar"),
        (Data.HISTORY, "eth_getBlockByNumber eth_getLogs eth_getBlockReceipts eth_feeHistory"),
        (
            Data.HISTORY,
            "eth_getTransactionByBlockNumberAndIndex debug_getRawBlock debug_getRawReceipts",
        ),
        (Data.TRACES, "debug_traceBlockByNumber trace_block trace_filter arbtrace_block"),
        (Data.TRACES, "trace_call debug_traceCall ots_traceTransaction"),
        (Data.TRACES, "debug_whatever trace_whatever"),
    ],
)
def test_what_kind_of_data_a_method_reads(data, names):
    for name in names.split():
        assert describe(name).data is data, name


@pytest.mark.parametrize(
    ("names", "keep"),
    [
        ("eth_gasPrice eth_maxPriorityFeePerGas eth_blobBaseFee eth_baseFee", Keep.HEAD),
        ("eth_call eth_estimateGas eth_createAccessList eth_simulateV1 eth_getProof", Keep.BLOCK),
        ("eth_getBalance eth_getCode eth_getStorageAt eth_getTransactionCount", Keep.BLOCK),
        ("eth_getBlockByNumber eth_getBlockReceipts eth_getLogs eth_feeHistory", Keep.BLOCK),
        ("eth_getTransactionByBlockNumberAndIndex trace_block debug_traceCall", Keep.BLOCK),
        ("eth_getTransactionReceipt eth_getTransactionByHash trace_transaction", Keep.MINED),
        ("eth_getRawTransactionByHash debug_traceTransaction", Keep.MINED),
        ("eth_getTransactionByBlockHashAndIndex", Keep.MINED),
        ("eth_getBlockByHash eth_getHeaderByHash eth_getUncleCountByBlockHash", Keep.FOREVER),
        ("eth_getBlockTransactionCountByHash web3_sha3 zks_L1ChainId", Keep.FOREVER),
        ("debug_traceBlockByHash", Keep.FOREVER),
        # What changes by itself, what is asked of one node, what is told of another chain
        ("eth_blockNumber eth_syncing eth_chainId eth_config net_peerCount", Keep.NEVER),
        ("txpool_content txpool_status optimism_syncStatus optimism_outputAtBlock", Keep.NEVER),
        ("eth_sendRawTransaction eth_newFilter eth_getFilterChanges eth_sign", Keep.NEVER),
        ("zks_getBlockDetails zks_getTransactionDetails eth_getTransactionStatus", Keep.NEVER),
        ("tenderly_simulateTransaction alchemy_simulateExecution eth_callMany", Keep.NEVER),
        ("debug_getModifiedAccountsByNumber eth_getUserOperationReceipt", Keep.NEVER),
        ("foo_bar debug_whatever foo_sendSigned", Keep.NEVER),
    ],
)
def test_what_may_be_kept(names, keep):
    assert {describe(name).keep for name in names.split()} == {keep}


def test_what_is_kept_fits_how_it_is_asked():
    for name, method in METHODS.items():
        if method.keep is Keep.BLOCK:
            assert method.block_param is not None, name
        if method.keep in {Keep.MINED, Keep.FOREVER}:
            assert method.kind in {MethodKind.LOOKUP, MethodKind.IMMUTABLE}, name
        if method.keep is Keep.HEAD:
            assert method.kind is MethodKind.HEAD_READ, name
        if method.kind is MethodKind.IMMUTABLE:
            assert method.keep is Keep.FOREVER, name


def test_a_block_is_not_added_where_none_is_taken():
    for name in ("ots_getContractCreator", "alchemy_simulateExecution"):
        assert describe(name).block_param is None


def test_bare_answers_say_nothing_of_the_chain():
    bare = {name for name, method in METHODS.items() if method.is_bare}
    assert {"eth_getBalance", "eth_call", "eth_gasPrice"} <= bare
    said = {
        name
        for name, method in METHODS.items()
        if method.names_block or method.is_ranged or method.is_of_contents
    }
    assert bare == set(METHODS) - said - {"eth_getTransactionCount", "eth_fillTransaction"}
    assert not describe("eth_unheardOf").is_bare
    assert METHODS["eth_getTransactionCount"].is_state
    assert not METHODS["eth_getBlockByNumber"].is_state


def test_a_null_is_confirmed_where_another_upstream_may_know_more():
    for name in ("eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getBlockByHash"):
        assert describe(name).confirm_null
        assert describe(name).null_is_data
    for name in ("eth_getBalance", "eth_call", "eth_getTransactionCount", "eth_blockNumber"):
        assert not describe(name).null_is_data
        assert not describe(name).confirm_null
    assert describe("eth_getBlockByNumber").null_is_lag


def test_only_what_may_be_asked_twice_is_hedged():
    for method in METHODS.values():
        is_read = method.kind in {
            MethodKind.HEAD_READ,
            MethodKind.BLOCK_READ,
            MethodKind.LOOKUP,
            MethodKind.IMMUTABLE,
        }
        assert method.can_hedge == is_read, method.name
    assert describe("foo_bar").can_hedge


def test_rows_of_the_table_are_sound():
    for name, method in METHODS.items():
        assert method.name == name
        assert len(name) <= LONGEST_NAME
        assert 0 <= method.criticality <= 4
        assert method.weight >= 1
        assert (method.method_class is SEND) == (method.kind is MethodKind.SEND)
        if method.block_param is not None:
            assert method.kind is MethodKind.BLOCK_READ
        assert not (method.confirm_null and not method.null_is_data)


def test_a_name_of_absurd_length_reaches_no_table():
    method = describe("x" * 10_000)
    assert (method.kind, method.name) == (MethodKind.REFUSED, TOO_LONG)


def test_a_name_is_described_once():
    assert describe("foo_once") is describe("foo_once")
    assert describe("eth_call") is METHODS["eth_call"]
