"""What an error means where its words may be anybody's, and where only the request can tell.

The texts are those of nodes and bundlers; beside each stands who says it (project and version, file
or public report).
"""

from __future__ import annotations

import msgspec
import pytest

from rpcproxy.chains.evm.errors import EVM_ERRORS
from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.parts.errors import scope
from rpcproxy.messages import Blame, Verdict

V = Verdict
SEND, OPERATION = "eth_sendRawTransaction", "eth_sendUserOperation"
CALL, ESTIMATE, LOGS = "eth_call", "eth_estimateGas", "eth_getLogs"
ESTIMATE_OPERATION = "eth_estimateUserOperationGas"
LIST, SIMULATE = "eth_createAccessList", "eth_simulateV1"
TRACE_CALL, TRACE_TX, TRACE_BLOCK = (
    *("debug_traceCall", "debug_traceTransaction"),
    "debug_traceBlockByNumber",
)
FEES = "eth_feeHistory"


def means(method: str, code: int | None, message: str, params: object = None) -> Verdict:
    text = None if params is None else msgspec.json.encode(params)
    return EVM_ERRORS.verdict(code, message.lower(), scope(describe(method)), text)


# What an account, a paymaster or a contract may well say: words of every other row.
WORDS = (
    "unauthorized", "rate limit exceeded", "forbidden", "quota exceeded", "too many requests",
    "access denied", "method not found", "not supported", "invalid api key", "already known",
    "nonce too low", "internal error", "timed out", "header not found", "block range too large",
    "billing", "daily limit reached", "insufficient funds", "batch size", "blob", "invalid params",
)  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_no_words_outrank_a_code_that_says_execution(words: str) -> None:
    assert means(SEND, 3, words) is V.SEND_REFUSED  # zkSync (local-setup 442)
    for code in (-32500, -32501, -32502, -32503, -32506, -32507, -32521):  # ERC-7769
        assert means(OPERATION, code, words) is V.SEND_REFUSED
        assert means(ESTIMATE_OPERATION, code, words) is V.REVERTED
    for code in (-32504, -32505, -32508):  # this bundler's own view: another may take it
        assert means(OPERATION, code, words) is V.SEND_POLICY
    for method in (CALL, ESTIMATE, LIST, SIMULATE, TRACE_CALL):
        assert means(method, 3, words) is V.REVERTED
        assert means(method, -32015, words) is V.REVERTED  # OpenEthereum, Nethermind 1.14
    assert means(SIMULATE, -38014, words) is V.REVERTED  # geth 1.17.10


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("code", [-32000, -32603, -32602, None])
def test_nor_do_words_within_zksyncs_sentence_in_any_code(code: int | None, words: str) -> None:
    """Gateways number errors anew."""
    said = f"failed to validate the transaction. reason: Validation revert: {words}"
    assert means(SEND, code, said) is V.SEND_REFUSED
    assert means(ESTIMATE, code, said) is V.REVERTED


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize(
    "saying",
    [
        "execution reverted: {}",  # geth 1.17.10, reth 1.8, Erigon 3
        "Execution reverted: {}",  # Besu 25
        "err: execution reverted: {} (supplied gas 21000)",  # geth under createAccessList
        "failed with 50000000 gas: execution reverted: {}",  # geth's estimates up to 1.13
        "VM Exception while processing transaction: reverted with reason string '{}'",  # hardhat 2
        "VM Exception while processing transaction: revert {}",  # ganache 7, Moonbeam
        "Error: Transaction reverted with the following reason: {}",
        "REVERT opcode executed: {}",  # Tron 4.8
        "message execution failed (exit=[33], revert reason=[Error({})], vm error=[x])",  # lotus
        "[Request ID: 1] execution reverted: CONTRACT_REVERT_EXECUTED {}",  # Hedera
        "call_many error in bundle 0 and transaction 1: execution reverted: {}",  # reth 1.8
    ],
)
def test_a_reason_is_the_contracts_own(saying: str, words: str) -> None:
    for method in (CALL, ESTIMATE, LIST, SEND):
        assert means(method, -32000, saying.format(words)) is V.REVERTED


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("code", [-32602, -32000, -32603, None])
@pytest.mark.parametrize(
    "saying",
    [
        "UserOperation reverted during simulation with reason: AA23 reverted: {}",  # Pimlico Alto
        "AA33 reverted: {}",  # eth-infinitism/bundler
        "FailedOp: AA25 {}",
    ],
)
def test_what_an_entry_point_says_is_known_whatever_the_code(
    saying: str, code: int | None, words: str
) -> None:
    for method, verdicts in (
        (OPERATION, (V.SEND_REFUSED, V.REVERTED)),
        (ESTIMATE_OPERATION, (V.REVERTED,)),
    ):
        assert means(method, code, saying.format(words)) in verdicts


def test_an_address_that_spells_such_a_code_is_none() -> None:
    assert means(OPERATION, -32000, "unknown sender 0x01aa23") is V.UNKNOWN


ZKSYNC = [
    (V.ALREADY_KNOWN, "known transaction. transaction with hash 0x6013 is already in the system"),
    (V.NONCE_TOO_LOW, "nonce too low. allowed nonce range: 5 - 25, actual: 4"),
    (V.SEND_POLICY, "nonce too high. allowed nonce range: 5 - 25, actual: 40"),
    (V.SEND_POLICY, "insertion of another transaction with the same nonce is in progress"),
    (V.INSUFFICIENT_FUNDS, "insufficient funds for gas + value. balance: 0, fee: 1, value: 0"),
    (V.REVERTED, "execution reverted: rate limit"),
    (V.SERVER_ERROR, "server shutting down"),
    (V.SEND_REFUSED, "failed to validate the transaction. reason: unauthorized: already known"),
    (V.SEND_REFUSED, "failed paymaster validation. error message: rate limit"),
    (V.SEND_REFUSED, "failed to include transaction in the system. reason: nonce too low"),
]  # fmt: skip


@pytest.mark.parametrize(("verdict", "message"), ZKSYNC)
def test_zksyncs_own_sentences_are_known_by_how_they_begin(verdict: Verdict, message: str) -> None:
    assert means(SEND, 3, message) is verdict


@pytest.mark.parametrize(
    ("method", "code", "message"),
    [
        (CALL, -32602, "Invalid params: data must be hex, got 'unauthorized'"),
        (LOGS, -32602, "Invalid params: fromBlock must be a hex quantity, got 'rate limit'"),
        (LOGS, -32602, 'invalid argument 0: cannot unmarshal "daily limit" into BlockNumber'),
        (CALL, -32602, "unknown field `execution timeout`, expected one of `from`, `to`"),
    ],
)
def test_what_is_quoted_is_the_clients(method: str, code: int, message: str) -> None:
    assert means(method, code, message) is V.INVALID_PARAMS


def test_an_apostrophe_quotes_nothing() -> None:
    said = "Sender doesn't have enough funds to send tx. You can't send it."
    assert means(SEND, -32000, said) is V.INSUFFICIENT_FUNDS


# ---- decided by the request

RANGE = [
    # geth 1.15.11 and 1.16.9, one block behind (−32000); Nitro 3666, Base 140 (−32602)
    (V.MISSING_DATA, "invalid block range params", {"fromBlock": "0x6", "toBlock": "0x6"}),
    (V.MISSING_DATA, "invalid block range params", {"fromBlock": "0x1", "toBlock": "0x6"}),
    (V.MISSING_DATA, "invalid block range params", {"fromBlock": "0x6", "toBlock": "latest"}),
    (V.MISSING_DATA, "invalid block range params", {"fromBlock": "0x6"}),
    (V.MISSING_DATA, "invalid block range params", {"fromBlock": "latest", "toBlock": "pending"}),
    (V.INVALID_PARAMS, "invalid block range params", {"fromBlock": "0x6", "toBlock": "0x5"}),
    # reth 1.8, nanoreth 153
    (V.MISSING_DATA, "invalid block range", {"fromBlock": "0x3000000", "toBlock": "0x3000000"}),
    (V.INVALID_PARAMS, "invalid block range", {"fromBlock": "0x2", "toBlock": "0x1"}),
    # Erigon 3: latest is put in for the end
    (V.MISSING_DATA, "end (5) < begin (6)", {"fromBlock": "0x6"}),
    (V.INVALID_PARAMS, "end (5) < begin (6)", {"fromBlock": "0x6", "toBlock": "0x5"}),
    (V.MISSING_DATA, "begin (99) > latest (6)", {"fromBlock": "0x63"}),
    # Avalanche's subnet-evm
    (V.MISSING_DATA, "begin block 6 is greater than end block 5", {"fromBlock": "0x6"}),
]


@pytest.mark.parametrize(("verdict", "message", "asked"), RANGE)
@pytest.mark.parametrize("code", [-32000, -32602])
def test_a_range_that_is_not_backward_was_refused_by_a_node_behind(
    verdict: Verdict, message: str, asked: dict[str, str], code: int
) -> None:
    assert means(LOGS, code, message, [asked]) is verdict


@pytest.mark.parametrize("asked", [None, [], [5], ["0x1"], [{"fromBlock": 5.5}]])
def test_where_there_is_no_range_to_see_it_is_the_clients(asked: object) -> None:
    assert means(LOGS, -32000, "invalid block range params", asked) in (
        V.INVALID_PARAMS,
        V.MISSING_DATA,
    )
    if asked is None or asked == []:
        assert means(LOGS, -32000, "invalid block range params", asked) is V.INVALID_PARAMS


def test_a_search_that_is_not_supported_is_odd_or_lacking() -> None:
    """hardhat 2.29.1 says −32004 of a filter that it cannot read."""
    said = "Method eth_getLogs is not supported"
    assert means(LOGS, -32004, said, [{"fromBlock": "1"}]) is V.INVALID_PARAMS
    assert means(LOGS, -32004, said, [{"fromBlock": "LATEST"}]) is V.INVALID_PARAMS
    assert means(LOGS, -32004, said, [{"fromBlock": "0x1", "toBlock": "latest"}]) is V.UNSUPPORTED
    assert means("eth_getBalance", -32004, "Method eth_getBalance is not supported") is (
        V.INVALID_PARAMS
    )


def test_a_large_request_that_cannot_be_read_is_too_large() -> None:
    """anvil 1.7.1: HTTP 200, −32600 "Invalid request", id null, for a body over 2 MiB."""
    assert means(CALL, -32600, "Invalid request", [{"data": "0x" + "00" * 1_100_000}]) is (
        V.SIZE_REFUSED
    )
    assert means(CALL, -32600, "Invalid request", [{"data": "0x"}]) is V.INVALID_PARAMS
    assert means(CALL, -32600, "Invalid request") is V.INVALID_PARAMS


def test_an_error_in_javascript_is_the_clients_where_it_sent_some() -> None:
    said = "ReferenceError: foo is not defined at step (<eval>:1:20)"
    script = ["0x1", {"tracer": "{step: function(){foo()}}"}]
    assert means(TRACE_TX, -32000, said, script) is V.INVALID_PARAMS
    assert means(CALL, -32000, "TypeError: Cannot read properties of null", [{}]) is V.SERVER_ERROR


# ---- a part of the request, not the method

PARTS = [
    (LOGS, -32602, "pending logs are not supported"),  # geth 1.17.10
    (LOGS, -32000, "pending logs are not supported"),  # geth 1.16.9
    (TRACE_CALL, -32000, "tracing on top of pending is not supported"),  # geth 1.17.10
    (CALL, -32000, 'block override "beaconRoot" is not supported for this RPC method'),  # geth
    (CALL, -32602, "state overrides are not supported"),
    (CALL, -32000, "safe block tag is not supported"),
    (CALL, -32004, "finalized tag not yet supported"),
    (CALL, -32000, "EIP-1898 block parameter is not supported"),
    (CALL, -32000, "unsupported block tag"),
    (CALL, -32603, "Access list received but is not supported by the current hardfork."),  # anvil
    (TRACE_TX, -32603, "unsupported tracer"),  # reth 1.8
    (TRACE_TX, -32603, "JS Tracer is not enabled"),  # reth 1.8
]


@pytest.mark.parametrize(("method", "code", "message"), PARTS)
def test_a_part_of_a_request_does_not_take_the_method(method: str, code: int, message: str) -> None:
    assert means(method, code, message) is V.INVALID_PARAMS


@pytest.mark.parametrize(
    ("method", "code", "message"),
    [
        (LOGS, -32004, "Method eth_getLogs is not supported"),  # hardhat 2.29.1
        (LOGS, -32000, "eth_getLogs is not supported on this endpoint"),
        (TRACE_TX, -32000, "debug_traceTransaction not supported"),
        (LOGS, -32000, "this method is not supported"),
        (LOGS, -32000, "not supported"),
        (TRACE_TX, -32000, "tracing is not supported"),
        (LOGS, -32604, "Method not enabled"),  # Besu 25
        (SEND, -32000, "the method eth_sendRawTransaction is not supported"),
        (LOGS, -32005, "eth_getLogs is currently disabled"),
        (LOGS, -32016, "eth_getLogs has been disabled"),
    ],
)
def test_a_method_that_is_named_is_lacking(method: str, code: int, message: str) -> None:
    assert means(method, code, message) is V.UNSUPPORTED


# ---- client mistakes and lag, in words that were unknown

MISTAKES = [
    # geth 1.17.10: internal/ethapi/transaction_args.go, override.go, simulate.go
    (CALL, -32000, "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"),
    (ESTIMATE, -32000, 'both "data" and "input" are set and not equal. Please use "input" to pass'),
    (CALL, -32000, "chainId does not match node's (have=5, want=1)"),
    (ESTIMATE, -32000, "maxFeePerGas must be non-zero"),
    (ESTIMATE, -32000, "maxFeePerGas (0x1) < maxPriorityFeePerGas (0x2)"),
    (ESTIMATE, -32000, "contract creation without any data provided"),
    (ESTIMATE, -32000, "need at least 1 blob for a blob transaction"),
    (ESTIMATE, -32000, 'missing "to" in blob transaction'),
    (CALL, -32000, "account 0x00 has both 'state' and 'stateDiff'"),
    (CALL, -32000, "account 0x00 is not a precompile"),
    (CALL, -32000, "account 0x00 is already overridden"),
    # geth 1.17.10: eth/gasprice/feehistory.go; reth 1.8; Besu 25; hardhat 2.29.1; Nethermind 1.38
    (FEES, -32000, "invalid reward percentile: 101.000000"),
    (FEES, -32000, "invalid reward percentile: over the query limit 100"),
    (FEES, -32602, "invalid reward percentiles"),
    (FEES, -32602, "Invalid reward percentiles params"),
    (FEES, -32000, "blockCount should be at least 1"),
    # geth 1.17.10: eth/filters/api.go
    (LOGS, -32000, "invalid topic(s)"),
    (LOGS, -32000, "exceed max topics"),
    (LOGS, -32000, "can't specify fromBlock/toBlock with blockHash"),
    (LOGS, -32000, "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other"),
    (LOGS, -32000, "filter not found"),
    (LOGS, -32000, "Filter with id: '7' does not exist."),  # Nethermind 1.38
    (LOGS, -32000, "invalid address at index 0: hex string has length 2"),
    # geth 1.17.10: eth/tracers, eth/api_debug.go, rpc/json.go, rpc/types.go
    (TRACE_BLOCK, -32000, "genesis is not traceable"),
    (TRACE_TX, -32000, "trace object must expose a function result()"),
    (TRACE_TX, -32000, "TypeError: x is not a function in server-side tracer function 'result'"),
    (TRACE_TX, -32000, "tracer not found"),
    (TRACE_TX, -32000, "cannot use diffMode with includeEmpty"),
    (TRACE_BLOCK, -32000, "end block (#1) needs to come after start block (#2)"),
    (CALL, -32000, "invalid arguments; neither block nor hash specified"),
    (LOGS, -32602, "non-array args"),
    (LOGS, -32602, "too many arguments, want at most 1"),
    (CALL, -32000, "block number larger than int64"),
    ("eth_getProof", -32000, "storage key too long (want at most 32 bytes)"),
    ("eth_getTransactionByBlockNumberAndIndex", -32602, "Position Index is incorrect"),
    (TRACE_TX, -32602, "invalid tracer config"),  # reth 1.8
    (CALL, -32602, "Invalid bytecode: eof"),  # reth 1.8
    (CALL, -32603, "State override error: state and state_diff can't be used together"),  # anvil
]


@pytest.mark.parametrize(("method", "code", "message"), MISTAKES)
def test_a_mistake_of_the_client_is_known(method: str, code: int, message: str) -> None:
    assert means(method, code, message) is V.INVALID_PARAMS


LACKING = [
    (FEES, -32000, "request beyond head block: requested 6, head 5"),  # geth 1.15 to 1.17
    (FEES, -32602, "could not find newest block number requested: 0x9"),  # anvil 1.7.1
    (TRACE_BLOCK, -32000, "block #7 not found"),  # geth 1.17.10
    (TRACE_BLOCK, -32000, "block 0xabc0 not found"),  # geth 1.17.10
    ("debug_getRawHeader", -32000, "header #7 not found"),  # geth 1.17.10
    (TRACE_BLOCK, -32000, "parent 0xab not found"),  # geth 1.17.10
    (TRACE_BLOCK, -32000, "parent block not found"),  # Besu 25
    (TRACE_BLOCK, -32000, "missing block 0xab 7"),  # geth 1.17.10
    (CALL, -32000, "block 7(0xab) not found"),  # Erigon 3
    (LOGS, -32000, "block 7 exists but transaction indexing is not yet complete"),  # Erigon 3
    (LOGS, -32000, "head block not available"),  # geth 1.17.10
    ("eth_getBlockReceipts", -32001, "block not found: 0x186a0"),  # reth 1.8
    (CALL, -32000, "safe block not found"),  # geth 1.17.10
    ("eth_getBlockReceipts", -32000, "pending receipts is not available"),  # geth 1.17.10
]


@pytest.mark.parametrize(("method", "code", "message"), LACKING)
def test_what_a_node_lacks_is_asked_of_another(method: str, code: int, message: str) -> None:
    assert means(method, code, message) is V.MISSING_DATA


CALLS = [
    "gas limit (20000000) is greater than the cap",  # hardhat 2.29.1
    "insufficient gas for floor data gas cost: have 1, want 2",  # geth 1.17.10
    "max priority fee per gas higher than max fee per gas",  # geth 1.17.10
    "transaction gas limit too high (cap: 16777216, tx: 30000000)",  # geth 1.17.10
    "sender not an eoa: address 0x00",
    "intrinsic gas too high -- CallerGasLimitMoreThanBlock",  # anvil 1.7.1
    "Transaction gas limit '20000000' exceeds max gas per sec limit '15000000'",  # hiero 2091
    "RPC gas cap exhausted: need 5, remaining 4",  # geth 1.17.10
]


@pytest.mark.parametrize("message", CALLS)
def test_what_is_wrong_with_a_call_is_its_answer(message: str) -> None:
    assert means(CALL, -32000, message) is V.REVERTED


SENDS = [
    (V.SEND_REFUSED, -32000, "typed transaction too short"),  # geth 1.17.10
    (V.SEND_REFUSED, -32000, "maxPriorityFeePerGas (2) is bigger than maxFeePerGas (1)"),  # hardhat
    (V.SEND_REFUSED, -32000, "max priority fee per gas higher than max fee per gas: address 0x0"),
    (V.SEND_REFUSED, -32000, "insufficient gas for floor data gas cost: gas 1, minimum needed 2"),
    (V.SEND_REFUSED, -32000, "set code tx must have at least one authorization tuple"),
    (V.SEND_REFUSED, -32602, "empty transaction data"),  # reth 1.8
    (V.SEND_REFUSED, -32602, "failed to decode signed transaction"),  # reth 1.8, anvil 1.7.1
    (V.SEND_REFUSED, -32003, "Incompatible EIP-155 transaction, signed for another chain"),  # anvil
    (V.SEND_REFUSED, -32602, "invalid transaction signature"),  # reth 1.8
    (V.SEND_POLICY, -32000, "Transaction maxFeePerGas (1) is too low for the next block"),  # hardhat
    (V.SEND_POLICY, -32000, "transaction gas price below minimum: gas tip cap 0, needed 1"),  # geth
    (V.SEND_POLICY, -32000, "out of capacity: peer blob buffer allowance exhausted"),  # geth
    (V.SEND_POLICY, -32003, "transaction priority fee below minimum required priority fee 5"),  # reth
    (V.SEND_POLICY, -32003, "Tx: [0x1] insufficient gas price to replace existing transaction"),
    (V.SEND_POLICY, -32603, "EIP-7702 fields received but is not supported by the current hardfork."),
    (V.INSUFFICIENT_FUNDS, -32000, "not enough balance to cover the fee"),
]  # fmt: skip


@pytest.mark.parametrize(("verdict", "code", "message"), SENDS)
def test_what_a_node_says_of_a_transaction(verdict: Verdict, code: int, message: str) -> None:
    assert means(SEND, code, message) is verdict
    assert verdict.blame in (Blame.NOBODY, Blame.CLIENT)
