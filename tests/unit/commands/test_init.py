"""``rpcproxy init``: what it asks, that it tries the upstreams, and the file it writes."""

from __future__ import annotations

import argparse
import errno
import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from rpcproxy import cli
from rpcproxy.app.checkup.asking import AskSettings
from rpcproxy.chains.known import KNOWN
from rpcproxy.commands.runs import init_run
from rpcproxy.commands.runs.init_run import Setting
from rpcproxy.config.load import ConfigError, load_file
from rpcproxy.config.model import Config, Known, KnownChain
from tests.kits.waiting import LIMIT_SECONDS

SECRET = "0123456789abcdef0123456789abcdef"
PATIENT = AskSettings(question_seconds=LIMIT_SECONDS, total_seconds=LIMIT_SECONDS)


class Provider(BaseHTTPRequestHandler):
    """Its chain id is the first part of the path, as /7; /odd gives none, /refused refuses."""

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        part = self.path.split("/")[1]
        answer: dict[str, object] = {"jsonrpc": "2.0", "id": call["id"]}
        if part == "refused":
            answer["error"] = {"code": -32000, "message": f"bad key {SECRET} #\n x: y"}
        else:
            answer["result"] = "odd" if part == "odd" else hex(int(part))
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def known(*urls: str) -> Known:
    found = KnownChain(
        name="base", chain_id=7, block_time_seconds=2, max_lag_blocks=2, public_urls=urls
    )
    other = found.model_copy(update={"name": "ethereum", "chain_id": 8, "aliases": ("eth",)})
    return Known({"base": found, "ethereum": other}, KNOWN.kinds)


class Desk:
    """A file, and who sits at the terminal."""

    def __init__(self, place: Path, chains: Known) -> None:
        self.file = place / "proxy.yaml"
        self.known = chains
        self.asked: list[str] = []

    def run(
        self,
        *names: str,
        environ: dict[str, str] | None = None,
        typed: list[str] | None = None,
        force: bool = False,
        offline: bool = True,
        **wanted: object,
    ) -> int:
        answers = iter(typed or ())

        def ask(question: str) -> str:
            self.asked.append(question)
            try:
                return next(answers)
            except StopIteration:
                raise EOFError from None

        options = argparse.Namespace(
            chains=names, output=str(self.file), force=force, offline=offline, **wanted
        )
        setting = Setting(self.known, environ or {}, ask if typed is not None else None, PATIENT)
        return init_run.run_in(options, setting)

    @property
    def text(self) -> str:
        return self.file.read_text()

    def load(self, environ: dict[str, str] | None = None) -> Config:
        return load_file(self.file, self.known, environ or {})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, known("https://a.com", "https://b.com"))


def test_without_a_terminal_the_defaults_are_written(desk: Desk) -> None:
    assert desk.run() == 0
    config = desk.load()
    assert [chain.name for chain in config.chains] == ["ethereum", "base"]
    assert [u.url for u in config.chains[0].upstreams] == ["https://a.com", "https://b.com"]
    assert config.warnings == ()
    assert config.server.listen.port == 8545


def test_keys_of_the_environment_come_first_by_name(desk: Desk) -> None:
    environ = {"INFURA_KEY": SECRET, "QUICKNODE_URL": f"https://x.quiknode.pro/{SECRET}"}
    assert desk.run("base", environ=environ) == 0
    assert SECRET not in desk.text
    assert "Needed: INFURA_KEY, QUICKNODE_URL." in desk.text
    (chain,) = desk.load(environ).chains
    assert [(u.name, u.tier) for u in chain.upstreams] == [
        ("infura", "primary"),
        ("quicknode", "primary"),
        ("a", "backup"),
        ("b", "backup"),
    ]
    assert chain.upstreams[0].url == f"https://base-mainnet.infura.io/v3/{SECRET}"


def test_a_file_that_is_there_is_left_alone(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.file.write_text("mine")
    assert desk.run() == 2
    assert desk.text == "mine"
    assert "--force writes over it" in capsys.readouterr().err
    assert desk.run(force=True) == 0
    assert desk.load().chains


def test_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, known("https://a.com"))
    (tmp_path / "file").write_text("")
    for name, words in (
        ("missing/proxy.yaml", "missing is no directory"),
        ("file/proxy.yaml", "file is no directory"),
        ("x" * 300, "File name too long"),
        (".", "it is a directory"),
    ):
        desk.file = tmp_path / name
        assert desk.run(typed=[], force=True) == 2
        assert f"cannot be written: {words}" in capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert desk.asked == []


def test_a_directory_that_may_not_be_entered_is_told(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may enter all, and tests may run as root.
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refused)
        assert desk.run(typed=[]) == 2
    assert "proxy.yaml cannot be written: Permission denied" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr(init_run.os, "access", lambda *_: False)
        assert desk.run(typed=[]) == 2
    assert "proxy.yaml cannot be written: no permission to write" in capsys.readouterr().err
    assert desk.asked == []


def test_a_wrong_name_or_key_ends_in_words(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="chain 'bass' is not known; did you mean 'base'"):
        desk.run("bass")
    with pytest.raises(ConfigError, match="INFURA_KEY looks like a URL") as caught:
        desk.run("base", environ={"INFURA_KEY": f"https://x.com/{SECRET}"})
    assert SECRET not in str(caught.value)
    assert not desk.file.exists()


# ---- at a terminal


def test_it_asks_until_it_understands(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [
        *("bass", "eth, base"),
        *("infuria", "infura chainstack"),
        *(SECRET, "MY_KEY"),
        "",
        *("perhaps", "no"),
        *("here", "127.0.0.1:9545", "127.0.0.1:70000", "[::1]:8600"),
    ]
    # Chainstack's URL is of the first chain alone, so that the other needs Infura's.
    environ = {"CHAINSTACK_URL": f"https://x.chainstack.com/{SECRET}"}
    assert desk.run(environ=environ, typed=typed) == 0
    told = capsys.readouterr().out
    for words in (
        "chain 'bass' is not known; did you mean 'base'?",
        "that is none of infura, alchemy, quicknode, drpc, ankr and chainstack",
        "expected the name of a variable, in upper case, and not the key itself",
        "MY_KEY is not set here: it is written, and not tried.",
        "expected yes or no",
        "expected HOST:PORT",
        "that is where the admin port will be",
        "Set MY_KEY before that.",
    ):
        assert words in told, words
    assert "You have one for [chainstack]: " in desk.asked
    assert SECRET not in told + desk.text
    config = desk.load({**environ, "MY_KEY": SECRET})
    assert (config.server.listen.host, config.server.listen.port) == ("::1", 8600)
    assert [[u.name for u in chain.upstreams] for chain in config.chains] == [
        ["infura", "chainstack"],
        ["infura"],
    ]
    assert config.chains[1].upstreams[0].url == f"https://base-mainnet.infura.io/v3/{SECRET}"


def test_enter_takes_the_defaults(desk: Desk) -> None:
    environ = {"INFURA_KEY": SECRET}
    assert desk.run(environ=environ, typed=["", "", "", "", ""]) == 0
    at_the_terminal = desk.text
    assert desk.run(environ=environ, force=True) == 0
    assert desk.text == at_the_terminal


def test_nobody_is_made_to_have_a_key(desk: Desk) -> None:
    assert desk.run("base", environ={"INFURA_KEY": SECRET}, typed=["none", ""]) == 0
    assert "INFURA" not in desk.text


def test_an_end_in_the_middle_writes_nothing(desk: Desk) -> None:
    assert desk.run(typed=["base"]) == 2
    assert not desk.file.exists()


def test_urls_that_are_not_set_yet_are_written_each_by_its_own_name(desk: Desk) -> None:
    assert desk.run(typed=["eth base", "quicknode chainstack", "QN", "CS", "yes", ""]) == 0
    written = yaml.safe_load(desk.text)["chains"][0]["upstreams"]
    assert [(entry["name"], entry["url"]) for entry in written[:2]] == [
        ("quicknode", "${QN}"),
        ("chainstack", "${CS}"),
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::]"])
def test_the_address_is_not_where_the_admin_port_will_be(
    host: str, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["none", f"{host}:9545", f"{host}:9546"]
    assert desk.run("base", typed=typed) == 0
    assert "that is where the admin port will be" in capsys.readouterr().out
    assert desk.load().server.listen.port == 9546


# ---- upstreams


def test_every_upstream_is_tried(
    provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = provider.replace("127.0.0.1", "localhost")
    urls = (
        *(f"{provider}/7", f"{provider}/56", f"{local}/odd", f"{local}/refused/{SECRET}"),
        "http://127.0.0.1:9/x",
    )
    desk = Desk(tmp_path, known(*urls))
    assert desk.run("base", offline=False) == 0
    told = capsys.readouterr().out
    assert "is on chain 56, not 7" in told
    assert "something that is no number" in told
    assert re.search(r"answers in \d+ ms", desk.text)
    assert "No upstream answered" not in told
    assert SECRET not in told
    # The stranger is left out; the others may be back tomorrow.
    (chain,) = desk.load().chains
    assert [u.url for u in chain.upstreams] == [url for url in urls if not url.endswith("/56")]
    assert f"      #   url: {provider}/56" in desk.text


def test_what_is_not_set_is_not_tried_and_no_answer_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, known("http://127.0.0.1:9/x"))
    typed = ["quicknode", "", "yes", ""]
    assert desk.run("base", typed=typed, offline=False) == 0
    told = capsys.readouterr().out
    assert "not tried: QUICKNODE_URL is not set here" in told
    assert "No upstream answered: is this machine on the network?" in told
    with pytest.raises(ConfigError, match="needs the environment variable QUICKNODE_URL, not set"):
        desk.load()


def test_where_all_are_strangers_they_are_left_in(provider: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, known(f"{provider}/56"))
    assert desk.run("base", offline=False) == 0
    assert "is on chain 56, not 7" in desk.text
    assert len(desk.load().chains[0].upstreams) == 1


# ---- a node of one's own


def test_a_node_of_a_known_chain_comes_before_public_endpoints(
    provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, known(f"{provider}/7"))
    assert desk.run(f"{provider.replace('127.0.0.1', 'localhost')}/7", offline=False) == 0
    assert "is on chain 7." in capsys.readouterr().out
    (chain,) = desk.load().chains
    assert (chain.name, chain.chain_id) == ("base", 7)
    assert [each.tier for each in chain.upstreams] == ["primary", "backup"]
    assert "Needed:" not in desk.text


def test_a_chain_that_is_not_known_is_described(provider: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, known(f"{provider}/7"))
    node = f"{provider}/31337"
    assert desk.run(node, "base", offline=False, name="our", block_time="2s") == 0
    ours, base = desk.load().chains
    assert (ours.name, ours.chain_id, ours.block_time_seconds) == ("our", 31337, 2.0)
    assert [each.url for each in ours.upstreams] == [node]
    assert base.name == "base"
    written = yaml.safe_load(desk.text)["chains"][0]
    assert (written["chain_id"], written["block_time"]) == (31337, "2s")
    assert desk.run(node, offline=False, force=True) == 0
    assert desk.load().chains[0].name == "chain-31337"


def test_two_nodes_of_one_chain_are_two_upstreams(provider: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, known())
    local = provider.replace("127.0.0.1", "localhost")
    assert desk.run(f"{provider}/31337", f"{local}/31337", offline=False) == 0
    (chain,) = desk.load().chains
    assert [each.url for each in chain.upstreams] == [f"{provider}/31337", f"{local}/31337"]


def test_at_the_terminal_name_and_block_time_are_asked_for(provider: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, known(f"{provider}/7"))
    typed = ["http://127.0.0.1:9/x", f"{provider}/31337", *("base", "1", "our"), *("2", "3s"), ""]
    assert desk.run(typed=typed, offline=False) == 0
    (chain,) = desk.load().chains
    assert (chain.name, chain.chain_id, chain.block_time_seconds) == ("our", 31337, 3.0)
    assert "Chain 31337 is not known. A name for it [chain-31337]: " in desk.asked
    assert "How far apart are its blocks, about [12s]: " in desk.asked
    assert not any("Public endpoints" in question for question in desk.asked)


def test_without_asking_the_id_is_to_be_said(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="--chain-id N says which chain it is on"):
        desk.run("http://10.0.0.5:8545")
    assert desk.run("http://10.0.0.5:8545", chain_id=31337, name="our") == 0
    (chain,) = desk.load().chains
    assert (chain.chain_id, chain.upstreams[0].provider) == (31337, "10.0.0.5:8545")


def test_the_wallet_port_is_not_where_the_node_is(desk: Desk) -> None:
    assert desk.run("127.0.0.1:8545", chain_id=31337) == 0
    config = desk.load()
    assert config.server.listen.port == 8546
    assert config.chains[0].upstreams[0].url == "http://127.0.0.1:8545"
    typed = ["", "", "127.0.0.1:8545", ""]
    assert desk.run("127.0.0.1:8545", chain_id=31337, typed=typed, force=True) == 0
    assert desk.asked[-1] == "Address for wallets [127.0.0.1:8546]: "
    assert desk.load().server.listen.port == 8546


def test_a_key_of_a_node_stays_in_its_variable(desk: Desk) -> None:
    url = f"https://node.example.com/{SECRET}"
    with pytest.raises(ConfigError, match="the URL holds a key; expected it in a variable") as told:
        desk.run(url, chain_id=31337)
    assert SECRET not in str(told.value)
    environ = {"OUR_NODE": url}
    assert desk.run("${OUR_NODE}", chain_id=31337, environ=environ) == 0
    assert SECRET not in desk.text
    assert "Needed: OUR_NODE." in desk.text
    assert desk.load(environ).chains[0].upstreams[0].url == url


def test_a_known_chain_may_be_named_by_its_id(desk: Desk) -> None:
    assert desk.run("8") == 0
    assert [chain.name for chain in desk.load().chains] == ["ethereum"]


@pytest.mark.parametrize(
    ("name", "wanted", "words"),
    [
        ("77", {}, "chain '77' is not known: give the URL of a node"),
        ("http://", {}, "the URL has no host"),
        ("${NOT_SET_AT_ALL}", {}, "the URL needs the environment variable NOT_SET_AT_ALL"),
        ("http://10.0.0.5", {"name": "base"}, "the name 'base' is another chain's"),
        ("http://10.0.0.5", {"name": "a b"}, "the name is 'a b'; expected letters"),
        ("http://10.0.0.5", {"name": "status"}, "the name is 'status'; expected letters"),
        ("http://10.0.0.5", {"block_time": "2"}, "the time is '2', which has no unit"),
        ("http://10.0.0.5", {"block_time": "0s"}, "the time is 0"),
    ],
)
def test_what_cannot_be_taken_is_told(
    name: str, wanted: dict[str, object], words: str, desk: Desk
) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        desk.run(name, chain_id=31337, **wanted)
    assert not desk.file.exists()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert cli.main(["init", "--offline", "base"]) == 0
    assert cli.main(["init", "--offline", "base"]) == 2
    assert (tmp_path / "rpcproxy.yaml").read_text().count("- name: base") == 2
