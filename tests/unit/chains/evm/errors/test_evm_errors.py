"""What nodes and providers say, word for word, and what it means."""

import json
from pathlib import Path

import pytest

from rpcproxy.chains.evm.errors import EVM_ERRORS, ROWS
from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.parts.errors import CALLS, LOOKUPS, READS, SENDS, scope
from rpcproxy.messages import Blame, Retry, Verdict

CORPUS = Path(__file__).parents[6] / "shared/corpora/execution-apis"
V = Verdict


def means(method, code, message):
    return EVM_ERRORS.verdict(code, message.lower(), scope(describe(method)))


SEND = [
    (V.ALREADY_KNOWN, -32000, "already known"),
    (V.ALREADY_KNOWN, -32000, "known transaction: 0x7f657507aee0511e36d2d1972a6b22e917cc89f9"),
    (V.ALREADY_KNOWN, -32000, "Known transaction"),
    (V.ALREADY_KNOWN, -32010, "AlreadyKnown"),
    (V.ALREADY_KNOWN, -32010, "Transaction with the same hash was already imported."),
    (V.ALREADY_KNOWN, -32003, "transaction already imported"),
    (V.ALREADY_KNOWN, 3, "known transaction. transaction with hash 0x6013 is already in the system"),
    (V.ALREADY_KNOWN, -32603, "tx already exists in cache"),
    (V.ALREADY_KNOWN, -32000, "submit transaction to pool failed: Pool(AlreadyImported)"),
    (V.ALREADY_KNOWN, 4, "The transaction was added but wasn't processed in 20s"),
    (V.NONCE_TOO_LOW, -32000, "nonce too low: next nonce 5, tx nonce 4"),
    (V.NONCE_TOO_LOW, -32001, "Nonce too low"),
    (V.NONCE_TOO_LOW, -32003, "nonce too low"),
    (V.NONCE_TOO_LOW, -32010, "OldNonce, Current nonce: 22, nonce of rejected tx: 17"),
    (V.NONCE_TOO_LOW, -32010, "OwnNonceAlreadyUsed"),
    (V.NONCE_TOO_LOW, -32000, "invalid transaction nonce"),
    (V.NONCE_TOO_LOW, -32000, "Transaction nonce too low. Expected nonce to be at least 5 but got 4"),
    (V.NONCE_TOO_LOW, -32000, "Transaction nonce is too low. Try incrementing the nonce."),
    (V.SEND_POLICY, -32000, "nonce too high"),
    (V.SEND_POLICY, -32006, "Nonce too high"),
    (V.SEND_POLICY, -32010, "NonceGap, Future nonce. Expected nonce: 10"),
    (V.SEND_POLICY, -32000, "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)"),
    (V.SEND_POLICY, -32010, "FeeTooLow, EffectivePriorityFeePerGas too low 10 < 20"),
    (V.SEND_POLICY, -32009, "Gas price below configured minimum gas price"),
    (V.SEND_POLICY, -32000, "txpool is full"),
    (V.SEND_POLICY, -32000, "sequencer pending tx pool full, please try again"),
    (V.SEND_POLICY, -32000, "queue full"),
    (V.SEND_POLICY, -32000, "sender is banned"),
    (V.SEND_POLICY, -32000, "replacement transaction underpriced"),
    (V.SEND_POLICY, -32000, "transaction underpriced: gas tip cap 1, minimum needed 2"),
    (V.SEND_POLICY, -32000, "max fee per gas less than block base fee"),
    (V.SEND_POLICY, -32007, "Sender account not authorized to send transactions"),
    (V.SEND_POLICY, -32000, "in-flight transaction limit reached for delegated accounts"),
    (V.SEND_POLICY, -32000, "unknown transaction type"),
    (V.SEND_POLICY, -32000, "transaction type not supported"),
    (V.SEND_POLICY, -32003, "transaction rejected"),
    (V.SEND_POLICY, -32000, "only replay-protected (EIP-155) transactions allowed over RPC"),
    (V.INSUFFICIENT_FUNDS, -32000, "insufficient funds for gas * price + value: balance 0"),
    (V.INSUFFICIENT_FUNDS, -32004, "Upfront cost exceeds account balance"),
    (V.INSUFFICIENT_FUNDS, -32000, "Sender doesn't have enough funds to send tx."),
    (V.INSUFFICIENT_FUNDS, -32010, "InsufficientFunds, Account balance: 4, cumulative cost: 22"),
    (V.INSUFFICIENT_FUNDS, -32003, "Insufficient funds for gas * price + value"),
    (V.SEND_REFUSED, -32000, "invalid sender"),
    (V.SEND_REFUSED, -32002, "Invalid signature"),
    (V.SEND_REFUSED, -32000, "invalid chain id for signer: have 5 want 1"),
    (V.SEND_REFUSED, -32602, "Trying to send an incompatible EIP-155 transaction, invalid chainId"),
    (V.SEND_REFUSED, -32000, "intrinsic gas too low: gas 20000, minimum needed 21000"),
    (V.SEND_REFUSED, -32005, "Transaction gas limit exceeds block gas limit"),
    (V.SEND_REFUSED, -32000, "Transaction requires at least 21000 gas but got 20000"),
    (V.SEND_REFUSED, -32000, "rlp: value size exceeds available input length"),
    (V.SEND_REFUSED, -32000, "ChainId not supported"),
    (V.SEND_REFUSED, -32005, "transaction conditional cost, 1200, exceeded max: 1000"),
    (V.SEND_REFUSED, 3, "Validation error: something of zkSync"),
    (V.SENDER_LIMITED, -32017, "sender is over rate limit"),
    (V.SENDER_LIMITED, -32017, "slow"),
    (V.RATE_LIMITED, -32005, "project ID request rate exceeded"),
    (V.UNSUPPORTED, -32601, "the method eth_sendRawTransactionConditional does not exist"),
    (V.UNSUPPORTED, -32004, "Method eth_sendRawTransactionSync is not supported"),
    (V.REVERTED, -32603, "VM Exception while processing transaction: revert rate limit"),
    (V.SERVER_ERROR, -32010, "backend offline"),
    (V.SERVER_ERROR, -32603, "oops"),
    (V.INVALID_PARAMS, -32602, "invalid argument 0: hex string of odd length"),
    (V.UNKNOWN, -32000, "a text that nobody has met"),
]  # fmt: skip

CALL = [
    (V.REVERTED, 3, "execution reverted: rate limit exceeded"),
    (V.REVERTED, 3, "daily quota of the contract"),
    (V.REVERTED, -32000, "execution reverted"),
    (V.REVERTED, -32603, "Transaction reverted without a reason string"),
    (V.REVERTED, -32000, "VM Exception while processing transaction: revert"),
    (V.REVERTED, -32015, "VM execution error."),
    (V.REVERTED, -32000, "out of gas"),
    (V.REVERTED, -32000, "invalid opcode: INVALID"),
    (V.REVERTED, -32000, "gas required exceeds allowance (21000)"),
    (V.REVERTED, -32000, "insufficient funds for gas * price + value"),
    (V.REVERTED, -32000, "nonce too high: address 0x16, tx: 999 state: 0"),
    (V.REVERTED, -38020, "block numbers must be in order: 155 <= 155"),
    (V.REVERTED, -32603, "EVM error InvalidFEOpcode"),
    (V.MISSING_DATA, -32000, "header not found"),
    (V.MISSING_DATA, -32700, "header not found"),
    (V.MISSING_DATA, -32000, "missing trie node 0b (path ) state 0x is not available"),
    (V.MISSING_DATA, -32000, "required historical state unavailable (reexec=128)"),
    (V.MISSING_DATA, -32602, "BlockOutOfRangeError: block height is 3 but requested was 100"),
    (V.MISSING_DATA, -32000, "Received invalid block tag 153. Latest block number is 0"),
    (V.MISSING_DATA, -32000, "World state unavailable"),
    (V.MISSING_DATA, -32000, "cannot query unfinalized data"),
    (V.MISSING_DATA, -32019, "block is out of range"),
    (V.MISSING_DATA, 4444, "history"),
    (V.MISSING_DATA, -32001, "Unable to find it"),
    (V.SERVER_ERROR, -32002, "request timed out"),
    (V.SERVER_ERROR, -32000, "execution aborted (timeout = 5s)"),
    (V.SERVER_ERROR, -32015, "gateway timeout"),
    (V.RATE_LIMITED, -32000, "Too Many Requests"),
    (V.INVALID_PARAMS, -32602, "invalid argument 0: hex string without 0x prefix"),
    (V.INVALID_PARAMS, -32000, "state overrides are not supported"),
]

READ = [
    (V.RANGE_TOO_LARGE, -32602, "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range"),
    (V.RANGE_TOO_LARGE, -32005, "query returned more than 10000 results"),
    (V.RANGE_TOO_LARGE, -32003, "response too large"),
    (V.RANGE_TOO_LARGE, -32000, "exceed maximum block range: 50000"),
    (V.RANGE_TOO_LARGE, -32000, "requested too many blocks from 0 to 99999, maximum is set to 2048"),
    (V.RANGE_TOO_LARGE, -32005, "Requested range exceeds maximum RPC range limit"),
    (V.RANGE_TOO_LARGE, -32614, "eth_getLogs is limited to a 10,000 range"),
    (V.RANGE_TOO_LARGE, 35, "ranges over 10000 blocks are not supported on freetier"),
    (V.RANGE_TOO_LARGE, -32020, "backend response too large"),
    (V.RANGE_TOO_LARGE, -32012, "narrow it"),
    (V.RATE_LIMITED, -32012, "backend is over capacity"),
    (V.MISSING_DATA, -32602, "block range extends beyond current head block"),
    (V.INVALID_PARAMS, -32602, "invalid block range params"),
    (V.SIZE_REFUSED, -32021, "request body too large"),
    (V.SIZE_REFUSED, -32007, "Request is too big"),
    (V.QUOTA, -32005, "daily request count exceeded, request rate limited"),
    (V.QUOTA, 429, "Monthly capacity limit exceeded. Visit the dashboard to upgrade"),
    (V.QUOTA, -32000, "You have reached the free tier limit"),
    (V.QUOTA, 402, "gone"),
    (V.UNSUPPORTED, -32612, "This custom method is not included in your current plan"),
    (V.UNSUPPORTED, -32613, "upgrade"),
    (V.RATE_LIMITED, 429, "Your app has exceeded its compute units per second capacity"),
    (V.RATE_LIMITED, -32007, "50/second request limit reached - reduce calls per second"),
    (V.RATE_LIMITED, -32016, "over rate limit"),
    (V.RATE_LIMITED, -32024, "too many requests"),
    (V.RATE_LIMITED, -32029, "busy"),
    (V.RATE_LIMITED, 15, "you're going too fast"),
    (V.RATE_LIMITED, 30, "Request timeout on the free tier, please upgrade"),
    (V.RATE_LIMITED, -32000, "ENHANCE_YOUR_CALM"),
    (V.RATE_LIMITED, -32000, "error code: 1015"),
    (V.UNSUPPORTED, -32601, "the method foo_bar does not exist/is not available"),
    (V.UNSUPPORTED, -32004, "Method foo is not supported"),
    (V.UNSUPPORTED, -32601, "rpc method is not whitelisted"),
    (V.UNSUPPORTED, -32000, "The method foo_bar does not exist/is not available"),
    (V.KEY_REFUSED, -32600, "Must be authenticated!"),
    (V.KEY_REFUSED, -32000, "invalid api key"),
    (V.KEY_REFUSED, -32000, "IP not whitelisted"),
    (V.KEY_REFUSED, -40100, "No"),
    (V.INVALID_PARAMS, -32600, "invalid request"),
    (V.SERVER_ERROR, -32011, "no backends available for method"),
    (V.SERVER_ERROR, -32018, "backend is currently not healthy to serve traffic"),
    (V.SERVER_ERROR, -32603, "Internal error"),
    (V.UNKNOWN, -32000, "a text that nobody has met"),
    (V.UNKNOWN, None, ""),
]  # fmt: skip

LOOKUP = [
    (V.NULL, -32000, "transaction not found"),
    (V.NULL, -32000, "Receipt not found"),
    (V.NULL, -32000, "unknown transaction"),
    (V.UNSUPPORTED, -32601, "Method eth_getTransactionReceipt not found"),
    (V.UNSUPPORTED, -32000, "Method eth_getTransactionReceipt not found"),
    (V.MISSING_DATA, -32000, "transaction indexing is in progress"),
    (V.MISSING_DATA, -32000, "block not found"),
]


@pytest.mark.parametrize(
    ("method", "verdict", "code", "message"),
    [("eth_sendRawTransaction", *case) for case in SEND]
    + [("eth_call", *case) for case in CALL]
    + [("eth_getLogs", *case) for case in READ]
    + [("eth_getTransactionReceipt", *case) for case in LOOKUP],
)
def test_what_an_error_means(method, verdict, code, message):
    assert means(method, code, message) is verdict


def test_the_scope_of_a_method():
    assert scope(describe("eth_sendRawTransaction")) == SENDS
    assert scope(describe("eth_estimateGas")) == CALLS
    assert scope(describe("debug_traceCall")) == CALLS
    assert scope(describe("eth_getTransactionByHash")) == LOOKUPS
    assert scope(describe("eth_getBalance")) == READS


def test_rows_are_sound():
    for row in ROWS:
        assert row.source
        assert row.fragments or row.codes or row.starts or row.pattern, row
        words = (*row.fragments, *row.starts)
        assert all(word == word.lower() for word in words), row
        assert row.on & (SENDS | CALLS | LOOKUPS | READS)


def test_no_fragment_is_dead():
    """Each row and fragment wins somewhere for its own words, or a row above says the same."""
    for on, rows in EVM_ERRORS.rows.items():
        for row in rows:
            for fragment in row.fragments:
                assert EVM_ERRORS.verdict(None, fragment, on) is not V.UNKNOWN, (on, fragment)


def test_what_matches_nothing_is_asked_elsewhere_and_blamed():
    for on in EVM_ERRORS.rows:
        verdict = EVM_ERRORS.verdict(-1, "?", on)
        assert (verdict.retry, verdict.blame) == (Retry.ELSEWHERE, Blame.UPSTREAM)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the execution-apis pairs are not here")
def test_errors_of_the_execution_apis_pairs_hurt_no_upstream():
    checked = 0
    for file in sorted(CORPUS.glob("*/*.io")):
        lines = file.read_text().splitlines()
        asked = [json.loads(line[3:]) for line in lines if line.startswith(">>")]
        told = [json.loads(line[3:]) for line in lines if line.startswith("<<")]
        for request, reply in zip(asked, told, strict=True):
            if "error" not in reply:
                continue
            error = reply["error"]
            verdict = means(request["method"], error["code"], error["message"])
            assert verdict.blame in (Blame.CLIENT, Blame.NOBODY), (file.name, verdict)
            checked += 1
    assert checked > 10
