"""What of a chain's configuration standings are told."""

from __future__ import annotations

from rpcproxy.chains.parts.traits import Traits
from rpcproxy.config.model import Chain
from rpcproxy.rules.standing.settings import Settings


def test_settings_of_a_chain() -> None:
    chain = Chain(
        name="x",
        chain_id=7,
        block_time_seconds=2.0,
        max_lag_blocks=9,
        selection="ordered",
        upstreams=(),
    )
    assert Settings.of(chain, Traits(final_depth=1)) == Settings(
        block_time_seconds=2.0,
        max_lag_blocks=9,
        policy="ordered",
        identity="7",
        traits=Traits(final_depth=1),
    )
