"""Four anvils of one chain that do not all have the same head.

Blocks reach the nodes one after the other, up to 0.3 s apart, and another node has each first. A
node may lag behind by so many blocks, fall back, leave the chain on a fork of its own, or stand
for a machine of another chain.

State: lags and forks by node, under the lock of the chain.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Final

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import DOMAINS, GENESIS_TIMESTAMP, Anvil
from tests.integration.odd_upstreams import Fronts

STAGGER_SECONDS: Final = 0.3
OTHER_CHAIN_ID: Final = 31338
# A machine of the chain that no upstream of its own stands for, and how far it is behind.
SPARE: Final = "elm"
SPARE_LAG: Final = 3


class UnevenChain(AnvilChain):
    """See the module's docstring."""

    def __init__(self, binary: str) -> None:
        super().__init__(binary, (*DOMAINS, SPARE))
        self.fronts = Fronts([self[name] for name in DOMAINS])
        self._binary = binary
        self._stagger_seconds = 0.0
        self._lags = {SPARE: SPARE_LAG}
        # Nodes that mine alone, and the last block they have in common with the others.
        self._forks: dict[str, int] = {}
        self._strangers: list[Anvil] = []
        self._rng = random.Random(4)

    def start(self, blocks: int = 1) -> None:
        """Start all nodes, with the contract in block 1; so many blocks at once."""
        super().start()
        self.mine(blocks - self.height)
        self._stagger_seconds = STAGGER_SECONDS

    @property
    def spare(self) -> Anvil:
        return self[SPARE]

    def hash_of(self, number: int) -> str:
        """The hash of a block of the one chain."""
        return self.blocks[number - 1].hash

    def config(self, text: str) -> str:
        """A configuration of the nodes made one of their fronts."""
        for front in self.fronts:
            text = text.replace(front.node.url, front.url)
        return text

    def close(self) -> None:
        super().close()
        self._drop_strangers()
        self.fronts.close()

    def _drop_strangers(self) -> None:
        for node in self._strangers:
            node.kill()
        self._strangers.clear()

    # ---- time goes on

    def _tick(self) -> None:
        able = [node for node in self.nodes if node.can_mine and node.name not in self._forks]
        ahead = [node for node in able if node.name not in self._lags]
        if not ahead:
            return
        for node in able:
            self._climb(node)
        self._spread()
        leader = ahead[self.height % len(ahead)]
        with self.fronts.closed(leader):
            block = self._lead(leader)
            self.blocks.append(block)
        started = time.monotonic()
        self._mined.update(hash for hash, _ in block.transactions)
        followers = [node for node in able if node is not leader]
        for delay, node in self._delays(followers):
            time.sleep(max(0.0, started + delay - time.monotonic()))
            self._climb(node)
        for node in self.nodes:
            if node.name in self._forks and node.is_reachable:
                self._mine_alone(node)
        for node in self._strangers:
            self._mine_alone(node)

    def _delays(self, nodes: list[Anvil]) -> list[tuple[float, Anvil]]:
        delays = [self._rng.uniform(0.0, self._stagger_seconds) for _ in nodes]
        return sorted(zip(delays, nodes, strict=True), key=lambda pair: pair[0])

    def _climb(self, node: Anvil) -> None:
        """Block by block to where it should be."""
        goal = self.height - self._lags.get(node.name, 0)
        while node.height < goal:
            with self.fronts.closed(node):
                self._follow(node, self.blocks[node.height])

    def _submit(self, node: Anvil, hashes: Iterable[str], *, may_refuse: bool = True) -> None:
        """Who was sent a nonce that another fork or a node ahead has used otherwise refuses; a
        block that lacks a transaction is found out by its hash.
        """
        super()._submit(node, hashes, may_refuse=may_refuse)

    def _mine_alone(self, node: Anvil) -> None:
        with self.fronts.closed(node):
            node.mine(GENESIS_TIMESTAMP + node.height + 1)

    # ---- nodes go astray

    def lag(self, node: Anvil, blocks: int) -> None:
        """From now on it is so many blocks behind; it is out of reach until it is."""
        front = self.fronts[node.name]
        with self._lock:
            front.is_out = True
            self._lags[node.name] = blocks
            self._take_back(node, node.height - (self.height - blocks))
            front.is_out = False

    def fall_back(self, node: Anvil, blocks: int) -> None:
        """It goes back by so many blocks in front of everyone, and stays that far behind."""
        with self._lock:
            self._lags[node.name] = blocks
            self._take_back(node, blocks)

    def _take_back(self, node: Anvil, blocks: int) -> None:
        if blocks > 0:
            with self.fronts.closed(node):
                node.call("anvil_rollback", blocks)
                node.height -= blocks

    def fork(self, node: Anvil, depth: int) -> None:
        """Its last blocks become others, and it goes on from there on its own."""
        with self._lock:
            self._forks[node.name] = node.height - depth
            with self.fronts.closed(node):
                node.call("anvil_reorg", depth, [])

    def stranger(self) -> Anvil:
        """A node of another chain, of the same height, which mines as the others do."""
        node = Anvil(f"stranger {len(self._strangers)}", self._binary)
        node.start()
        with self._lock:
            self._strangers.append(node)
            node.call("anvil_setChainId", OTHER_CHAIN_ID)
            while node.height < self.height:
                node.mine(GENESIS_TIMESTAMP + node.height + 1)
        return node

    def mend(self) -> None:
        """All nodes are on the one chain, at its head, and every front is honest again."""
        with self._lock:
            self.thaw(*self.nodes)
            self.release(*self.nodes)
            for front in self.fronts:
                front.be_honest()
            self._lags = {SPARE: SPARE_LAG}
            for name, common in self._forks.items():
                self._take_back(self[name], self[name].height - common)
            self._forks.clear()
            self._drop_strangers()
            self.mine()
        self.check()
