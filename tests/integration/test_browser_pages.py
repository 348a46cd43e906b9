"""The pages in a real Chromium: in outages, on wide and public screens, in light and dark, checked by
axe-core, without a complaint in the console and without a request to anywhere else.

One browser and one proxy over simulated providers serve all tests, in their order: the chain
"still" stands once the other is down, which is worse, so that it is known to by the last test.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpcproxy.drills.scenarios import faults
from tests.integration.chromium import Chromium, Tab
from tests.integration.conftest import CLIENTS, missing
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.sockets.providers import ProviderProcess

AXE = CLIENTS / "node_modules" / "axe-core" / "axe.min.js"
HALT_SECONDS = 6.0  # six blocks of the other chain, which goes on
PLACES = {
    "northwind": "{cloud: aws, region: us-east-1}",
    "lakeside": "{cloud: aws, region: us-east-1}",
    "summit": "{cloud: gcp, region: europe-west1}",
    "harbor": "{cloud: hetzner, region: fsn1}",
}
WALLETS = """
window.asked = [];
for (const name of ["Fox", "<b>Rabbit</b>"]) {
  const provider = { request: async (question) => {
    window.asked.push([name, question]);
    if (name === "Fox") return null;
    throw { code: 4001, message: "User rejected the request." };
  } };
  const icon = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E";
  const detail = Object.freeze({ info: { uuid: name, name, icon, rdns: "test" }, provider });
  const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
  addEventListener("eip6963:requestProvider", announce);
  announce();
}
"""


class World:
    """What runs from the first test to the last."""

    def __init__(self, browser: Chromium, directory: Path) -> None:
        self.browser = browser
        self.providers = ProviderProcess(*PLACES, block_time_seconds=1.0)
        self.still = ProviderProcess("rock", "stone", block_time_seconds=1.0, chain_id=1338)
        lines = ["server: {listen: '127.0.0.1:0', admin: '127.0.0.1:0', status_page: /how}"]
        lines += ["chains:", "- name: demo", "  chain_id: 1337", "  block_time: 1s", "  upstreams:"]
        for name, url in self.providers.urls.items():
            lines.append(f"  - {{name: {name}, url: '{url}', provider: {name}, {PLACES[name][1:]}")
        lines += ["- name: still", "  chain_id: 1338", "  block_time: 1s", "  upstreams:"]
        lines += [
            f"  - {{name: {name}, url: '{url}', provider: {name}}}"
            for name, url in self.still.urls.items()
        ]
        self.proxy = RunningProxy(
            "\n".join(lines),
            directory,
            {"HALT_SECONDS": str(HALT_SECONDS)},
            "tests.integration.patient_proxy",
        )
        self.proxy.wait_until_well()

    def close(self) -> None:
        try:
            self.proxy.close()
        finally:
            self.providers.close()
            self.still.close()

    def tab(self, url: str, before: str = "") -> Tab:
        tab = self.browser.tab()
        tab.look(1200, 900)
        if before:
            tab.before_scripts(before)
        tab.open(url)
        return tab

    def check(self, tab: Tab, origin: str) -> None:
        """What holds of every page in every state, on a desk in daylight and on a phone at night."""
        for width, is_dark in ((1200, False), (360, True)):
            tab.look(width, 900, is_dark=is_dark)
            ground = tab.run("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(18, 20, 22)" if is_dark else "rgb(247, 247, 245)")
            assert tab.run("document.documentElement.scrollWidth <= innerWidth"), width
            if not tab.run("'axe' in window"):
                tab.run(AXE.read_text())
            found = "axe.run().then(it => it.violations.map(v => [v.id, v.nodes[0].html]))"
            assert tab.run(found) == []
        elsewhere = [url for url in tab.asked if not url.startswith((origin, "data:"))]
        assert not elsewhere
        assert not tab.complaints


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    binary = shutil.which("chromium")
    if binary is None:
        missing("chromium")
    if not AXE.exists():
        missing("the Node package axe-core")
    browser = Chromium(binary, tmp_path_factory.mktemp("profile"))
    try:
        world = World(browser, tmp_path_factory.mktemp("proxy"))
        try:
            yield world
        finally:
            world.close()
    finally:
        browser.close()


@pytest.fixture(autouse=True)
def no_tabs_left(world: World) -> Iterator[None]:
    yield
    world.browser.close_tabs()


def sentence(tab: Tab) -> str:
    return str(tab.run("document.querySelector('h1').textContent"))


def until_it_says(tab: Tab, pattern: str) -> None:
    tab.until(lambda: re.search(pattern, sentence(tab)), f"{pattern}, not {sentence(tab)}")


def test_all_is_well(world: World) -> None:
    tab = world.tab(f"{world.proxy.admin_url}/status")
    until_it_says(tab, "^All well$")
    tab.until(lambda: tab.run("document.getElementById('live').textContent") == "Live", "live")
    world.check(tab, world.proxy.admin_url)


def test_the_page_at_the_wallets_url(world: World) -> None:
    tab = world.tab(f"{world.proxy.url}/", before=WALLETS)
    urls = tab.run("[...document.querySelectorAll('.url')].map(each => each.textContent)")
    assert urls == [f"{world.proxy.url}/", f"{world.proxy.url}/1338"]
    buttons = "[...document.querySelectorAll('.wallets')][1].querySelectorAll('button')"
    tab.until(lambda: tab.run(f"{buttons}.length") == 2, "a button for each wallet")
    names = tab.run(f"[...{buttons}].map(each => each.textContent)")
    assert names == ["Add to Fox", "Add to <b>Rabbit</b>"]
    outcome = "document.querySelectorAll('.outcome')[1].textContent"
    for position, words in (
        (0, "Added: Fox now knows still at this URL."),
        (1, "Not added: it was declined in <b>Rabbit</b>."),
    ):
        tab.run(f"{buttons}[{position}].focus()")
        tab.press("Enter")
        tab.until(lambda words=words: tab.run(outcome) == words, words)
    asked = tab.run("window.asked")
    assert [name for name, _ in asked] == ["Fox", "<b>Rabbit</b>"]
    assert asked[0][1] == {
        "method": "wallet_addEthereumChain",
        "params": [
            {
                "chainId": "0x53a",
                "chainName": "still",
                "nativeCurrency": {"name": "ETH", "symbol": "ETH", "decimals": 18},
                "rpcUrls": [f"{world.proxy.url}/1338"],
            }
        ],
    }
    world.check(tab, world.proxy.url)


@pytest.mark.parametrize(
    ("wallet", "words"),
    [
        ("", "No wallet was found in this browser."),
        (
            "window.ethereum = {request: async () => { throw {code: -32602, message: 'bad id'}; }};",
            "Not added. wallet says: bad id.",
        ),
    ],
    ids=["none", "one of before EIP-6963"],
)
def test_a_browser_without_such_wallets(world: World, wallet: str, words: str) -> None:
    tab = world.tab(f"{world.proxy.url}/demo", before=wallet)
    assert tab.run("document.querySelector('.url').textContent") == f"{world.proxy.url}/"
    outcome = "document.querySelector('.outcome').textContent"
    if wallet:
        button = "document.querySelector('.wallets button')"
        tab.until(lambda: tab.run(f"!!{button}"), "a button")
        tab.run(f"{button}.click()")
    tab.until(lambda: words in tab.run(outcome), words)
    world.check(tab, world.proxy.url)


def test_a_url_is_copied(world: World) -> None:
    tab = world.tab(f"{world.proxy.url}/")
    tab.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    tab.run("document.querySelector('.copy').click()")
    tab.until(lambda: tab.run("document.querySelector('.outcome').textContent") == "Copied.", "it")
    assert tab.run("window.copied") == f"{world.proxy.url}/"


def test_what_was_done_stays_said_when_no_wallet_turns_up(world: World) -> None:
    """The page looks for wallets for a moment; whoever copies at once is told so all the same."""
    tab = world.tab(f"{world.proxy.url}/", "window.setTimeout = (then) => { window.later = then; }")
    outcome = "document.querySelector('.outcome').textContent"
    tab.run("navigator.clipboard.writeText = async () => {}")
    tab.run("document.querySelector('.copy').click()")
    tab.until(lambda: tab.run(outcome) == "Copied.", "it to be copied")
    tab.run("later()")
    assert tab.run(outcome) == "Copied."


def test_one_provider_refuses_and_the_page_follows(world: World) -> None:
    admin = world.proxy.admin_url
    wide = world.tab(f"{admin}/status")
    public = world.tab(f"{world.proxy.url}/how")
    until_it_says(wide, "^All well$")
    wide.run("document.querySelector('h1').isTheSame = true")
    world.providers.set_fault("northwind", faults.http_429(2))
    wire = world.proxy.wire()

    def is_refused() -> bool:
        wire.ask("eth_getBalance", f"0x{time.monotonic_ns():040x}", "latest")
        return world.proxy.upstream_states()["northwind"] == "cooling"

    wait_until(is_refused, "a wallet's request is refused")
    for tab in (wide, public):
        until_it_says(tab, "northwind is rate-limited, wallets are served by three others")
    assert wide.run("document.querySelector('h1').isTheSame"), "neither loaded anew nor replaced"
    # What changes with every refusal is read in one look.
    look = """[document.querySelector('h1').textContent, document.title,
        document.getElementById('told').textContent, document.body.innerText]"""

    def is_told_everywhere() -> bool:
        shown, title, told, body = wide.run(look)
        is_titled = title == "demo: " + shown.removeprefix("demo: ")
        return is_titled and told == shown and "429" in body

    wide.until(is_told_everywhere, "it is in the title, and said once to a screen reader")
    assert "429" not in public.run("document.body.innerText"), "a provider's words are not public"
    assert "aws" not in public.run("document.querySelector('main').outerHTML")
    world.check(wide, admin)
    world.check(public, world.proxy.url)
    assert wide.loads == public.loads == 1


def main_of(tab: Tab, url: str) -> str:
    """What a page holds when it is opened, as it was sent."""
    tab.open(url)
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    body = tab.call("DOM.querySelector", nodeId=root, selector="main")["nodeId"]
    return str(tab.call("DOM.getOuterHTML", nodeId=body)["outerHTML"])


def test_it_can_be_read_without_javascript(world: World) -> None:
    tab = world.browser.tab()
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    for url, words in (
        (f"{world.proxy.admin_url}/status", "northwind is rate-limited"),
        (f"{world.proxy.url}/", "northwind is rate-limited"),
    ):
        # It cools down and is refused again: between the two it is well.
        tab.until(lambda url=url, words=words: words in main_of(tab, url), words)
    assert not tab.complaints


def test_the_line_here_is_down(world: World) -> None:
    world.still.halt()
    for name in PLACES:
        world.providers.set_fault(name, faults.REFUSE)
    tab = world.tab(f"{world.proxy.admin_url}/status")
    until_it_says(tab, "(None of the four|All four) providers of demo|Nobody can serve demo")
    world.check(tab, world.proxy.admin_url)


def test_the_chain_stands_still(world: World) -> None:
    world.providers.clear()
    tab = world.tab(f"{world.proxy.admin_url}/status")
    # The four of demo are back one after the other; what is wrong with them would come first.
    sentence = (
        r"still has stood still at block .* the chain, not the providers(.|\n)*It is the chain\."
    )
    tab.until(lambda: re.search(sentence, tab.run("document.body.innerText")), sentence)
    world.check(tab, world.proxy.admin_url)


def test_incidents_say_what_was_and_the_json_too(world: World) -> None:
    tab = world.tab(f"{world.proxy.admin_url}/status")
    assert "northwind" in tab.run("document.querySelector('.incidents').innerText")

    def kinds() -> set[tuple[str, str]]:
        told = world.proxy.status()["incidents"]
        return {(each["chain"], each["kind"]) for each in told}

    wait_until(lambda: {("demo", "outage"), ("still", "halted")} <= kinds(), "both")
    shown = json.loads(urlget(world.proxy.url + "/how"))
    assert "config" not in shown
    assert {each["name"] for each in shown["chains"]} == {"demo", "still"}


def urlget(url: str) -> str:
    import urllib.request

    with urllib.request.urlopen(url, timeout=LIMIT_SECONDS) as reply:
        return str(reply.read().decode())
