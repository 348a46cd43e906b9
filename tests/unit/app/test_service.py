"""What a service manager is told of a proxy, and when the watchdog goes hungry."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from rpcproxy.app.proxy import Proxy
from rpcproxy.app.service import OUTAGE_SECONDS, STATUS_SECONDS, Service
from rpcproxy.clock import SYSTEM_CLOCK
from rpcproxy.config import model
from rpcproxy.edges.process.notify_socket import NotifySocket
from tests.kits.fleet import Fleet, upstream
from tests.kits.waiting import until


class Heard(NotifySocket):
    """Remembers what the manager would have heard."""

    is_heard = True

    def __init__(self, watchdog_seconds: float | None = 30.0) -> None:
        super().__init__()
        self.watchdog_seconds = watchdog_seconds
        self.words: list[str] = []

    def _send(self, *lines: str) -> None:
        self.words += lines


class _Runtime:
    def __init__(self, fleet: Fleet) -> None:
        self.standings = fleet.standings


class _Proxy:
    def __init__(self, **fleets: Fleet) -> None:
        self.chains = {name: _Runtime(fleet) for name, fleet in fleets.items()}
        self.reload_listeners: list[Any] = []
        self.clock = SYSTEM_CLOCK


def of(
    *fleets: Fleet, status_seconds: float = STATUS_SECONDS, **options: Any
) -> tuple[Service, Heard]:
    heard = Heard(**options)
    names = dict(zip(("one", "two"), fleets, strict=False))
    return Service(cast("Proxy", _Proxy(**names)), heard, status_seconds), heard


def test_how_it_goes_is_told_when_it_changes() -> None:
    fleet = Fleet([upstream("a"), upstream("b")])
    service, heard = of(fleet)
    service.feed(0.0)
    service.feed(1.0)
    words = "STATUS=serving one at block 100, 2 of 2 upstreams usable"
    assert heard.words == [words, "WATCHDOG=1", "WATCHDOG=1"]
    fleet.kill("a")
    service.feed(2.0)
    assert heard.words[3] == words.replace("2 of 2", "1 of 2")


def test_the_watchdog_outlives_an_outage_of_the_providers_but_not_for_ever() -> None:
    one, two = Fleet([upstream("a")]), Fleet([upstream("b")])
    service, heard = of(one, two)
    one.kill("a")
    service.feed(10.0)
    assert heard.words[-1] == "WATCHDOG=1", "another chain is served"
    two.kill("b")
    service.feed(10.0 + OUTAGE_SECONDS - 1)
    assert heard.words[-1] == "WATCHDOG=1"
    count = len(heard.words)
    service.feed(10.0 + OUTAGE_SECONDS + 1)
    assert heard.words[count:] == []
    two.now += 60
    for _ in range(2):
        two.probe("b")
    two.tick()
    service.feed(1000.0)
    assert heard.words[-1] == "WATCHDOG=1"


def test_without_a_watchdog_only_the_status_is_told() -> None:
    service, heard = of(Fleet([upstream("a")]), watchdog_seconds=None)
    service.feed(0.0)
    assert [word.partition("=")[0] for word in heard.words] == ["STATUS"]


async def test_it_says_ready_lives_reloads_and_stops() -> None:
    fleet = Fleet([upstream("a")])
    service, heard = of(fleet, status_seconds=0.005)
    service.start()
    await until(lambda: heard.words.count("WATCHDOG=1") > 2)
    assert heard.words[0] == "READY=1"
    [tell] = service._proxy.reload_listeners
    heard.words.clear()
    tell(True, "taken over")
    assert [heard.words[0], heard.words[2]] == ["RELOADING=1", "READY=1"]
    service.stopping()
    assert "STOPPING=1" in heard.words
    await service.close()
    heard.words.clear()
    await asyncio.sleep(0)
    assert heard.words == []


async def test_a_real_proxy_tells_of_its_reloads(tmp_path: Path) -> None:
    nowhere = model.Address(host="127.0.0.1", port=0)
    chain = model.Chain(name="c", chain_id=7, upstreams=(upstream("a", url="http://127.0.0.1:9/"),))
    config = model.Config(server=model.Server(listen=nowhere, admin=None), chains=(chain,))
    proxy, heard = Proxy(config), Heard()
    service = Service(proxy, heard)
    await proxy.start()
    try:
        assert service.words() == "serving c, 0 of 1 upstreams usable"
        proxy.reload(config)
        assert heard.words[:1] == ["RELOADING=1"]
    finally:
        await proxy.stop(drain_seconds=0)
        await service.close()
