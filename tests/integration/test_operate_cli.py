"""The commands for a running proxy, typed beside one: what they change, and what they tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpcproxy import cli
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import wait_until

# Nobody answers there.
CONFIG = """
server: {listen: '127.0.0.1:0', admin: '127.0.0.1:0', journal: off}
chains:
  - name: devnet
    chain_id: 31337
    deadlines: {light: 200ms}
    upstreams:
      - {name: first, url: "http://127.0.0.1:9/a-key", provider: one}
      - {name: second, url: "http://127.0.0.1:9/another-key", provider: two}
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    running = RunningProxy(CONFIG, tmp_path_factory.mktemp("operate"))
    running.expected_errors.append("config_reload")
    yield running
    running.close()


class Desk:
    def __init__(self, proxy: RunningProxy, capsys: pytest.CaptureFixture[str]) -> None:
        self.proxy, self._capsys = proxy, capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        code = cli.main([*words, "--url", self.proxy.admin_url])
        told = self._capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def desk(
    proxy: RunningProxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    for name in ("COLUMNS", "RPCPROXY_ADMIN_TOKEN", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "alice")
    return Desk(proxy, capsys)


def test_an_upstream_is_taken_out_and_seen_to_be_out(desk: Desk) -> None:
    code, out, _ = desk.run("drain", "first", "--force")
    assert (code, out.startswith("devnet/first is drained: ")) == (0, True)
    assert "not asked\n" in desk.run("explain", "eth_gasPrice")[1]
    wait_until(
        lambda: "first was drained by alice@" in desk.run("changes", "--since", "1h")[1],
        "who did it is told",
    )
    code, out, _ = desk.run("changes", "--since", "1h", "--upstream", "first", "--json")
    told = json.loads(out)["changes"]
    assert (code, {each["upstream"] for each in told}) == (0, {"first"})
    assert desk.run("undrain", "devnet", "first")[0] == 0
    assert desk.run("drain", "devnet", "third")[::2] == (
        2,
        "chain devnet has no upstream 'third'\n",
    )


def test_why_a_request_failed_is_told_by_its_trace_id(desk: Desk) -> None:
    desk.proxy.wire().ask("eth_gasPrice")  # closed with the proxy
    found: list[str] = []

    def is_told() -> bool:
        found[:] = [
            each["trace_id"]
            for each in json.loads(desk.run("failures", "--since", "1h", "--json")[1])["failures"]
            if each["method"] == "eth_gasPrice"
        ]
        return bool(found)

    wait_until(is_told, "the failure is told")
    code, out, _ = desk.run("failures", "--trace", found[0])
    assert code == 0
    assert "eth_gasPrice on devnet failed" in out
    assert f"trace {found[0]}" in out
    assert desk.run("failures", "--trace", "0" * 32)[0] == 1
    assert desk.run("failures", "--tx", f"0x{'4d' * 32}")[0] == 1


def test_the_file_is_read_again(desk: Desk) -> None:
    assert desk.run("reload")[:2] == (0, "The configuration was taken over.\n")
    desk.proxy.write_config("chains: 3")
    code, out, err = desk.run("reload")
    assert (code, out) == (1, "")
    assert "expected a list of chains" in err
    desk.proxy.write_config(CONFIG)
    assert desk.run("reload")[0] == 0


def test_the_wallet_port_is_told_apart(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("changes",), ("drain", "devnet", "first"), ("top",)):
        assert cli.main([*words, "--url", desk.proxy.url]) == 2
        assert "seems to be its wallet port" in capsys.readouterr().err


def test_the_configuration_says_where_it_is(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "proxy.yaml"
    file.write_text(f"server: {{admin: '{desk.proxy.admin_url.removeprefix('http://')}'}}\n")
    assert cli.main(["top", "-c", str(file)]) == 0
    assert "first" in capsys.readouterr().out
