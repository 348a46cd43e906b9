"""What people reported, played again through the running program: every case of ``drills.scenarios.reported``.

One proxy plays them all; each case meets a chain and upstreams without a past (renamed by a reload).
Most share their providers, too. A fifth provider that is always well, and no upstream, says what is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rpcproxy.drills.evm.simchain import BUSY_ACCOUNTS
from rpcproxy.drills.scenarios.cases import Case, CaseRequest, judge
from rpcproxy.drills.scenarios.faults import WELL
from rpcproxy.drills.scenarios.reported import REPORTED
from rpcproxy.drills.scenarios.reported_sends import CANCEL_HASH, PAYMENT_HASH
from tests.integration.running_proxy import RunningProxy
from tests.integration.wire import Wire
from tests.kits.waiting import wait_until
from tests.sockets.providers import ProviderProcess

PROVIDERS: Final = ("a", "b", "c", "d")
TOUCHSTONE: Final = "well"
OLD_BLOCKS: Final = 2000
# How a change for the worse of an upstream is named in the log.
BLAMED: Final = ("ejected", "quarantined", "cooling", "suspect", "forked")
SENDS: Final = "eth_sendRawTransaction"


def fleet(case: Case) -> ProviderProcess:
    return ProviderProcess(
        *PROVIDERS,
        TOUCHSTONE,
        latency_seconds=0.01,
        block_time_seconds=case.block_time_seconds,
        skip_every=case.skip_every,
    )


class World:
    """Providers and a proxy, for one case after the other."""

    def __init__(self, case: Case, directory: Path) -> None:
        self._generation = 0
        self._shared = self.providers = fleet(case)
        self._well = Wire(self.providers.urls[TOUCHSTONE])
        try:
            self.proxy = RunningProxy(self._configuration(case), directory)
        except BaseException:
            self.close_providers()
            raise
        self.wire = self.proxy.wire()

    def close(self) -> None:
        try:
            self.proxy.close()
        finally:
            self.close_providers()

    def close_providers(self) -> None:
        self._well.close()
        for each in {self.providers, self._shared}:
            each.close()

    def _ask_others(self, providers: ProviderProcess) -> None:
        """From the next configuration on."""
        self._well.close()
        self.providers = providers
        self._well = Wire(providers.urls[TOUCHSTONE])

    def _configuration(self, case: Case) -> str:
        upstreams = []
        for name, keys, fault in zip(PROVIDERS, case.upstreams, case.providers, strict=True):
            url = self.providers.urls[name]
            # JSON is YAML, too.
            upstream = {"name": f"{name}-{self._generation}", "url": url, "provider": name, **keys}
            if fault.heads_per_second:
                upstream["ws_url"] = url.replace("http", "ws")
            upstreams.append(upstream)
        chain = {
            "name": f"sim-{self._generation}",
            "chain_id": 1337,
            "block_time": f"{case.block_time_seconds:g}s",
            **case.chain,
            "upstreams": upstreams,
        }
        server = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"}
        return json.dumps({"server": server, "chains": [chain]})

    def renew(self, case: Case) -> None:
        """A chain and upstreams that nothing is known of."""
        if needs_its_own(case):
            self._ask_others(fleet(case))
        self.providers.clear()
        self._generation += 1
        self.proxy.write_config(self._configuration(case))
        self.proxy.hang_up()

    def leave_its_own(self) -> None:
        """The providers of one case end; those of most are asked from the next case on."""
        if self.providers is not self._shared:
            own = self.providers
            self._ask_others(self._shared)
            own.close()

    def wait_until_well(self) -> None:
        def are_well() -> bool:
            upstreams = self.proxy.status()["chains"][0]["upstreams"]
            return all(
                u["state"] == "up" and u["name"].endswith(f"-{self._generation}") for u in upstreams
            ) and any(u["head"] is not None for u in upstreams)

        wait_until(are_well, "all upstreams are up", pause_seconds=0.05)
        wait_until(lambda: "result" in self.wire.ask("eth_blockNumber")[1], "the head is known")

    def begin(self, case: Case) -> dict[str, str]:
        """Make the providers as the case says; what stands for what in its questions."""
        head = self.wire.result("eth_blockNumber")
        block = self._well.result("eth_getBlockByNumber", head, False)
        for name, fault in zip(PROVIDERS, case.providers, strict=True):
            self.providers.set_fault(name, None if fault is WELL else fault)
        # Other blocks for each case: answers at old ones are kept.
        old = int(head, 16) - OLD_BLOCKS * (self._generation + 1)
        return {
            "$account": BUSY_ACCOUNTS[0],
            "$hash": block["hash"],
            "$head": head,
            "$next": hex(int(head, 16) + 1),
            "$old": hex(old),
            "$page": hex(old + 30),
            "$more": hex(old + 40),
            "$wide": hex(old + 1500),
            "$tx": block["transactions"][0],
        }

    def play(self, ask: CaseRequest, names: dict[str, str], most_calls: int) -> None:
        """Ask as often as the case says; each answer is right, and what it cost is bounded."""
        text, as_if = ask.params, ask.as_if or ask.params
        for name, value in names.items():
            text, as_if = text.replace(name, value), as_if.replace(name, value)
        params = json.loads(as_if.replace("$turn", "0x0"))
        well = self._well.ask(ask.method, *params)[1] if ask.right == "as_well" else {}
        before = self.calls(ask.method)
        for turn in range(ask.times):
            params = json.loads(text.replace("$turn", hex(turn)))
            status, reply = self.wire.ask(ask.method, *params)
            wrong = judge(ask, reply, well)
            assert not wrong, f"{ask.method} {text[:200]}, turn {turn}: {wrong}"
            assert status == 200
        cost = (self.calls(ask.method) - before) / ask.times
        assert cost <= most_calls, f"{ask.method} cost {cost:.1f} calls each"

    def calls(self, method: str) -> int:
        state = self.providers.state()
        return sum(state.providers[name].counts.calls.get(method, 0) for name in PROVIDERS)

    def sent(self, hash: str, *providers: str) -> int:
        """How often these providers were sent the transaction."""
        state = self.providers.state()
        return sum(state.providers[p].counts.sent.get(hash, 0) for p in providers or PROVIDERS)


def needs_its_own(case: Case) -> bool:
    """Providers of another chain, or such as nobody has sent the payment yet."""
    pays = case.name in ("error_of_a_send_that_is_in", *AFTERWARDS)
    return pays or bool(case.skip_every) or case.block_time_seconds != 1.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    first = next(case for case in REPORTED.values() if not needs_its_own(case))
    world = World(first, tmp_path_factory.mktemp("reported"))
    yield world
    world.close()


@pytest.fixture
def world(shared: World, case: Case) -> Iterator[World]:
    shared.renew(case)
    try:
        shared.wait_until_well()
        yield shared
    finally:
        shared.leave_its_own()


def blamed(world: World, since: int) -> list[str]:
    return [
        line
        for line in world.proxy.lines[since:]
        if "upstream=" in line and any(f" {kind} " in line for kind in BLAMED)
    ]


@pytest.mark.parametrize("case", REPORTED.values(), ids=REPORTED)
def test_case(world: World, case: Case) -> None:
    since = len(world.proxy.lines)
    names = world.begin(case)
    for ask in case.asks:
        world.play(ask, names, case.most_calls)
    if case.is_calm:
        assert not blamed(world, since)
        assert set(world.proxy.upstream_states().values()) == {"up"}
    after = AFTERWARDS.get(case.name)
    if after is not None:
        after(world)


# ---- what shows only later, or elsewhere


def nothing_leaked(world: World) -> None:
    assert world.sent(PAYMENT_HASH, "a") > 0
    assert world.sent(PAYMENT_HASH, "b", "c", "d") == 0


def payment_rests(world: World) -> None:
    """Once its cancel was taken, the payment goes out no more; the cancel does."""
    payments, cancels = world.sent(PAYMENT_HASH), world.sent(CANCEL_HASH)

    def is_sent_again() -> bool:
        world.providers.mine()
        return world.sent(CANCEL_HASH) > cancels + 1

    wait_until(is_sent_again, "the cancel is sent again", pause_seconds=0.2)
    assert world.sent(PAYMENT_HASH) == payments


AFTERWARDS: Final[dict[str, Any]] = {
    "private_and_public": nothing_leaked,
    "a_payment_and_its_cancel": payment_rests,
}
