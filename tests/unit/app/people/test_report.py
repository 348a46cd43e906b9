"""app.people.chain_report: what is told of a chain, taken from a chain at work."""

from __future__ import annotations

import json

import pytest

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.people.chain_report import chain_figures, chain_status
from rpcproxy.config.model import Chain, Server, Upstream
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.front.operators.admin import ChainStatus, readiness
from rpcproxy.messages import Head, MethodClass, Verdict
from rpcproxy.rules.heads.heads import Reorg
from rpcproxy.words import Observation

UNIX = 1_700_000_000.0


def name(number: int, branch: str = "a") -> str:
    return "0x" + branch * 32 + f"{number:032x}"


def block(number: int) -> Head:
    return Head(number, name(number), name(number - 1), 1_700_000_000 + number)


def a_chain(**given: object) -> ChainRuntime:
    upstreams = tuple(
        Upstream(
            name=each, provider=each, url=f"http://127.0.0.1:9/{each}", ws_url="ws://127.0.0.1:9"
        )
        for each in "abc"
    )
    chain = Chain(name="test", chain_id=7, upstreams=upstreams, **given)
    return ChainRuntime(chain, Server(), ChainCounters())


def tell(runtime: ChainRuntime, upstream: str, now: float, **fields: object) -> None:
    for told in ({"is_identity": True}, fields):
        observation = Observation(
            upstream, MethodClass.LIGHT, Verdict.OK, 0.02, is_probe=True, **told
        )
        runtime.standings.observe(observation, now)


def status(runtime: ChainRuntime, now: float) -> ChainStatus:
    return chain_status(runtime, now, 1_800_000_000.0 + now)


async def test_a_chain_of_which_nothing_is_known() -> None:
    runtime = a_chain(hedge="off")
    now = runtime.standings._now
    told = status(runtime, now)
    assert (told["state"], told["halted"], told["served_head"]) == ("down", None, None)
    assert (told["served_hash"], told["head_age_seconds"]) == (None, None)
    assert (told["safe"], told["finalized"], told["last_reorg"]) == (None, None, None)
    assert told["hedge_delay_seconds"] == {"light": None, "heavy": None}
    assert told["feeds"] == {"a": False, "b": False, "c": False}
    assert told["audits"]["differences"] == []
    assert set(told["cache"]) == {"memory"}
    json.dumps(told)
    await runtime.close()


async def test_heads_with_their_hashes_and_who_left_them() -> None:
    runtime = a_chain()
    now = runtime.standings._now
    for each in "ab":
        tell(runtime, each, now, head=block(99), anchors=(block(80), block(90)))
        tell(runtime, each, now, head=block(100))
    tell(runtime, "c", now, head=Head(100, name(100, "b"), name(99), 1_700_000_100))
    heads = runtime.standings.heads
    assert heads.served == 100
    told = status(runtime, heads.moved_at + 2.0)
    assert (told["served_head"], told["served_hash"]) == (100, name(100))
    assert told["head_age_seconds"] == 2.0
    assert told["safe"] == {"number": 90, "hash": name(90)}
    assert told["finalized"] == {"number": 80, "hash": name(80)}
    assert told["forked"] == {"c": "its block 100 is not the others'"}
    states = {upstream["name"]: upstream["state"] for upstream in told["upstreams"]}
    assert states == {"a": "up", "b": "up", "c": "forked"}
    assert not told["split"]
    await runtime.close()


async def test_reorgs_and_jumps_are_told_apart() -> None:
    runtime = a_chain()
    heads = runtime.standings.heads
    now = runtime.standings._now
    heads.last_reorg, heads.turned_at = Reorg(ancestor=90, depth=3, is_gap=False), now
    heads.turns, heads.reorgs = 3, 2
    told = status(runtime, now + 5.0)
    assert told["last_reorg"] == {"depth": 3, "ancestor": 90, "ago_seconds": 5.0}
    assert (told["reorgs"], told["head_jumps"]) == (2, 1)
    assert chain_figures(runtime, now, UNIX).last_reorg_depth == 3
    heads.last_reorg = Reorg(ancestor=90, depth=3, is_gap=True)
    assert status(runtime, now)["last_reorg"] is None
    assert chain_figures(runtime, now, UNIX).last_reorg_depth is None
    await runtime.close()


async def test_a_halt_is_told_in_words_and_is_nobodys_fault() -> None:
    runtime = a_chain()
    now = runtime.standings._now
    step = 5.0
    for second in range(30):
        for each in "abc":
            tell(runtime, each, now + step * second, head=block(100))
        runtime.standings.tick(now + step * second)
    heads = runtime.standings.heads
    assert heads.pace.is_halted
    moment = heads.pace.halted_since + 100.4
    told = status(runtime, moment)
    assert told["halted"] == "chain halted since block 100, 100 s"
    assert told["state"] == "ok"
    assert chain_figures(runtime, moment, UNIX).halted_seconds == pytest.approx(100.4)
    is_ready, page = readiness([told])
    assert is_ready
    assert page["chains_halted"] == {"test": told["halted"]}
    for each in "abc":
        tell(runtime, each, moment + 60, head=block(101))
    assert status(runtime, moment)["halted"] is None
    assert chain_figures(runtime, moment, UNIX).halted_seconds is None
    await runtime.close()
