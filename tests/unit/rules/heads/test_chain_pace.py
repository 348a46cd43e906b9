"""How long blocks take, and whether the chain stands."""

from __future__ import annotations

import math

import pytest

from rpcproxy.chains.parts.traits import Traits
from rpcproxy.rules.heads.chain_pace import ChainPace
from tests.unit.rules.heads.test_heads import Chain


def test_a_chain_that_stands_is_halted_and_resumes() -> None:
    chain = Chain(3, block_time=2.0)
    for second in range(21):
        chain.tell(float(second), 100, 100, 100)
        changed = chain.heads.pace.settle_halt(chain.claimants)
        assert changed == (second == 20)
    assert chain.heads.pace.is_halted
    chain.tell(21.0, 101, 100, 100)
    assert chain.heads.pace.settle_halt(chain.claimants)
    assert not chain.heads.pace.is_halted


def test_upstreams_that_do_not_report_are_no_halt() -> None:
    chain = Chain(2, block_time=2.0)
    chain.tell(0.0, 100, 100)
    chain.tell(500.0)
    assert not chain.heads.pace.settle_halt(chain.claimants)


def test_the_block_time_is_learned() -> None:
    chain = Chain(3, block_time=12.0)
    assert (chain.heads.pace.hold_seconds, chain.heads.pace.stall_seconds) == (2.0, 36.0)
    for number in range(2000):
        chain.tell(number * 2.0, *[100 + number] * 3)
    assert chain.heads.pace.block_time_seconds == pytest.approx(2.0, rel=0.1)
    assert chain.heads.pace.hold_seconds == pytest.approx(1.0, rel=0.1)
    assert chain.heads.pace.halt_seconds == 20.0


@pytest.mark.parametrize(
    ("block_time", "passed", "is_too_fast"),
    [(0.4, 0.5, True), (0.4, 0.9, False), (2.0, 0.5, False)],
)
def test_a_fast_chain_moves_about_once_a_second(
    block_time: float, passed: float, is_too_fast: bool
) -> None:
    assert ChainPace(block_time, Traits()).is_too_fast(passed) == is_too_fast


def test_a_reload_keeps_a_halt_and_takes_the_block_time_that_is_configured() -> None:
    chain = Chain(3, block_time=2.0)
    for second in range(21):
        chain.tell(float(second), 100, 100, 100)
    assert chain.heads.pace.settle_halt(chain.claimants)
    new = ChainPace(6.0, Traits())
    assert new.halted_since == math.inf
    new.adopt(chain.heads.pace)
    assert (new.is_halted, new.halted_since, new.block_time_seconds) == (True, 0.0, 6.0)
