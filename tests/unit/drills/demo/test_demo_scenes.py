"""The demo's scenes: who is struck, who is watched, and what is put back."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from rpcproxy.drills.demo import scenes
from rpcproxy.drills.demo.scenes import SITES, DemoStage, SceneKind, Take
from rpcproxy.drills.demo.wallet import Wallet
from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Provider
from rpcproxy.drills.scenarios.faults import WELL
from tests.kits.waiting import limited, until

NAMES = {site.name for site in SITES}


def test_four_providers_on_three_clouds() -> None:
    assert len(NAMES) == 4
    assert len({site.cloud for site in SITES}) == 3
    assert [site.place for site in SITES].count("aws/us-east-1") == 2


@pytest.mark.parametrize("number", range(8))
def test_a_round(number: int) -> None:
    scenes_of_round = scenes.round_of(number)
    for before, scene in zip(
        [scenes_of_round[-1], *scenes_of_round], scenes_of_round, strict=False
    ):
        assert set(scene.struck) < NAMES
        assert bool(scene.struck) == (scene.fault is not None) == bool(scene.trouble)
        if scene.struck:
            # A wallet with one URL asks who is struck, and asked it before.
            assert scene.pinned in scene.struck
            assert before.pinned == scene.pinned
            assert not before.struck
    assert [s.kind for s in scenes_of_round if s.struck] == [
        SceneKind.DOWN,
        SceneKind.LIMITED,
        SceneKind.BROWNOUT,
    ]
    assert len(scenes_of_round[5].struck) == 2


def test_each_provider_is_struck_in_turn() -> None:
    rounds = [scenes.round_of(number) for number in range(4)]
    for position in (1, 3):
        assert {one[position].struck for one in rounds} == {(name,) for name in NAMES}
    assert all(one[1].struck != one[3].struck for one in rounds)


def _stage(*, has_outages: bool, pace: float = 0.001) -> tuple[DemoStage, list[Provider], Wallet]:
    chain = SimChain()
    providers = [Provider(chain, site.name) for site in SITES]
    for provider in providers:
        provider.start()
    through, direct = Wallet(100), Wallet(100)
    return (
        DemoStage(providers, through, direct, has_outages=has_outages, pace=pace),
        providers,
        direct,
    )


async def _play(stage: DemoStage, count: int) -> list[Take]:
    takes: list[Take] = []
    enough = asyncio.Event()

    def on_scene(take: Take) -> None:
        takes.append(take)
        if len(takes) >= count:
            enough.set()

    playing = asyncio.ensure_future(stage.play(on_scene))
    async with limited():
        await enough.wait()
    playing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await playing
    return takes


async def test_playing_a_round() -> None:
    stage, providers, direct = _stage(has_outages=True)
    takes = await _play(stage, 8)
    assert [take.scene for take in takes[:7]] == scenes.round_of(0)
    assert takes[7].scene == scenes.round_of(1)[0]
    assert all(take.is_settled for take in takes[:7])
    assert not takes[7].is_settled
    assert stage.current is takes[7]
    assert list(stage.latest) == [
        *(
            SceneKind.WELL,
            SceneKind.DOWN,
            SceneKind.RECOVERY,
            SceneKind.LIMITED,
            SceneKind.BROWNOUT,
        ),
    ]
    assert stage.latest[SceneKind.WELL] is takes[7]
    assert takes[0].seconds == pytest.approx(0.006)
    assert {provider.fault for provider in providers} == {WELL}
    assert direct.scene is takes[7].direct
    for provider in providers:
        provider.stop()


async def test_a_struck_provider_is_at_fault_and_nobody_else() -> None:
    stage, providers, _ = _stage(has_outages=True)
    seen: list[tuple[str, dict[str, str]]] = []

    def on_scene(take: Take) -> None:
        at_fault = {p.name: p.fault.name for p in providers if p.fault is not WELL}
        assert set(at_fault) == set(take.scene.struck)
        seen.append((take.scene.label, at_fault))

    playing = asyncio.ensure_future(stage.play(on_scene))
    await until(lambda: len(seen) >= 7)
    playing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await playing
    assert ("Northwind is down", {"Northwind": "refuse"}) in seen
    for provider in providers:
        provider.stop()


async def test_without_outages_all_stays_well() -> None:
    stage, providers, _ = _stage(has_outages=False)
    takes = await _play(stage, 5)
    assert {take.scene.kind for take in takes} == {SceneKind.WELL}
    for provider in providers:
        provider.stop()


async def test_a_take_is_settled_when_nothing_is_awaited() -> None:
    stage, providers, _ = _stage(has_outages=False)
    take = stage.current
    take.direct.requests = 1
    take.is_over = True
    assert not take.is_settled
    take.direct.hung = 1
    assert take.is_settled
    for provider in providers:
        provider.stop()
