"""What standings are told of their chain when they are made."""

from __future__ import annotations

import msgspec

from rpcproxy.chains.parts.traits import Traits
from rpcproxy.config.model import Chain
from rpcproxy.rules.standing.selection import SelectionPolicy


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What of a chain's configuration concerns its standings."""

    block_time_seconds: float = 12.0
    max_lag_blocks: int = 2
    policy: SelectionPolicy = "fastest"
    identity: str = ""
    shows_ahead: bool = False  # clients may see blocks above the served head
    traits: Traits = Traits()

    @classmethod
    def of(cls, chain: Chain, traits: Traits) -> Settings:
        return cls(
            block_time_seconds=chain.block_time_seconds,
            max_lag_blocks=chain.max_lag_blocks,
            policy=chain.selection,
            identity=chain.identity,
            shows_ahead=chain.consistency == "routed",
            traits=traits,
        )
