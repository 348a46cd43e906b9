"""One transaction, sent again and again: one hash, one place in the chain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eth_account import Account

from tests.integration import anvil
from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import CHAIN_ID, DOMAINS
from tests.integration.running_proxy import RunningProxy
from tests.integration.wire import ask_together
from tests.kits.waiting import wait_until

RECIPIENT = "0x00000000000000000000000000000000000CA5E1"
SEND = "eth_sendRawTransaction"


@pytest.fixture(autouse=True)
def mended(shared_chain: AnvilChain, shared_proxy: RunningProxy) -> Iterator[None]:
    """Before each test all nodes are well, and the proxy has noticed."""
    shared_proxy.wait_until_well()
    yield
    shared_chain.heal()


def signed_transfer(account: anvil.Account, nonce: int, value: int = 1) -> tuple[str, str]:
    """Hash and raw bytes of a transfer."""
    signed = Account.from_key(account.key).sign_transaction(
        {
            "to": RECIPIENT,
            "value": value,
            "nonce": nonce,
            "gas": 21_000,
            "maxFeePerGas": 3 * 10**9,
            "maxPriorityFeePerGas": 10**9,
            "chainId": CHAIN_ID,
        }
    )
    return signed.hash.to_0x_hex(), signed.raw_transaction.to_0x_hex()


def holders(chain: AnvilChain, hash: str) -> list[str]:
    """The nodes that were handed the transaction."""
    return [node.name for node in chain.nodes if node.is_reachable and hash in node.pool()]


def test_five_resubmits_give_one_hash(shared_chain: AnvilChain, shared_proxy: RunningProxy) -> None:
    proxy, chain = shared_proxy, shared_chain
    wire = proxy.wire()
    sender = chain.accounts[0]
    hash, raw = signed_transfer(sender, nonce=0)
    before = int(wire.result("eth_getBalance", RECIPIENT, "latest"), 16)

    # Five times one after the other: pending, "already known" to whoever has it.
    assert [wire.result(SEND, raw) for _ in range(5)] == [hash] * 5
    chain.gossip()
    pending = wire.result("eth_getTransactionByHash", hash)
    assert pending["blockHash"] is None
    chain.mine()
    receipt = wire.result("eth_getTransactionReceipt", hash)
    assert receipt["status"] == "0x1"

    # Mined: "nonce too low" is a yes for this very transaction …
    assert [wire.result(SEND, raw) for _ in range(5)] == [hash] * 5
    # … and a no for another one of that nonce.
    _, other = signed_transfer(sender, nonce=0, value=2)
    status, reply = wire.ask(SEND, other)
    assert status == 200
    assert reply["error"] == {"code": -32003, "message": "nonce too low"}

    chain.mine(2)
    mined = [known for block in chain.blocks for known, _ in block.transactions]
    assert mined.count(hash) == 1
    assert wire.result("eth_getTransactionCount", sender.address, "latest") == "0x1"
    assert int(wire.result("eth_getBalance", RECIPIENT, "latest"), 16) == before + 1


def test_five_at_once_give_one_hash(shared_chain: AnvilChain, shared_proxy: RunningProxy) -> None:
    proxy, chain = shared_proxy, shared_chain
    hash, raw = signed_transfer(chain.accounts[1], nonce=0)
    answers = [future.result() for future in ask_together(proxy.url, *[(SEND, (raw,))] * 5)]
    assert [answered.reply["result"] for answered in answers] == [hash] * 5
    # More than one copy went out, on more than one cloud.
    wait_until(lambda: len(holders(chain, hash)) >= 2, "a second node has it")
    assert len({DOMAINS[name][1] for name in holders(chain, hash)}) >= 2


def test_a_transaction_outlives_the_node_that_took_it(
    shared_chain: AnvilChain, shared_proxy: RunningProxy
) -> None:
    proxy, chain = shared_proxy, shared_chain
    wire = proxy.wire()
    hash, raw = signed_transfer(chain.accounts[2], nonce=0)
    assert wire.result(SEND, raw) == hash
    wait_until(lambda: len(holders(chain, hash)) >= 2, "a second node has it")
    chain.kill(chain[holders(chain, hash)[0]])
    assert wire.result(SEND, raw) == hash
    chain.mine()
    assert wire.result("eth_getTransactionReceipt", hash)["status"] == "0x1"


def test_sends_with_two_nodes_frozen(shared_chain: AnvilChain, shared_proxy: RunningProxy) -> None:
    """Those that hang may have it or not: the answer is the hash, and it is mined once."""
    proxy, chain = shared_proxy, shared_chain
    wire = proxy.wire()
    chain.freeze(*chain.nodes[:2])
    hashes = []
    for nonce in range(5):
        hash, raw = signed_transfer(chain.accounts[3], nonce)
        # A third copy goes out when two hang: they are let go when all is answered.
        assert [wire.result(SEND, raw) for _ in range(3)] == [hash] * 3
        hashes.append(hash)
        chain.mine()
        assert wire.result("eth_getTransactionReceipt", hash)["status"] == "0x1"
    chain.heal()
    assert len(chain.heads()) == 1
    chain.mine(2)
    assert len(chain.heads()) == 1
    mined = [hash for block in chain.blocks for hash, _ in block.transactions]
    assert [mined.count(hash) for hash in hashes] == [1] * 5
