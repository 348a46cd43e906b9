"""``rpcproxy serve`` as it is typed: names, ids and ports, and what is said of those that are none."""

from __future__ import annotations

import argparse
import errno
import os
import socket
from pathlib import Path

import pytest

from rpcproxy import cli
from rpcproxy.chains.known import KNOWN
from rpcproxy.commands.runs.serve_run import _load, _refused, _wrong
from rpcproxy.config.load import ConfigError, from_names
from rpcproxy.config.model import Address, Config


def parsed(*words: str) -> argparse.Namespace:
    return cli.parse(["serve", *words])


def loaded(*words: str) -> Config:
    options = parsed(*words)
    assert _wrong(options) == ""
    return _load(options)


def refused(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(*words)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFURA_KEY", "ALCHEMY_KEY", "QUICKNODE_URL", "DRPC_KEY", "ANKR_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_where_it_listens() -> None:
    server = loaded("base", "--port", "18546").server
    assert server.listen == Address(host="127.0.0.1", port=18546)
    assert server.admin == Address(host="127.0.0.1", port=9545)
    server = loaded("base", "--listen", "[::1]:18546", "--admin", "off").server
    assert (server.listen.host, server.listen.port, server.admin) == ("::1", 18546, None)
    config = loaded("base", "--admin", "0.0.0.0:19545")
    assert config.server.admin == Address(host="0.0.0.0", port=19545)
    assert "without admin_token" in config.warnings[0]
    assert loaded("base").server == Config(chains=()).server


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "8546"), "--listen is the text '8546'; expected HOST:PORT"),
        (("--admin", "here"), "--admin is the text 'here'; expected HOST:PORT"),
        (("--port", "9545"), "listen and admin are the same address"),
    ],
)
def test_a_place_that_is_none(words: tuple[str, str], said: str) -> None:
    assert said in refused("base", *words)


def test_a_port_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    for port in ("65536", "x"):
        with pytest.raises(SystemExit, match="2"):
            parsed("base", "--port", port)
    with pytest.raises(SystemExit, match="2"):
        parsed("base", "--port", "1", "--listen", "a:1")
    assert "is no port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "key"),
    [("--port=1", "listen"), ("--listen=a:1", "listen"), ("--admin=off", "admin")],
)
def test_a_file_has_its_own_ports(
    option: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "-c", "proxy.yaml", option]) == 2
    name = option.partition("=")[0]
    assert capsys.readouterr().err == (
        f"rpcproxy serve: {name} goes with names of chains; with -c the file has it: "
        f"set server.{key} in proxy.yaml\n"
    )


def test_a_chain_may_be_named_by_its_id() -> None:
    assert [chain.name for chain in loaded("1", "BASE").chains] == ["ethereum", "base"]
    with pytest.raises(ConfigError, match="'1' is named twice"):
        from_names(["eth", "1"], KNOWN, {})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("etherum", "chain 'etherum' is not known; did you mean 'ethereum'?"),
        ("proxy.yaml", "'proxy.yaml' is no name of a chain; did you mean -c proxy.yaml?"),
        ("./proxy", "'./proxy' is no name of a chain; did you mean -c ./proxy?"),
        ("77", "no known chain has the id 77; known are ethereum, "),
        ("zzzzz", "chain 'zzzzz' is not known"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_name_that_is_none(
    command: str, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, name]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) <= 3


def test_an_option_that_is_none_brings_the_usage_of_its_command_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", "ethereum", "--prot", "8546"])
    err = capsys.readouterr().err
    assert err.startswith("usage: rpcproxy serve ")
    assert "completion" not in err
    assert "there is no --prot 8546; did you mean --port?" in err


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("base", "1"), "choose another one: rpcproxy serve base 1 --port "),
        (
            ("base", "--listen", "localhost:18546"),
            "choose another one: rpcproxy serve base --listen localhost:",
        ),
        (("-c", "proxy.yaml"), "set server.listen in proxy.yaml to another one, such as "),
    ],
)
def test_a_port_that_is_taken(words: tuple[str, ...], remedy: str) -> None:
    options = parsed(*words)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        host = "localhost" if "--listen" in words else "127.0.0.1"
        config = Config(chains=())
        server = config.server.model_copy(update={"listen": Address(host=host, port=port)})
        error = OSError(errno.EADDRINUSE, "in use", f"{host}:{port}")
        said = _refused(config.model_copy(update={"server": server}), options, error)
    assert said.startswith(f"{host}:{port} is in use by ")
    assert f"(process {os.getpid()}): stop that one, or {remedy}" in said


def test_the_file_of_a_check_is_no_chain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "proxy.yaml"
    assert cli.main(["check", str(file)]) == 2
    assert f"did you mean -c {file}?" in capsys.readouterr().err
