"""Several anvils of ONE chain: what gossip and consensus do for real nodes is done here.

Every tick the pools are spread to all nodes, one node mines, and the others mine the same
transactions at the same time, so that all hashes are equal. A node that was frozen, held back or
started anew catches up by mining what it missed.

State: the blocks so far, the raw transactions seen, and which nodes are out and how. One lock
around all of it: nodes are broken and mended between two ticks, never in the middle of one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from tests.integration.anvil_node import (
    DOMAINS,
    GENESIS_TIMESTAMP,
    Account,
    Anvil,
    AnvilError,
)

# Runtime code: without call data it returns 42, else it reverts with Error("not today").
_RUNTIME: Final = (
    "36600c57602a5f5260205ff3"  # if (calldatasize) goto 0c; return 42
    "5b6308c379a060e01b5f52"  # 0c: the selector of Error(string)
    "602060045260096024"
    "52"
    "686e6f7420746f64617960b81b60445260645ffd"  # "not today"
)
_DEPLOY: Final = "0x60358060095f395ff3" + _RUNTIME
REVERT_REASON: Final = "not today"


@dataclass(frozen=True, slots=True)
class Block:
    """What it takes to mine a block again, and the hash that must come of it."""

    number: int
    timestamp: int
    base_fee: str
    hash: str
    transactions: tuple[tuple[str, str], ...]  # hash, raw


class AnvilChain:
    """See the module's docstring. ``start_mining`` lets time go on in a thread."""

    def __init__(self, binary: str, names: Sequence[str] = tuple(DOMAINS)) -> None:
        self.nodes = [Anvil(name, binary) for name in names]
        self.blocks: list[Block] = []
        self.contract = ""
        # Hashes of blocks that a follower had for a moment: to clients a reorg of one block.
        self.taken_back: set[str] = set()
        self._raw: dict[str, str] = {}
        self._mined: set[str] = set()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._miner: threading.Thread | None = None
        self._trouble: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> Anvil:
        return next(node for node in self.nodes if node.name == name)

    @property
    def accounts(self) -> tuple[Account, ...]:
        return self.nodes[0].accounts

    @property
    def height(self) -> int:
        return len(self.blocks)

    def start(self) -> None:
        """Start all nodes, with the contract deployed in block 1."""
        try:
            for node in self.nodes:
                node.start()
            sender = self.accounts[-1].address
            first = self.nodes[0]
            transaction = {"from": sender, "data": _DEPLOY, "gas": hex(200_000)}
            deployed = first.call("eth_sendTransaction", transaction)
            self.mine()
            receipt = first.call("eth_getTransactionReceipt", deployed)
            assert receipt["status"] == "0x1"
            self.contract = receipt["contractAddress"]
        except BaseException:
            self.close()
            raise

    # ---- time goes on

    def start_mining(self, interval_seconds: float) -> None:
        """One block per interval, until ``stop_mining``."""
        self._stopping.clear()
        self._miner = threading.Thread(
            target=self._go_on, args=(interval_seconds,), name="miner", daemon=True
        )
        self._miner.start()

    def stop_mining(self) -> None:
        """The chain stands. Raises what went wrong in the thread."""
        self._stopping.set()
        if self._miner is not None:
            self._miner.join()
            self._miner = None
        self.check()

    def check(self) -> None:
        """Raises what went wrong in the miner's thread, if anything did."""
        if self._trouble is not None:
            raise AssertionError("the chain of anvils broke") from self._trouble

    def _go_on(self, interval_seconds: float) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + interval_seconds, time.monotonic())
            try:
                self.mine()
            except BaseException as error:  # noqa: BLE001 - raised again by `check`
                self._trouble = error
                return

    def mine(self, count: int = 1) -> None:
        """Mine blocks on all nodes that can; nothing where none can."""
        with self._lock:
            for _ in range(count):
                self._tick()

    def _tick(self) -> None:
        able = [node for node in self.nodes if node.can_mine]
        if not able:
            return
        for node in able:
            self._catch_up(node)
        self._spread()
        block = self._lead(able[0])
        self.blocks.append(block)
        self._mined.update(hash for hash, _ in block.transactions)
        for node in able[1:]:
            self._follow(node, block)

    def gossip(self) -> None:
        """Every reachable node learns of every waiting transaction."""
        with self._lock:
            self._spread()

    def _spread(self) -> None:
        reachable = [node for node in self.nodes if node.is_reachable]
        pools = {node.name: node.pool() for node in reachable}
        waiting: dict[str, None] = {}
        for node in reachable:
            for hash in pools[node.name]:
                if hash not in self._mined:
                    self._learn(node, hash)
                    waiting[hash] = None
        for node in reachable:
            missing = [hash for hash in waiting if hash not in pools[node.name]]
            self._submit(node, missing, may_refuse=True)

    def _learn(self, node: Anvil, hash: str) -> None:
        if hash not in self._raw:
            self._raw[hash] = node.call("eth_getRawTransactionByHash", hash)

    def _submit(self, node: Anvil, hashes: Iterable[str], *, may_refuse: bool = False) -> None:
        """``may_refuse``: as a peer may, a transaction whose nonce it has seen otherwise used."""
        for hash in hashes:
            try:
                node.call("eth_sendRawTransaction", self._raw[hash])
            except AnvilError as error:
                # A client's copy may come between our look and our word.
                if "already imported" not in str(error) and not may_refuse:
                    raise

    def _lead(self, node: Anvil) -> Block:
        """One node decides what the block holds."""
        number = self.height + 1
        mined = node.mine(GENESIS_TIMESTAMP + number)
        assert int(mined["number"], 16) == number
        hashes = [transaction["hash"] for transaction in mined["transactions"]]
        for hash in hashes:
            self._learn(node, hash)
        return Block(
            number,
            GENESIS_TIMESTAMP + number,
            mined["baseFeePerGas"],
            mined["hash"],
            tuple((hash, self._raw[hash]) for hash in hashes),
        )

    def _catch_up(self, node: Anvil) -> None:
        while node.height < self.height:
            self._follow(node, self.blocks[node.height])

    def _follow(self, node: Anvil, block: Block) -> None:
        """Mine the same block on another node."""
        wanted = [hash for hash, _ in block.transactions]
        pool = node.pool()
        # Two pools may hold the same transactions in another order.
        is_ready = pool == wanted and len(wanted) < 2
        mined = self._mine_exactly(node, block, [] if is_ready else pool, is_ready=is_ready)
        # A client's transaction came in between: take the block back, and mine the right one.
        for _ in range(3):
            if mined["hash"] == block.hash:
                return
            late = [transaction["hash"] for transaction in mined["transactions"]]
            for hash in late:
                self._learn(node, hash)
            self.taken_back.add(mined["hash"])
            node.call("anvil_rollback", 1)
            node.height -= 1
            node.call("anvil_setNextBlockBaseFeePerGas", block.base_fee)
            pool = list(dict.fromkeys([*late, *node.pool()]))
            mined = self._mine_exactly(node, block, pool, is_ready=False)
        if mined["hash"] != block.hash:
            raise AnvilError(f"{node} does not arrive at block {block.number} of the others")

    def _mine_exactly(
        self, node: Anvil, block: Block, pool: Sequence[str], *, is_ready: bool
    ) -> dict[str, Any]:
        """Mine what the block holds; the block that came of it, which may hold more. What else
        ``pool`` names is put back.
        """
        wanted = [hash for hash, _ in block.transactions]
        others = [hash for hash in pool if hash not in wanted and hash not in self._mined]
        if not is_ready:
            for hash in others:
                self._learn(node, hash)
            # One by one: what came after our look may be here alone, and would be lost with all.
            for hash in pool:
                node.call("anvil_dropTransaction", hash)
            self._submit(node, wanted)
        mined = node.mine(block.timestamp)
        # What this node refuses by now (it came in another block meanwhile), others have: gossip.
        self._submit(node, others, may_refuse=True)
        return mined

    # ---- nodes fail and come back

    # Gossip is faster than outages here: what a node took is known to the others before it goes.

    def freeze(self, *nodes: Anvil) -> None:
        """They keep their connections and answer nothing (SIGSTOP)."""
        with self._lock:
            self._spread()
            for node in nodes:
                node.freeze()

    def thaw(self, *nodes: Anvil) -> None:
        """They go on where they were, behind the others until the next block (SIGCONT)."""
        with self._lock:
            for node in nodes:
                if node.is_frozen:
                    node.thaw()

    def kill(self, *nodes: Anvil) -> None:
        """Their port refuses from now on (SIGKILL)."""
        with self._lock:
            self._spread()
            for node in nodes:
                node.kill()

    def restart(self, *nodes: Anvil) -> None:
        """A killed node comes back on its port, with the whole chain."""
        with self._lock:
            for node in nodes:
                node.start()
                self._catch_up(node)

    def hold(self, *nodes: Anvil) -> None:
        """Their head stands still from now on."""
        with self._lock:
            for node in nodes:
                node.is_held = True

    def release(self, *nodes: Anvil) -> None:
        with self._lock:
            for node in nodes:
                node.is_held = False

    def heal(self) -> None:
        """All nodes run, and are at the same block."""
        with self._lock:
            self.thaw(*self.nodes)
            self.release(*self.nodes)
            self.restart(*(node for node in self.nodes if not node.is_running))
            self.mine()
        self.check()

    def heads(self) -> set[tuple[int, str]]:
        """Number and hash of the latest block of every reachable node."""
        with self._lock:
            blocks = [
                node.call("eth_getBlockByNumber", "latest", False)
                for node in self.nodes
                if node.is_reachable
            ]
        return {(int(block["number"], 16), block["hash"]) for block in blocks}

    def close(self) -> None:
        """End all nodes, whatever state they are in."""
        self._stopping.set()
        if self._miner is not None:
            self._miner.join()
            self._miner = None
        for node in self.nodes:
            node.kill()
