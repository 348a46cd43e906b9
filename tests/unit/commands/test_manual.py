"""What ``--help`` says, and the scripts that complete the commands."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rpcproxy import cli
from rpcproxy.chains.known import KNOWN
from rpcproxy.commands import manual
from rpcproxy.commands.completion import SHELLS
from rpcproxy.commands.manual import commands_of
from tests.kits.waiting import LIMIT_SECONDS

COMMANDS = dict(commands_of(cli._parser()))


def printed(*arguments: str) -> str:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        assert cli.main(arguments) == 0
    return told.getvalue()


def test_there_is_no_page_without_a_command() -> None:
    assert set(manual.PAGES) <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page(name: str) -> None:
    text = printed(*name.split(), "--help")
    assert COMMANDS[name].description
    assert "examples:\n" in text
    assert max(map(len, text.splitlines())) <= 100
    for argument in COMMANDS[name]._actions:
        if not isinstance(argument, argparse._SubParsersAction):
            assert argument.help, f"{name}: {argument.dest} says nothing"


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_understood(name: str) -> None:
    examples = re.findall(r"^  (rpcproxy .+?)(?:  |$)", COMMANDS[name].epilog or "", re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(example)[1:]
        if ">" in words:
            words = words[: words.index(">")]
        assert callable(cli._parser().parse_args(words).load), example


def test_the_first_page_names_all_and_says_what_is_common() -> None:
    text = printed("--help")
    for name in COMMANDS:
        if " " not in name:
            assert re.search(rf"^    {name}\b", text, re.MULTILINE), name
    for part in ("exit codes:", "environment:", "files:", "signals of a running proxy:"):
        assert f"\n{part}\n" in text
    for variable in ("INFURA_KEY", "STATE_DIRECTORY", "RPCPROXY_ADMIN_TOKEN", "LISTEN_FDS"):
        assert variable in text


def test_commands_are_listed_by_what_they_are_for() -> None:
    named = [name for names in manual.GROUPS.values() for name in names]
    assert sorted(named) == sorted(name for name in COMMANDS if " " not in name)
    text = printed("--help")
    lines = [f"\n  {title}:\n" for title in manual.GROUPS] + ["\noptions:\n"]
    assert [text.index(line) for line in lines] == sorted(text.index(line) for line in lines)
    places = [re.search(rf"^    {name}\b", text, re.MULTILINE) for name in named]
    starts = [place.start() for place in places if place is not None]
    assert starts == sorted(starts)
    assert len(starts) == len(named)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_prints_the_page_of_a_command(name: str) -> None:
    assert printed("help", *name.split()) == printed(*name.split(), "--help")


def test_help_alone_and_of_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed("help") == printed("--help")
    assert printed("version") == printed("--version")
    assert cli.main(["help", "tx", "lst"]) == 2
    assert "there is no command 'tx lst'; did you mean 'tx list'?" in capsys.readouterr().err


def test_a_page_of_its_own_is_kept() -> None:
    parser = argparse.ArgumentParser()
    serve = parser.add_subparsers().add_parser("serve", epilog="its own")
    manual.furnish(parser)
    assert serve.epilog == "its own"


# ---- completion


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    return {shell: printed("completion", shell) for shell in SHELLS}


def test_every_shell_hears_of_every_command(scripts: dict[str, str]) -> None:
    for script in scripts.values():
        for name in COMMANDS:
            assert name.split()[-1] in script
        assert all(chain in script for chain in KNOWN)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rpcproxy comp", ["completion"]),
        ("rpcproxy completion ", list(SHELLS)),
        ("rpcproxy serve eth", [name for name in KNOWN if name.startswith("eth")]),
        ("rpcproxy serve ethereum ba", ["base"]),
        ("rpcproxy serve -c rpc", ["rpcproxy.yaml"]),
        ("rpcproxy serve --conf", ["--config"]),
        ("rpcproxy tx ", ["list", "show"]),
        ("rpcproxy tx list --pen", ["--pending"]),
        ("rpcproxy dra", ["drain"]),
        ("rpcproxy drain --fo", ["--force"]),
        ("rpcproxy changes --chain ba", ["base"]),
        ("rpcproxy explain -c rpc", ["rpcproxy.yaml"]),
    ],
)
def test_bash_completes(
    require_tool: Callable[[str], str],
    scripts: dict[str, str],
    tmp_path: Path,
    line: str,
    expected: list[str],
) -> None:
    (tmp_path / "rpcproxy.yaml").touch()
    words = line.split(" ")
    asked = f"""
        {scripts["bash"]}
        COMP_WORDS=({" ".join(map(shlex.quote, words))})
        COMP_CWORD={len(words) - 1}
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        COMPREPLY=()
        _shtab_rpcproxy rpcproxy {shlex.quote(words[-1])} {shlex.quote(words[-2])}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = [require_tool("bash"), "--norc", "-c", asked]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False, cwd=tmp_path
    )
    assert done.stderr == ""
    assert [word.strip() for word in done.stdout.splitlines()] == expected


def test_a_shell_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["completion", "korn"])
    assert ended.value.code == 2
    assert "bash" in capsys.readouterr().err
