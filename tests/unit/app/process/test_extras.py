"""How an extra is added to this copy of rpcproxy, however that was installed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from rpcproxy.app.process.extras import InstalledCopy, command_for, how_to_add, this_copy
from tests.kits.pages import ROOT

REQUIRES = (
    "aiohttp<4,>=3.11",
    "matplotlib>=3.9; extra == 'report'",
    "opentelemetry-sdk<2,>=1.28; extra == 'otel'",
)


def copy(url: str | None, **info: Any) -> InstalledCopy:
    direct_url = None if url is None else {"url": url, **info}
    return InstalledCopy(direct_url, None, "pip", REQUIRES, "/opt/my env/bin/python")


def test_a_clone_is_named_by_its_directory(tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    clone.mkdir()
    told = command_for("report", copy(clone.as_uri(), dir_info={}))
    assert shlex.split(told) == [
        *("/opt/my env/bin/python", "-m", "pip", "install"),
        f"{clone}[report]",
    ]
    told = command_for("otel", copy(clone.as_uri(), dir_info={"editable": True}))
    assert shlex.split(told)[-2:] == ["-e", f"{clone}[otel]"]


def test_a_wheel_is_named_by_its_file(tmp_path: Path) -> None:
    wheel = tmp_path / "rpcproxy-0.1.0-py3-none-any.whl"
    wheel.touch()
    told = command_for("report", copy(wheel.as_uri(), archive_info={}))
    assert shlex.split(told)[-1] == f"{wheel}[report]"


@pytest.mark.parametrize(
    ("url", "info", "source"),
    [
        (
            "https://git.test/rpcproxy",
            {"vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "rpcproxy[report] @ git+https://git.test/rpcproxy@abc",
        ),
        (
            "https://files.test/rpcproxy-0.1.0.tar.gz",
            {"archive_info": {}},
            "rpcproxy[report] @ https://files.test/rpcproxy-0.1.0.tar.gz",
        ),
    ],
)
def test_what_came_from_elsewhere_comes_from_there_again(
    url: str, info: dict[str, Any], source: str
) -> None:
    assert shlex.split(command_for("report", copy(url, **info)))[-1] == source


@pytest.mark.parametrize(
    "url", [None, "file:///no/such/directory", "https://user:pass@git.test/x", "nonsense"]
)
def test_where_it_came_from_nowhere_its_packages_are_named(url: str | None) -> None:
    told = command_for("report", copy(url))
    assert shlex.split(told)[-1] == "matplotlib>=3.9"
    assert "rpcproxy" not in told
    assert "pass" not in told
    words = command_for("unheard", copy(url))
    assert words == (
        "install rpcproxy again the way it was installed here, with its extra 'unheard'"
    )


def test_a_clone_that_was_not_installed_is_named(tmp_path: Path) -> None:
    told = command_for("report", InstalledCopy(clone=tmp_path, python="python3"))
    assert told == f"python3 -m pip install '{tmp_path}[report]'"


def test_where_pip_is_not_another_installer_is_named(tmp_path: Path) -> None:
    bare = copy(tmp_path.as_uri(), dir_info={})._replace(has_pip=False)
    assert command_for("report", bare).startswith("pip --python '/opt/my env/bin/python' install ")
    told = command_for("report", bare._replace(installer="uv"))
    assert told.startswith("uv pip install --python '/opt/my env/bin/python' ")


def test_this_one_is_installed_from_its_clone() -> None:
    known = this_copy()
    assert known.clone == ROOT
    if known.direct_url is None:
        pytest.skip("this copy is not installed")
    assert f"{ROOT}[report]" in shlex.split(how_to_add("report"))
