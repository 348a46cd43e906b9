"""The simulated chain and its JSON-RPC face."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from Crypto.Hash import keccak

from rpcproxy.drills.evm import simchain, simrpc, simview
from rpcproxy.drills.evm.simchain import ACCOUNTS, BUSY_ACCOUNTS, TOKEN, SimChain
from rpcproxy.drills.evm.simparams import CallRefused
from rpcproxy.drills.evm.simview import SimView
from rpcproxy.messages import Request

START = 1000
STRANGER = "0x" + "ab" * 20


def a_chain(**options: Any) -> SimChain:
    return SimChain(**{"chain_id": 7, "start_number": START, **options})


def view_of(chain: SimChain, lag: int = 0, **options: Any) -> SimView:
    return SimView(chain, chain.head - lag, chain.chain_id, **options)


def ask(view: SimView, method: str, *params: Any) -> Any:
    request = Request(method, b"1", msgspec.json.encode(params))
    return msgspec.json.decode(b"".join(simrpc.perform(view, request)))


def refusal(view: SimView, method: str, *params: Any) -> tuple[int, str, Any]:
    with pytest.raises(CallRefused) as caught:
        ask(view, method, *params)
    return caught.value.code, caught.value.message, caught.value.data


# --- blocks


def test_blocks_are_linked_through_parent_hashes_and_timestamps_never_fall() -> None:
    chain = a_chain()
    for now in (1_800_000_000.9, 1_700_000_000, 1_800_000_002):
        chain.mine(now)
    view = view_of(chain)
    assert view.head == START + 3
    blocks = [view.block(n, full=False) for n in range(START - 3, START + 4)]
    for parent, block in itertools.pairwise(blocks):
        assert block["parentHash"] == parent["hash"]
        assert int(block["timestamp"], 16) >= int(parent["timestamp"], 16)
        assert int(block["number"], 16) == int(parent["number"], 16) + 1
    assert int(blocks[-1]["timestamp"], 16) == 1_800_000_002
    assert len({block["hash"] for block in blocks}) == len(blocks)


def test_two_chains_of_one_seed_are_one_and_another_seed_or_id_differs() -> None:
    same, other = view_of(a_chain()), view_of(a_chain())
    assert same.block(START, full=True) == other.block(START, full=True)
    assert view_of(a_chain(seed=2)).block_hash(START) != same.block_hash(START)
    assert SimView(same.chain, START, 8).block_hash(START) != same.block_hash(START)


def test_a_block_hash_ends_in_its_number_and_finds_it() -> None:
    view = view_of(a_chain())
    assert int(view.block_hash(998)[-16:], 16) == 998
    assert view.number_of(view.block_hash(998)) == 998
    assert view.number_of(view.block_hash(START + 1)) is None
    assert view.number_of("0x" + "11" * 24 + f"{998:016x}") is None
    assert view.block(0, full=False)["parentHash"] == simchain.ZERO_HASH


def test_a_fork_leaves_the_chain_at_its_height_and_is_linked_in_itself() -> None:
    chain = a_chain()
    usual, forked = view_of(chain), view_of(chain, fork_at=START - 1)
    assert forked.block_hash(START - 2) == usual.block_hash(START - 2)
    assert forked.block_hash(START - 1) != usual.block_hash(START - 1)
    assert forked.block(START, full=False)["parentHash"] == forked.block_hash(START - 1)


@pytest.mark.parametrize(
    ("tag", "number"),
    [("latest", 1000), ("pending", 1000), ("safe", 968), ("finalized", 936), ("earliest", 0)],
)
def test_tags(tag: str, number: int) -> None:
    assert int(ask(view_of(a_chain()), "eth_getBlockByNumber", tag, False)["number"], 16) == number


def test_blocks_by_number_and_hash_with_hashes_or_whole_transactions() -> None:
    view = view_of(a_chain())
    thin = ask(view, "eth_getBlockByNumber", hex(START), False)
    full = ask(view, "eth_getBlockByHash", thin["hash"], True)
    assert [t["hash"] for t in full["transactions"]] == thin["transactions"]
    assert {t["blockHash"] for t in full["transactions"]} == {thin["hash"]}
    assert full["baseFeePerGas"] == hex(simchain.base_fee_at(START))
    assert ask(view, "eth_getBlockByNumber", hex(START + 1), False) is None
    assert ask(view, "eth_getBlockByHash", "0x" + "00" * 32, False) is None
    assert ask(view, "eth_blockNumber") == hex(START)


def test_a_lagging_view_knows_nothing_above_its_head() -> None:
    chain = a_chain()
    view = view_of(chain, lag=5)
    newest = view_of(chain).block(START, full=False)
    assert ask(view, "eth_blockNumber") == hex(START - 5)
    assert ask(view, "eth_getBlockByHash", newest["hash"], False) is None
    assert ask(view, "eth_getTransactionReceipt", newest["transactions"][0]) is None
    assert refusal(view, "eth_getBalance", STRANGER, hex(START)) == (
        -32000,
        "header not found",
        None,
    )


# --- state


def test_balances_say_which_block_they_were_read_at() -> None:
    view = view_of(a_chain())
    for number in (0, 17, START):
        balance = int(ask(view, "eth_getBalance", STRANGER, hex(number)), 16)
        assert simchain.block_of_balance(balance) == number
        assert balance == view.balance(STRANGER.upper().replace("X", "x"), number)
        data = simrpc.BALANCE_OF + STRANGER[2:].rjust(64, "0")
        assert int(ask(view, "eth_call", {"to": TOKEN, "data": data}, hex(number)), 16) == balance
    assert view.balance(STRANGER, 1) != view.balance(ACCOUNTS[0], 1)


def test_state_of_a_fork_or_another_chain_shows() -> None:
    chain = a_chain()
    views = [view_of(chain), view_of(chain, fork_at=990), view_of(chain, fork_at=990, fork="b")]
    views.append(SimView(chain, START, 8))
    balances = [ask(view, "eth_getBalance", STRANGER, hex(990)) for view in views]
    assert len(set(balances)) == 4
    assert {simchain.block_of_balance(int(balance, 16)) for balance in balances} == {990}
    assert len({ask(view, "eth_getStorageAt", TOKEN, "0x0", hex(990)) for view in views}) == 4
    assert len({ask(view, "eth_getBalance", STRANGER, hex(989)) for view in views[:3]}) == 1


def test_transactions_are_in_a_fork_too_but_not_on_another_chain() -> None:
    chain = a_chain()
    usual, forked, other = view_of(chain), view_of(chain, fork_at=990), SimView(chain, START, 8)
    hash = usual.block(990, full=False)["transactions"][0]
    assert forked.receipt(hash) == {
        **(usual.receipt(hash) or {}),
        "blockHash": forked.block_hash(990),
        "logs": forked.logs(990)[:1],
    }
    assert other.receipt(hash) is None


def test_blocks_without_parents_and_with_late_timestamps() -> None:
    chain = a_chain()
    chain.mine(1_800_000_000.7)
    view = view_of(chain, lag=-2, fork_at=START + 2, is_linked=False, seconds_ahead=100)
    usual = view_of(chain)
    blocks = [view.block(n, full=False) for n in range(START + 1, START + 4)]
    assert blocks[0]["parentHash"] == usual.block_hash(START)
    assert blocks[1]["parentHash"] != usual.block_hash(START + 1)
    assert blocks[2]["parentHash"] != blocks[1]["hash"]
    times = [int(block["timestamp"], 16) - 100 for block in blocks]
    assert times == [1_800_000_000, 1_800_000_002, 1_800_000_004]


def test_frozen_state() -> None:
    chain = a_chain()
    honest, refusing = view_of(chain), view_of(chain, state_head=995)
    lying = view_of(chain, state_head=995, has_old_state=True)
    newest: dict[str, str] = {"blockHash": honest.block_hash(START)}
    old = ask(honest, "eth_getBalance", STRANGER, hex(995))
    for view in (refusing, lying):
        assert ask(view, "eth_blockNumber") == hex(START)
        assert ask(view, "eth_getBalance", STRANGER, "latest") == old
        assert ask(view, "eth_getBalance", STRANGER, hex(995)) == old
        assert ask(view, "eth_getBlockByNumber", "latest", False)["number"] == hex(START)
    for block in (hex(996), newest, {"blockNumber": hex(START)}):
        code, message, _ = refusal(refusing, "eth_getBalance", STRANGER, block)
        assert code == -32000
        assert message.startswith("missing trie node")
        assert ask(lying, "eth_getBalance", STRANGER, block) == old


def test_when_blocks_were_mined() -> None:
    chain = a_chain()
    for now in (1_800_000_000.2, 1_800_000_002.4):
        chain.mine(now)
    heads = [chain.head_at(1_800_000_000 + seconds) for seconds in (0.1, 0.3, 2.3, 2.5)]
    assert heads == [START, START + 1, START + 1, START + 2]


def test_state_at_a_block_hash_or_number_object() -> None:
    view = view_of(a_chain())
    balance = ask(view, "eth_getBalance", STRANGER, {"blockHash": view.block_hash(990)})
    assert simchain.block_of_balance(int(balance, 16)) == 990
    assert ask(view, "eth_getBalance", STRANGER, {"blockNumber": hex(990)}) == balance
    unknown = refusal(view, "eth_getBalance", STRANGER, {"blockHash": "0x" + "00" * 32})
    assert unknown[:2] == (-32000, "header for hash not found")


def test_code_storage_and_calls() -> None:
    view = view_of(a_chain())
    assert ask(view, "eth_getCode", TOKEN, "latest") == simchain.TOKEN_CODE
    assert ask(view, "eth_getCode", STRANGER, "latest") == "0x"
    assert ask(view, "eth_getStorageAt", TOKEN, "0x0", hex(990)) == view.block_hash(990)
    assert int(ask(view, "eth_getStorageAt", STRANGER, "0x0", "latest"), 16) == 0
    assert int(ask(view, "eth_call", {"to": TOKEN, "input": simrpc.NUMBER}, hex(990)), 16) == 990
    assert int(ask(view, "eth_call", {"to": TOKEN, "input": "0x313ce567"}), 16) == 18
    assert int(ask(view, "eth_call", {"data": simrpc.NUMBER_CODE}, hex(990)), 16) == 990
    symbol = bytes.fromhex(ask(view, "eth_call", {"to": TOKEN, "data": "0x95d89b41"})[2:])
    assert symbol[64:67] == b"SIM"
    assert len(symbol) == 96
    assert ask(view, "eth_call", {"to": STRANGER, "data": "0x12345678"}, "latest") == "0x"


def test_reverts_are_code_3_with_data() -> None:
    view = view_of(a_chain())
    code, message, data = refusal(view, "eth_call", {"to": TOKEN, "data": simrpc.FAIL}, "latest")
    assert (code, message) == (3, "execution reverted: simulated")
    assert bytes.fromhex(data[2:])[-32:].rstrip(b"\0") == b"simulated"
    assert refusal(view, "eth_call", {"to": TOKEN, "data": "0x12345678"}) == (
        3,
        "execution reverted",
        "0x",
    )
    assert refusal(view, "eth_estimateGas", {"to": TOKEN, "data": simrpc.FAIL})[0] == 3
    encoded = msgspec.json.decode(CallRefused(3, "why", "0x01").encoded())
    assert encoded == {"code": 3, "message": "why", "data": "0x01"}


def test_gas_and_fees() -> None:
    view = view_of(a_chain())
    assert ask(view, "eth_estimateGas", {"to": STRANGER}) == hex(21_000)
    assert int(ask(view, "eth_estimateGas", {"to": TOKEN, "data": simrpc.NUMBER}), 16) > 21_000
    tip = int(ask(view, "eth_maxPriorityFeePerGas"), 16)
    assert int(ask(view, "eth_gasPrice"), 16) == simchain.base_fee_at(START) + tip
    history = ask(view, "eth_feeHistory", "0x4", "latest", [25, 75])
    assert history["oldestBlock"] == hex(START - 3)
    assert len(history["baseFeePerGas"]) == 5
    assert [len(row) for row in history["reward"]] == [2] * 4
    assert "reward" not in ask(view, "eth_feeHistory", 4, "latest", [])
    assert refusal(view, "eth_feeHistory", "0x4", hex(START + 1), [])[0] == -32000


def test_the_busy_accounts_send_once_a_block() -> None:
    view = view_of(a_chain())
    for address in BUSY_ACCOUNTS:
        assert int(ask(view, "eth_getTransactionCount", address, hex(990)), 16) == 991
    assert ask(view, "eth_getTransactionCount", STRANGER, "latest") == "0x0"


# --- transactions


def test_own_transactions_receipts_and_logs_agree() -> None:
    view = view_of(a_chain())
    block = view.block(990, full=True)
    receipts = ask(view, "eth_getBlockReceipts", hex(990))
    assert receipts == ask(view, "eth_getBlockReceipts", block["hash"])
    for index, (transaction, receipt) in enumerate(
        zip(block["transactions"], receipts, strict=True)
    ):
        hash = transaction["hash"]
        assert int(hash[-18:-2], 16) == 990
        assert ask(view, "eth_getTransactionByHash", hash) == transaction
        assert ask(view, "eth_getTransactionReceipt", hash) == receipt
        assert receipt["transactionIndex"] == transaction["transactionIndex"] == hex(index)
        assert receipt["blockHash"] == block["hash"]
        assert receipt["logs"][0]["transactionHash"] == hash
        amount = int(receipt["logs"][0]["data"], 16)
        assert int(transaction["input"][-64:], 16) == amount
    assert ask(view, "eth_getBlockReceipts", hex(START + 1)) is None
    assert ask(view, "eth_getTransactionReceipt", "0x" + "00" * 31 + "07") is None
    assert ask(view, "eth_getTransactionByHash", "0x" + "00" * 32) is None


def test_a_sent_transaction_waits_is_mined_and_stays() -> None:
    chain = a_chain()
    raw = "0x02f8abcd"
    hash = ask(view_of(chain), "eth_sendRawTransaction", raw)
    assert hash == "0x" + keccak.new(digest_bits=256, data=bytes.fromhex(raw[2:])).hexdigest()
    pending = ask(view_of(chain), "eth_getTransactionByHash", hash)
    assert pending["blockNumber"] is None
    assert ask(view_of(chain), "eth_getTransactionReceipt", hash) is None
    sender = pending["from"]
    assert ask(view_of(chain), "eth_getTransactionCount", sender, "latest") == "0x0"
    assert ask(view_of(chain), "eth_getTransactionCount", sender, "pending") == "0x1"
    assert refusal(view_of(chain), "eth_sendRawTransaction", raw)[:2] == (-32000, "already known")

    number = chain.mine(1_800_000_000)
    chain.mine(1_800_000_002)
    view = view_of(chain)
    receipt = ask(view, "eth_getTransactionReceipt", hash)
    assert receipt["blockNumber"] == hex(number)
    assert receipt["from"] == sender
    assert receipt["blockHash"] == view.block_hash(number)
    block = ask(view, "eth_getBlockByNumber", hex(number), False)
    assert block["transactions"][int(receipt["transactionIndex"], 16)] == hash
    assert ask(view, "eth_getBlockReceipts", hex(number))[-1] == receipt
    assert ask(view, "eth_getTransactionCount", sender, "latest") == "0x1"
    code, message, _ = refusal(view, "eth_sendRawTransaction", raw)
    assert code == -32000
    assert message.startswith("nonce too low")
    behind = view_of(chain, lag=2)
    assert ask(behind, "eth_getTransactionReceipt", hash) is None
    assert ask(behind, "eth_getTransactionByHash", hash)["blockNumber"] is None


def test_logs_by_range_hash_address_and_topics() -> None:
    view = view_of(a_chain())
    span = {"fromBlock": hex(990), "toBlock": hex(994)}
    every = ask(view, "eth_getLogs", span)
    assert len(every) == 10
    assert {log["blockNumber"] for log in every} == {hex(n) for n in range(990, 995)}
    sender = every[1]["topics"][1]
    mine = ask(
        view,
        "eth_getLogs",
        {**span, "address": TOKEN, "topics": [None, [sender.upper().replace("X", "x")]]},
    )
    assert mine == every[1::2]
    assert ask(view, "eth_getLogs", {**span, "address": [STRANGER]}) == []
    assert ask(view, "eth_getLogs", {**span, "topics": [None] * 4}) == []
    by_hash = ask(
        view,
        "eth_getLogs",
        {"blockHash": view.block_hash(990), "topics": [simview.TRANSFER_TOPIC]},
    )
    assert by_hash == every[:2]
    assert len(ask(view, "eth_getLogs", {})) == 2


@pytest.mark.parametrize(
    ("query", "code", "fragment"),
    [
        ({"fromBlock": "0x0", "toBlock": hex(START)}, -32602, "max block range"),
        ({"fromBlock": hex(START), "toBlock": hex(START + 1)}, -32602, "beyond current head"),
        ({"fromBlock": hex(9), "toBlock": hex(8)}, -32602, "invalid block range"),
        ({"blockHash": "0x" + "00" * 32}, -32000, "unknown block"),
        ({"blockHash": "0x" + "00" * 32, "toBlock": "latest"}, -32602, "cannot specify both"),
        ("latest", -32602, "invalid argument 0"),
    ],
)
def test_logs_refused(query: Any, code: int, fragment: str) -> None:
    found = refusal(view_of(a_chain()), "eth_getLogs", query)
    assert found[0] == code
    assert fragment in found[1]


# --- the rest


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x12", "latest"]),
        ("eth_getBalance", ["nobody", "latest"]),
        ("eth_getBalance", [STRANGER, "newest"]),
        ("eth_getBalance", [STRANGER, "0x01"]),
        ("eth_getStorageAt", [STRANGER]),
        ("eth_getBlockByNumber", [5]),
        ("eth_getBlockByHash", ["0x12", False]),
        ("eth_getTransactionReceipt", [None]),
        ("eth_call", ["0x", "latest"]),
        ("eth_call", [{"to": TOKEN, "data": "0x123"}]),
        ("eth_sendRawTransaction", ["0x123"]),
        ("sim_blob", [-1]),
        ("sim_blob", ["many"]),
    ],
)
def test_bad_params_are_32602(method: str, params: list[Any]) -> None:
    assert refusal(view_of(a_chain()), method, *params)[0] == -32602


def test_unknown_methods_params_that_are_no_array_and_an_empty_transaction() -> None:
    view = view_of(a_chain())
    assert refusal(view, "eth_nothing")[:2] == (
        -32601,
        "the method eth_nothing does not exist/is not available",
    )
    with pytest.raises(CallRefused, match="non-array args"):
        simrpc.perform(view, Request("eth_call", b"1", b"{}"))
    assert simrpc.perform(view, Request("eth_blockNumber", b"1", b"null"))
    assert refusal(view, "eth_sendRawTransaction", "0x")[1] == "typed transaction too short"


def test_identity() -> None:
    view = SimView(a_chain(), START, 8)
    assert ask(view, "eth_chainId") == "0x8"
    assert ask(view, "net_version") == "8"
    assert ask(view, "net_listening") is True
    assert ask(view, "eth_syncing") is False
    assert "SimGeth" in ask(view, "web3_clientVersion")


@pytest.mark.parametrize("size", [0, 1, 65536, 200_001])
def test_blobs_have_the_size_asked_for_and_share_their_pieces(size: int) -> None:
    assert ask(view_of(a_chain()), "sim_blob", size) == "x" * size
    pieces = simrpc.perform(
        view_of(a_chain()),
        Request("sim_blob", b"1", b"[%d]" % (64 << 20)),
    )
    assert len({id(piece) for piece in pieces}) < 10
