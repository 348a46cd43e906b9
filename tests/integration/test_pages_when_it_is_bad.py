"""The page in a real Chromium while the proxy is gone, stopped or behind a dead line, and while it
refuses transactions: whoever looks is told so, and since when.

One browser and one set of simulated providers serve all tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.anvil_node import free_port
from tests.integration.chromium import Chromium, Tab
from tests.integration.conftest import CLIENTS, missing
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import LIMIT_SECONDS
from tests.sockets.providers import ProviderProcess

AXE = CLIENTS / "node_modules" / "axe-core" / "axe.min.js"
NAMES = ("northwind", "lakeside", "summit")
LOST = r"^No word from the proxy since \d\d:\d\d:\d\d UTC$"


class Place:
    """Where a proxy is started, again and again on the same ports."""

    def __init__(self, directory: Path, providers: ProviderProcess) -> None:
        self.directory = directory
        self.providers = providers
        self.wallet, self.admin = free_port(), free_port()
        self.started: list[RunningProxy] = []

    def config(self, *, wallet: int = 0, admin: int = 0) -> str:
        journal = f"journal: {{path: '{self.directory}/journal'}}"
        ports = f"listen: '127.0.0.1:{wallet}', admin: '127.0.0.1:{admin}'"
        lines = [f"server: {{{ports}, status_page: /how, {journal}}}"]
        lines += ["chains:", "- name: demo", "  chain_id: 1337", "  block_time: 1s", "  upstreams:"]
        for name, url in self.providers.urls.items():
            lines.append(f"  - {{name: {name}, url: '{url}', provider: {name}}}")
        return "\n".join(lines)

    def start(self) -> RunningProxy:
        config = self.config(wallet=self.wallet, admin=self.admin)
        proxy = RunningProxy(config, self.directory / "one")
        self.started.append(proxy)
        proxy.wait_until_well()
        return proxy

    def start_another(self) -> RunningProxy:
        """On other ports, and on the same journal."""
        proxy = RunningProxy(self.config(), self.directory / "another")
        self.started.append(proxy)
        proxy.wait_until_well()
        return proxy

    def close(self) -> None:
        for proxy in self.started:
            if proxy.is_running:
                proxy.kill()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    binary = shutil.which("chromium")
    if binary is None:
        missing("chromium")
    if not AXE.exists():
        missing("the Node package axe-core")
    browser = Chromium(binary, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def providers() -> Iterator[ProviderProcess]:
    providers = ProviderProcess(*NAMES, block_time_seconds=1.0)
    yield providers
    providers.close()


@pytest.fixture
def place(tmp_path: Path, providers: ProviderProcess, browser: Chromium) -> Iterator[Place]:
    place = Place(tmp_path, providers)
    yield place
    place.close()
    browser.close_tabs()


def opened(browser: Chromium, *urls: str) -> list[Tab]:
    tabs = [browser.tab() for _ in urls]
    for tab, url in zip(tabs, urls, strict=True):
        tab.look(1200, 900)
        tab.open(url)
    return tabs


def says(tab: Tab, pattern: str) -> None:
    """The headline, the title and what the colour and the icon of the tab are say it."""
    look = "[document.querySelector('h1').textContent, document.title]"
    tab.until(
        lambda: all(re.search(pattern, text) for text in tab.run(look)),
        f"{pattern}, not {tab.run(look)}",
    )


def looks(tab: Tab) -> tuple[str, str]:
    """The class of what stands above all, and the icon of the tab."""
    return tuple(
        tab.run("[document.querySelector('.plight').className,"
                " document.querySelector('link[rel=icon]').href]")
    )  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "a dead line"])
def test_a_proxy_that_is_gone_is_missed_and_found_again(
    browser: Chromium, place: Place, how: signal.Signals
) -> None:
    proxy = place.start()
    tabs = opened(browser, f"{proxy.admin_url}/status", f"{proxy.url}/how")
    for tab in tabs:
        says(tab, "^All well$")
    (landing,) = opened(browser, f"{proxy.url}/")
    standing = "document.querySelector('.standing').textContent"
    assert "All well" in landing.run(standing)
    well = looks(tabs[0])
    os.kill(proxy.pid, how)
    for tab in tabs:
        says(tab, LOST)
        state, icon = looks(tab)
        assert state == "plight down"
        assert icon != well[1]
        assert tab.run("document.getElementById('live').textContent") != "Live"
        assert tab.run("document.getElementById('told').textContent").startswith("No word")
        tab.run(AXE.read_text())
        found = "axe.run().then(it => it.violations.map(v => [v.id, v.nodes[0].html]))"
        assert tab.run(found) == []
    landing.until(lambda: "No word from the proxy since" in landing.run(standing), "it there, too")
    if how is signal.SIGSTOP:
        os.kill(proxy.pid, signal.SIGCONT)
    else:
        proxy.kill()
        place.start()
    for tab in tabs:
        says(tab, "^(?!No word)")
        says(tab, "^All well$")
        assert looks(tab) == well
        assert tab.loads == 1, "by itself"
    landing.until(lambda: "All well" in landing.run(standing), "it there, too")


def test_refused_transactions_are_said_everywhere(browser: Chromium, place: Place) -> None:
    place.start()
    second = place.start_another()
    second.expected_errors.append("transactions cannot be written down")
    (tab, public, landing) = opened(
        browser, f"{second.admin_url}/status", f"{second.url}/how", f"{second.url}/"
    )
    words = "ransactions of demo are refused for .*another process"
    says(tab, words)
    says(public, words)
    for page in (tab, public, landing):
        assert re.search(words, page.run("document.body.innerText"))
        assert "/journal" not in public.run("document.body.outerHTML")
    assert looks(tab)[0] == "plight troubled"
    with urllib.request.urlopen(f"{second.url}/readyz", timeout=LIMIT_SECONDS) as reply:
        told = json.load(reply)
    assert told["ready"], "reads go on"
    assert re.match("refused for .*another process", told["sends"]["demo"])
    status = second.status()
    assert (status["level"], status["whose"]) == ("troubled", "here")
    assert [each["kind"] for each in status["incidents"]] == ["sends_refused"]
    metric = r'rpcproxy_sends_refused_seconds\{chain="demo"\} (\S+)'
    found = re.search(metric, second.get("/metrics"))
    assert found is not None
    assert float(found[1]) > 0
