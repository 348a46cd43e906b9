"""A chain's standings under a fake clock, for the tests of rules."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from rpcproxy.config.model import Upstream
from rpcproxy.messages import Head, MethodClass, Verdict
from rpcproxy.rules.standing.settings import Settings
from rpcproxy.rules.standing.standings import Need, Standing
from rpcproxy.states import Change
from rpcproxy.words import Observation
from tests.kits.evm_rules import standings_of

LIGHT, HEAVY, SEND = MethodClass.LIGHT, MethodClass.HEAVY, MethodClass.SEND
CLOUDS = ("aws", "gcp", "azure", "hetzner")


def upstream(name: str, **fields: Any) -> Upstream:
    """An upstream of its own provider."""
    return Upstream(**{"name": name, "url": f"http://{name}/secret", "provider": name, **fields})


def four(**fields: Any) -> list[Upstream]:
    """a, b, c, d on four clouds."""
    return [
        upstream(name, cloud=cloud, region="r1", **fields)
        for name, cloud in zip("abcd", CLOUDS, strict=True)
    ]


class Fleet:
    """Standings with a clock. Every step collects the changes in ``changes``."""

    def __init__(
        self, upstreams: Sequence[Upstream], *, admit: bool = True, head: int = 100, **settings: Any
    ) -> None:
        self.now = 1000.0
        self.rng = random.Random(7)
        self.standings = standings_of(upstreams, Settings(**settings), self.now)
        self.changes: list[Change] = []
        if admit:
            for each in upstreams:
                self.check(each.name)
                if head >= 0:
                    self.head(each.name, head)
            self.changes.clear()

    def __getitem__(self, name: str) -> Standing:
        return self.standings[name]

    def tell(self, name: str, verdict: Verdict = Verdict.OK, **fields: Any) -> list[Change]:
        fields = {"method_class": LIGHT, "seconds": 0.02, **fields}
        changes = list(
            self.standings.observe(Observation(name, verdict=verdict, **fields), self.now)
        )
        self.changes += changes
        return changes

    def check(self, name: str, verdict: Verdict = Verdict.OK) -> list[Change]:
        return self.tell(name, verdict, method="eth_chainId", is_probe=True, is_identity=True)

    def probe(self, name: str, verdict: Verdict = Verdict.OK, **fields: Any) -> list[Change]:
        return self.tell(name, verdict, is_probe=True, **fields)

    def head(self, name: str, number: int, hash: str = "") -> list[Change]:
        return self.probe(name, head=Head(number, hash))

    def fail(
        self, name: str, verdict: Verdict = Verdict.SERVER_ERROR, times: int = 1, **f: Any
    ) -> None:
        for _ in range(times):
            self.tell(name, verdict, **f)

    def kill(self, *names: str) -> None:
        for name in names:
            self.fail(name, Verdict.UNREACHABLE, 3, seconds=None)

    def tick(self) -> list[Change]:
        changes = list(self.standings.tick(self.now))
        self.changes += changes
        return changes

    def run(self, seconds: float, step_seconds: float = 0.1) -> list[Change]:
        """Let time pass in steps of the executor's clock, or in longer ones where an hour does."""
        changes = []
        for _ in range(round(seconds / step_seconds)):
            self.now += step_seconds
            changes += self.tick()
        return changes

    def pick(self, *tried: str, **need: Any) -> str | None:
        wanted = Need(**{"method_class": LIGHT, **need})
        picked = self.standings.pick(wanted, [self[name] for name in tried], self.now, self.rng)
        return None if picked is None else picked.name

    def shares(self, times: int = 2000, **need: Any) -> dict[str | None, float]:
        """How often each is picked."""
        counts: dict[str | None, int] = {}
        for _ in range(times):
            name = self.pick(**need)
            counts[name] = counts.get(name, 0) + 1
        return {name: count / times for name, count in counts.items()}

    def kinds(self, name: str | None = None) -> list[str]:
        """Kinds of the changes so far."""
        return [c.kind for c in self.changes if name is None or c.upstream == name]

    def usable(self, method_class: MethodClass = LIGHT) -> list[str]:
        return [standing.name for standing in self.standings.usable(method_class)]
