"""Whether the wallets of our tests take a reorg for what it is, and a lie for a lie.

Each wallet is in front of one real node and asks through a front that plays the reorg, so that it
comes at the same moment each time: between a receipt and the look at its block.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tests.integration.anvil import AnvilChain
from tests.integration.odd_upstreams import Ask, Call, Fronts, Reply
from tests.integration.wallets import Wallet, three_libraries
from tests.kits.waiting import wait_until

BLOCK_SECONDS = 0.2


class MovingReceipts:
    """Gives each receipt in a block that nobody has. Once somebody looked for that block, the
    receipt is gone for one question, and then where it is in truth.

    ``taken_back``: the blocks that were invented. ``is_admitted``: they are noted there.
    ``does_stay``: receipts stay in the invented blocks.
    """

    def __init__(self) -> None:
        self.taken_back: set[str] = set()
        self.is_admitted = True
        self.does_stay = False
        self._sought: set[str] = set()
        self._moved: set[str] = set()

    async def __call__(self, call: Call, ask: Ask) -> Reply:
        reply = await ask(call)
        if call["method"] == "eth_getBlockByHash":
            self._sought.add(call["params"][0])
        if call["method"] != "eth_getTransactionReceipt" or reply.get("result") is None:
            return reply
        wrong = "0x" + hashlib.sha256(call["params"][0].encode()).hexdigest()
        if wrong in self._moved:
            return reply
        if wrong in self._sought and not self.does_stay:
            self._moved.add(wrong)
            return {**reply, "result": None}
        if self.is_admitted:
            self.taken_back.add(wrong)
        return {**reply, "result": {**reply["result"], "blockHash": wrong}}


def test_wallets_follow_a_reorg_and_excuse_no_lie(
    anvil_binary: str, node_binary: str, require_node_package: Callable[[str], None]
) -> None:
    commands = three_libraries(node_binary, require_node_package)
    with AnvilChain(anvil_binary, ("alder",)) as chain:
        chain.start()
        fronts = Fronts(chain.nodes)
        front = fronts["alder"]
        front.lie = lie = MovingReceipts()
        wallets: list[Wallet] = []
        try:
            chain.start_mining(BLOCK_SECONDS)
            for command, account in zip(commands, chain.accounts, strict=False):
                wallets.append(
                    Wallet(command, front.url, account, chain.contract, taken_back=lie.taken_back)
                )
            wait_until(lambda: all(w.journeys or w.errors for w in wallets), "the first journeys")
            for wallet in wallets:
                assert not wallet.errors
                first = wallet.journeys[0]
                assert len(first["replaced"]) == 1
                assert set(first["replaced"]) <= lie.taken_back
                block = chain.blocks[first["block"] - 1]
                assert first["blockHash"] == block.hash
                assert first["hash"] in dict(block.transactions)

            lie.is_admitted = False
            wait_until(lambda: all(w.errors for w in wallets), "what no node took back is an error")
            for wallet in wallets:
                assert "which no node took back" in wallet.errors[0]

            lie.does_stay = True
            begun = {wallet: len(wallet.errors) for wallet in wallets}

            def is_told(wallet: Wallet) -> bool:
                """The first one may be of a receipt that moved before."""
                return any(", block: " in error for error in wallet.errors[begun[wallet] :])

            wait_until(lambda: all(map(is_told, wallets)), "a receipt that stays is an error")
            chain.check()
        finally:
            for wallet in wallets:
                wallet.close()
            fronts.close()
