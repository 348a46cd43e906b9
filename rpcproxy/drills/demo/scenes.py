"""The demo's scenes: who is in trouble, for how long, and what two wallets make of it.

A round is: all well, one provider down, one that refuses, one region browned out, and a
recovery after each. The next round strikes others. In every scene one wallet asks the proxy,
and another, with a single URL, asks the provider that is in trouble or about to be.

State: the scene on stage and the last take of each kind, in ``DemoStage``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from rpcproxy.drills.demo.wallet import Wallet, WalletTally
from rpcproxy.drills.providers.provider import Provider
from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.drills.scenarios.faults import REFUSE, brownout, http_429


@dataclass(frozen=True, slots=True)
class Site:
    """Where a made-up provider runs, and how fast it answers."""

    name: str
    cloud: str
    region: str
    latency_seconds: float

    @property
    def place(self) -> str:
        return f"{self.cloud}/{self.region}"


SITES: Final = (
    Site("Northwind", "aws", "us-east-1", 0.018),
    Site("Lakeside", "aws", "us-east-1", 0.020),
    Site("Summit", "gcp", "europe-west1", 0.022),
    Site("Harbor", "hetzner", "fsn1", 0.024),
)
_SHAKY: Final = SITES[0].place
_REFUSAL: Final = http_429(2)
_BROWNOUT: Final = brownout(0.5)


class SceneKind(Enum):
    """What scenes have in common from round to round."""

    WELL = "well"
    DOWN = "down"
    LIMITED = "limited"
    BROWNOUT = "brownout"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Scene:
    """``title`` says what happens, ``label`` the same in short, ``trouble`` in a word or two what
    ails whoever is in ``struck``. ``pinned`` is whom the wallet with a single URL asks.
    """

    kind: SceneKind
    label: str
    title: str
    seconds: float
    pinned: str
    struck: tuple[str, ...] = ()
    fault: Fault | None = None
    trouble: str = ""


@dataclass(slots=True)
class Take:
    """A scene as it was performed, and what the wallets saw of it. ``began_at``: loop time."""

    scene: Scene
    began_at: float
    seconds: float
    through: WalletTally = field(default_factory=WalletTally)
    direct: WalletTally = field(default_factory=WalletTally)
    is_over: bool = False

    @property
    def is_settled(self) -> bool:
        """It is over, and nothing that was asked in it is still awaited."""
        return self.is_over and not self.through.pending and not self.direct.pending


def calm_round() -> list[Scene]:
    """One scene in which all is well."""
    return [_well(SITES[0].name)]


def round_of(number: int) -> list[Scene]:
    """The scenes of a round, from 0; each round strikes others."""
    down = SITES[number % len(SITES)].name
    limited = SITES[(number + 2) % len(SITES)].name
    shaken = tuple(site.name for site in SITES if site.place == _SHAKY)
    witness = shaken[number % len(shaken)]
    return [
        _well(down),
        Scene(
            kind=SceneKind.DOWN,
            label=f"{down} is down",
            title=f"{down} {REFUSE.description}",
            seconds=8.0,
            pinned=down,
            struck=(down,),
            fault=REFUSE,
            trouble="down",
        ),
        _recovery(f"{down} comes back", 5.0, limited),
        Scene(
            kind=SceneKind.LIMITED,
            label=f"{limited} refuses: 429",
            title=f"{limited} {_REFUSAL.description}",
            seconds=8.0,
            pinned=limited,
            struck=(limited,),
            fault=_REFUSAL,
            trouble="429",
        ),
        _recovery(f"{limited} serves again", 5.0, witness),
        Scene(
            kind=SceneKind.BROWNOUT,
            label=f"{_SHAKY} browns out",
            title=f"{_SHAKY} {_BROWNOUT.description}",
            seconds=10.0,
            pinned=witness,
            struck=shaken,
            fault=_BROWNOUT,
            trouble="hang or 503",
        ),
        _recovery(f"{_SHAKY} recovers", 6.0, witness),
    ]


def _well(pinned: str) -> Scene:
    return Scene(SceneKind.WELL, "all well", "All providers are well", 6.0, pinned)


def _recovery(title: str, seconds: float, pinned: str) -> Scene:
    return Scene(SceneKind.RECOVERY, "recovery", title, seconds, pinned)


class DemoStage:
    """Plays rounds on the providers until it is cancelled."""

    def __init__(
        self,
        providers: Sequence[Provider],
        through: Wallet,
        direct: Wallet,
        *,
        has_outages: bool = True,
        pace: float = 1.0,
    ) -> None:
        """Scenes last ``pace`` times as long as written."""
        self._providers = {provider.name: provider for provider in providers}
        self._through = through
        self._direct = direct
        self._has_outages = has_outages
        self._pace = pace
        self.current = Take(calm_round()[0], 0.0, 0.0)
        self.latest: dict[SceneKind, Take] = {}

    async def play(self, on_scene: Callable[[Take], None]) -> None:
        """Play for ever; ``on_scene`` is told when a scene begins."""
        for scene in self._scenes():
            self._begin(scene)
            on_scene(self.current)
            await asyncio.sleep(self.current.seconds)
            self.current.is_over = True

    def _scenes(self) -> Iterator[Scene]:
        for number in itertools.count():
            yield from round_of(number) if self._has_outages else calm_round()

    def _begin(self, scene: Scene) -> None:
        now = asyncio.get_running_loop().time()
        take = self.current = Take(scene, now, scene.seconds * self._pace)
        self.latest[scene.kind] = take
        pinned = self._providers[scene.pinned]
        self._through.enter(take.through, takes_along=bool(scene.struck))
        self._direct.enter(take.direct, takes_along=bool(scene.struck))
        self._direct.point_at("127.0.0.1", pinned.port)
        for name, provider in self._providers.items():
            provider.set_fault(scene.fault if name in scene.struck else None)
