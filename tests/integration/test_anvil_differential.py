"""The same calls, straight to a node and through the proxy, with web3.py: equal, errors included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eth_account import Account
from web3 import HTTPProvider, Web3

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import CHAIN_ID, proxy_config
from tests.integration.running_proxy import RunningProxy

RECIPIENT = "0x00000000000000000000000000000000000CA5E1"
NOTHING = "0x" + "00" * 32

Ask = Callable[[Web3], Any]


def a_web3(url: str) -> Web3:
    return Web3(HTTPProvider(url, exception_retry_configuration=None))


def outcome(ask: Ask, web3: Web3) -> tuple[Any, ...]:
    """What came of a call: its value, or what was raised."""
    try:
        return ("value", ask(web3))
    except Exception as error:  # noqa: BLE001 - the errors are compared
        return (type(error), str(error), getattr(error, "data", None))


def reply(web3: Web3, method: str, *params: Any) -> dict[str, Any]:
    """The reply object as it came, but for the id, which counts the requests of one client."""
    answered = dict(web3.provider.make_request(method, params))
    answered.pop("id")
    return answered


def calls(chain: AnvilChain, hash: str, block_hash: str) -> dict[str, Ask]:
    """By name, so that a failure says which."""
    owner = Web3.to_checksum_address(chain.accounts[0].address)
    contract = Web3.to_checksum_address(chain.contract)
    transfer = {"from": owner, "to": RECIPIENT, "value": 1}
    refused = {"to": contract, "data": "0x01020304"}
    logs = {"fromBlock": "0x0", "toBlock": "latest", "address": contract}
    broke = Account.create()
    unfunded = broke.sign_transaction(
        {
            "to": RECIPIENT,
            "value": 1,
            "nonce": 0,
            "gas": 21_000,
            "gasPrice": 10**10,
            "chainId": CHAIN_ID,
        }
    ).raw_transaction.to_0x_hex()
    typed: dict[str, Ask] = {
        "chain id": lambda w: w.eth.chain_id,
        "network": lambda w: w.net.version,
        "head": lambda w: w.eth.block_number,
        "gas price": lambda w: w.eth.gas_price,
        "tip": lambda w: w.eth.max_priority_fee,
        "fee history": lambda w: w.eth.fee_history(2, "latest", [10, 90]),
        "balance": lambda w: w.eth.get_balance(owner),
        "balance at a block": lambda w: w.eth.get_balance(RECIPIENT, 1),
        "nonce": lambda w: w.eth.get_transaction_count(owner),
        "pending nonce": lambda w: w.eth.get_transaction_count(owner, "pending"),
        "code": lambda w: w.eth.get_code(contract),
        "storage": lambda w: w.eth.get_storage_at(contract, 0),
        "latest block": lambda w: w.eth.get_block("latest"),
        "earliest block": lambda w: w.eth.get_block("earliest"),
        "block with transactions": lambda w: w.eth.get_block(block_hash, full_transactions=True),
        "block that is not": lambda w: w.eth.get_block(10**6),
        "block hash that is not": lambda w: w.eth.get_block(NOTHING),
        "number of transactions": lambda w: w.eth.get_block_transaction_count(block_hash),
        "transaction": lambda w: w.eth.get_transaction(hash),
        "transaction by index": lambda w: w.eth.get_transaction_by_block(block_hash, 0),
        "raw transaction": lambda w: w.eth.get_raw_transaction(hash),
        "receipt": lambda w: w.eth.get_transaction_receipt(hash),
        "receipt that is not": lambda w: w.eth.get_transaction_receipt(NOTHING),
        "receipts of a block": lambda w: w.eth.get_block_receipts(2),
        "call": lambda w: w.eth.call({"to": contract}),
        "call that reverts": lambda w: w.eth.call(refused),
        "gas": lambda w: w.eth.estimate_gas(transfer),
        "gas of what reverts": lambda w: w.eth.estimate_gas(refused),
        "gas beyond the balance": lambda w: w.eth.estimate_gas({**transfer, "value": 10**30}),
        "access list": lambda w: w.eth.create_access_list({"to": contract}),
        "logs": lambda w: w.eth.get_logs(logs),
        "logs the wrong way round": lambda w: w.eth.get_logs({**logs, "fromBlock": "0x5"}),
        "unfunded transaction": lambda w: w.eth.send_raw_transaction(unfunded),
    }
    plain: dict[str, tuple[str, tuple[Any, ...]]] = {
        "reply: result": ("eth_getBalance", (owner, "latest")),
        "reply: revert": ("eth_call", (refused, "latest")),
        "reply: null": ("eth_getTransactionByHash", (NOTHING,)),
        "reply: too few params": ("eth_getBalance", ()),
        "reply: params of the wrong type": ("eth_getBalance", (1, "latest")),
        "reply: bad address": ("eth_getBalance", ("0x123", "latest")),
        "reply: bad block tag": ("eth_getBalance", (owner, "newest")),
        "reply: uncles": ("eth_getUncleCountByBlockNumber", ("latest",)),
        "reply: proof": ("eth_getProof", (contract, ["0x0"], "latest")),
        "reply: hash of text": ("web3_sha3", ("0x68656c6c6f",)),
    }
    for name, (method, params) in plain.items():
        typed[name] = lambda w, method=method, params=params: reply(w, method, *params)
    return typed


def test_the_proxy_answers_as_the_node_does(
    anvil_chain: AnvilChain, proxy_process: Callable[[str], RunningProxy]
) -> None:
    node = anvil_chain.nodes[0]
    owner = anvil_chain.accounts[0]
    transfer = {"from": owner.address, "to": RECIPIENT, "value": "0x1"}
    hash = node.call("eth_sendTransaction", transfer)
    anvil_chain.mine(3)
    block_hash = node.call("eth_getTransactionReceipt", hash)["blockHash"]
    proxy = proxy_process(proxy_config(anvil_chain.nodes))
    proxy.wait_until_well()

    direct, proxied = a_web3(node.url), a_web3(proxy.url)
    asked = calls(anvil_chain, hash, block_hash)
    assert len(asked) >= 40
    differences = []
    for name, ask in asked.items():
        expected, found = outcome(ask, direct), outcome(ask, proxied)
        if expected != found:
            differences.append(f"{name}:\n  direct:  {expected}\n  proxied: {found}")
    assert not differences, "\n".join(differences)
    # None of it was the upstreams' fault.
    assert set(proxy.upstream_states().values()) == {"up"}
