"""What answers are held against and kept in, made for tests as for a chain of the one kind."""

from __future__ import annotations

from typing import Any

from rpcproxy.chains.registry import EVM
from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.answers.sharing import Sharing
from rpcproxy.engine.truth.block_contents import BlockContents
from rpcproxy.engine.truth.seen import SeenHashes
from rpcproxy.engine.truth.truth import Truth
from rpcproxy.rules.heads.heads import Heads
from tests.kits.engine_kit import Engine


def another_truth(engine: Engine, **bounds: int) -> Truth:
    """One that knows nothing yet, beside the engine's own."""
    return Truth(
        engine.executor, engine.ledger, EVM.claims, EVM.contents, clock=engine.clock, **bounds
    )


def another_contents(engine: Engine, **bounds: int) -> BlockContents:
    """One that knows nothing yet, beside the engine's own."""
    asked_block = EVM.claims.asked_block
    return BlockContents(engine.standings, EVM.contents, asked_block, clock=engine.clock, **bounds)


def seen_hashes(**bounds: Any) -> SeenHashes:
    return SeenHashes(EVM.claims.keys_in, **bounds)


def new_sharing(heads: Heads, max_bytes: int = 1 << 20) -> Sharing:
    """Without a disk."""
    return Sharing(max_bytes, heads, ChainCounters(), EVM.claims, EVM.methods, clock=SYSTEM_CLOCK)
